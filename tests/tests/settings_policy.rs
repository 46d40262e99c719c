//! Every key of `policy`, with two values that accept other bundles, at other times or from elsewhere. What bundles may say
//! and how they are refused is shown elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::envelope;
use portcullis_bundles::signing::{NewKey, SigningKey, generate};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_bundles::trust::KeyAlgorithm;
use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::origin::Origin;
use portcullis_e2e::source::{answer, serve_tls, trusted};
use portcullis_e2e::tls::Authority;

const SITE: &str =
    "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";
const FILE: &str = "bundle: { file: \"{dir}/policy.bundle\" }";

fn limits(version: u64) -> String {
    bucket(version, "header:x-key", 1000.0, 1000.0)
}

/// A `policy` with these keys, and a folder for its state unless there is one among them.
fn policy(keys: &[&str]) -> String {
    let mut keys = keys.join(", ");
    if !keys.contains("state_dir") {
        keys.push_str(", state_dir: \"{dir}/state\"");
    }
    format!("policy: {{ {keys} }}\n{SITE}")
}

fn trust(signer: &Signer) -> String {
    format!(
        "trust: {{ ed25519: [{{ id: k1, public_key: \"{}\" }}] }}",
        signer.public_key
    )
}

/// The bundle's version that is in force, and why the last one was refused.
fn bundle_state(gateway: &Gateway) -> (Option<u64>, String) {
    let (_, body) = gateway.admin("GET", "/readyz", "");
    let ready: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let bundle = &ready["bundle"];
    let reason = bundle["last_error"]["reason"].as_str().unwrap_or_default();
    (bundle["version"].as_u64(), reason.to_owned())
}

fn version(gateway: &Gateway) -> Option<u64> {
    bundle_state(gateway).0
}

#[test]
fn audience() {
    let signer = Signer::new("k1");
    let signed = |version, names: &str| signer.sign(&format!("{}audience: [{names}]\n", limits(version)));
    let ours = |names: &str| {
        Builder::new(&policy(&[FILE, &trust(&signer), &format!("audience: [{names}]")]))
            .file("policy.bundle", signed(1, "edge-7, eu"))
            .start()
    };
    for names in ["edge-7", "edge-8, eu"] {
        assert_eq!(bundle_state(&ours(names)), (Some(1), String::new()), "{names}");
    }
    for names in ["", "edge-8", "EU"] {
        assert_eq!(
            bundle_state(&ours(names)),
            (None, "audience_mismatch".to_owned()),
            "{names}"
        );
    }
    // A name that is not ours any more: not even the last good bundle is for us.
    let mut gateway = ours("edge-7");
    gateway.crash();
    let yaml = policy(&[FILE, &trust(&signer), "audience: [edge-9]"]);
    gateway.write_config(&yaml);
    gateway.restart();
    assert_eq!(bundle_state(&gateway), (None, "audience_mismatch".to_owned()));
    replace(&gateway.path("policy.bundle"), &signed(2, "edge-9"));
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(version(&gateway), Some(2));
    // One that is for everybody is for us.
    replace(&gateway.path("policy.bundle"), &signer.sign(&limits(3)));
    assert_eq!(gateway.reload().0, 200);
    assert_eq!(version(&gateway), Some(3));
}

#[test]
fn file_of_the_bundle() {
    let signer = Signer::new("k1");
    for (name, expected) in [("one.bundle", 1), ("two.bundle", 2)] {
        let source = format!("bundle: {{ file: \"{{dir}}/{name}\" }}");
        let gateway = Builder::new(&policy(&[&source, &trust(&signer)]))
            .file("one.bundle", signer.sign(&limits(1)))
            .file("two.bundle", signer.sign(&limits(2)))
            .start();
        assert_eq!(version(&gateway), Some(expected));
    }
}

/// A key, what `trust` says of it, and what it signed.
fn signed(id: &str, algorithm: KeyAlgorithm) -> (NewKey, Vec<u8>) {
    let new = generate(algorithm).expect("a key");
    let key = SigningKey::read(id, Some(algorithm), &new.private).expect("the same key");
    let authored = author::read("bundle.yaml", &limits(1), Format::Yaml).expect("a bundle");
    let text = authored.canonical_json().expect("JSON");
    (new, envelope::sign_dsse(&text, &[key]).expect("an envelope"))
}

fn public_keys_of(algorithm: KeyAlgorithm, list: &str) {
    let (own, bundle) = signed("k1", algorithm);
    let (other, _) = signed("k1", algorithm);
    let (own, other) = (own.public_key.expect("a key"), other.public_key.expect("a key"));
    for (trust, expected) in trusted(list, &own, &other) {
        let gateway = Builder::new(&policy(&[FILE, &trust]))
            .file("policy.bundle", &bundle)
            .start();
        let (version, reason) = bundle_state(&gateway);
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
    let (own, bundle) = signed("k1", KeyAlgorithm::HmacSha256);
    let (other, _) = signed("k1", KeyAlgorithm::HmacSha256);
    let in_environment = String::from_utf8(own.private.expose().to_vec()).expect("text");
    for (id, secret, expected) in [
        ("k1", "file:{dir}/own.key", (Some(1), "")),
        ("k1", "env:BUNDLE_KEY", (Some(1), "")),
        ("k2", "file:{dir}/own.key", (None, "unknown_key")),
        ("k1", "file:{dir}/other.key", (None, "invalid_signature")),
    ] {
        let trust = format!("trust: {{ hmac: [{{ id: {id}, secret: \"{secret}\" }}] }}");
        let gateway = Builder::new(&policy(&[FILE, &trust]))
            .file("policy.bundle", &bundle)
            .file("own.key", own.private.expose())
            .file("other.key", other.private.expose())
            .environment("BUNDLE_KEY", &in_environment)
            .start();
        let (version, reason) = bundle_state(&gateway);
        assert_eq!((version, reason.as_str()), expected, "{id} {secret}");
    }
}

#[test]
fn insecure_unsigned() {
    let signer = Signer::new("k1");
    let authored = author::read("bundle.yaml", &limits(1), Format::Yaml).expect("a bundle");
    let unsigned = authored.canonical_json().expect("JSON");
    for (keys, expected) in [("insecure_unsigned: true", Some(1)), ("insecure_unsigned: false", None)] {
        let gateway = Builder::new(&policy(&[FILE, &trust(&signer), keys]))
            .file("policy.bundle", &unsigned)
            .start();
        assert_eq!(version(&gateway), expected, "{keys}");
        let said = gateway.metric("portcullis_insecure_unsigned");
        assert_eq!(said > 0.5, expected.is_some(), "a metric repeats it");
    }
}

#[test]
fn max_bytes() {
    let signer = Signer::new("k1");
    let authored = author::read("bundle.yaml", &limits(1), Format::Yaml).expect("a bundle");
    let mut large = authored.canonical_json().expect("JSON");
    large.extend([b' '; 4 << 10]);
    for (keys, expected) in [("max_bytes: 2KiB", None), ("max_bytes: 64KiB", Some(1))] {
        let gateway = Builder::new(&policy(&[FILE, &trust(&signer), keys]))
            .file("policy.bundle", signer.sign_text(&large))
            .start();
        let (version, reason) = bundle_state(&gateway);
        assert_eq!(version, expected, "{keys}: {reason}");
    }
}

#[test]
fn max_version_jump() {
    let signer = Signer::new("k1");
    for (keys, expected) in [
        ("max_version_jump: 8", (Some(1), "version_jump")),
        ("max_version_jump: 9", (Some(10), "")),
        ("max_bytes: 1MiB", (Some(10), "")),
    ] {
        let gateway = Builder::new(&policy(&[FILE, &trust(&signer), keys]))
            .file("policy.bundle", signer.sign(&limits(1)))
            .start();
        assert_eq!(version(&gateway), Some(1));
        replace(&gateway.path("policy.bundle"), &signer.sign(&limits(10)));
        gateway.reload();
        let (version, reason) = bundle_state(&gateway);
        assert_eq!((version, reason.as_str()), expected, "{keys}");
    }
}

#[test]
fn state_dir() {
    let signer = Signer::new("k1");
    let with = |state: &str| policy(&[FILE, &trust(&signer), &format!("state_dir: \"{{dir}}/{state}\"")]);
    let gateway = Builder::new(&with("one"))
        .file("policy.bundle", signer.sign(&limits(5)))
        .start();
    assert!(gateway.path("one").is_dir() && !gateway.path("two").exists());
    replace(&gateway.path("policy.bundle"), &signer.sign(&limits(3)));
    gateway.reload();
    let (version, reason) = bundle_state(&gateway);
    assert_eq!(
        (version, reason.as_str()),
        (Some(5), "version_not_monotonic"),
        "the floor is kept there"
    );
    gateway.write_config(&with("two"));
    let (status, body) = gateway.reload();
    assert_eq!(status, 200, "{body}");
    assert_eq!(bundle_state(&gateway).0, Some(3), "and nowhere else");
    assert!(gateway.path("two").is_dir());
}

#[test]
fn expired() {
    let signer = Signer::new("k1");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let soon = Timestamp::from_unix(i64::try_from(now).expect("seconds") + 10);
    let with = |expired: &str| policy(&[FILE, &trust(&signer), expired]);
    let gateway = Builder::new(&with("expired: keep"))
        .file(
            "policy.bundle",
            signer.sign(&format!("{}expires_at: \"{soon}\"\n", limits(1))),
        )
        .start();
    assert_eq!(version(&gateway), Some(1));
    let ask = || h1::get(gateway.public, "a", "/", &[("X-Key", "k")]);
    wait("its end", || gateway.metric("portcullis_bundle_expired") > 0.5);
    for (expired, status, ready) in [
        ("expired: keep", 200, 200),
        ("expired: deny", 503, 503),
        ("max_bytes: 1MiB", 200, 200),
    ] {
        gateway.write_config(&with(expired));
        let (reloaded, body) = gateway.reload();
        assert_eq!(reloaded, 200, "{body}");
        assert_eq!(ask().status, status, "{expired}");
        assert_eq!(gateway.admin("GET", "/readyz", "").0, ready, "{expired}");
    }
}

/// Serves the bundle that `current` holds.
fn serve(current: &Arc<Mutex<Vec<u8>>>) -> Origin {
    let current = Arc::clone(current);
    Origin::with(move |_| answer(&current.lock().expect("the bundle")))
}

#[test]
fn url_and_poll_interval_of_the_bundle() {
    let signer = Signer::new("k1");
    let start = |interval: &str| {
        let current = Arc::new(Mutex::new(signer.sign(&limits(1))));
        let origin = serve(&current);
        let source = format!(
            "bundle: {{ url: \"http://{}/{interval}\", poll_interval: {interval} }}",
            origin.address
        );
        let gateway = Gateway::start(&policy(&[&source, &trust(&signer)]));
        wait("the first bundle", || version(&gateway) == Some(1));
        *current.lock().expect("the bundle") = signer.sign(&limits(2));
        (gateway, origin)
    };
    let (rarely, asked_rarely) = start("24h");
    let (often, asked_often) = start("100ms");
    wait("the second bundle", || version(&often) == Some(2));
    wait("many polls", || asked_often.seen().len() >= 10);
    assert_eq!((version(&rarely), asked_rarely.seen().len()), (Some(1), 1));
    assert!(asked_often.seen().iter().all(|seen| seen.target() == "/100ms"));
    assert!(asked_rarely.seen().iter().all(|seen| seen.target() == "/24h"));
}

#[test]
fn ca_of_the_bundle() {
    let (authority, other) = (Authority::new(), Authority::new());
    let signer = Signer::new("k1");
    let files = tempfile::tempdir().expect("a temporary folder");
    authority.issue(files.path(), "server", &["localhost"]);
    let server = serve_tls(files.path(), answer(&signer.sign(&limits(1))));
    for (ca, accepted) in [
        (", ca: \"{dir}/ca.pem\"", true),
        (", ca: \"{dir}/other.pem\"", false),
        ("", false),
    ] {
        let source = format!(
            "bundle: {{ url: \"https://localhost:{}/bundle\", poll_interval: 100ms{ca} }}",
            server.port()
        );
        let gateway = Builder::new(&policy(&[&source, &trust(&signer)]))
            .file("ca.pem", authority.pem())
            .file("other.pem", other.pem())
            .start();
        wait("an attempt", || bundle_state(&gateway) != (None, String::new()));
        let (version, reason) = bundle_state(&gateway);
        let expected = if accepted {
            (Some(1), "")
        } else {
            (None, "source_unreadable")
        };
        assert_eq!((version, reason.as_str()), expected, "{ca}");
    }
}

#[test]
fn retry_jitter() {
    let signer = Signer::new("k1");
    let killed = "bundle_version: 1\npolicies: []\nkill_switches: [{ scope_key: header:x-kill, scope_value: stop }]\n";
    let numbers = |more: &[&str]| {
        let trust = trust(&signer);
        let keys: Vec<&str> = [FILE, &trust].into_iter().chain(more.iter().copied()).collect();
        let gateway = Builder::new(&policy(&keys))
            .file("policy.bundle", signer.sign(killed))
            .start();
        ["/api/v1/chat", "/a", "/b", "/c"].map(|path| {
            let answer = h1::get(gateway.public, "a.example", path, &[("X-Kill", "stop")]);
            assert_eq!(answer.status, 429);
            let seconds: u32 = answer.header("retry-after").expect("a time").parse().expect("seconds");
            assert!((3600..=5400).contains(&seconds), "{seconds}");
            seconds
        })
    };
    let public = numbers(&["retry_jitter: public"]);
    assert_eq!(public[0], 5099, "the number that every edge gives this client");
    for salted in [numbers(&[]), numbers(&["retry_jitter: salted"])] {
        assert_ne!(salted, public, "a number that nobody else knows");
    }
}
