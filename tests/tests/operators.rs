//! The command line and a running gateway: status, reload, kill switches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::process::{Command, Stdio};

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace};
use portcullis_e2e::{h1, ports};
use serde_json::Value;

struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

fn run(admin: std::net::SocketAddr, arguments: &[&str]) -> Done {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .args(["--admin", &admin.to_string()])
        .stdin(Stdio::null())
        .env("USER", "operator");
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

fn good(gateway: &Gateway, arguments: &[&str]) -> String {
    let done = run(gateway.admin, arguments);
    assert_eq!(done.code, Some(0), "{arguments:?}\n{}{}", done.out, done.err);
    done.out
}

fn yaml(signer: &Signer) -> String {
    let policy = signer.policy();
    format!(
        "{policy}sites:\n- hosts: [\"*\"]\n  routes:\n  - filters: [{{ policy: {{}} }}]\n    respond: {{ status: 200, body: ok }}\n"
    )
}

fn gateway(signer: &Signer) -> Gateway {
    let bundle = signer.sign(&bucket(1, "header:x-key", 1000.0, 1000.0));
    Builder::new(&yaml(signer)).file("policy.bundle", bundle).start()
}

fn status_of(gateway: &Gateway, tenant: &str) -> u16 {
    h1::get(gateway.public, "a", "/", &[("X-Tenant", tenant)]).status
}

#[test]
fn kill_switches_from_the_command_line() {
    let gateway = gateway(&Signer::new("k1"));
    assert_eq!(good(&gateway, &["kill", "list"]), "no kill switch is active\n");
    assert_eq!(status_of(&gateway, "42"), 200);
    let set = good(
        &gateway,
        &[
            "kill",
            "set",
            "header:x-tenant",
            "42",
            "--ttl",
            "10m",
            "--reason",
            "runaway job",
        ],
    );
    assert!(
        set.contains("header:x-tenant = 42  reason: runaway job  by: operator  until: "),
        "{set}"
    );
    assert_eq!((status_of(&gateway, "42"), status_of(&gateway, "7")), (429, 200));
    let listed = good(&gateway, &["kill", "list", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let id = listed["switches"][0]["id"].as_str().unwrap();
    assert!(good(&gateway, &["status"]).contains("switches    1 active"));
    assert!(good(&gateway, &["kill", "clear", id]).starts_with("cleared: "));
    assert_eq!(status_of(&gateway, "42"), 200);
    // What makes no sense is refused, and says why.
    for (arguments, why) in [
        (&["kill", "clear", id][..], "404"),
        (
            &["kill", "set", "tenant", "42", "--ttl", "10m", "--reason", "x"],
            "tenant",
        ),
        (
            &["kill", "set", "header:x-tenant", "42", "--ttl", "soon", "--reason", "x"],
            "ttl",
        ),
        (
            &["kill", "set", "header:x-tenant", "42", "--ttl", "10m", "--reason", " "],
            "reason",
        ),
    ] {
        let done = run(gateway.admin, arguments);
        assert_eq!(done.code, Some(1), "{arguments:?} {}", done.out);
        assert!(done.err.contains(why), "{arguments:?} {}", done.err);
    }
}

#[test]
fn reload_and_status_from_the_command_line() {
    let signer = Signer::new("k1");
    let gateway = gateway(&signer);
    let unchanged = good(&gateway, &["reload"]);
    assert!(unchanged.starts_with("nothing has changed  snapshot "), "{unchanged}");
    let page = good(&gateway, &["status"]);
    assert!(
        page.contains("state       ready") && page.contains("bundle      version 1 ("),
        "{page}"
    );

    replace(
        &gateway.path("policy.bundle"),
        &signer.sign(&bucket(2, "header:x-key", 1000.0, 1000.0)),
    );
    good(&gateway, &["reload"]);
    assert!(good(&gateway, &["status"]).contains("bundle      version 2 ("));

    replace(
        &gateway.path("policy.bundle"),
        &signer.sign(&bucket(1, "header:x-key", 1000.0, 1000.0)),
    );
    let refused = run(gateway.admin, &["reload"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("version_not_monotonic") && refused.err.ends_with("what was in force still is\n"),
        "{}",
        refused.err
    );
    let page = good(&gateway, &["status"]);
    assert!(
        page.contains("bundle      version 2 (") && page.contains("refused at "),
        "{page}"
    );

    // A check knows what this gateway has accepted before.
    let check = Command::new(binary())
        .args(["check", "--config"])
        .arg(gateway.path("portcullis.yaml"))
        .output()
        .unwrap();
    let told = String::from_utf8(check.stderr).unwrap();
    assert!(
        !check.status.success() && told.contains("the bundle is refused: version_not_monotonic"),
        "{told}"
    );

    gateway.write_config("sites: []\nfrobnicate: 1\n");
    let refused = run(gateway.admin, &["reload"]);
    assert_eq!(refused.code, Some(1));
    assert!(
        refused.err.contains("error[unknown-key]: unknown key `frobnicate`"),
        "{}",
        refused.err
    );
    let json: Value = serde_json::from_str(&good(&gateway, &["status", "--format", "json"])).unwrap();
    assert_eq!(json["readiness"]["bundle"]["version"], 2);
}

#[test]
fn a_gateway_that_is_not_ready_or_not_there_is_no_success() {
    let signer = Signer::new("k1");
    let stranger = Signer::new("k2").sign(&bucket(1, "header:x-key", 1.0, 1.0));
    let gateway = Builder::new(&yaml(&signer)).file("policy.bundle", stranger).start();
    let done = run(gateway.admin, &["status"]);
    assert_eq!(done.code, Some(2), "{}{}", done.out, done.err);
    assert!(
        done.out.contains("NOT READY: bundle_missing") && done.out.contains("NONE: every request is refused"),
        "{}",
        done.out
    );
    let nowhere = run(ports::free(), &["status"]);
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.err.contains("is the gateway running?"), "{}", nowhere.err);
}
