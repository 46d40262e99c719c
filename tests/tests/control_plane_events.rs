//! What the control plane is told of what a gateway did: exact, once, over crashes and outages; and never a byte of what
//! came with a request.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::control_plane::ControlPlane;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::idp::{Idp, Key};
use serde_json::{Value, json};

const SITES: &str =
    "sites:\n- hosts: [\"*\"]\n  filters: [{ policy: {} }]\n  routes:\n  - respond: { status: 200, body: here }\n";

/// Under a bundle that lets three requests of each `x-key` pass.
fn start(control_plane: &ControlPlane, signer: &Signer, interval: &str) -> Gateway {
    control_plane.publish(&signer.sign(&bucket(1, "header:x-key", 0.001, 3.0)));
    let yaml = control_plane.yaml(signer, &format!(", event_flush_interval: {interval}")) + SITES;
    let gateway = Builder::new(&yaml).file("token", ControlPlane::TOKEN).start();
    wait("the bundle", || gateway.admin("GET", "/readyz", "").0 == 200);
    wait("an answer", || control_plane.acks() == ["applied"]);
    gateway
}

/// So many requests of one key; how many were refused.
fn ask(gateway: &Gateway, key: &str, times: usize) -> usize {
    let answers = (0..times).map(|_| h1::get(gateway.public, "a", "/", &[("X-Key", key)]).status);
    answers.filter(|status| *status == 429).count()
}

/// The sum of a field over events.
fn sum(events: &[Value], field: &str) -> u64 {
    events
        .iter()
        .map(|event| event[field].as_u64().expect("a number"))
        .sum()
}

fn refusals(control_plane: &ControlPlane) -> u64 {
    let mut events = control_plane.events("decisions");
    events.retain(|event| event["reason"] == "token_bucket_exceeded");
    for event in &events {
        assert_eq!((&event["policy"], &event["rule"]), (&"limit".into(), &"per-key".into()));
        assert_eq!((&event["action"], &event["mode"]), (&"deny".into(), &"enforce".into()));
    }
    sum(&events, "count")
}

#[test]
fn event_flush_interval() {
    let signer = Signer::new("k1");
    let (often, seldom) = (ControlPlane::start(), ControlPlane::start());
    let gateways = [start(&often, &signer, "100ms"), start(&seldom, &signer, "1h")];
    for gateway in &gateways {
        assert_eq!(ask(gateway, "a", 5), 2);
    }
    wait("events", || {
        refusals(&often) == 2 && sum(&often.events("traffic"), "requests") == 5
    });
    let traffic = often.events("traffic");
    assert_eq!((sum(&traffic, "status_2xx"), sum(&traffic, "status_4xx")), (3, 2));
    assert_eq!(often.events("gateway")[0]["change"], "started");
    assert_eq!(often.events("bundle")[0]["status"], "applied");
    let heartbeats = seldom.bodies("/heartbeat").len();
    wait("heartbeats", || seldom.bodies("/heartbeat").len() > heartbeats + 3);
    assert!(seldom.batches().is_empty());
    let sent = gateways[0].metric("portcullis_control_plane_events_total{status=\"success\"}");
    assert!(sent >= 4.0, "{sent}");
}

#[test]
fn a_batch_that_is_sent_again_has_the_same_key_and_counts_once() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = start(&control_plane, &signer, "100ms");
    control_plane.be(|conduct| conduct.events = Some(503));
    assert_eq!(ask(&gateway, "a", 13), 10);
    let posts = || control_plane.bodies("/edge/events").len();
    let before = posts();
    wait("tries", || posts() > before + 1);
    let waiting = || gateway.metric("portcullis_control_plane_batches_waiting");
    wait("a queue", || waiting() >= 1.0);
    control_plane.be(|conduct| conduct.events = None);
    wait("the events", || waiting().abs() < f64::EPSILON);
    assert_eq!(
        (
            refusals(&control_plane),
            sum(&control_plane.events("traffic"), "requests")
        ),
        (10, 13)
    );
    assert!(posts() > control_plane.batches().len(), "one was sent more than once");
    // What will never be taken does not hold up the rest.
    control_plane.be(|conduct| conduct.events = Some(422));
    assert_eq!(ask(&gateway, "b", 4), 1);
    let refused = || gateway.metric("portcullis_control_plane_events_total{status=\"refused\"}");
    wait("a refusal", || refused() >= 2.0 && waiting().abs() < f64::EPSILON);
    assert!(gateway.metric("portcullis_control_plane_reachable") > 0.5);
}

#[test]
fn what_is_sealed_survives_kill_9_during_an_outage() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let mut gateway = start(&control_plane, &signer, "200ms");
    control_plane.stop();
    assert_eq!(ask(&gateway, "a", 7), 4);
    let folder = gateway.path("state/events");
    // The batches on the disk: a key, a line feed, a body. Those with a dot are still being written.
    let sealed = || {
        let queues = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        let files = queues.flat_map(|queue| std::fs::read_dir(queue.path()).into_iter().flatten().flatten());
        let whole = files.filter(|file| !file.file_name().as_encoded_bytes().starts_with(b"."));
        let texts = whole.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let bodies = texts.filter_map(|text| serde_json::from_str::<Value>(text.split_once('\n')?.1).ok());
        let events: Vec<Value> = bodies
            .flat_map(|body| body["events"].as_array().cloned().unwrap_or_default())
            .collect();
        let of = |kind: &str, field: &str| -> u64 {
            let events = events.iter().filter(|event| event["kind"] == kind);
            events.filter_map(|event| event[field].as_u64()).sum()
        };
        (of("decisions", "count"), of("traffic", "requests"))
    };
    wait("batches on the disk", || sealed() == (4, 7));
    gateway.crash();
    control_plane.resume();
    gateway.restart();
    wait("the events", || refusals(&control_plane) == 4);
    wait("an empty queue", || sealed() == (0, 0));
    assert_eq!(sum(&control_plane.events("traffic"), "requests"), 7);
}

#[test]
fn the_last_events_are_sent_at_a_graceful_end() {
    for name in ["TERM", "INT"] {
        let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
        let mut gateway = start(&control_plane, &signer, "1h");
        assert_eq!(ask(&gateway, "a", 5), 2);
        gateway.signal(name);
        assert!(gateway.wait_for_exit());
        assert_eq!(
            (
                refusals(&control_plane),
                sum(&control_plane.events("traffic"), "requests")
            ),
            (2, 5)
        );
        let changes: Vec<_> = control_plane
            .events("gateway")
            .iter()
            .map(|event| event["change"].clone())
            .collect();
        assert_eq!(changes, ["started", "stopping"]);
    }
}

/// By whoever reads it: the strict reader, the request phases, or nobody any more.
#[test]
fn requests_that_are_refused_before_they_are_routed_count_with_their_reasons() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = start(&control_plane, &signer, "100ms");
    let line = "GET /canaryInThePath HTTP/1.1\r\n";
    let cases = [
        (
            format!("{line}Host: a\r\nX Canary: b\r\n\r\n"),
            400,
            "field_name_malformed",
        ),
        (format!("{line}X-Canary: canaryInAHeader\r\n\r\n"), 400, "host_missing"),
        (
            "GET /canary%2fInThePath HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
            400,
            "path_encoded_slash",
        ),
        (
            format!("{line}Host: a\r\nTransfer-Encoding: canary\r\n\r\n"),
            501,
            "transfer_coding_unknown",
        ),
        (
            format!("{line}Host: a\r\n{}\r\n", "X-Canary: c\r\n".repeat(101)),
            431,
            "too_many_headers",
        ),
    ];
    for (request, status, reason) in &cases {
        let answer = h1::Connection::open(gateway.public).ask(request).expect("an answer");
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (*status, *reason),
            "{request}"
        );
    }
    let mut gone = h1::Connection::open(gateway.public);
    gone.send("GET /canary HTTP/1.1\r\nHost: canary");
    drop(gone);
    assert_eq!(ask(&gateway, "a", 1), 0);
    let counted = |reason: &str| {
        let mut events = control_plane.events("decisions");
        events.retain(|event| event["reason"] == reason);
        for event in &events {
            assert!(event["policy"].is_null() && event["rule"].is_null(), "{event}");
            assert_eq!((&event["action"], &event["mode"]), (&"deny".into(), &"enforce".into()));
        }
        sum(&events, "count")
    };
    let reasons = cases.iter().map(|(_, _, reason)| *reason).chain(["closed_in_header"]);
    for reason in reasons {
        wait(reason, || counted(reason) == 1);
    }
    wait("the traffic", || sum(&control_plane.events("traffic"), "requests") == 7);
    let traffic = control_plane.events("traffic");
    let classes = ["status_2xx", "status_4xx", "status_5xx"].map(|class| sum(&traffic, class));
    assert_eq!(classes, [1, 5, 1]);
    for seen in control_plane.seen() {
        let sent = String::from_utf8_lossy(&seen.body).to_lowercase();
        assert!(!sent.contains("canary"), "{sent}");
    }
    schema(&control_plane);
}

/// What must stay here, and the forms in which it might leave.
fn forms(canary: &str) -> Vec<String> {
    let mut hex = String::new();
    for byte in canary.bytes() {
        write!(hex, "{byte:02x}").expect("a text");
    }
    let mut forms = vec![canary.to_lowercase(), hex];
    // At each of the three places within base64's groups; the ends depend on what stands beside it.
    for before in 0..3 {
        let bytes = [&b"xx"[..before], canary.as_bytes()].concat();
        for text in [STANDARD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)] {
            let text = text.trim_end_matches('=').to_lowercase();
            forms.extend(text.get(4..text.len() - 4).map(str::to_owned));
        }
    }
    forms
}

/// A request of a client with an address of its own.
fn ask_from(address: Ipv4Addr, gateway: &Gateway, request: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((address, 0))).expect("an address");
        socket.connect(gateway.public).await.expect("a connection").into_std()
    });
    let mut stream = stream.expect("a stream");
    stream.set_nonblocking(false).expect("a stream that blocks");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("patience");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn fv_01_nothing_of_a_request_reaches_the_control_plane() {
    let canaries = [
        "canaryInThePath",
        "canaryInTheQuery",
        "canaryInAHeader",
        "canaryInACookie",
        "canaryInTheBody",
        "canaryInAClaim",
        "canaryInTheHost",
        "canaryInASwitch",
        "canaryInTheAgent",
        "canaryInTheToken",
    ];
    let (control_plane, signer, key) = (ControlPlane::start(), Signer::new("k1"), Key::es256("e1"));
    let idp = Idp::start(&[&key]);
    let rule = |name: &str, limit: &str, on: &str| {
        format!(
            "    - {{ name: {name}, limit_keys: [\"{limit}\"], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.001, burst: {on} }} }}\n"
        )
    };
    let mut bundle = bucket(1, "header:x-key", 0.001, 2.0);
    for (name, limit) in [("sub", "jwt:sub"), ("q", "query:q"), ("ip", "ip:address")] {
        bundle.push_str(&rule(name, limit, "40"));
    }
    control_plane.publish(&signer.sign(&bundle));
    let sites = "sites:\n- hosts: [\"*\"]\n  filters: [{ jwt: { issuer: main } }, { policy: {} }]\n  routes:\n  - match: { path_prefix: /v1/ }\n    respond: { status: 200, body: here }\n";
    let yaml = control_plane.yaml(&signer, ", event_flush_interval: 100ms") + &idp.identity("") + sites;
    let mut gateway = Builder::new(&yaml).file("token", ControlPlane::TOKEN).start();
    wait("the bundle", || gateway.admin("GET", "/readyz", "").0 == 200);

    let mut claims = Idp::claims("canaryInAClaim");
    claims["canaryInAClaim"] = json!("canaryInAClaim");
    let token = key.token(&claims);
    let address = Ipv4Addr::new(127, 77, 88, 99);
    let body = "canaryInTheBody";
    let request = |method: &str, path: &str, token: &str| {
        format!(
            "{method} {path}?q=canaryInTheQuery HTTP/1.1\r\nHost: canaryInTheHost.example\r\nX-Key: canaryInAHeader\r\nCookie: c=canaryInACookie\r\nUser-Agent: canaryInTheAgent\r\nAuthorization: Bearer {token}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let mut statuses = BTreeSet::new();
    for (method, path, token) in [
        ("POST", "/v1/canaryInThePath", &*token),
        ("POST", "/v1/canaryInThePath", &*token),
        ("POST", "/v1/canaryInThePath", &*token),
        ("PUT", "/canaryInThePath", &*token),
        ("POST", "/v1/canaryInThePath%00", &*token),
        ("POST", "/v1/canaryInThePath", "canaryInTheToken"),
        ("BREW", "/v1/%zzcanaryInThePath", &*token),
    ] {
        let answer = ask_from(address, &gateway, &request(method, path, token));
        statuses.insert(answer.split(' ').nth(1).unwrap_or_default().to_owned());
    }
    let switch = json!({ "key": "header:x-key", "value": "canaryInAHeader", "route": "/canaryInASwitch", "ttl": "1h", "reason": "canaryInASwitch" });
    let set = json!({ "key": "header:x-key", "value": "canaryInAHeader", "ttl": "1h", "reason": "canaryInASwitch" });
    for switch in [switch, set] {
        assert_eq!(kill(&gateway, &switch.to_string()), 201);
    }
    let answer = ask_from(address, &gateway, &request("POST", "/v1/canaryInThePath", &token));
    statuses.insert(answer.split(' ').nth(1).unwrap_or_default().to_owned());
    assert_eq!(
        statuses,
        ["200", "400", "401", "404", "429"].map(str::to_owned).into(),
        "each kind of end"
    );

    // A bundle that is refused, and the end of the process: every kind of call was made.
    control_plane.publish(b"nonsense");
    wait("a rejection", || {
        control_plane.acks().contains(&"signed_bundle_format_error".to_owned())
    });
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    let reasons: BTreeSet<String> = control_plane
        .events("decisions")
        .iter()
        .map(|event| event["reason"].as_str().expect("a reason").to_owned())
        .collect();
    for reason in ["token_bucket_exceeded", "kill_switch"] {
        assert!(reasons.contains(reason), "{reasons:?}");
    }
    let log = std::fs::read_to_string(gateway.path("access.log")).expect("the access log");
    for canary in ["canaryInThePath", "canaryInTheQuery", "127.77.88.99"] {
        assert!(log.contains(canary), "{canary} was there to be told");
    }

    let mut sent = String::new();
    for seen in control_plane.seen() {
        sent.push_str(&seen.head);
        sent.push_str(&String::from_utf8_lossy(&seen.body));
    }
    let sent = sent.to_lowercase();
    assert!(sent.len() > 2_000);
    for canary in canaries.into_iter().chain(["127.77.88.99"]) {
        for form in forms(canary) {
            assert!(!sent.contains(&form), "{canary} as {form}");
        }
    }
    schema(&control_plane);
}

/// Sets a kill switch, as `portcullis kill set` does; gives the status.
fn kill(gateway: &Gateway, body: &str) -> u16 {
    let headers = [("Content-Type", "application/json")];
    let admin = gateway.admin.to_string();
    h1::request(gateway.admin, "POST", &admin, "/-/kill", &headers, body.as_bytes()).status
}

/// Every field that was sent stands in the manifest of what may be.
fn schema(control_plane: &ControlPlane) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/egress.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(file).expect("the manifest")).expect("JSON");
    let keys = |value: &Value| -> BTreeSet<String> { value.as_object().expect("an object").keys().cloned().collect() };
    let mut known: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for call in manifest["calls"].as_array().expect("a list") {
        let path = call["path"].as_str().expect("a path");
        known.entry(path).or_default().extend(keys(&call["fields"]));
    }
    for (path, fields) in known {
        if fields.is_empty() {
            let seen = control_plane.seen();
            let mut sent = seen.iter().filter(|seen| seen.target() == path);
            assert!(sent.all(|seen| seen.body.is_empty()), "{path}");
            continue;
        }
        let bodies = control_plane.bodies(path);
        assert!(!bodies.is_empty(), "{path}");
        for key in bodies.iter().flat_map(keys) {
            assert!(fields.contains(&key), "{path} {key}");
        }
    }
    let all = control_plane.batches();
    for event in all
        .values()
        .flat_map(|batch| batch["events"].as_array().expect("a list"))
    {
        let kind = event["kind"].as_str().expect("a kind");
        let fields = keys(&manifest["events"][kind]);
        for key in keys(event) {
            assert!(key == "kind" || fields.contains(&key), "{kind} {key}");
        }
    }
    // Of all header fields only these are written.
    let known = manifest["header_fields"].as_array().expect("a list");
    for seen in control_plane.seen() {
        for (name, _) in seen.head.lines().skip(1).filter_map(|line| line.split_once(':')) {
            assert!(known.contains(&name.to_ascii_lowercase().into()), "{name}");
        }
    }
}
