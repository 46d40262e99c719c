//! What `deploy/` hands to operators is right: the configuration in the Kubernetes manifest is accepted with the files that
//! its comments say how to make, and the times in it fit each other. Whether Kubernetes accepts the manifest is not shown.

#![allow(clippy::unwrap_used, clippy::panic)] // helpers of tests

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_e2e::gateway::{Builder, binary};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::{h1, ports};

/// Where the manifest mounts what it mounts.
const TLS: &str = "/etc/portcullis-tls";
const POLICY: &str = "/etc/portcullis-policy";
const KEY: &str = "/run/secrets/portcullis";
const STATE: &str = "/var/lib/portcullis";

fn deploy(path: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    fs::read_to_string(root.join("deploy").join(path)).unwrap()
}

/// The text of `portcullis.yaml` in the ConfigMap: the lines that stand deeper than its key.
fn configuration(manifest: &str) -> String {
    let after = manifest.split_once("\n  portcullis.yaml: |\n").unwrap().1;
    let lines = after
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "));
    lines
        .map(|line| line.strip_prefix("    ").unwrap_or_default().to_owned() + "\n")
        .collect()
}

/// The number behind a key, without its unit.
fn number(text: &str, key: &str) -> u64 {
    let value = text.split_once(key).unwrap_or_else(|| panic!("there is no {key}")).1;
    let digits: String = value.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn portcullis(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "portcullis {arguments:?}: {output:?}");
    output
}

/// A folder with everything that the manifest's comments say to make, and the configuration that names it there.
fn made_as_the_comments_say(configuration: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let certified = rcgen::generate_simple_self_signed(["edge.example.com".to_owned()]).unwrap();
    fs::write(folder.path().join("tls.crt"), certified.cert.pem()).unwrap();
    fs::write(folder.path().join("tls.key"), certified.signing_key.serialize_pem()).unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();

    fs::write(
        folder.path().join("policy.yaml"),
        portcullis_e2e::bundle::bucket(1, "ip:address", 0.001, 2.0),
    )
    .unwrap();
    let keygen = [
        "bundle",
        "keygen",
        "--algorithm",
        "hmac_sha256",
        "--id",
        "k1",
        "--out",
        "bundle-key",
    ];
    portcullis(folder.path(), &keygen);
    let sign = [
        "bundle",
        "sign",
        "policy.yaml",
        "--key",
        "file:bundle-key",
        "--key-id",
        "k1",
    ];
    let form = ["--algorithm", "hmac_sha256", "--out", "policy.bundle"];
    portcullis(folder.path(), &[&sign[..], &form[..]].concat());

    let here = folder.path().display().to_string();
    let mut text = configuration.to_owned();
    for mounted in [TLS, POLICY, KEY] {
        assert!(text.contains(mounted), "the configuration does not use {mounted}");
        text = text.replace(mounted, &here);
    }
    assert!(text.contains(STATE), "the configuration does not keep its state");
    text = text.replace(STATE, &format!("{here}/state"));
    let path = folder.path().join("portcullis.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn the_configuration_in_the_kubernetes_manifest_is_accepted() {
    let manifest = deploy("kubernetes/daemonset.yaml");
    for mounted in [TLS, POLICY, KEY, STATE] {
        assert!(
            manifest.contains(&format!("mountPath: {mounted}")),
            "nothing is mounted at {mounted}"
        );
    }
    let (folder, path) = made_as_the_comments_say(&configuration(&manifest));
    portcullis(folder.path(), &["check", "--config", path.to_str().unwrap()]);
}

#[test]
fn without_its_bundle_the_configuration_in_the_manifest_is_refused() {
    let (folder, path) = made_as_the_comments_say(&configuration(&deploy("kubernetes/daemonset.yaml")));
    fs::remove_file(folder.path().join("policy.bundle")).unwrap();
    let output = Command::new(binary())
        .arg("check")
        .arg("--config")
        .arg(path)
        .output()
        .unwrap();
    assert!(!output.status.success(), "{output:?}");
}

/// What is handed out limits those who come through it, and without its policy it is neither ready nor open.
#[test]
fn w_03_the_manifest_hands_out_a_gateway_that_enforces() {
    let (folder, path) = made_as_the_comments_say(&configuration(&deploy("kubernetes/daemonset.yaml")));
    let origin = Origin::start("the app");
    let text = fs::read_to_string(path).unwrap();
    let yaml = [
        ("0.0.0.0:8080", "{public}".to_owned()),
        ("0.0.0.0:8443", ports::free().to_string()),
        ("0.0.0.0:9901", "{admin}".to_owned()),
        ("app.default.svc.cluster.local:80", origin.address.to_string()),
    ]
    .iter()
    .fold(text, |text, (given, here)| {
        assert!(text.contains(given), "the configuration has no {given}");
        text.replace(given, here)
    });
    let gateway = Builder::new(&yaml).start();
    gateway.wait_for("/readyz", |status, _| status == 200);
    let ask = || h1::get(gateway.public, "edge.example.com", "/anything", &[]).status;
    assert_eq!([ask(), ask(), ask(), ask()], [200, 200, 429, 429]);
    assert_eq!(origin.seen().len(), 2, "what is refused does not reach the app");
    drop(gateway);
    fs::remove_file(folder.path().join("policy.bundle")).unwrap();
    fs::remove_dir_all(folder.path().join("state")).unwrap();
    fs::create_dir(folder.path().join("state")).unwrap();
    let without = Builder::new(&yaml).start_without_waiting();
    without.wait_for("/readyz", |status, body| {
        status == 503 && body.contains("bundle_missing")
    });
    without.wait_for("/livez", |_, _| std::net::TcpStream::connect(without.public).is_ok());
    assert_eq!(h1::get(without.public, "edge.example.com", "/", &[]).status, 503);
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn the_manifest_gives_the_gateway_time_to_drain() {
    let manifest = deploy("kubernetes/daemonset.yaml");
    let draining = number(&manifest, "\n      drain_delay:") + number(&manifest, "\n      grace_period:");
    assert!(number(&manifest, "terminationGracePeriodSeconds:") > draining);
}

#[test]
fn the_unit_gives_the_gateway_time_to_drain() {
    let unit = deploy("systemd/portcullis.service");
    let default = portcullis_config::gateway::Runtime::default();
    let draining = default.drain_delay.get() + default.grace_period.get();
    assert!(std::time::Duration::from_secs(number(&unit, "\nTimeoutStopSec=")) > draining);
}
