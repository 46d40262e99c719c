//! Kill switches: at once, everywhere, and also after `kill -9`; those of operators and those of the bundle; and that what
//! is only a shadow refuses nobody.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::process::{Command, Output};

use portcullis_e2e::bundle::{Signer, bucket, moment};
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::h2raw::{self, END_HEADERS, END_STREAM, Kind, block, frame};
use portcullis_e2e::idp::{Idp, Key};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;
use serde_json::{Value, json};

/// Two routes of ours and one with a token, on two listeners.
struct Setup {
    gateway: Gateway,
    other: SocketAddr,
    signer: Signer,
    key: Key,
    _idp: Idp,
    _origin: Origin,
}

const BUNDLE: &str = "bundle_version: 1\npolicies: []\n";

fn setup(bundle: &str) -> Setup {
    let (signer, key, other) = (Signer::new("k1"), Key::ed25519("k"), ports::free());
    let (idp, origin) = (Idp::start(&[&key]), Origin::start("origin"));
    let yaml = format!(
        "listeners:\n- {{ name: public, address: \"{{public}}\", h2c: true }}\n- {{ name: other, address: \"{other}\" }}\n{}{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - match: {{ path: /here }}\n    respond: {{ status: 200, body: here }}\n  - match: {{ path: /policy }}\n    filters: [{{ policy: {{}} }}]\n    respond: {{ status: 200, body: policy }}\n  - match: {{ path: /app }}\n    proxy: {{ upstream: app }}\n  - match: {{ path: /secure }}\n    filters: [{{ jwt: {{ issuer: main }} }}]\n    respond: {{ status: 200, body: secure }}\n  - match: {{ path: /maybe }}\n    filters: [{{ jwt: {{ issuer: main, optional: true }} }}]\n    respond: {{ status: 200, body: maybe }}\n- hosts: [listener.test]\n  listeners: [other]\n  routes: [{{ respond: {{ status: 200, body: other }} }}]\n",
        signer.policy(),
        idp.identity(""),
        origin.address
    );
    let gateway = Builder::new(&yaml).file("policy.bundle", signer.sign(bundle)).start();
    let setup = Setup {
        gateway,
        other,
        signer,
        key,
        _idp: idp,
        _origin: origin,
    };
    wait("the keys", || setup.with_token("/secure", "somebody").status == 200);
    setup
}

impl Setup {
    fn of_tenant(&self, path: &str, tenant: &str) -> Answer {
        h1::get(self.gateway.public, "a", path, &[("X-Tenant", tenant)])
    }

    fn with_token(&self, path: &str, subject: &str) -> Answer {
        let bearer = format!("Bearer {}", self.key.token(&Idp::claims(subject)));
        h1::get(self.gateway.public, "a", path, &[("Authorization", &bearer)])
    }

    /// Sets a switch for an hour; gives its id.
    fn set(&self, key: &str, value: &str) -> String {
        set(
            &self.gateway,
            &json!({ "key": key, "value": value, "ttl": "1h", "reason": "test" }),
        )
    }

    fn clear(&self, id: &str) -> u16 {
        self.gateway.admin("DELETE", &format!("/-/kill/{id}"), "").0
    }

    /// Puts another bundle into force.
    fn publish(&self, bundle: &str) {
        let (status, body) = self.try_to_publish(bundle);
        assert_eq!(status, 200, "{body}");
    }

    fn try_to_publish(&self, bundle: &str) -> (u16, String) {
        replace(&self.gateway.path("policy.bundle"), &self.signer.sign(bundle));
        self.gateway.reload()
    }
}

fn set(gateway: &Gateway, request: &Value) -> String {
    let (status, body) = gateway.admin("POST", "/-/kill", &request.to_string());
    assert_eq!(status, 201, "{body}");
    let set: Value = serde_json::from_str(&body).expect("JSON");
    set["id"].as_str().expect("an id").to_owned()
}

fn list(gateway: &Gateway) -> Vec<Value> {
    let (status, body) = gateway.admin("GET", "/-/kill", "");
    assert_eq!(status, 200, "{body}");
    let list: Value = serde_json::from_str(&body).expect("JSON");
    list["switches"].as_array().expect("a list").clone()
}

#[track_caller]
fn killed(answer: &Answer) {
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (429, "kill_switch"),
        "{}",
        answer.text()
    );
    let wait: u32 = answer
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("Retry-After");
    assert!((3600..=5400).contains(&wait), "{wait}");
}

/// What HTTP/2 answers.
fn over_http2(address: SocketAddr, path: &str, tenant: &str) -> u16 {
    let mut connection = h2raw::Connection::open(address);
    let fields = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
        ("x-tenant", tenant),
    ];
    connection.send(&frame(Kind::Headers, END_STREAM | END_HEADERS, 1, &block(&fields)));
    connection.outcome(1).status()
}

#[test]
fn a_switch_applies_at_once_and_everywhere() {
    let setup = setup(BUNDLE);
    let paths = [
        "/here",
        "/app",
        "/policy",
        "/secure",
        "/nowhere",
        "/",
        "/here/../nowhere",
    ];
    let before: Vec<u16> = paths.iter().map(|path| setup.of_tenant(path, "evil").status).collect();
    assert_eq!(before, [200, 200, 200, 401, 404, 404, 404]);
    // A connection that is open already is no way around it.
    let mut open = h1::Connection::open(setup.gateway.public);
    let request = "GET /here HTTP/1.1\r\nHost: a\r\nX-Tenant: evil\r\n\r\n";
    assert_eq!(open.ask(request).expect("an answer").status, 200);

    let id = setup.set("header:x-tenant", "evil");
    killed(&open.ask(request).expect("an answer"));
    for path in paths {
        killed(&setup.of_tenant(path, "evil"));
        assert_eq!(
            over_http2(setup.gateway.public, path, "evil"),
            429,
            "{path} over HTTP/2"
        );
        killed(&h1::get(setup.other, "a", path, &[("X-Tenant", "evil")]));
    }
    killed(&h1::get(setup.other, "listener.test", "/", &[("X-Tenant", "evil")]));
    for method in ["HEAD", "OPTIONS", "POST", "DELETE", "PROPFIND"] {
        let request = format!("{method} /here HTTP/1.1\r\nHost: a\r\nX-Tenant: evil\r\n\r\n");
        let answer = h1::Connection::open(setup.gateway.public)
            .ask(request)
            .expect("an answer");
        assert_eq!(answer.status, 429, "{method}");
    }
    let star = "OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Tenant: evil\r\n\r\n";
    killed(&h1::Connection::open(setup.gateway.public).ask(star).expect("an answer"));
    // Spelt as a server of the CGI kind could take it, in another case, in an upgrade.
    for headers in [
        &[("x_tenant", "evil")][..],
        &[("X-TENANT", "evil")],
        &[
            ("X-Tenant", "evil"),
            ("Connection", "Upgrade, X-Tenant"),
            ("Upgrade", "websocket"),
        ],
    ] {
        killed(&h1::get(setup.gateway.public, "a", "/app", headers));
    }
    // Nobody else notices.
    for (path, status) in [("/here", 200), ("/app", 200), ("/secure", 401), ("/nowhere", 404)] {
        assert_eq!(setup.of_tenant(path, "good").status, status, "{path}");
        assert_eq!(setup.of_tenant(path, "Evil").status, status, "the value's case counts");
    }
    assert_eq!(over_http2(setup.gateway.public, "/here", "good"), 200);
    let lines = setup.gateway.access_log(20);
    let line = lines
        .iter()
        .find(|line| line["reason"] == "kill_switch")
        .expect("a line");
    let detail = line["decisions"][0]["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(&id) && detail.contains("test"), "{line}");
    assert!(
        setup
            .gateway
            .metric("portcullis_kill_switches_active{origin=\"runtime\"}")
            > 0.0
    );

    assert_eq!(setup.clear(&id), 200);
    let after: Vec<u16> = paths.iter().map(|path| setup.of_tenant(path, "evil").status).collect();
    assert_eq!(after, before, "it is over at once, too");
    assert_eq!(setup.clear(&id), 404);
}

#[test]
fn every_kind_of_key_can_be_killed() {
    let setup = setup(BUNDLE);
    let ask = |query: &str, agent: &str| {
        h1::get(
            setup.gateway.public,
            "a",
            &format!("/here{query}"),
            &[("User-Agent", agent)],
        )
        .status
    };
    for (key, value, query, agent) in [
        ("ip:address", "127.0.0.1", "", "x"),
        ("query:tenant", "a b", "?x=1&tenant=a%20b", "x"),
        ("ua:bot", "true", "", "GPTBot/1.0"),
    ] {
        assert_eq!(ask(query, agent), 200, "{key}");
        let id = setup.set(key, value);
        assert_eq!(ask(query, agent), 429, "{key}");
        assert_eq!(setup.clear(&id), 200);
        assert_eq!(ask(query, agent), 200, "{key}");
    }
    let id = set(
        &setup.gateway,
        &json!({ "key": "header:x-tenant", "value": "evil", "route": "/here", "ttl": "1m", "reason": "one path" }),
    );
    for path in ["/here", "//here", "/x/../here", "/%68ere", "/here?x"] {
        killed(&setup.of_tenant(path, "evil"));
    }
    assert_eq!(setup.of_tenant("/app", "evil").status, 200, "only that path");
    assert_eq!(setup.clear(&id), 200);
}

#[test]
fn a_switch_ends_by_itself() {
    let mut setup = setup(BUNDLE);
    let short = json!({ "key": "header:x-tenant", "value": "evil", "ttl": "3s", "reason": "short" });
    set(&setup.gateway, &short);
    killed(&setup.of_tenant("/here", "evil"));
    let long = setup.set("header:x-tenant", "worse");
    wait("the end of the switch", || {
        setup.of_tenant("/here", "evil").status == 200
    });
    killed(&setup.of_tenant("/here", "worse"));
    let ids: Vec<Value> = list(&setup.gateway).iter().map(|switch| switch["id"].clone()).collect();
    assert_eq!(ids, [json!(long)], "only what is in force is listed");
    setup.gateway.crash_and_restart();
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    killed(&setup.of_tenant("/here", "worse"));
}

#[test]
fn a_switch_survives_a_crash_reloads_and_bundles() {
    let mut setup = setup(BUNDLE);
    let (first, second) = (
        setup.set("header:x-tenant", "evil"),
        setup.set("header:x-tenant", "worse"),
    );
    assert_eq!(setup.clear(&second), 200);
    setup.gateway.crash_and_restart();
    killed(&setup.of_tenant("/here", "evil"));
    assert_eq!(
        setup.of_tenant("/here", "worse").status,
        200,
        "what was cleared stays cleared"
    );
    let listed = list(&setup.gateway);
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (&listed[0]["id"], &listed[0]["reason"]),
        (&json!(first), &json!("test"))
    );
    setup.publish("bundle_version: 2\npolicies: []\n");
    killed(&setup.of_tenant("/here", "evil"));
    let yaml = std::fs::read_to_string(setup.gateway.path("portcullis.yaml")).expect("the configuration");
    setup.gateway.write_config(&format!("{yaml}# another\n"));
    assert_eq!(setup.gateway.reload().0, 200);
    killed(&setup.of_tenant("/nowhere", "evil"));
    assert_eq!(setup.clear(&first), 200);
    setup.gateway.crash_and_restart();
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    assert!(list(&setup.gateway).is_empty());
}

#[test]
fn who_is_killed_by_a_claim_is_killed_once_it_is_known() {
    let setup = setup(BUNDLE);
    // Known already: what is remembered of a token is no way around a switch.
    assert_eq!(setup.with_token("/secure", "mallory").status, 200);
    let id = setup.set("jwt:sub", "mallory");
    for path in ["/secure", "/maybe"] {
        killed(&setup.with_token(path, "mallory"));
        assert_eq!(setup.with_token(path, "alice").status, 200);
    }
    assert_eq!(h1::get(setup.gateway.public, "a", "/maybe", &[]).status, 200);
    // Nobody is anybody before a token was verified, nor where none is asked for.
    let forged = format!("Bearer {}", Key::ed25519("k").token(&Idp::claims("mallory")));
    let answer = h1::get(setup.gateway.public, "a", "/secure", &[("Authorization", &forged)]);
    assert_eq!((answer.status, answer.reason().as_str()), (401, "signature_invalid"));
    assert_eq!(setup.with_token("/here", "mallory").status, 200);
    assert_eq!(setup.clear(&id), 200);
    assert_eq!(setup.with_token("/secure", "mallory").status, 200);
}

#[test]
fn the_bundle_has_switches_of_its_own() {
    let setup = setup(&format!(
        "{BUNDLE}kill_switches:\n- {{ scope_key: header:x-tenant, scope_value: evil, reason: incident 7 }}\n- {{ scope_key: header:x-tenant, scope_value: here, route: /here }}\n- {{ scope_key: header:x-tenant, scope_value: past, expires_at: {} }}\n- {{ scope_key: jwt:sub, scope_value: mallory }}\n",
        moment(-5)
    ));
    for path in ["/here", "/app", "/nowhere"] {
        killed(&setup.of_tenant(path, "evil"));
    }
    killed(&setup.of_tenant("/here", "here"));
    assert_eq!(setup.of_tenant("/app", "here").status, 200);
    assert_eq!(setup.of_tenant("/here", "past").status, 200);
    killed(&setup.with_token("/secure", "mallory"));
    let listed = list(&setup.gateway);
    assert_eq!(listed.len(), 3, "those in force");
    assert!(
        listed.iter().all(|switch| switch["id"].is_null()),
        "they are cleared by a bundle: {listed:?}"
    );
    assert_eq!(listed[0]["reason"], "incident 7");
    setup.publish("bundle_version: 2\npolicies: []\n");
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    assert_eq!(setup.with_token("/secure", "mallory").status, 200);
}

#[test]
fn an_override_suspends_the_bundles_switches_for_a_while() {
    let setup = setup(&format!(
        "{BUNDLE}kill_switches: [{{ scope_key: header:x-tenant, scope_value: evil }}]\n"
    ));
    let id = setup.set("header:x-tenant", "worse");
    killed(&setup.of_tenant("/here", "evil"));
    let suspended = |version: u64, seconds: i64| {
        format!(
            "bundle_version: {version}\npolicies: []\nkill_switches: [{{ scope_key: header:x-tenant, scope_value: evil }}]\nkill_switch_override: {{ enabled: true, reason: false alarm, expires_at: {} }}\n",
            moment(seconds)
        )
    };
    setup.publish(&suspended(2, 3600));
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    killed(&setup.of_tenant("/here", "worse"));
    assert_eq!(list(&setup.gateway).len(), 1, "what is suspended is not in force");
    assert_eq!(setup.clear(&id), 200);
    // A slow machine may need a later moment to have it accepted at all.
    let accepted = [3, 8, 20]
        .into_iter()
        .any(|seconds| setup.try_to_publish(&suspended(3, seconds)).0 == 200);
    assert!(accepted, "it was in time");
    // Without a reload it is over at the moment it says.
    wait("the end of the override", || {
        setup.of_tenant("/here", "evil").status == 429
    });
    killed(&setup.of_tenant("/nowhere", "evil"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let setup = setup(BUNDLE);
    let good = json!({ "key": "header:x-tenant", "value": "evil", "ttl": "1h", "reason": "test" });
    let with = |name: &str, value: Value| {
        let mut request = good.clone();
        request[name] = value;
        request
    };
    for request in [
        with("key", json!("tenant")),
        with("key", json!("colour:red")),
        with("key", json!("header:")),
        with("key", json!("header:x tenant")),
        with("key", json!("ip:country")),
        with("key", json!("")),
        with("key", json!(7)),
        with("value", json!("")),
        with("value", json!("x".repeat(100_000 / 8))),
        with("ttl", json!("0s")),
        with("ttl", json!("-1s")),
        with("ttl", json!("forever")),
        with("ttl", json!("1")),
        with("ttl", json!("400d")),
        with("ttl", json!(60)),
        with("reason", json!("")),
        with("reason", json!("  ")),
        with("route", json!("here")),
        with("route", json!("/x/../here")),
        with("colour", json!("red")),
        json!({ "key": "ip:country", "value": "DE", "ttl": "1h", "reason": "no address data" }),
        json!({ "key": "ip:address", "value": "localhost", "ttl": "1h", "reason": "no address" }),
        json!({ "key": "header:x-tenant", "value": "evil", "ttl": "1h" }),
        json!({ "key": "header:x-tenant", "value": "evil", "reason": "for ever" }),
        json!([]),
    ] {
        let (status, body) = setup.gateway.admin("POST", "/-/kill", &request.to_string());
        assert_eq!(status, 422, "{request}: {body}");
        assert!(body.contains("kill_switch_invalid"), "{request}: {body}");
    }
    assert_eq!(setup.gateway.admin("POST", "/-/kill", "{").0, 400);
    assert_eq!(setup.gateway.admin("PUT", "/-/kill", &good.to_string()).0, 405);
    for id in ["nothing", "..", "a/b", "%20"] {
        assert_eq!(setup.clear(id), 404, "{id}");
    }
    // From a web page, or as a form.
    let admin = setup.gateway.admin;
    let host = admin.to_string();
    let body = good.to_string();
    let from = |headers: &[(&str, &str)]| h1::request(admin, "POST", &host, "/-/kill", headers, body.as_bytes()).status;
    let json = ("Content-Type", "application/json");
    assert_eq!(from(&[json, ("Origin", "http://evil.example")]), 403);
    assert_eq!(from(&[json, ("Sec-Fetch-Site", "same-origin")]), 403);
    assert_eq!(from(&[("Content-Type", "application/x-www-form-urlencoded")]), 415);
    assert_eq!(
        h1::request(admin, "POST", "evil.example", "/-/kill", &[json], body.as_bytes()).status,
        403
    );
    assert!(list(&setup.gateway).is_empty());
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
}

#[test]
fn what_cannot_be_kept_is_not_promised() {
    let setup = setup(BUNDLE);
    std::fs::remove_dir_all(setup.gateway.path("state")).expect("the state folder");
    std::fs::write(setup.gateway.path("state"), "in the way").expect("a file");
    let request = json!({ "key": "header:x-tenant", "value": "evil", "ttl": "1h", "reason": "test" });
    let (status, body) = setup.gateway.admin("POST", "/-/kill", &request.to_string());
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("state_not_persisted"), "{body}");
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    assert!(list(&setup.gateway).is_empty());

    let without = Gateway::start("sites:\n- hosts: [\"*\"]\n  routes:\n  - respond: { status: 200, body: here }\n");
    let (status, body) = without.admin("POST", "/-/kill", &request.to_string());
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("state_dir"), "it says what is missing: {body}");
}

/// `portcullis kill` with these arguments: what it said, and whether it succeeded.
fn portcullis(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = Command::new(binary())
        .arg("kill")
        .args(arguments)
        .args(["--admin", &gateway.admin.to_string()])
        .env_remove("USER")
        .output()
        .expect("the binary");
    let said = [stdout, stderr].concat();
    (status.success(), String::from_utf8_lossy(&said).into_owned())
}

#[test]
fn the_command_line_sets_lists_and_clears() {
    let mut setup = setup(&format!(
        "{BUNDLE}kill_switches: [{{ scope_key: query:t, scope_value: other, reason: incident 7 }}]\n"
    ));
    let (set, said) = portcullis(
        &setup.gateway,
        &[
            "set",
            "header:x-tenant",
            "evil",
            "--ttl",
            "1h",
            "--reason",
            "INC-42",
            "--by",
            "me",
        ],
    );
    assert!(
        set && said.starts_with("set: ") && said.contains("header:x-tenant = evil"),
        "{said}"
    );
    let id = said.split_whitespace().nth(1).expect("an id").to_owned();
    killed(&setup.of_tenant("/nowhere", "evil"));
    let (listed, said) = portcullis(&setup.gateway, &["list"]);
    assert!(
        listed && said.contains(&id) && said.contains("INC-42") && said.contains("by: me"),
        "{said}"
    );
    assert!(said.contains("(bundle)") && said.contains("incident 7"), "{said}");
    let (_, said) = portcullis(&setup.gateway, &["list", "--format", "json"]);
    let read: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(read["switches"].as_array().map(Vec::len), Some(2));
    for wrong in [
        &["set", "colour:red", "x", "--ttl", "1h", "--reason", "r"][..],
        &["set", "header:x", "x", "--ttl", "soon", "--reason", "r"],
        &["set", "header:x", "x", "--ttl", "1h", "--reason", " "],
        &["set", "header:x", "x", "--ttl", "1h"],
        &["set", "header:x"],
        &["clear", "nothing"],
        &["clear"],
    ] {
        let (done, said) = portcullis(&setup.gateway, wrong);
        assert!(!done && !said.is_empty(), "{wrong:?}: {said}");
    }
    setup.gateway.crash_and_restart();
    let (cleared, said) = portcullis(&setup.gateway, &["clear", &id]);
    assert!(cleared && said.starts_with("cleared: "), "{said}");
    assert_eq!(setup.of_tenant("/here", "evil").status, 200);
    setup.gateway.crash();
    let (done, said) = portcullis(&setup.gateway, &["list"]);
    assert!(!done && said.contains("is the gateway running?"), "{said}");
}

#[test]
fn a_shadow_refuses_nobody() {
    let policy = |id: &str, mode: &str, burst: u32| {
        format!(
            "- id: {id}\n  spec:\n    mode: {mode}\n    selector: {{ pathPrefix: /policy }}\n    rules:\n    - {{ name: r, limit_keys: [\"header:x-tenant\"], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.001, burst: {burst} }} }}\n"
        )
    };
    let setup = setup(&format!(
        "bundle_version: 1\npolicies:\n{}",
        policy("a-trial", "shadow", 1)
    ));
    for _ in 0..5 {
        let answer = setup.of_tenant("/policy", "a");
        assert_eq!(answer.status, 200, "{}", answer.text());
        for name in ["ratelimit", "ratelimit-limit", "ratelimit-policy", "retry-after"] {
            assert_eq!(answer.header(name), None, "{name} would tell of the shadow");
        }
    }
    // It does not end the evaluation either: the policy behind it refuses, and its own limit is what is told.
    setup.publish(&format!(
        "bundle_version: 2\npolicies:\n{}{}",
        policy("a-trial", "shadow", 1),
        policy("b-real", "enforce", 3)
    ));
    let answers: Vec<Answer> = (0..4).map(|_| setup.of_tenant("/policy", "b")).collect();
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert!(
        answers
            .iter()
            .all(|answer| answer.header("ratelimit-limit") == Some("3"))
    );
    // All of them in shadow for a while; a switch is none, and refuses.
    let shadow = format!(
        "global_shadow: {{ enabled: true, reason: drill, expires_at: {} }}\n",
        moment(3600)
    );
    let switches = "kill_switches: [{ scope_key: header:x-tenant, scope_value: evil }]\n";
    setup.publish(&format!(
        "{shadow}{switches}bundle_version: 3\npolicies:\n{}",
        policy("b-real", "enforce", 3)
    ));
    for _ in 0..5 {
        let answer = setup.of_tenant("/policy", "b");
        assert_eq!((answer.status, answer.header("ratelimit")), (200, None));
    }
    killed(&setup.of_tenant("/policy", "evil"));
    let lines = setup.gateway.access_log(15);
    let shadows = lines
        .iter()
        .flat_map(|line| line["decisions"].as_array().cloned().unwrap_or_default());
    let seen = shadows
        .filter(|decision| decision["mode"] == "shadow" && decision["action"] == "deny")
        .count();
    assert!(seen > 0, "what it would have refused is in the log");
}

#[test]
fn a_shadow_link_refuses_nobody() {
    let signer = Signer::new("k1");
    let gateway = Builder::new(&format!(
        "{}sites:\n- hosts: [\"*\"]\n  routes:\n  - filters: [{{ policy: {{ mode: shadow }} }}, {{ rate_limit: {{ key: \"header:x-tenant\", rate: 1/d, burst: 2, mode: shadow }} }}]\n    respond: {{ status: 200, body: here }}\n",
        signer.policy()
    ))
    .file("policy.bundle", signer.sign(&bucket(1, "header:x-tenant", 0.001, 1.0)))
    .start();
    for _ in 0..5 {
        let answer = h1::get(gateway.public, "a", "/", &[("X-Tenant", "a")]);
        assert_eq!(
            (answer.status, answer.header("ratelimit"), answer.header("retry-after")),
            (200, None, None)
        );
    }
    let (_, metrics) = gateway.admin("GET", "/metrics", "");
    let denied = metrics
        .lines()
        .filter(|line| line.contains("action=\"shadow_deny\"") && !line.ends_with(" 0"));
    assert_eq!(denied.count(), 2, "both would have: {metrics}");
}
