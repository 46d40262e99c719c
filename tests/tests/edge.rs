//! `portcullis edge` over real HTTP, as those ask who know Fairvisor Edge's container: what its own black-box tests look at.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::edge::Edge;
use portcullis_e2e::gateway::{replace, signal, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp;
use portcullis_e2e::origin::Origin;

const BUNDLE: &str = r#"{
  "bundle_version": 1, "issued_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z",
  "policies": [{ "id": "e2e-policy", "spec": {
    "selector": { "pathPrefix": "/", "methods": ["GET", "POST"] }, "mode": "enforce",
    "rules": [{ "name": "e2e-rule", "limit_keys": ["header:x-e2e-key"], "algorithm": "token_bucket",
                "algorithm_config": { "tokens_per_second": 1, "burst": 2 } }] } }],
  "kill_switches": [{ "scope_key": "header:x-e2e-jitter", "scope_value": "on", "reason": "e2e_jitter_distribution" },
                    { "scope_key": "jwt:sub", "scope_value": "mallory" }]
}"#;
const SECRET: &[(&str, &str)] = &[("FAIRVISOR_DEBUG_SESSION_SECRET", "e2e-debug-secret")];

/// Asks until it is refused, 50 times at most.
fn exhaust(edge: &Edge, key: &str, more: &[(&str, &str)]) -> Answer {
    let mut fields = vec![("X-E2E-Key", key)];
    fields.extend_from_slice(more);
    let mut answers = (0..50).map(|_| edge.decide("/api/v1/chat", &fields));
    answers.find(|answer| answer.status == 429).expect("a refusal")
}

fn token(subject: &str) -> String {
    let payload = idp::encode(format!("{{\"sub\":\"{subject}\"}}").as_bytes());
    format!("Bearer x.{payload}.y")
}

#[test]
fn decisions() {
    let edge = Edge::start(BUNDLE, &[]);
    let answer = edge.decide("/api/v1/chat", &[]);
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(
        answer
            .header("content-type")
            .is_some_and(|media| media.starts_with("application/json"))
    );
    assert_eq!(edge.ask("GET", "/v1/decision", &[]).status, 405);
    let other = edge.ask(
        "POST",
        "/decision",
        &[("X-Original-Method", "GET"), ("X-Original-URI", "/")],
    );
    assert_eq!((other.status, other.text()), (404, "not found\n".into()));
    assert_eq!(edge.decide("/api/v1/chat?query=1&x", &[]).status, 200);
    assert_eq!(
        edge.decide("/", &[("Authorization", "Bearer anything at all")]).status,
        200
    );
    // Without the key the rule is left out, again and again.
    assert!((0..5).all(|_| edge.decide("/api/v1/chat", &[]).status == 200));
    for debug in ["x-fairvisor-decision", "x-fairvisor-mode", "x-fairvisor-latency-us"] {
        assert_eq!(answer.header(debug), None);
    }
    assert!(edge.log().contains("bundles need no signature"), "{}", edge.log());
}

#[test]
fn refusals() {
    let edge = Edge::start(BUNDLE, &[]);
    let refused = exhaust(&edge, "a", &[]);
    for field in [
        "RateLimit-Limit",
        "RateLimit-Remaining",
        "RateLimit-Reset",
        "RateLimit",
        "Retry-After",
    ] {
        assert!(refused.header(field).is_some(), "{field}: {:?}", refused.headers);
    }
    let limit = refused.header("ratelimit").unwrap_or_default();
    assert!(
        limit.starts_with("\"e2e-policy\"") && limit.contains(";r=") && limit.contains(";t="),
        "{limit}"
    );
    for hidden in [
        "X-Fairvisor-Reason",
        "X-Fairvisor-Policy",
        "X-Fairvisor-Rule",
        "X-Portcullis-Reason",
    ] {
        assert_eq!(refused.header(hidden), None);
    }
    assert_eq!(edge.decide("/api/v1/chat", &[("X-E2E-Key", "b")]).status, 200);
}

#[test]
fn retry_after_is_spread_by_its_own_function() {
    let edge = Edge::start(BUNDLE, &[]);
    let killed = |more: &[(&str, &str)]| {
        let mut fields = vec![("X-E2E-Jitter", "on")];
        fields.extend_from_slice(more);
        let answer = edge.decide("/api/v1/chat", &fields);
        assert_eq!((answer.status, answer.header("x-fairvisor-reason")), (429, None));
        assert_eq!(answer.header("ratelimit"), Some("\"default\";r=0;t=3600"));
        answer.header("retry-after").unwrap_or_default().to_owned()
    };
    for (subject, seconds) in [
        ("jitter-user-a", "4800"),
        ("jitter-user-b", "4998"),
        ("jitter-user-c", "4953"),
    ] {
        assert_eq!(killed(&[("Authorization", &token(subject))]), seconds, "{subject}");
    }
    assert_eq!(killed(&[]), "5099");
    // A switch by claim meets the claims that nobody verified.
    let mallory = edge.decide("/x", &[("Authorization", &token("mallory"))]);
    assert_eq!(mallory.status, 429);
}

#[test]
fn debug_sessions() {
    let edge = Edge::start(BUNDLE, SECRET);
    let log_in = |secret: &str| edge.ask("POST", "/v1/debug/session", &[("X-Fairvisor-Debug-Secret", secret)]);
    assert_eq!(edge.ask("GET", "/v1/debug/session", &[]).status, 405);
    let wrong = log_in("wrong");
    assert_eq!(
        (wrong.status, wrong.text()),
        (403, "{\"error\":\"debug_secret_invalid\"}".into())
    );
    let open = log_in("e2e-debug-secret");
    assert_eq!((open.status, open.body.len()), (204, 0));
    let cookie = open.header("set-cookie").expect("a cookie").to_owned();
    assert!(
        cookie.starts_with("fv_dbg=") && cookie.ends_with("; Path=/; Max-Age=900; HttpOnly; Secure; SameSite=Strict"),
        "{cookie}"
    );
    let cookie = cookie.split(';').next().unwrap_or_default();
    let refused = exhaust(&edge, "debugged", &[("Cookie", cookie)]);
    for (field, value) in [
        ("X-Fairvisor-Reason", "token_bucket_exceeded"),
        ("X-Fairvisor-Decision", "reject"),
        ("X-Fairvisor-Mode", "enforce"),
        ("X-Fairvisor-Debug-Decision", "reject"),
        ("X-Fairvisor-Debug-Mode", "enforce"),
        ("X-Fairvisor-Debug-Reason", "token_bucket_exceeded"),
        ("X-Fairvisor-Debug-Policy", "e2e-policy"),
        ("X-Fairvisor-Debug-Rule", "e2e-rule"),
        ("X-Fairvisor-Debug-Matched-Policies", "1"),
        ("X-Fairvisor-Debug-Descriptor-1-Key", "header:x-e2e-key"),
        ("X-Fairvisor-Debug-Descriptor-1-Value", "debugged"),
    ] {
        assert_eq!(refused.header(field), Some(value), "{field}: {:?}", refused.headers);
    }
    assert!(
        refused
            .header("x-fairvisor-debug-latency-us")
            .is_some_and(|took| took.parse::<u64>().is_ok())
    );
    let allowed = edge.decide("/a", &[("Cookie", cookie), ("X-E2E-Key", "other")]);
    assert_eq!(allowed.header("x-fairvisor-debug-decision"), Some("allow"));
    assert_eq!(allowed.header("x-fairvisor-debug-policy"), Some("e2e-policy"));
    let out = edge.ask("POST", "/v1/debug/logout", &[("Cookie", cookie)]);
    assert_eq!(out.status, 204);
    let cleared = "fv_dbg=; Path=/; Max-Age=0; HttpOnly; Secure; SameSite=Strict";
    assert_eq!(out.header("set-cookie"), Some(cleared));
    let after = edge.decide("/a", &[("Cookie", cookie)]);
    assert_eq!(after.header("x-fairvisor-decision"), None);
    let without = Edge::start(BUNDLE, &[]);
    assert_eq!(
        without
            .ask("POST", "/v1/debug/session", &[("X-Fairvisor-Debug-Secret", "")])
            .status,
        404
    );
    assert_eq!(without.ask("POST", "/v1/debug/logout", &[]).status, 404);
}

#[test]
fn without_a_bundle() {
    let edge = Edge::bare(&[
        ("FAIRVISOR_SAAS_URL", "http://127.0.0.1:9"),
        ("FAIRVISOR_EDGE_ID", "edge-e2e-nobundle"),
        ("FAIRVISOR_EDGE_TOKEN", "edge-e2e-nobundle-token"),
    ]);
    assert_eq!(edge.get("/livez").status, 200);
    let ready = edge.get("/readyz");
    assert_eq!(ready.status, 503);
    assert_eq!(
        ready.json(),
        serde_json::json!({ "status": "not_ready", "reason": "no_policy_loaded" })
    );
    let answer = edge.decide("/", &[]);
    assert_eq!((answer.status, answer.header("x-fairvisor-reason")), (503, None));
    wait("calls of the control plane", || {
        let text = edge.get("/metrics").text();
        text.contains("fairvisor_saas_calls_total{operation=\"register\",status=\"error\"}")
            && text.contains("fairvisor_saas_reachable 0")
    });
    assert!(!edge.log().contains("edge-e2e-nobundle-token"));
}

#[test]
fn a_bad_bundle_is_no_bundle_and_a_new_one_is_seen() {
    let edge = Edge::start("{", &[]);
    assert_eq!((edge.get("/readyz").status, edge.decide("/", &[]).status), (503, 503));
    replace(&edge.path("policy.json"), BUNDLE.as_bytes());
    signal(edge.pid(), "HUP");
    wait("the bundle", || edge.get("/readyz").status == 200);
    assert_eq!(edge.decide("/", &[]).status, 200);
    let higher = BUNDLE.replace("\"bundle_version\": 1", "\"bundle_version\": 3");
    replace(&edge.path("policy.json"), higher.as_bytes());
    wait("version 3", || edge.get("/readyz").json()["policy_version"] == 3);
    replace(&edge.path("policy.json"), BUNDLE.as_bytes());
    wait("its refusal", || edge.log().contains("version_not_monotonic"));
    assert_eq!(edge.get("/readyz").json()["policy_version"], 3);
}

#[test]
fn hosts() {
    let bundle = r#"{ "bundle_version": 1, "policies": [{ "id": "hosts", "spec": {
      "selector": { "pathPrefix": "/", "hosts": ["api.example.com"] },
      "rules": [{ "name": "r", "limit_keys": ["header:x-e2e-key"], "algorithm": "token_bucket",
                  "algorithm_config": { "tokens_per_second": 1, "burst": 1 } }] } }] }"#;
    let edge = Edge::start(bundle, &[]);
    let ask = |host: &str| {
        edge.decide("/x", &[("X-Original-Host", host), ("X-E2E-Key", "k")])
            .status
    };
    assert_eq!(ask("api.example.com"), 200);
    let _ = ask("API.example.com:443");
    assert_eq!(ask("api.example.com"), 429);
    assert!((0..4).all(|_| ask("other.example.com") == 200));
    // Without the field it is the host that is asked, as their integrations have it.
    let own = |host: &str| {
        let fields = [
            ("X-Original-Method", "GET"),
            ("X-Original-URI", "/x"),
            ("X-E2E-Key", "own"),
        ];
        h1::request(edge.address, "POST", host, "/v1/decision", &fields, b"").status
    };
    assert!((0..4).all(|_| own("edge:8080") == 200));
    assert!((0..4).any(|_| own("api.example.com") == 429));
}

#[test]
fn a_budget_of_five_minutes() {
    let bundle = r#"{ "bundle_version": 1, "policies": [{ "id": "budget", "spec": {
      "selector": { "pathPrefix": "/" },
      "rules": [{ "name": "r", "limit_keys": ["header:x-e2e-key"], "algorithm": "cost_based",
        "algorithm_config": { "budget": 1, "period": "5m", "cost_key": "fixed", "fixed_cost": 1, "staged_actions": [
          { "threshold_percent": 80, "action": "warn" }, { "threshold_percent": 95, "action": "throttle", "delay_ms": 5 },
          { "threshold_percent": 100, "action": "reject" }] } }] } }] }"#;
    let edge = Edge::start(bundle, &[]);
    let ask = || edge.decide("/x", &[("X-E2E-Key", "k")]);
    let first = ask();
    assert_eq!(
        (first.status, first.header("x-fairvisor-warning")),
        (200, Some("budget_throttle"))
    );
    assert_eq!(first.header("x-portcullis-warning"), None);
    let second = ask();
    let wait: u32 = second
        .header("retry-after")
        .unwrap_or_default()
        .parse()
        .expect("seconds");
    assert_eq!(second.status, 429);
    assert!((1..=300).contains(&wait), "{wait}");
}

#[test]
fn a_reverse_proxy() {
    let origin = Origin::start("Welcome to nginx!");
    let url = format!("http://{}", origin.address);
    let edge = Edge::start(
        BUNDLE,
        &[("FAIRVISOR_MODE", "reverse_proxy"), ("FAIRVISOR_BACKEND_URL", &url)],
    );
    let plain = edge.get("/");
    assert!(plain.status == 200 && plain.text().contains("nginx"), "{plain:?}");
    let statuses: Vec<u16> = (0..3)
        .map(|_| edge.ask("GET", "/", &[("X-E2E-Key", "k")]).status)
        .collect();
    assert_eq!(statuses, [200, 200, 429]);
    let third = edge.ask("GET", "/", &[("X-E2E-Key", "k")]);
    assert!(third.status == 429 && third.header("retry-after").is_some());
    assert_eq!(edge.ask("GET", "//a/./b", &[]).status, 200);
    assert_eq!(
        origin.seen().last().map(|seen| seen.target().to_owned()),
        Some("/a/b".into())
    );
    // What is its own never gets there.
    let before = origin.seen().len();
    for (path, status) in [
        ("/livez", 200),
        ("/readyz", 200),
        ("/metrics", 200),
        ("/v1/decision", 405),
    ] {
        assert_eq!(edge.get(path).status, status, "{path}");
    }
    assert_eq!(edge.decide("/", &[("X-E2E-Key", "k")]).status, 429);
    assert_eq!(origin.seen().len(), before);
}

#[test]
fn health_and_metrics() {
    let edge = Edge::start(BUNDLE, &[]);
    let live = edge.ask("POST", "/livez", &[]);
    assert_eq!((live.status, live.text()), (200, "ok\n".into()));
    let ready = edge.get("/readyz");
    assert_eq!((ready.status, &ready.json()["status"]), (200, &"ready".into()));
    assert_eq!(ready.json()["policy_version"], 1);
    assert!(ready.json()["policy_hash"].is_string() && ready.json()["last_config_update"].is_f64());
    exhaust(&edge, "m", &[]);
    let series = [
        "fairvisor_decisions_total{action=\"reject\",policy=\"e2e-policy\",reason=\"token_bucket_exceeded\",route=\"edge\"} 1\n",
        "fairvisor_decisions_total{action=\"reject\",policy=\"none\",reason=\"kill_switch\",route=\"edge\"} ",
        "fairvisor_kill_switch_active{scope=\"request\"} 1\n",
        "fairvisor_ratelimit_remaining{policy=\"e2e-policy\",route=\"edge\",window=\"request\"} ",
        "portcullis_insecure_unsigned 1\n",
    ];
    let mut text = String::new();
    // Requests are counted when they have been answered, and not in the order in which they were asked.
    wait("the counts", || {
        edge.decide("/", &[("X-E2E-Jitter", "on")]);
        text = edge.get("/metrics").text();
        series.iter().all(|series| text.contains(series))
    });
    for family in [
        "decisions_total",
        "decision_duration_seconds",
        "ratelimit_remaining",
        "tokens_consumed_total",
        "tokens_remaining",
        "token_estimation_accuracy_ratio",
        "token_reservation_unused_total",
        "loop_detected_total",
        "circuit_state",
        "kill_switch_active",
        "shadow_mode_active",
        "global_shadow_active",
        "kill_switch_override_active",
        "saas_reachable",
        "saas_calls_total",
        "events_sent_total",
        "config_info",
        "build_info",
    ] {
        for line in ["HELP", "TYPE"] {
            assert!(
                text.contains(&format!("# {line} fairvisor_{family} ")),
                "{line} {family}"
            );
        }
    }
}

#[test]
fn a_wrong_environment_is_said_as_the_container_says_it() {
    for (environment, said) in [
        (
            &[][..],
            "fairvisor: set FAIRVISOR_SAAS_URL (SaaS mode) or FAIRVISOR_CONFIG_FILE (standalone mode)",
        ),
        (
            &[("FAIRVISOR_SAAS_URL", "https://x.example")],
            "fairvisor: FAIRVISOR_EDGE_ID is required when FAIRVISOR_SAAS_URL is set",
        ),
        (
            &[("FAIRVISOR_CONFIG_FILE", "/nowhere"), ("FAIRVISOR_MODE", "both")],
            "fairvisor: FAIRVISOR_MODE must be decision_service or reverse_proxy",
        ),
        (
            &[
                ("FAIRVISOR_CONFIG_FILE", "/nowhere"),
                ("FAIRVISOR_MODE", "reverse_proxy"),
            ],
            "fairvisor: FAIRVISOR_BACKEND_URL is required when FAIRVISOR_MODE=reverse_proxy",
        ),
    ] {
        let (code, text) = Edge::refused(environment);
        assert_eq!(code, Some(1));
        assert_eq!(text.lines().next(), Some(said));
    }
}

/// Kinds of networks by the number that the peer tells, and Tor exits.
#[test]
fn networks_and_tor_exits() {
    let rule = |name: &str, key: &str, burst: u32| {
        format!(
            r#"{{ "name": "{name}", "limit_keys": ["{key}"], "algorithm": "token_bucket", "algorithm_config": {{ "tokens_per_second": 0.001, "burst": {burst} }} }}"#
        )
    };
    let policy = |id: &str, path: &str, rules: String| {
        format!(r#"{{ "id": "{id}", "spec": {{ "selector": {{ "pathPrefix": "{path}" }}, "rules": [{rules}] }} }}"#)
    };
    let bundle = format!(
        r#"{{ "bundle_version": 1, "policies": [{}, {}, {}] }}"#,
        policy("types", "/asn/", rule("by-type", "ip:type", 1)),
        policy("exits", "/tor/", rule("by-tor", "ip:tor", 1)),
        policy("countries", "/country/", rule("by-country", "ip:country", 1)),
    );
    let dir = tempfile::tempdir().expect("a folder");
    let types = dir.path().join("asn_type.map");
    std::fs::write(&types, "# kinds\ndefault unknown;\n72 business;\n62 hosting;\n").expect("a list");
    let types = types.display().to_string();
    let edge = Edge::start(&bundle, &[("PORTCULLIS_ASN_TYPES", &types)]);
    let asn = |number: &str| edge.decide("/asn/x", &[("X-ASN", number)]).status;
    assert_eq!([asn("72"), asn("72"), asn("62"), asn("62")], [200, 429, 200, 429]);
    assert_eq!(
        [asn("4200000000"), asn("7"), edge.decide("/asn/x", &[]).status],
        [200, 429, 429],
        "unknown is one bucket"
    );
    let tor = |value: &str| {
        let fields = [
            ("X-Original-Method", "POST"),
            ("X-Original-URI", "/tor/x"),
            ("X-Tor-Exit", value),
        ];
        edge.ask("POST", "/v1/decision", &fields).status
    };
    assert_eq!(
        [tor("1"), tor("1"), tor("true"), tor("0"), tor("no")],
        [200, 429, 429, 200, 429]
    );
    let country = |code: &str| edge.decide("/country/x", &[("X-Country-Code", code)]).status;
    assert_eq!([country("DE"), country("de"), country("FR")], [200, 429, 200]);
    assert!(
        (0..3).all(|_| edge.decide("/country/x", &[]).status == 200),
        "without a country the rule is left out"
    );
}

/// As a proxy it believes nobody that it was not told to believe.
#[test]
fn strangers_say_nothing_of_their_address() {
    let origin = Origin::start("nginx");
    let backend = format!("http://{}", origin.address);
    let bundle = r#"{ "bundle_version": 1, "policies": [{ "id": "p", "spec": { "selector": { "pathPrefix": "/" }, "rules": [
        { "name": "r", "limit_keys": ["ip:tor"], "algorithm": "token_bucket", "algorithm_config": { "tokens_per_second": 0.001, "burst": 1 } }] } }] }"#;
    let proxy = [
        ("FAIRVISOR_MODE", "reverse_proxy"),
        ("FAIRVISOR_BACKEND_URL", &*backend),
    ];
    let edge = Edge::start(bundle, &proxy);
    let send = |edge: &Edge, value: &str| edge.ask("GET", "/", &[("X-Tor-Exit", value)]).status;
    assert_eq!([send(&edge, "0"), send(&edge, "1")], [200, 429]);
    assert!(origin.seen()[0].all("x-tor-exit").is_empty());
    let mut behind = proxy.to_vec();
    behind.push(("PORTCULLIS_TRUSTED_PROXIES", "127.0.0.1"));
    let edge = Edge::start(bundle, &behind);
    assert_eq!([send(&edge, "0"), send(&edge, "1")], [200, 200]);
}
