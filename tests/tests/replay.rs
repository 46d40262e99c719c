//! Requests are recorded without what they say, other bundles are tried on them, and a bundle that changes too much is
//! refused before it is in force.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::path::Path;
use std::process::Command;

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::signing::{NewKey, generate};
use portcullis_bundles::trust::KeyAlgorithm;
use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace, wait};
use portcullis_e2e::h1;
use serde_json::Value;

const SITE: &str =
    "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";

fn start(signer: &Signer, more: &str) -> Gateway {
    Builder::new(&format!("{}{more}{SITE}", signer.policy()))
        .file("policy.bundle", signer.sign(&bucket(1, "header:x-key", 0.001, 10.0)))
        .start()
}

fn ask(gateway: &Gateway, key: &str) -> u16 {
    let headers = [
        ("X-Key", key),
        ("Authorization", "Bearer canary-token"),
        ("Cookie", "session=canary-cookie"),
    ];
    h1::get(gateway.public, "a", "/v1/canary@example.com/x?q=canary-query", &headers).status
}

fn recorded(gateway: &Gateway) -> f64 {
    gateway.metric("portcullis_record_requests")
}

fn publish(gateway: &Gateway, bundle: &[u8]) -> (Option<u64>, String, String) {
    replace(&gateway.path("policy.bundle"), bundle);
    gateway.reload();
    let (_, body) = gateway.admin("GET", "/readyz", "");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let error = &ready["bundle"]["last_error"];
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (ready["bundle"]["version"].as_u64(), text("reason"), text("detail"))
}

fn portcullis(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("the binary");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn nothing_that_tells_of_anybody_is_recorded_and_the_ring_has_bounds() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, "  record: { requests: 5 }\n");
    for number in 0..8 {
        assert_eq!(ask(&gateway, &format!("canary-key-{number}")), 200);
    }
    wait("the records", || {
        gateway.metric("portcullis_record_total{result=\"recorded\"}") >= 8.0
    });
    assert!((recorded(&gateway) - 5.0).abs() < 0.1, "a ring");
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    let text = std::fs::read_to_string(gateway.path("state/record")).expect("the ring");
    assert_eq!(text.lines().count(), 6, "{text}");
    assert!(!text.contains("canary") && !text.contains("127.0.0.1"), "{text}");
    gateway.restart();
    assert!((recorded(&gateway) - 5.0).abs() < 0.1, "kept over a restart");
    // Where it is not to be kept there is no file.
    let mut aside = start(&signer, "  record: { persist: false }\n");
    assert_eq!(ask(&aside, "k"), 200);
    wait("the record", || recorded(&aside) > 0.5);
    aside.signal("TERM");
    assert!(aside.wait_for_exit());
    assert!(!aside.path("state/record").exists() && !aside.path("state/record-key").exists());
    // And without the setting nothing is recorded.
    let without = start(&signer, "");
    assert_eq!(ask(&without, "k"), 200);
    assert!(!without.admin("GET", "/metrics", "").1.contains("portcullis_record_"));
}

#[test]
fn a_bundle_over_its_budget_is_refused_and_the_message_names_rules_and_examples() {
    let signer = Signer::new("k1");
    let mut gateway = start(
        &signer,
        "  record: {}\n  activation: { max_new_denies: 10%, max_new_allows: 0 }\n",
    );
    for _ in 0..10 {
        assert_eq!(ask(&gateway, "alice"), 200);
    }
    wait("the records", || recorded(&gateway) >= 10.0);
    let tight = |version| bucket(version, "header:x-key", 0.001, 4.0);
    let (version, reason, detail) = publish(&gateway, &signer.sign(&tight(2)));
    assert_eq!((version, reason.as_str()), (Some(1), "activation_budget"), "{detail}");
    for part in [
        "6 newly denied",
        "limit/per-key token_bucket_exceeded",
        "GET a/v1/~",
        "max_new_denies is 10%",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    // A restart is no way around it.
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    gateway.restart();
    let (version, reason, _) = publish(&gateway, &signer.sign(&tight(2)));
    assert_eq!((version, reason.as_str()), (Some(1), "activation_budget"));
    // One fewer at once is within the budget.
    let (version, reason, detail) = publish(&gateway, &signer.sign(&bucket(3, "header:x-key", 0.001, 9.0)));
    assert_eq!((version, reason.as_str()), (Some(3), ""), "{detail}");
    // What was refused and would be let through counts as well. The restart has not refilled what alice used.
    assert_eq!(ask(&gateway, "alice"), 429);
    let answers: Vec<u16> = (0..11).map(|_| ask(&gateway, "bob")).collect();
    assert_eq!((answers[0], answers[10]), (200, 429));
    wait("the records", || recorded(&gateway) >= 22.0);
    let (version, reason, detail) = publish(&gateway, &signer.sign(&bucket(4, "header:x-key", 0.001, 100.0)));
    assert_eq!((version, reason.as_str()), (Some(3), "activation_budget"), "{detail}");
    assert!(detail.contains("newly allowed"), "{detail}");
    // A key that nobody recorded is told, with what to do.
    let (_, reason, detail) = publish(&gateway, &signer.sign(&bucket(5, "header:x-other", 0.001, 100.0)));
    assert_eq!(reason, "activation_budget");
    assert!(
        detail.contains("`header:x-other` was not recorded (record.keys adds it)"),
        "{detail}"
    );
}

#[test]
fn a_key_that_later_bundles_go_by_can_be_recorded() {
    let signer = Signer::new("k1");
    let gateway = start(
        &signer,
        "  record: { keys: [\"header:authorization\"] }\n  activation: { max_new_denies: 0, max_new_allows: 0 }\n",
    );
    assert_eq!(ask(&gateway, "alice"), 200);
    wait("the record", || recorded(&gateway) > 0.5);
    let (version, reason, detail) = publish(&gateway, &signer.sign(&bucket(2, "header:authorization", 1.0, 5.0)));
    assert_eq!((version, reason.as_str()), (Some(2), ""), "{detail}");
}

#[test]
fn whoever_signs_may_override_the_budget_with_a_reason() {
    let NewKey {
        private, public_key, ..
    } = generate(KeyAlgorithm::Ed25519).expect("a key");
    let trust = format!(
        "{{ ed25519: [{{ id: k1, public_key: \"{}\" }}] }}",
        public_key.expect("a public key")
    );
    let policy = format!(
        "policy:\n  bundle: {{ file: \"{{dir}}/policy.bundle\" }}\n  trust: {trust}\n  state_dir: \"{{dir}}/state\"\n  record: {{}}\n  activation: {{ max_new_denies: 0, max_new_allows: 0 }}\n"
    );
    let builder = Builder::new(&format!("{policy}{SITE}")).file("k1.pem", private.expose());
    let dir = builder.dir().to_path_buf();
    let sign = |version: u64, burst: f64, more: &[&str]| {
        std::fs::write(dir.join("policy.yaml"), bucket(version, "header:x-key", 0.001, burst)).expect("a file");
        let base = [
            "bundle",
            "sign",
            "policy.yaml",
            "--key",
            "file:k1.pem",
            "--key-id",
            "k1",
            "--out",
            "signed",
        ];
        let (code, said) = portcullis(&dir, &[&base[..], more].concat());
        assert_eq!(code, Some(0), "{said}");
        std::fs::read(dir.join("signed")).expect("the bundle")
    };
    let first = sign(1, 10.0, &[]);
    let gateway = builder.file("policy.bundle", first).start();
    for _ in 0..5 {
        assert_eq!(ask(&gateway, "alice"), 200);
    }
    wait("the records", || recorded(&gateway) >= 5.0);
    let (version, reason, _) = publish(&gateway, &sign(2, 1.0, &[]));
    assert_eq!((version, reason.as_str()), (Some(1), "activation_budget"));
    let overriding = sign(2, 1.0, &["--override-activation", "INC-7: stop the crawl"]);
    // The reason is part of what is signed.
    let text = String::from_utf8(overriding.clone()).expect("text");
    let (before, after) = text.split_once(";activation-override=").expect("the reason");
    let (_, behind) = after.split_once('"').expect("its end");
    let plain = format!("{before}\"{behind}");
    assert_eq!(publish(&gateway, plain.as_bytes()).1, "invalid_signature");
    let (code, said) = portcullis(&dir, &["bundle", "verify", "signed", "--trust", "portcullis.yaml"]);
    assert_eq!(code, Some(0), "{said}");
    let (version, reason, detail) = publish(&gateway, &overriding);
    assert_eq!((version, reason.as_str()), (Some(2), ""), "{detail}");
    wait("the reason in the log", || {
        gateway.log().contains("INC-7: stop the crawl")
    });
}

#[test]
fn replay_tells_what_another_bundle_would_have_changed() {
    let signer = Signer::new("k1");
    let mut gateway = start(&signer, "  record: {}\n");
    for _ in 0..12 {
        ask(&gateway, "alice");
    }
    wait("the records", || recorded(&gateway) >= 12.0);
    gateway.signal("TERM");
    assert!(gateway.wait_for_exit());
    let dir = gateway.dir.path();
    let write = |name: &str, yaml: &str| {
        author::read(name, yaml, Format::Yaml).expect("a bundle");
        std::fs::write(dir.join(name), yaml).expect("a file");
    };
    write("tight.yaml", &bucket(2, "header:x-key", 0.001, 4.0));
    write("loose.yaml", &bucket(2, "header:x-key", 0.001, 100.0));
    let replay = |new: &str, more: &[&str]| {
        portcullis(
            dir,
            &[&["bundle", "replay", new, "--against", "state/record"][..], more].concat(),
        )
    };
    let (code, said) = replay("tight.yaml", &[]);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "12 requests, ",
        "new denies: 6 (50.000 %)",
        "limit/per-key token_bucket_exceeded: 6",
        "new allows: 0",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let (code, said) = replay("tight.yaml", &["--max-new-denies", "0.1%"]);
    assert!(code == Some(1) && said.contains("OVER THE BUDGET"), "{said}");
    let (code, said) = replay(
        "loose.yaml",
        &["--old", "policy.bundle", "--format", "json", "--max-new-allows", "1"],
    );
    let read: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (code, &read["new_allows"]["total"]),
        (Some(1), &Value::from(2)),
        "{said}"
    );
    assert_eq!(read["within_budget"], Value::from(false));
    assert_eq!(
        replay("policy.bundle", &["--old", "policy.bundle", "--max-new-denies", "0"]).0,
        Some(0)
    );
    for wrong in [
        &["bundle", "replay", "nothing.yaml", "--against", "state/record"][..],
        &[
            "bundle",
            "replay",
            "tight.yaml",
            "--against",
            "tight.yaml",
            "--key",
            "state/record-key",
        ],
        &[
            "bundle",
            "replay",
            "tight.yaml",
            "--against",
            "state/record",
            "--key",
            "tight.yaml",
        ],
        &[
            "bundle",
            "replay",
            "tight.yaml",
            "--against",
            "state/record",
            "--max-new-denies",
            "much",
        ],
    ] {
        let (code, said) = portcullis(dir, wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {said}");
    }
}
