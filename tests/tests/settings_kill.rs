//! Every key of `policy.kill_switches` that says whose document counts, over which connection, and how large it may be.
//! What a document does is shown elsewhere.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_bundles::envelope;
use portcullis_bundles::signing::{NewKey, SigningKey, generate};
use portcullis_bundles::trust::KeyAlgorithm;
use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::source::{answer, serve_tls, trusted};
use portcullis_e2e::tls::Authority;
use serde_json::Value;

const FILE: &str = "document: { file: \"{dir}/kill.signed\" }";
const LIST: &[u8] = br#"{"version":1,"kill_switches":[{"scope_key":"header:x-tenant","scope_value":"evil"}]}"#;

fn builder(kill: &str) -> Builder {
    let signer = Signer::new("release");
    let yaml = format!(
        "{}  kill_switches: {{ {kill} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200, body: here }} }}] }}]\n",
        signer.policy()
    );
    Builder::new(&yaml).file("policy.bundle", signer.sign("bundle_version: 1\npolicies: []\n"))
}

/// The version in force, and why the last look failed.
fn state(gateway: &Gateway) -> (Option<u64>, String) {
    let (_, body) = gateway.admin("GET", "/-/kill/status", "");
    let shown: Value = serde_json::from_str(&body).expect("JSON");
    let document = &shown["document"];
    let reason = document["last_error"]["reason"].as_str().unwrap_or_default();
    (document["version"].as_u64(), reason.to_owned())
}

fn signed(algorithm: KeyAlgorithm) -> (NewKey, Vec<u8>) {
    let new = generate(algorithm).expect("a key");
    let key = SigningKey::read("k1", Some(algorithm), &new.private).expect("the same key");
    (new, envelope::sign_kill_document(LIST, &[key]).expect("an envelope"))
}

fn public_keys_of(algorithm: KeyAlgorithm, list: &str) {
    let (own, document) = signed(algorithm);
    let (other, _) = signed(algorithm);
    let (own, other) = (own.public_key.expect("a key"), other.public_key.expect("a key"));
    for (trust, expected) in trusted(list, &own, &other) {
        let gateway = builder(&format!("{FILE}, {trust}"))
            .file("kill.signed", &document)
            .start();
        let (version, reason) = state(&gateway);
        assert_eq!((version, reason.as_str()), expected, "{trust}");
    }
}

#[test]
fn trusted_ed25519_keys() {
    public_keys_of(KeyAlgorithm::Ed25519, "ed25519");
}

#[test]
fn trusted_ecdsa_p256_keys() {
    public_keys_of(KeyAlgorithm::EcdsaP256, "ecdsa_p256");
}

#[test]
fn trusted_hmac_keys() {
    let (own, document) = signed(KeyAlgorithm::HmacSha256);
    let (other, _) = signed(KeyAlgorithm::HmacSha256);
    for (id, secret, expected) in [
        ("k1", "own.key", (Some(1), "")),
        ("k2", "own.key", (None, "unknown_key")),
        ("k1", "other.key", (None, "invalid_signature")),
    ] {
        let trust = format!("trust: {{ hmac: [{{ id: {id}, secret: \"file:{{dir}}/{secret}\" }}] }}");
        let gateway = builder(&format!("{FILE}, {trust}"))
            .file("kill.signed", &document)
            .file("own.key", own.private.expose())
            .file("other.key", other.private.expose())
            .start();
        let (version, reason) = state(&gateway);
        assert_eq!((version, reason.as_str()), expected, "{id} {secret}");
    }
}

#[test]
fn max_bytes() {
    let signer = Signer::new("kill");
    let mut large = LIST.to_vec();
    large.extend([b' '; 4 << 10]);
    for (max, expected) in [("2KiB", (None, "too_large")), ("64KiB", (Some(1), ""))] {
        let kill = format!("{FILE}, trust: {}, max_bytes: {max}", signer.trust());
        let gateway = builder(&kill)
            .file("kill.signed", signer.sign_kill_text(&large))
            .start();
        let (version, reason) = state(&gateway);
        let reason = if reason == "source_unreadable" {
            "too_large"
        } else {
            &reason
        };
        assert_eq!((version, reason), expected, "{max}");
    }
}

#[test]
fn ca_of_the_document() {
    let (authority, other) = (Authority::new(), Authority::new());
    let signer = Signer::new("kill");
    let files = tempfile::tempdir().expect("a temporary folder");
    authority.issue(files.path(), "server", &["localhost"]);
    let server = serve_tls(files.path(), answer(&signer.sign_kill_text(LIST)));
    for (ca, expected) in [
        (", ca: \"{dir}/ca.pem\"", (Some(1), "")),
        (", ca: \"{dir}/other.pem\"", (None, "source_unreadable")),
        ("", (None, "source_unreadable")),
    ] {
        let source = format!("document: {{ url: \"https://localhost:{}/\"{ca} }}", server.port());
        let gateway = builder(&format!("{source}, trust: {}", signer.trust()))
            .file("ca.pem", authority.pem())
            .file("other.pem", other.pem())
            .start();
        wait("an attempt", || state(&gateway) != (None, String::new()));
        let (version, reason) = state(&gateway);
        assert_eq!((version, reason.as_str()), expected, "{ca}");
    }
}
