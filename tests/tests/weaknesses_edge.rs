//! What goes wrong in the gateway that `portcullis edge` stands in for, and must not here: one test a weakness, named after it.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::edge::Edge;
use portcullis_e2e::gateway::{Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::idp;
use portcullis_e2e::origin::Origin;

fn bundle(rules: &str) -> String {
    format!(
        r#"{{ "bundle_version": 1, "policies": [{{ "id": "p", "spec": {{ "selector": {{ "pathPrefix": "/" }}, "rules": [{rules}] }} }}] }}"#
    )
}

fn bucket(name: &str, key: &str, rate: f64, burst: f64) -> String {
    format!(
        r#"{{ "name": "{name}", "limit_keys": [{key}], "algorithm": "token_bucket", "algorithm_config": {{ "tokens_per_second": {rate}, "burst": {burst} }} }}"#
    )
}

/// What starts from an environment alone enforces, and is not ready when it cannot.
#[test]
fn w_03_started_from_an_environment_it_enforces_and_says_when_it_cannot() {
    let edge = Edge::start(&bundle(&bucket("all", "", 0.001, 1.0)), &[]);
    assert_eq!(edge.get("/readyz").status, 200);
    assert_eq!(edge.decide("/a", &[]).status, 200);
    assert_eq!(edge.decide("/a", &[]).status, 429);
    // Their older name of the endpoint is none of a "yes".
    assert_eq!(edge.ask("POST", "/decision", &[]).status, 404);
    let broken = Edge::start(r#"{ "bundle_version": 1, "policies": [{ "id": "p" }] }"#, &[]);
    assert_eq!(
        (broken.get("/readyz").status, broken.decide("/a", &[]).status),
        (503, 503)
    );
}

/// The families do not grow with what clients send, and every scrape tells the same.
#[test]
fn w_20_metrics_are_bounded_and_true() {
    let edge = Edge::start(&bundle(&bucket("by-key", "\"header:x-key\"", 0.001, 1.0)), &[]);
    let count = |text: &str| text.lines().filter(|line| line.starts_with("fairvisor_")).count();
    let ask = |n: usize| edge.decide(&format!("/path/{n}/{n}?q={n}"), &[("X-Key", &n.to_string())]);
    for n in 0..20 {
        assert_eq!(ask(n).status, 200);
    }
    let decided = |text: &str| {
        let line =
            "fairvisor_decisions_total{action=\"allow\",policy=\"p\",reason=\"all_rules_passed\",route=\"edge\"} ";
        let value = text.lines().find_map(|known| known.strip_prefix(line)).unwrap_or("0");
        value.parse::<u64>().expect("a count")
    };
    let mut before = String::new();
    wait("20 decisions", || {
        before = edge.get("/metrics").text();
        decided(&before) == 20
    });
    for n in 20..520 {
        assert_eq!(ask(n).status, 200);
    }
    let mut after = String::new();
    wait("520 decisions", || {
        after = edge.get("/metrics").text();
        decided(&after) == 520
    });
    assert_eq!(count(&before), count(&after));
    assert!(!after.contains("/path/"), "{after}");
    // Counted once, measured, and the same however often it is asked for.
    assert!(
        after.contains("fairvisor_decision_duration_seconds_count{route=\"edge\"} 520"),
        "{after}"
    );
    let sum = after
        .lines()
        .find_map(|line| line.strip_prefix("fairvisor_decision_duration_seconds_sum{route=\"edge\"} "));
    assert!(
        sum.is_some_and(|sum| sum.parse::<f64>().is_ok_and(|sum| sum > 0.0)),
        "{after}"
    );
    assert!((0..4).all(|_| decided(&edge.get("/metrics").text()) == 520));
}

/// A session is one of many, ends when it is told to, and its secret is not to be guessed.
#[test]
fn w_26_debug_sessions_have_an_id_can_be_ended_and_are_not_to_be_guessed() {
    let secret = [("FAIRVISOR_DEBUG_SESSION_SECRET", "a secret of a debug session")];
    let edge = Edge::start(&bundle(&bucket("all", "", 1.0, 100.0)), &secret);
    let log_in = |secret: &str| edge.ask("POST", "/v1/debug/session", &[("X-Fairvisor-Debug-Secret", secret)]);
    let cookie = || {
        let answer = log_in(secret[0].1);
        let cookie = answer
            .header("set-cookie")
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default();
        cookie.to_owned()
    };
    let (first, second) = (cookie(), cookie());
    assert_ne!(first, second);
    let parts: Vec<&str> = first.trim_start_matches("fv_dbg=").split('.').collect();
    assert_eq!(parts.len(), 3, "{first}");
    assert_eq!(
        (idp::decode(parts[1]).len(), idp::decode(parts[2]).len()),
        (16, 32),
        "{first}"
    );
    let is_told = |cookie: &str| {
        edge.decide("/a", &[("Cookie", cookie)])
            .header("x-fairvisor-decision")
            .is_some()
    };
    assert!(is_told(&first) && is_told(&second));
    assert_eq!(edge.ask("POST", "/v1/debug/logout", &[("Cookie", &first)]).status, 204);
    assert!(!is_told(&first) && is_told(&second));
    // Neither an end that was put off nor the signature of another session.
    let later = second.replacen(|c: char| c.is_ascii_digit(), "9", 1);
    assert!(later != second && !is_told(&later), "{later}");
    assert!(!is_told(&format!("fv_dbg={}.{}.{}", parts[0], parts[1], parts[2])));
    let statuses: Vec<u16> = (0..8).map(|n| log_in(&format!("guess {n}")).status).collect();
    assert_eq!(statuses[..5], [403; 5]);
    assert_eq!(statuses[5..], [429; 3]);
    let right = log_in(secret[0].1);
    assert!(
        right.status == 429 && right.header("retry-after").is_some(),
        "{right:?}"
    );
    assert!(!edge.log().contains(secret[0].1));
}

/// A listener for clients has nothing of the operators'.
#[test]
fn w_27_nothing_of_the_operators_is_on_a_clients_port() {
    let gateway = Gateway::start("sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: app } }] }]\n");
    for (method, path) in [
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", "/livez"),
        ("POST", "/v1/decision"),
        ("POST", "/v1/debug/session"),
        ("POST", "/-/reload"),
        ("POST", "/-/debug"),
    ] {
        let answer = h1::request(
            gateway.public,
            method,
            "a",
            path,
            &[("X-Fairvisor-Debug-Secret", "x")],
            b"",
        );
        assert_eq!((answer.status, answer.text()), (200, "app".into()), "{path}");
    }
    assert_eq!(gateway.admin("GET", "/metrics", "").0, 200);
}

/// Of several limits the tightest is told, whatever was evaluated last, and its numbers agree.
#[test]
fn w_30_the_tightest_limit_is_told_and_its_numbers_agree() {
    let tight = bucket("tight", "\"header:x-key\"", 0.1, 4.0);
    let loose = bucket("loose", "", 100.0, 1000.0);
    let budget = r#"{ "name": "budget", "limit_keys": [], "algorithm": "cost_based", "algorithm_config": { "budget": 1000, "period": "1d",
        "staged_actions": [{ "threshold_percent": 100, "action": "reject" }] } }"#;
    for rules in [
        format!("{tight}, {loose}, {budget}"),
        format!("{budget}, {loose}, {tight}"),
    ] {
        let edge = Edge::start(&bundle(&rules), &[]);
        for left in [3, 2, 1, 0] {
            let answer = edge.decide("/a", &[("X-Key", "k")]);
            assert_eq!(answer.status, 200);
            assert_eq!(answer.header("ratelimit-limit"), Some("4"), "{:?}", answer.headers);
            assert_eq!(answer.header("ratelimit-remaining"), Some(left.to_string().as_str()));
            let limit = answer.header("ratelimit").unwrap_or_default();
            assert!(limit.contains(&format!(";r={left};t=")), "{limit}");
        }
        let refused = edge.decide("/a", &[("X-Key", "k")]);
        let number = |name: &str| {
            refused
                .header(name)
                .and_then(|value| value.parse::<u32>().ok())
                .expect("a number")
        };
        let (reset, wait) = (number("ratelimit-reset"), number("retry-after"));
        assert!(
            (1..=10).contains(&reset) && (reset..=reset + reset.div_ceil(2)).contains(&wait),
            "{reset} {wait}"
        );
        // A budget that is hardly touched says so.
        let other = edge.decide("/a", &[]);
        assert!(
            other
                .header("ratelimit-remaining")
                .is_some_and(|left| left.parse::<u32>().is_ok_and(|left| left > 900))
        );
    }
}

/// The proxy resolves names as its system does, keeps connections, says who the client is, and answers while the backend is away.
#[test]
fn w_31_the_proxy_behind_the_environment_is_a_whole_one() {
    let origin = Origin::start("here");
    let url = format!("http://localhost:{}", origin.address.port());
    let edge = Edge::start(
        &bundle(&bucket("all", "", 1000.0, 1000.0)),
        &[("FAIRVISOR_MODE", "reverse_proxy"), ("FAIRVISOR_BACKEND_URL", &url)],
    );
    let mut last = edge.get("/first?x=y");
    wait("the name to be resolved", || {
        last = edge.get("/first?x=y");
        last.status == 200
    });
    assert_eq!(last.text(), "here");
    let spoofed = edge.ask(
        "GET",
        "/second",
        &[("X-Forwarded-For", "6.6.6.6"), ("Forwarded", "for=6.6.6.6")],
    );
    assert_eq!(spoofed.status, 200);
    let seen = origin.seen();
    let seen = seen.last().expect("a request");
    assert_eq!(seen.target(), "/second");
    assert_eq!(seen.all("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.all("x-forwarded-host"), ["edge"]);
    assert!(seen.all("connection").is_empty(), "{}", seen.head);
    // Nobody can connect any more, so this goes over a connection that was kept.
    origin.stop();
    assert_eq!(edge.get("/third").status, 200);
    let nobody = format!("http://{}", portcullis_e2e::ports::free());
    let environment = [("FAIRVISOR_MODE", "reverse_proxy"), ("FAIRVISOR_BACKEND_URL", &nobody)];
    let alone = Edge::start(&bundle(&bucket("all", "", 1000.0, 1000.0)), &environment);
    let answer = alone.get("/fourth");
    assert_eq!((answer.status, answer.reason()), (502, "upstream_connect_error".into()));
}
