//! Known weaknesses of gateways of this kind, in how bundles are loaded and made: each test is named after one.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_e2e::bundle::{Signer, bucket, json, moment};
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace, wait};
use portcullis_e2e::h1;
use ring::hmac;
use serde_json::Value;

const SITE: &str =
    "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn start(signer: &Signer, bundle: Vec<u8>) -> Gateway {
    Builder::new(&format!("{}{SITE}", signer.policy()))
        .file("policy.bundle", bundle)
        .start()
}

/// The version in force, and why the last bundle was refused.
fn state(gateway: &Gateway) -> (Option<u64>, String) {
    let (_, body) = gateway.admin("GET", "/readyz", "");
    let ready: Value = serde_json::from_str(&body).expect("JSON");
    let reason = ready["bundle"]["last_error"]["reason"].as_str().unwrap_or_default();
    (ready["bundle"]["version"].as_u64(), reason.to_owned())
}

/// Puts a bundle where the gateway looks; gives why it was refused, if it was.
fn publish(gateway: &Gateway, bundle: &[u8]) -> String {
    replace(&gateway.path("policy.bundle"), bundle);
    gateway.reload();
    state(gateway).1
}

fn status(gateway: &Gateway, key: &str) -> u16 {
    h1::get(gateway.public, "a", "/", &[("X-Key", key)]).status
}

const GOOD_POLICY: &str = r#"{"id":"good","spec":{"selector":{"pathPrefix":"/"},"rules":[{"name":"r","limit_keys":["header:x-key"],"algorithm":"token_bucket","algorithm_config":{"tokens_per_second":0.001,"burst":1}}]}}"#;

#[test]
fn w_09_one_bad_policy_refuses_the_bundle_and_the_last_good_one_stays() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, signer.sign(&bucket(1, "header:x-key", 0.001, 1.0)));
    for (version, bad) in [
        r#"{"id":"bad","spec":{"selector":{},"rules":[]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/","methods":[]},"rules":[]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/","methods":"GET"},"rules":[]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/","hosts":["a/b"]},"rules":[]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/"},"rules":{}}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/"}}}"#,
        r#"{"id":"good","spec":{"selector":{"pathPrefix":"/"},"rules":[]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/"},"rules":[{"name":"r","limit_keys":["colour:red"],"algorithm":"token_bucket","algorithm_config":{"tokens_per_second":1,"burst":1}}]}}"#,
        r#"{"id":"bad","spec":{"selector":{"pathPrefix":"/"},"rules":[{"name":"r","limit_keys":[],"algorithm":"magic","algorithm_config":{}}]}}"#,
    ]
    .iter()
    .zip(2_u64..)
    .map(|(bad, version)| (version, bad))
    {
        let text = format!("{{\"bundle_version\":{version},\"policies\":[{GOOD_POLICY},{bad}]}}");
        let reason = publish(&gateway, &signer.sign_text(text.as_bytes()));
        assert!(["invalid", "unsupported"].contains(&reason.as_str()), "{bad}: {reason}");
        assert_eq!(state(&gateway).0, Some(1), "{bad}");
        let key = format!("k{version}");
        assert_eq!((status(&gateway, &key), status(&gateway, &key)), (200, 429), "the last good one still limits");
    }
    let (ready, body) = gateway.admin("GET", "/readyz", "");
    assert!(
        ready == 200 && body.contains("\"bundle_refused\""),
        "it is not hushed up: {body}"
    );
    // And where there is no last good one, nothing passes.
    let text = format!("{{\"bundle_version\":1,\"policies\":[{GOOD_POLICY},{{\"id\":\"bad\"}}]}}");
    let first = start(&signer, signer.sign_text(text.as_bytes()));
    assert_eq!((status(&first, "k"), first.admin("GET", "/readyz", "").0), (503, 503));
}

fn line(algorithm: hmac::Algorithm, text: &[u8]) -> Vec<u8> {
    let tag = hmac::sign(&hmac::Key::new(algorithm, SECRET), text);
    [STANDARD.encode(tag.as_ref()).as_bytes(), b"\n", text].concat()
}

#[test]
fn w_13_signatures_are_what_they_say_and_versions_never_go_back() {
    let secret = std::str::from_utf8(SECRET).expect("text");
    let policy = "policy:\n  bundle: { file: \"{dir}/policy.bundle\" }\n  trust: { hmac: [{ id: k1, secret: \"env:BUNDLE_KEY\" }] }\n  state_dir: \"{dir}/state\"\n";
    let text = |version| json(&bucket(version, "header:x-key", 1000.0, 1000.0));
    let mut gateway = Builder::new(&format!("{policy}{SITE}"))
        .environment("BUNDLE_KEY", secret)
        .file("policy.bundle", line(hmac::HMAC_SHA256, &text(5)))
        .start();
    assert_eq!(state(&gateway), (Some(5), String::new()), "HMAC-SHA256 is accepted");
    let with = |bytes: Vec<u8>| bytes;
    let mut carriage = line(hmac::HMAC_SHA256, &text(6));
    let end = carriage.iter().position(|byte| *byte == b'\n').expect("a line");
    carriage.insert(end, b'\r');
    let mut longer = line(hmac::HMAC_SHA256, &text(6));
    longer.push(b'\n');
    for (what, bytes, expected) in [
        (
            "SHA-1",
            line(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &text(6)),
            "signed_bundle_format_error",
        ),
        (
            "SHA-512",
            line(hmac::HMAC_SHA512, &text(6)),
            "signed_bundle_format_error",
        ),
        ("no signature", with(text(6)), "signed_bundle_format_error"),
        (
            "another text",
            [&line(hmac::HMAC_SHA256, &text(7))[..45], &text(6)].concat(),
            "invalid_signature",
        ),
        ("a byte more", longer, "invalid_signature"),
        ("a carriage return", carriage, "signed_bundle_format_error"),
        (
            "an older version",
            line(hmac::HMAC_SHA256, &text(4)),
            "version_not_monotonic",
        ),
    ] {
        assert_eq!(publish(&gateway, &bytes), expected, "{what}");
        assert_eq!(state(&gateway).0, Some(5), "{what}");
    }
    // Neither a signal nor a restart forgets it.
    gateway.signal("HUP");
    wait("the signal", || gateway.log().contains("SIGHUP: reloading"));
    assert_eq!(state(&gateway).0, Some(5));
    gateway.crash_and_restart();
    assert_eq!(state(&gateway), (Some(5), "version_not_monotonic".to_owned()));
    assert_eq!(publish(&gateway, &line(hmac::HMAC_SHA256, &text(6))), "");
    assert_eq!(state(&gateway).0, Some(6));
}

#[test]
fn w_15_files_are_watched_a_bad_one_changes_nothing_and_expiry_counts() {
    let signer = Signer::new("k1");
    let with = |expired: &str| format!("{}{expired}{SITE}", signer.policy());
    let gateway = Builder::new(&with("  expired: deny\n"))
        .file("policy.bundle", signer.sign(&bucket(1, "header:x-key", 1000.0, 1000.0)))
        .start();
    let file = gateway.path("policy.bundle");
    replace(&file, &signer.sign(&bucket(2, "header:x-key", 1000.0, 1000.0)));
    wait("the watched file", || state(&gateway).0 == Some(2));
    for (bytes, reason) in [
        (b"torn".to_vec(), "signed_bundle_format_error"),
        (
            signer.sign(&bucket(1, "header:x-key", 1.0, 1.0)),
            "version_not_monotonic",
        ),
        (signer.sign_text(b"{}"), "invalid"),
    ] {
        replace(&file, &bytes);
        gateway.signal("HUP");
        wait(reason, || state(&gateway).1 == reason);
        assert_eq!((state(&gateway).0, status(&gateway, "k")), (Some(2), 200), "{reason}");
    }
    std::fs::remove_file(&file).expect("the bundle");
    gateway.signal("HUP");
    wait("its absence", || state(&gateway).1 == "source_unreadable");
    assert_eq!(status(&gateway, "k"), 200, "a file that is gone takes no policy away");
    let late = format!(
        "{}expires_at: {}\n",
        bucket(3, "header:x-key", 1000.0, 1000.0),
        moment(6)
    );
    replace(&file, &signer.sign(&late));
    wait("the third", || state(&gateway).0 == Some(3));
    wait("its end", || status(&gateway, "k") == 503);
    assert_eq!(gateway.admin("GET", "/readyz", "").0, 503);
}

#[test]
fn w_32_json_is_json() {
    let signer = Signer::new("k1");
    let gateway = start(&signer, signer.sign("bundle_version: 1\npolicies: []\n"));
    let config = |config: &str| {
        format!(
            "{{\"bundle_version\":9,\"policies\":[{{\"id\":\"p\",\"spec\":{{\"selector\":{{\"pathPrefix\":\"/\"}},\"rules\":[{{\"name\":\"r\",\"limit_keys\":[],\"algorithm\":\"token_bucket\",\"algorithm_config\":{config}}}]}}}}]}}"
        )
    };
    for wrong in [
        config("{\"tokens_per_second\":1,\"burst\":NaN}"),
        config("{\"tokens_per_second\":1,\"burst\":Infinity}"),
        config("{\"tokens_per_second\":1,\"burst\":1e999}"),
        config("{\"tokens_per_second\":1,\"burst\":0x10}"),
        config("{\"tokens_per_second\":1,\"burst\":1,\"burst\":1000000}"),
        config("{\"tokens_per_second\":1,\"burst\":\"5\"}"),
        config("{\"tokens_per_second\":1,\"burst\":5,\"brust\":6}"),
        config("{\"tokens_per_second\":1,\"burst\":5,}"),
        config("[]"),
        "{\"bundle_version\":9,\"bundle_version\":10,\"policies\":[]}".to_owned(),
        "{\"bundle_version\":9.5,\"policies\":[]}".to_owned(),
        "{\"bundle_version\":\"9\",\"policies\":[]}".to_owned(),
        "{\"bundle_version\":9,\"policies\":{}}".to_owned(),
        "{\"bundle_version\":9,\"policies\":[]} {}".to_owned(),
        "{\"bundle_version\":9,\"policies\":[],\"jwt_keys\":{}}".to_owned(),
    ] {
        assert_eq!(
            publish(&gateway, &signer.sign_text(wrong.as_bytes())),
            "invalid",
            "{wrong}"
        );
        assert_eq!(state(&gateway).0, Some(1), "{wrong}");
    }
    let nulls = "{\"bundle_version\":2,\"issued_at\":null,\"expires_at\":null,\"kill_switches\":null,\"global_shadow\":null,\"policies\":[]}";
    assert_eq!(
        publish(&gateway, &signer.sign_text(nulls.as_bytes())),
        "",
        "null is absent"
    );
    assert_eq!(state(&gateway).0, Some(2));
}

fn portcullis(dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(dir)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .expect("the binary");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn w_33_every_tool_works_anywhere_and_what_init_writes_is_enforced() {
    for (template, method, path, key, free) in [
        ("api", "GET", "/v1/items", "x-api-key", 20),
        ("llm", "POST", "/v1/chat/completions", "x-api-key", 30),
        ("webhook", "POST", "/webhooks/orders", "x-webhook-id", 50),
    ] {
        let signer = Signer::new("unused");
        let gateway = Builder::new(&format!("{}{SITE}", signer.policy())).start();
        let dir = gateway.dir.path();
        let good = |arguments: &[&str]| {
            let (code, said) = portcullis(dir, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {said}");
            said
        };
        good(&["bundle", "init", template]);
        assert_eq!(
            portcullis(dir, &["bundle", "init", template]).0,
            Some(2),
            "nothing is overwritten"
        );
        good(&["bundle", "lint", "policy.yaml", "--strict"]);
        assert!(good(&["bundle", "test", "policy.yaml"]).contains(", 0 failed"));
        good(&[
            "bundle",
            "build",
            "policy.yaml",
            "--out",
            "policy.json",
            "--bundle-version",
            "7",
        ]);
        let trust = good(&["bundle", "keygen", "--id", "release", "--out", "release.pem"]);
        let public = trust
            .split("public_key: \"")
            .nth(1)
            .expect("a key")
            .split('"')
            .next()
            .expect("a key");
        let yaml = signer
            .policy()
            .replace(&signer.public_key, public)
            .replace("id: unused", "id: release");
        gateway.write_config(&format!("{yaml}{SITE}"));
        let keys = ["--key", "file:release.pem", "--key-id", "release"];
        good(&[&["bundle", "sign", "policy.json", "--out", "signed"][..], &keys].concat());
        good(&["bundle", "verify", "signed", "--trust", "portcullis.yaml"]);
        assert!(good(&["bundle", "inspect", "signed"]).contains("version 7"));
        let admin = gateway.admin.to_string();
        let to = dir.join("policy.bundle").display().to_string();
        let said = good(&[
            "bundle",
            "push",
            "signed",
            "--to",
            &to,
            "--trust",
            "portcullis.yaml",
            "--gateway",
            &admin,
        ]);
        assert!(said.contains("version 7 is in force"), "{said}");
        let public = gateway.public;
        let ask = move || h1::request(public, method, "a", path, &[(key, "k1")], b"").status;
        // Several at once: one after the other a slow machine might never be too fast.
        let crowd: Vec<_> = (0..8)
            .map(|_| std::thread::spawn(move || (0..40).map(|_| ask()).collect::<Vec<u16>>()))
            .collect();
        let answers: Vec<u16> = crowd.into_iter().flat_map(|one| one.join().expect("answers")).collect();
        let passed = answers.iter().filter(|status| **status == 200).count();
        assert!(passed >= free, "{template}: {passed} of {free} at once");
        assert!(answers.contains(&429), "{template}: {passed} passed");
        // A second one: what changed, and that an older one is refused and said to be.
        let (code, said) = portcullis(dir, &["bundle", "diff", "signed", "policy.yaml"]);
        assert!(
            code == Some(1) && said.starts_with("~ bundle_version: 7 -> 1\n"),
            "{said}"
        );
        good(&["bundle", "diff", "signed", "policy.json"]);
        good(&[&["bundle", "sign", "policy.yaml", "--out", "older"][..], &keys].concat());
        let (code, said) = portcullis(dir, &["bundle", "push", "older", "--to", &to, "--gateway", &admin]);
        assert!(code == Some(1) && said.contains("version_not_monotonic"), "{said}");
        assert!(said.contains("version 7 is in force"), "{said}");
    }
}
