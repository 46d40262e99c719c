//! `portcullis connect`, `logs` and what `status` shows of a control plane.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::control_plane::ControlPlane;
use portcullis_e2e::gateway::{Builder, binary, wait};
use portcullis_e2e::h1;
use serde_json::Value;

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    for name in ["FAIRVISOR_SAAS_URL", "FAIRVISOR_EDGE_TOKEN", "PORTCULLIS_ADMIN"] {
        command.env_remove(name);
    }
    command
}

/// Exit code and both outputs.
fn run(mut command: Command) -> (Option<i32>, String) {
    let done = command.output().expect("it runs");
    let text = [done.stdout, done.stderr].concat();
    (done.status.code(), String::from_utf8(text).expect("text"))
}

#[test]
fn w_33_connect_writes_what_a_gateway_needs() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    let bundle = signer.sign(&bucket(1, "header:x-key", 1.0, 1.0));
    control_plane.publish(&bundle);
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("token"), ControlPlane::TOKEN).expect("a token");
    let url = format!("http://{}", control_plane.address);
    let (code, said) = run(command(
        dir.path(),
        &["connect", "--url", &url, "--token", "file:token"],
    ));
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("Downloaded initial policy bundle") && said.contains("Connected. Edge ID: edge-1"),
        "{said}"
    );
    assert!(!said.contains(ControlPlane::TOKEN), "{said}");
    assert_eq!(fs::read(dir.path().join("policy.bundle")).expect("a bundle"), bundle);
    let environment = fs::read_to_string(dir.path().join("edge.env")).expect("an environment");
    assert_eq!(
        environment,
        format!(
            "FAIRVISOR_SAAS_URL={url}\nFAIRVISOR_EDGE_ID=edge-1\nFAIRVISOR_EDGE_TOKEN={}\n",
            ControlPlane::TOKEN
        )
    );
    let mode = dir
        .path()
        .join("edge.env")
        .metadata()
        .expect("its mode")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let body = &control_plane.bodies("/register")[0];
    assert_eq!(
        body.as_object().map(|body| body.keys().collect::<Vec<_>>()),
        Some(vec![&"version".to_owned()])
    );

    // By the environment, and without a bundle.
    control_plane.be(|conduct| conduct.answer = None);
    let fresh = ControlPlane::start();
    let mut other = command(dir.path(), &["connect", "--output", "other.env"]);
    other.env("FAIRVISOR_SAAS_URL", format!("http://{}", fresh.address));
    other.env("FAIRVISOR_EDGE_TOKEN", ControlPlane::TOKEN);
    let (code, said) = run(other);
    assert!(code == Some(0) && said.contains("no policy bundle"), "{said}");
    assert!(dir.path().join("other.env").exists());
}

#[test]
fn w_33_connect_says_why_not() {
    let control_plane = ControlPlane::start();
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("token"), "not-known").expect("a token");
    let url = format!("http://{}", control_plane.address);
    let cases: [(&[&str], i32, &str); 6] = [
        (&["connect"], 3, "FAIRVISOR_SAAS_URL"),
        (&["connect", "--url", &url], 3, "FAIRVISOR_EDGE_TOKEN"),
        (&["connect", "--url", &url, "--token", "hunter2"], 3, "env:NAME"),
        (&["connect", "--url", &url, "--token", "file:token"], 2, "denied"),
        (
            &["connect", "--url", "http://192.0.2.1/", "--token", "file:token"],
            2,
            "https",
        ),
        (
            &["connect", "--url", "http://127.0.0.1:1", "--token", "file:token"],
            2,
            "connect",
        ),
    ];
    for (arguments, code, text) in cases {
        let (is, said) = run(command(dir.path(), arguments));
        assert_eq!(is, Some(code), "{arguments:?} {said}");
        assert!(said.contains(text) && !said.contains("hunter2"), "{arguments:?} {said}");
    }
    assert!(!dir.path().join("edge.env").exists());
    fs::write(dir.path().join("token"), ControlPlane::TOKEN).expect("a token");
    let arguments = [
        "connect",
        "--url",
        &url,
        "--token",
        "file:token",
        "--output",
        "none/edge.env",
    ];
    assert_eq!(run(command(dir.path(), &arguments)).0, Some(1));
}

#[test]
fn w_33_logs_and_status_of_a_gateway() {
    let (control_plane, signer) = (ControlPlane::start(), Signer::new("k1"));
    control_plane.publish(&signer.sign(&bucket(1, "header:x-key", 0.001, 2.0)));
    let sites = "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200 } }] }]\n";
    let gateway = Builder::new(&(control_plane.yaml(&signer, "") + sites))
        .file("token", ControlPlane::TOKEN)
        .start();
    wait("the bundle", || gateway.admin("GET", "/readyz", "").0 == 200);
    let admin = gateway.admin.to_string();
    wait("a connection", || {
        let (code, said) = run(command(gateway.dir.path(), &["status", "--admin", &admin]));
        code == Some(0) && said.contains(&format!("edge-1 at http://{}: connected", control_plane.address))
    });
    for _ in 0..5 {
        h1::get(gateway.public, "a", "/", &[("X-Key", "a")]);
    }
    gateway.access_log(5);
    let lines = |arguments: &[&str]| {
        let (code, said) = run(command(
            gateway.dir.path(),
            &[&["logs", "access.log"], arguments].concat(),
        ));
        assert_eq!(code, Some(0), "{said}");
        let lines = said.lines().map(serde_json::from_str::<Value>);
        lines.collect::<Result<Vec<_>, _>>().expect("JSON").len()
    };
    assert_eq!(lines(&[]), 5);
    assert_eq!(lines(&["--action", "reject"]), 3);
    assert_eq!(
        lines(&[
            "--action",
            "deny",
            "--reason",
            "token_bucket_exceeded",
            "--policy",
            "limit"
        ]),
        3
    );
    assert_eq!(lines(&["--reason", "kill_switch"]), 0);
    assert_eq!(run(command(gateway.dir.path(), &["logs", "none.log"])).0, Some(1));

    // From standard input, with lines that are none.
    let mut filter = command(gateway.dir.path(), &["logs", "--reason", "x"]);
    let mut filter = filter
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let text = "nonsense\n{\"reason\":\"x\"}\n{\"reason\":\"y\"}\n";
    filter
        .stdin
        .take()
        .expect("a pipe")
        .write_all(text.as_bytes())
        .expect("lines");
    let said = filter.wait_with_output().expect("its end").stdout;
    assert_eq!(said, b"{\"reason\":\"x\"}\n");
}

#[test]
fn w_33_logs_follow_a_file_over_a_rotation() {
    let dir = tempfile::tempdir().expect("a folder");
    let log = dir.path().join("a.log");
    fs::write(&log, "{\"n\":1}\n{\"n\":2").expect("a log");
    let mut child = command(dir.path(), &["logs", "a.log", "--follow"]);
    let mut child = child.stdout(Stdio::piped()).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert_eq!(next(), "{\"n\":1}");
    let mut file = fs::OpenOptions::new().append(true).open(&log).expect("the log");
    file.write_all(b"0}\n").expect("the rest of the line");
    assert_eq!(next(), "{\"n\":20}");
    fs::rename(&log, dir.path().join("a.log.1")).expect("a rotation");
    file.write_all(b"{\"n\":3}\n").expect("a last line");
    fs::write(&log, "{\"n\":4}\n").expect("a new log");
    assert_eq!(next(), "{\"n\":3}");
    assert_eq!(next(), "{\"n\":4}");
    child.kill().expect("its end");
    child.wait().expect("its end");
}

/// FV-01: what may leave is known before anything does, and no field is added to it unnoticed.
#[test]
fn fv_01_the_manifest_of_what_may_leave_is_the_published_one() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (code, told) = run(command(dir.path(), &["connect", "--manifest"]));
    assert_eq!(code, Some(0), "{told}");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/egress.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, &told).expect("the manifest");
    }
    let published = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        told == published,
        "docs/egress.json says something else; UPDATE_GOLDEN=1 writes it anew:\n{told}"
    );
}
