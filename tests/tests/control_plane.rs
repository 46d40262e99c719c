//! The control plane, healthy and otherwise, while requests flow: none is ever lost or judged by what must not be in force.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::time::{Duration, Instant};

use portcullis_bundles::signing::derive;
use portcullis_config::secret::Secret;
use portcullis_e2e::bundle::{Signer, bucket, json};
use portcullis_e2e::control_plane::ControlPlane;
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::load::Load;
use serde_json::Value;

const SITES: &str =
    "sites:\n- hosts: [\"*\"]\n  filters: [{ policy: {} }]\n  routes:\n  - respond: { status: 200, body: here }\n";

/// Version `version`, which lets everything pass.
fn version(version: u64) -> String {
    bucket(version, "header:x-key", 1e9, 1e9)
}

fn start(control_plane: &ControlPlane, signer: &Signer, more: &str) -> Gateway {
    Builder::new(&(control_plane.yaml(signer, more) + SITES))
        .file("token", ControlPlane::TOKEN)
        .start()
}

/// One that has version 1 from its control plane.
fn under_version_1(control_plane: &ControlPlane, signer: &Signer, more: &str) -> Gateway {
    control_plane.publish(&signer.sign(&version(1)));
    let gateway = start(control_plane, signer, more);
    in_force(&gateway, 1);
    control_plane.be(|conduct| conduct.hint = false);
    gateway
}

fn status(gateway: &Gateway) -> Value {
    let (_, body) = gateway.admin("GET", "/-/status", "");
    let status: Value = serde_json::from_str(&body).expect("JSON");
    status["control_plane"].clone()
}

fn in_force(gateway: &Gateway, version: u64) {
    gateway.wait_for("/readyz", |_, body| {
        let ready: Value = serde_json::from_str(body).unwrap_or_default();
        ready["bundle"]["version"] == version
    });
}

/// Waits longer than anything else may take: the control plane is left alone for 30 s after an outage.
fn wait_long(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn w_14_a_gateway_starts_from_its_control_plane_alone() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = start(&control_plane, &signer, "");
    wait("a registration", || status(&gateway)["registered"] == true);
    let (ready, _) = gateway.admin("GET", "/readyz", "");
    assert_eq!(ready, 503, "there is no bundle yet");
    control_plane.publish(&signer.sign(&version(1)));
    in_force(&gateway, 1);
    wait("an answer", || control_plane.acks() == ["applied"]);

    let seen = control_plane.seen();
    assert!(seen[0].target().ends_with("/edge/register"), "{}", seen[0].head);
    for request in &seen {
        assert_eq!(request.all("authorization"), ["Bearer token-of-edge-1"]);
        if !request.body.is_empty() {
            assert_eq!(request.all("content-type"), ["application/json"]);
            let body: Value = serde_json::from_slice(&request.body).expect("JSON");
            assert_eq!(body["edge_id"], "edge-1");
            assert!(body["timestamp"].as_f64().is_some_and(|at| at > 1.7e9));
        }
    }
    let (_, body) = gateway.admin("GET", "/readyz", "");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let hash = format!("sha256:{}", ready["bundle"]["digest"].as_str().expect("a digest"));
    let ack = &control_plane.bodies("/config/ack")[0];
    assert_eq!((&ack["version"], &ack["hash"]), (&1.into(), &hash.clone().into()));
    assert!(ack["error"].is_null());
    wait("a heartbeat that says so", || {
        let heartbeats = control_plane.bodies("/heartbeat");
        heartbeats
            .iter()
            .any(|heartbeat| heartbeat["policy_hash"] == hash && heartbeat["uptime"].is_u64())
    });

    control_plane.publish(&signer.sign(&version(2)));
    in_force(&gateway, 2);
    wait("an answer", || control_plane.acks() == ["applied", "applied"]);
    assert_eq!(status(&gateway)["reachable"], true);
    assert!((gateway.metric("portcullis_control_plane_reachable") - 1.0).abs() < f64::EPSILON);
    let calls = |operation: &str| {
        gateway.metric(&format!(
            "portcullis_control_plane_calls_total{{operation=\"{operation}\",status=\"success\"}}"
        ))
    };
    assert!(calls("register") >= 1.0 && calls("heartbeat") >= 1.0 && calls("config_pull") >= 2.0);
    assert!(calls("config_ack") >= 2.0);
}

#[test]
fn w_14_what_is_known_is_not_sent_again() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let mut gateway = under_version_1(&control_plane, &signer, "");
    let before = control_plane.pulls();
    wait("more questions", || control_plane.pulls() > before + 2);
    let asked = control_plane.seen();
    let asked: Vec<_> = asked.iter().filter(|seen| seen.head.starts_with("GET ")).collect();
    let last = asked.last().expect("a question").all("if-none-match");
    assert!(last.len() == 1 && !last[0].contains("sha256"), "its own tag: {last:?}");
    // A new process does not know the tag; what is in force says which bundle it has.
    let before = control_plane.seen().len();
    gateway.crash_and_restart();
    wait("a question", || {
        let seen = control_plane.seen();
        let mut new = seen[before..].iter().filter(|seen| seen.head.starts_with("GET "));
        new.any(|seen| {
            seen.all("if-none-match")
                .first()
                .is_some_and(|tag| tag.starts_with("\"sha256:"))
        })
    });
    in_force(&gateway, 1);
}

#[test]
fn down() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let mut gateway = under_version_1(&control_plane, &signer, "");
    let clients = Load::of_200(gateway.public);
    control_plane.stop();
    wait_long("the breaker", || status(&gateway)["link"] == "disconnected");
    let told = status(&gateway);
    assert_eq!(told["reachable"], false);
    assert_eq!(told["last_error"]["reason"], "connect", "{told}");
    assert!(gateway.metric("portcullis_control_plane_reachable").abs() < f64::EPSILON);
    assert_eq!(gateway.admin("GET", "/readyz", "").0, 200, "it serves, so it is ready");
    clients.finish_later();

    gateway.crash_and_restart();
    in_force(&gateway, 1);
    let clients = Load::of_200(gateway.public);
    wait_long("the breaker", || status(&gateway)["link"] == "disconnected");
    control_plane.resume();
    control_plane.publish(&signer.sign(&version(2)));
    wait_long("the control plane", || status(&gateway)["reachable"] == true);
    in_force(&gateway, 2);
    clients.finish_later();
}

#[test]
fn slow() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = under_version_1(&control_plane, &signer, "");
    let clients = Load::of_200(gateway.public);
    // Longer than a heartbeat's whole time, so that it is given up.
    control_plane.be(|conduct| conduct.delay = Duration::from_secs(11));
    wait_long("a call that was given up", || {
        status(&gateway)["last_error"]["reason"] == "timeout"
    });
    assert_eq!(gateway.admin("GET", "/readyz", "").0, 200);
    control_plane.be(|conduct| conduct.delay = Duration::ZERO);
    control_plane.publish(&signer.sign(&version(2)));
    in_force(&gateway, 2);
    clients.finish_later();
}

#[test]
fn lying() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = under_version_1(&control_plane, &signer, "");
    control_plane.publish(&signer.sign(&version(5)));
    in_force(&gateway, 5);
    wait("an answer", || control_plane.acks() == ["applied", "applied"]);
    let clients = Load::of_200(gateway.public);
    let cases = [
        (Signer::new("k1").sign(&version(6)), "invalid_signature"),
        (Signer::new("edge-2").sign(&version(6)), "unknown_key"),
        (signer.sign(&version(4)), "version_not_monotonic"),
        (
            signer.sign_text(b"{\"bundle_version\": 6, \"policies\": [{}]}"),
            "invalid",
        ),
        (b"<html>It works!</html>".to_vec(), "signed_bundle_format_error"),
    ];
    let mut expected = control_plane.acks();
    for (bundle, reason) in cases {
        control_plane.publish(&bundle);
        expected.push(reason.to_owned());
        wait(reason, || control_plane.acks() == expected);
        let ack = control_plane.bodies("/config/ack").pop().expect("an answer");
        assert_eq!((&ack["status"], &ack["version"]), (&"rejected".into(), &5.into()));
        let pulls = control_plane.pulls();
        wait("more questions", || control_plane.pulls() > pulls + 2);
        in_force(&gateway, 5);
    }
    assert_eq!(control_plane.acks(), expected, "it is told once");
    let (_, ready) = gateway.admin("GET", "/readyz", "");
    assert!(ready.contains("bundle_refused"), "{ready}");

    // Its answers are nonsense; then it means well again.
    control_plane.be(|conduct| conduct.answer = Some((200, String::new(), "<html>".into())));
    wait("nonsense", || {
        status(&gateway)["last_error"]["reason"] == "answer_invalid"
    });
    control_plane.be(|conduct| conduct.answer = None);
    control_plane.publish(&signer.sign(&version(7)));
    wait_long("version 7", || {
        gateway.admin("GET", "/readyz", "").1.contains("\"version\":7")
    });
    clients.finish_later();
}

#[test]
fn a_redirect_is_not_followed() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let elsewhere = ControlPlane::start();
    let gateway = under_version_1(&control_plane, &signer, "");
    let clients = Load::of_200(gateway.public);
    let location = format!("Location: http://{}/api/v1/edge/heartbeat\r\n", elsewhere.address);
    control_plane.be(|conduct| conduct.answer = Some((307, location, String::new())));
    wait("a refusal", || status(&gateway)["last_error"]["reason"] == "redirect");
    assert!(elsewhere.seen().is_empty());
    clients.finish_later();
}

#[test]
fn fv_08_a_token_is_rotated_without_a_lost_request() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    control_plane.publish(&signer.sign(&version(1)));
    let token = ", token: { current: \"file:{dir}/token\", previous: \"file:{dir}/token.previous\" }";
    let gateway = Builder::new(&(control_plane.yaml(&signer, token) + SITES))
        .file("token", ControlPlane::TOKEN)
        .start();
    in_force(&gateway, 1);
    let clients = Load::of_200(gateway.public);
    let last_token = || {
        let seen = control_plane.seen();
        seen.last()
            .and_then(|seen| Some(seen.all("authorization").first()?.to_string()))
    };
    let heartbeats = || control_plane.bodies("/heartbeat").len();
    // The gateway is given the next token before the control plane knows it: the old one is the fallback.
    replace(&gateway.path("token.previous"), ControlPlane::TOKEN.as_bytes());
    replace(&gateway.path("token"), b"next-token");
    wait("the next token to be tried", || {
        control_plane
            .seen()
            .iter()
            .any(|seen| seen.all("authorization") == ["Bearer next-token"])
    });
    let before = heartbeats();
    wait("heartbeats go on", || heartbeats() > before + 4);
    assert_eq!(status(&gateway)["reachable"], true);
    // Both are known, then only the next one.
    control_plane.be(|conduct| conduct.tokens.push("next-token".into()));
    let before = heartbeats();
    wait("heartbeats go on", || heartbeats() > before + 2);
    control_plane.be(|conduct| drop(conduct.tokens.remove(0)));
    wait("the next token", || {
        last_token().as_deref() == Some("Bearer next-token")
    });
    control_plane.publish(&signer.sign(&version(2)));
    in_force(&gateway, 2);
    // Without an overlap: everything is denied until the file is replaced, and then goes on at once.
    control_plane.be(|conduct| conduct.tokens = vec!["last-token".into()]);
    wait("a denial", || status(&gateway)["last_error"]["reason"] == "denied");
    assert_eq!(status(&gateway)["registered"], false);
    replace(&gateway.path("token"), b"last-token\n");
    wait("a registration", || status(&gateway)["registered"] == true);
    control_plane.publish(&signer.sign(&version(3)));
    in_force(&gateway, 3);
    clients.finish_later();
    let log = gateway.log();
    for token in [ControlPlane::TOKEN, "next-token", "last-token"] {
        assert!(!log.contains(token), "{token} in the log");
        assert!(!gateway.admin("GET", "/-/config", "").1.contains(token));
    }
}

#[test]
fn a_clock_that_differs_is_told_until_it_agrees() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let gateway = under_version_1(&control_plane, &signer, "");
    let skew = || status(&gateway)["clock_skew_seconds"].as_f64();
    wait("agreement", || {
        status(&gateway)["registered"] == true && skew().is_none()
    });
    control_plane.be(|conduct| conduct.clock_ahead = -3600.0);
    wait("a difference", || skew().is_some_and(|skew| skew < -3500.0));
    assert!(gateway.metric("portcullis_control_plane_clock_skew_seconds") < -3500.0);
    control_plane.be(|conduct| conduct.clock_ahead = 0.0);
    wait("agreement", || skew().is_none());
}

#[test]
fn another_gateways_bundle_is_refused() {
    let publisher = Secret::new(b"a publisher's key of more than 32 bytes".to_vec());
    let derived = |edge: &str| derive(&publisher, edge).expect("a key").private;
    let signer = |id: &str, edge: &str| Signer::of_secret(id, derived(edge).expose());
    let control_plane = ControlPlane::start();
    let policy = "policy:\n  bundle: { control_plane: true }\n  trust: { hmac: [{ id: bundles, secret: \"file:{dir}/edge-1.key\" }] }\n  state_dir: \"{dir}/state\"\n";
    control_plane.publish(&signer("bundles", "edge-1").sign(&version(1)));
    let yaml = control_plane.yaml_with(policy, ", poll_interval: 100ms") + SITES;
    let gateway = Builder::new(&yaml)
        .file("token", ControlPlane::TOKEN)
        .file("edge-1.key", derived("edge-1").expose())
        .start();
    in_force(&gateway, 1);
    let clients = Load::of_200(gateway.public);
    let mut expected = vec!["applied".to_owned()];
    wait("an answer", || control_plane.acks() == expected);
    for (id, reason) in [("bundles", "invalid_signature"), ("edge-2", "unknown_key")] {
        let other = signer(id, "edge-2");
        for bundle in [other.sign(&version(2)), other.sign_line(&json(&version(2)))] {
            control_plane.publish(&bundle);
            // A line names no key, so that it can only be wrong.
            let line = bundle.first() != Some(&b'{');
            let reason = if line { "invalid_signature" } else { reason };
            expected.push(reason.to_owned());
            wait(reason, || control_plane.acks() == expected);
            in_force(&gateway, 1);
        }
    }
    control_plane.publish(&signer("bundles", "edge-1").sign_line(&json(&version(2))));
    in_force(&gateway, 2);
    clients.finish_later();
}

#[test]
fn another_gateways_bundle_is_refused_under_a_key_that_all_trust() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let of = |number, names: &str| signer.sign(&format!("{}audience: [{names}]\n", version(number)));
    control_plane.publish(&of(1, "edge-1"));
    let gateway = start(&control_plane, &signer, "");
    in_force(&gateway, 1);
    let clients = Load::of_200(gateway.public);
    let mut expected = vec!["applied".to_owned()];
    wait("an answer", || control_plane.acks() == expected);
    for bundle in [of(2, "edge-2"), of(3, "edge-2, EDGE-1, edge-11")] {
        control_plane.publish(&bundle);
        let pulls = control_plane.pulls();
        wait("more questions", || control_plane.pulls() > pulls + 2);
        in_force(&gateway, 1);
    }
    expected.push("audience_mismatch".to_owned());
    wait("an answer", || control_plane.acks().starts_with(&expected));
    let (_, ready) = gateway.admin("GET", "/readyz", "");
    assert!(
        ready.contains("the bundle is for edge-2, EDGE-1, edge-11; this gateway is edge-1"),
        "{ready}"
    );
    control_plane.publish(&of(2, "edge-2, edge-1"));
    in_force(&gateway, 2);
    clients.finish_later();
}
