//! Configuration and bundles are swapped, and binaries replaced, while traffic flows: no request fails, none is judged by a
//! mix, and no bucket is refilled.

use std::time::Duration;

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::load::Load;

/// A configuration that says in two places which one it is. Both have the same limits.
fn configuration(which: &str, policy: &str) -> String {
    format!(
        "{policy}runtime: {{ threads: 2, upgrade_socket: \"{{dir}}/upgrade.sock\" }}\nsites:\n- hosts: [\"*\"]\n  filters: [{{ headers: {{ response: {{ set: {{ x-config: \"{which}\" }} }} }} }}]\n  routes:\n  - match: {{ path: /which }}\n    respond: {{ status: 200, body: \"{which}\" }}\n  - match: {{ path: /bundle }}\n    filters: [{{ policy: {{}} }}]\n    respond: {{ status: 200, body: \"{which}\" }}\n  - match: {{ path: /limit }}\n    filters: [{{ rate_limit: {{ key: \"header:x-key\", rate: 1/d, burst: 3 }} }}]\n    respond: {{ status: 200, body: \"{which}\" }}\n"
    )
}

fn ask(path: &str, key: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\n\r\n")
}

/// An answer of one configuration, wholly.
fn one_configuration(answer: &h1::Answer) -> Option<String> {
    let header = answer.header("x-config").unwrap_or_default();
    let whole = answer.status == 200 && answer.text() == header && ["A", "B"].contains(&header);
    (!whole).then(|| format!("{} x-config={header} body={}", answer.status, answer.text()))
}

fn refused(answer: &h1::Answer) -> Option<String> {
    (answer.status != 429).then(|| format!("{} although the bucket is empty", answer.status))
}

fn spend(gateway: &Gateway, path: &str, burst: usize) {
    for _ in 0..burst {
        assert_eq!(h1::get(gateway.public, "a", path, &[("X-Key", "spent")]).status, 200);
    }
    assert_eq!(h1::get(gateway.public, "a", path, &[("X-Key", "spent")]).status, 429);
}

#[test]
fn a_thousand_reloads_and_swaps_under_load() {
    let signer = Signer::new("k1");
    let policy = signer.policy();
    let first = signer.sign(&bucket(1, "header:x-key", 0.00001, 3.0));
    let gateway = Builder::new(&configuration("A", &policy))
        .file("policy.bundle", first)
        .start();
    spend(&gateway, "/bundle", 3);
    spend(&gateway, "/limit", 3);

    let which = Load::start(gateway.public, 2, &ask("/which", "x"), one_configuration);
    let bundle = Load::start(gateway.public, 1, &ask("/bundle", "spent"), refused);
    let limit = Load::start(gateway.public, 1, &ask("/limit", "spent"), refused);
    for round in 1..=500u64 {
        let configuration = configuration(if round % 2 == 0 { "A" } else { "B" }, &policy);
        gateway.write_config(&configuration);
        let (status, body) = gateway.reload();
        assert_eq!(status, 200, "{body}");
        let burst = if round % 2 == 0 { 3.0 } else { 4.0 };
        let next = signer.sign(&bucket(round + 1, "header:x-key", 0.00001, burst));
        replace(&gateway.path("policy.bundle"), &next);
        let (status, body) = gateway.reload();
        assert_eq!(status, 200, "{body}");
    }
    let answered = [which.finish(), bundle.finish(), limit.finish()];
    assert!(answered.iter().all(|count| *count > 100), "{answered:?}");
    let ready = gateway.wait_for("/readyz", |status, _| status == 200);
    assert!(ready.contains("\"version\":501"), "{ready}");
    println!("1000 swaps under load; answered, all of them rightly: {answered:?}");
}

#[test]
fn a_binary_upgrade_under_load_keeps_every_request_and_every_counter() {
    let signer = Signer::new("k1");
    let first = signer.sign(&bucket(1, "header:x-key", 0.00001, 3.0));
    let builder = Builder::new(&configuration("A", &signer.policy())).file("policy.bundle", first);
    let mut gateway = builder.start();
    spend(&gateway, "/bundle", 3);
    spend(&gateway, "/limit", 3);
    let which = Load::start(gateway.public, 3, &ask("/which", "x"), one_configuration);
    let limit = Load::start(gateway.public, 1, &ask("/limit", "spent"), refused);
    for _ in 0..2 {
        let before = gateway.pid();
        let mut old = gateway.upgrade();
        wait("the old process's end", || {
            old.try_wait().expect("the old process").is_some()
        });
        gateway.wait_for("/-/status", |status, body| {
            status == 200 && !body.contains(&format!("\"pid\":{before},"))
        });
    }
    let answered = [which.finish(), limit.finish()];
    assert!(answered.iter().all(|count| *count > 100), "{answered:?}");
    assert_eq!(
        h1::get(gateway.public, "a", "/bundle", &[("X-Key", "spent")]).status,
        429
    );
    println!("two upgrades under load; answered, all of them rightly: {answered:?}");
}

#[test]
fn sighup_and_a_changed_file_reload() {
    let gateway = Builder::new(&configuration("A", "")).start_expecting_refusal();
    assert!(
        gateway.contains("conflicting-keys"),
        "a policy filter needs a policy: {gateway}"
    );
    let plain = |which: &str| {
        format!("sites:\n- hosts: [\"*\"]\n  routes:\n  - respond: {{ status: 200, body: \"{which}\" }}\n")
    };
    let gateway = Gateway::start(&plain("A"));
    let said = || h1::get(gateway.public, "a", "/", &[]).text();
    assert_eq!(said(), "A");
    gateway.write_config(&plain("B"));
    gateway.signal("HUP");
    wait("the reload", || said() == "B");
    gateway.write_config(&plain("C"));
    wait("the watcher's reload", || said() == "C");
}

#[test]
fn a_refused_configuration_changes_nothing_and_is_seen() {
    let good = "sites:\n- hosts: [\"*\"]\n  routes:\n  - respond: { status: 200, body: good }\n";
    let gateway = Gateway::start(good);
    gateway.write_config("sites:\n- hosts: [\"*\"]\n  routs: []\n");
    let (status, body) = gateway.reload();
    assert_eq!(status, 422, "{body}");
    assert!(body.contains("unknown-key") && body.contains("routes"), "{body}");
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).text(), "good");
    let ready = gateway.wait_for("/readyz", |_, _| true);
    assert!(
        ready.contains("config_refused") && ready.contains("config_invalid"),
        "{ready}"
    );
    assert!(gateway.metric("portcullis_config_load_total{result=\"config_invalid\"}") >= 1.0);
    wait("the line in the log", || {
        gateway.log().contains("configuration refused")
    });
    gateway.write_config(good);
    assert_eq!(gateway.reload().0, 200);
    let ready = gateway.wait_for("/readyz", |_, _| true);
    assert!(!ready.contains("config_refused"), "{ready}");
}

#[test]
fn sigterm_drains() {
    let mut gateway = Gateway::start(
        "runtime: { drain_delay: 1s, grace_period: 20s }\nsites:\n- hosts: [\"*\"]\n  routes:\n  - respond: { status: 200, body: here }\n",
    );
    let load = Load::start(gateway.public, 2, &ask("/", "x"), |answer| {
        (answer.status != 200).then(|| answer.text())
    });
    wait("some answers", || load.answered() > 20);
    gateway.signal("TERM");
    gateway.wait_for("/readyz", |status, body| status == 503 && body.contains("draining"));
    std::thread::sleep(Duration::from_millis(300));
    load.finish();
    assert!(gateway.wait_for_exit(), "it leaves with success");
}

#[test]
fn sigquit_without_a_successor_changes_nothing() {
    let yaml = "runtime: { upgrade_socket: \"{dir}/upgrade.sock\" }\nsites:\n- hosts: [\"*\"]\n  routes:\n  - respond: { status: 200, body: here }\n";
    let gateway = Gateway::start(yaml);
    gateway.signal("QUIT");
    wait("the complaint", || {
        gateway.log().contains("nobody waits for the sockets")
    });
    assert_eq!(h1::get(gateway.public, "a", "/", &[]).text(), "here");
    gateway.wait_for("/readyz", |status, _| status == 200);
}
