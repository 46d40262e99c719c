//! The kill-switch document: signed with a key of its own, at once in force, never older than before, kept over `kill -9`.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use portcullis_e2e::bundle::{Signer, moment};
use portcullis_e2e::gateway::{Builder, Gateway, binary, replace, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::origin::Origin;
use serde_json::{Value, json};

const SITE: &str =
    "sites: [{ hosts: [\"*\"], routes: [{ match: { path: /here }, respond: { status: 200, body: here } }] }]\n";
const BUNDLE: &str = "bundle_version: 1\npolicies: []\n";
const FILE: &str = "document: { file: \"{dir}/kill.signed\" }";

/// Two people: one may publish policies, the other may stop somebody.
struct People {
    publisher: Signer,
    guard: Signer,
}

impl People {
    fn new() -> Self {
        Self {
            publisher: Signer::new("release"),
            guard: Signer::new("kill"),
        }
    }

    fn yaml(&self, source: &str) -> String {
        let kill = format!("  kill_switches: {{ {source}, trust: {} }}\n", self.guard.trust());
        format!("{}{kill}{SITE}", self.publisher.policy())
    }

    fn builder(&self, source: &str) -> Builder {
        Builder::new(&self.yaml(source)).file("policy.bundle", self.publisher.sign(BUNDLE))
    }
}

fn document(version: u64, tenants: &[&str]) -> String {
    let mut yaml = format!("version: {version}\nkill_switches:\n");
    for tenant in tenants {
        let _ = writeln!(
            yaml,
            "- {{ scope_key: header:x-tenant, scope_value: {tenant}, reason: INC-42 }}"
        );
    }
    yaml
}

fn of_tenant(gateway: &Gateway, tenant: &str) -> Answer {
    h1::get(gateway.public, "a", "/here", &[("X-Tenant", tenant)])
}

fn is_killed(gateway: &Gateway, tenant: &str) -> bool {
    let answer = of_tenant(gateway, tenant);
    assert!([200, 429].contains(&answer.status), "{}", answer.text());
    answer.status == 429 && answer.reason() == "kill_switch"
}

fn status(gateway: &Gateway) -> Value {
    let (status, body) = gateway.admin("GET", "/-/kill/status", "");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn last_error(gateway: &Gateway) -> String {
    let error = &status(gateway)["document"]["last_error"]["reason"];
    error.as_str().unwrap_or_default().to_owned()
}

#[test]
fn it_is_in_force_as_soon_as_it_is_there() {
    let people = People::new();
    let gateway = people.builder(FILE).start();
    assert!(!is_killed(&gateway, "evil"), "there is none yet");
    assert_eq!(last_error(&gateway), "source_unreadable");
    let file = gateway.path("kill.signed");
    replace(&file, &people.guard.sign_kill(&document(1, &["evil", "worse"])));
    wait("the document", || is_killed(&gateway, "evil"));
    assert!(is_killed(&gateway, "worse") && !is_killed(&gateway, "good"));
    let shown = status(&gateway);
    assert_eq!(
        (
            &shown["active"]["document"],
            &shown["document"]["version"],
            &shown["document"]["signed_by"]
        ),
        (&json!(2), &json!(1), &json!(["kill"])),
        "{shown}"
    );
    let (_, listed) = gateway.admin("GET", "/-/kill", "");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        (&listed["switches"][0]["origin"], &listed["switches"][0]["id"]),
        (&json!("document"), &Value::Null)
    );
    // It is the whole list: what is not in it any more has ended.
    replace(&file, &people.guard.sign_kill(&document(2, &["worse"])));
    wait("the second", || !is_killed(&gateway, "evil"));
    assert!(is_killed(&gateway, "worse"));
    let changed = |action: &str| {
        let series = format!("portcullis_kill_switch_changes_total{{action=\"{action}\",origin=\"document\"}}");
        gateway.metric(&series)
    };
    assert_eq!((changed("set"), changed("cleared")), (2.0, 1.0));
    let log = gateway.log();
    let audited = log.lines().filter(|line| line.contains("kill switch changed"));
    assert_eq!(audited.clone().count(), 3, "{log}");
    assert!(
        audited
            .clone()
            .all(|line| line.contains("header:x-tenant") && line.contains("INC-42"))
    );
    assert!(!log.contains("worse"), "values are identities: {log}");
    wait("the line of the access log", || {
        let lines = gateway.access_log(1);
        let details = lines.iter().map(|line| &line["decisions"][0]["detail"]);
        details
            .into_iter()
            .any(|detail| *detail == json!("kill_switches[0] of the kill-switch document: INC-42"))
    });
}

#[test]
fn what_is_not_right_changes_nothing() {
    let people = People::new();
    let gateway = people
        .builder(FILE)
        .file("kill.signed", people.guard.sign_kill(&document(5, &["evil"])))
        .start();
    assert!(is_killed(&gateway, "evil"), "before the first request");
    let file = gateway.path("kill.signed");
    let other = Signer::new("kill");
    let text = br#"{"version":9,"kill_switches":[]}"#;
    let wrong: [(Vec<u8>, &str); 9] = [
        (people.guard.sign_kill(&document(4, &[])), "version_not_monotonic"),
        (people.guard.sign_kill(&document(5, &[])), "version_not_monotonic"),
        (people.publisher.sign_kill(&document(9, &[])), "unknown_key"),
        (other.sign_kill(&document(9, &[])), "invalid_signature"),
        // A text that was signed to be a bundle is no document, whoever signed it.
        (people.guard.sign_text(text), "signed_bundle_format_error"),
        (text.to_vec(), "signed_bundle_format_error"),
        (
            people
                .guard
                .sign_kill_text(br#"{"version":9,"kill_switches":[],"x":1}"#),
            "invalid",
        ),
        (
            people
                .guard
                .sign_kill_text(br#"{"version":9,"expires_at":"2020-01-01T00:00:00Z","kill_switches":[]}"#),
            "bundle_expired",
        ),
        (Vec::new(), "signed_bundle_format_error"),
    ];
    for (bytes, reason) in wrong {
        replace(&file, &people.guard.sign_kill(&document(5, &["evil"])));
        wait("the good one", || last_error(&gateway).is_empty());
        replace(&file, &bytes);
        wait(reason, || last_error(&gateway) == reason);
        assert!(is_killed(&gateway, "evil"), "{reason}");
    }
    let (ready, body) = gateway.admin("GET", "/readyz", "");
    assert!(ready == 200 && body.contains("kill_document_refused"), "{body}");
    assert!(gateway.metric("portcullis_kill_document_load_total{result=\"unknown_key\"}") >= 1.0);
    std::fs::remove_file(&file).expect("the document");
    wait("its absence", || last_error(&gateway) == "source_unreadable");
    assert!(is_killed(&gateway, "evil"), "a file that is gone lets nobody in");
}

#[test]
fn it_survives_a_crash_and_never_goes_back() {
    let people = People::new();
    let first = people.guard.sign_kill(&document(1, &["good"]));
    let mut gateway = people.builder(FILE).file("kill.signed", &first).start();
    let file = gateway.path("kill.signed");
    replace(&file, &people.guard.sign_kill(&document(7, &["evil"])));
    wait("the second", || is_killed(&gateway, "evil"));
    std::fs::remove_file(&file).expect("the document");
    gateway.crash_and_restart();
    assert!(is_killed(&gateway, "evil"), "kept in the state folder");
    replace(&file, &first);
    wait("the replay", || last_error(&gateway) == "version_not_monotonic");
    gateway.crash_and_restart();
    assert!(is_killed(&gateway, "evil") && !is_killed(&gateway, "good"));
    assert_eq!(last_error(&gateway), "version_not_monotonic");
    // Another bundle and another configuration change nothing about it.
    replace(
        &gateway.path("policy.bundle"),
        &people.publisher.sign("bundle_version: 2\npolicies: []\n"),
    );
    assert_eq!(gateway.reload().0, 200);
    gateway.write_config(&format!("{}# another\n", people.yaml(FILE)));
    assert_eq!(gateway.reload().0, 200);
    assert!(is_killed(&gateway, "evil"));
}

#[test]
fn a_switch_and_an_override_end_by_themselves() {
    let people = People::new();
    let switch = |tenant: &str, seconds: i64| {
        format!(
            "- {{ scope_key: header:x-tenant, scope_value: {tenant}, expires_at: {} }}\n",
            moment(seconds)
        )
    };
    let list = format!("kill_switches:\n{}{}", switch("short", 5), switch("long", 3600));
    let gateway = people
        .builder(FILE)
        .file("kill.signed", people.guard.sign_kill(&format!("version: 1\n{list}")))
        .start();
    assert!(is_killed(&gateway, "long"));
    wait("the end of the switch", || !is_killed(&gateway, "short"));
    assert!(is_killed(&gateway, "long"));
    let drill = format!(
        "version: 2\n{list}kill_switch_override: {{ enabled: true, reason: drill, expires_at: {} }}\n",
        moment(6)
    );
    replace(&gateway.path("kill.signed"), &people.guard.sign_kill(&drill));
    wait("the override", || !is_killed(&gateway, "long"));
    wait("its end", || is_killed(&gateway, "long"));
    assert_eq!(status(&gateway)["suspended"]["document"], json!(0));
}

/// Serves the document that `current` holds, with its length as the entity tag.
fn serve(current: &Arc<Mutex<Vec<u8>>>) -> Origin {
    let current = Arc::clone(current);
    Origin::with(move |seen| {
        let body = current.lock().expect("the document").clone();
        let tag = format!("\"{}\"", body.len());
        if seen.all("if-none-match") == [tag.as_str()] {
            return format!("HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\nConnection: close\r\n\r\n").into_bytes();
        }
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {tag}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        answer
    })
}

#[test]
fn it_comes_from_a_url_as_well() {
    let people = People::new();
    let current = Arc::new(Mutex::new(people.guard.sign_kill(&document(1, &["evil"]))));
    let origin = serve(&current);
    let source = |interval: &str| {
        format!(
            "document: {{ url: \"http://{}/{interval}\", poll_interval: {interval} }}",
            origin.address
        )
    };
    let (often, rarely) = (
        people.builder(&source("100ms")).start(),
        people.builder(&source("24h")).start(),
    );
    for gateway in [&often, &rarely] {
        wait("the first", || is_killed(gateway, "evil"));
    }
    let asked = |path: &str| origin.seen().iter().filter(|seen| seen.target() == path).count();
    wait("many polls", || asked("/100ms") >= 10);
    let unconditional = origin
        .seen()
        .iter()
        .filter(|seen| seen.all("if-none-match").is_empty())
        .count();
    assert_eq!(unconditional, 2, "after the first, only changes are asked for");
    *current.lock().expect("the document") = people.guard.sign_kill(&document(2, &["evil", "worse"]));
    wait("the second", || is_killed(&often, "worse"));
    assert_eq!(asked("/24h"), 1);
    assert!(!is_killed(&rarely, "worse"));
}

/// A server of bundles that keeps everybody waiting until it is told to go on.
fn slow() -> (Origin, Sender<()>) {
    let (go, wait): (Sender<()>, Receiver<()>) = channel();
    let wait = Mutex::new(wait);
    let origin = Origin::with(move |_| {
        let _ = wait.lock().expect("one at a time").recv();
        Vec::new()
    });
    (origin, go)
}

#[test]
fn a_slow_server_of_bundles_holds_up_no_switch() {
    let people = People::new();
    let (origin, go) = slow();
    let policy = format!(
        "policy:\n  bundle: {{ url: \"http://{}/policy\" }}\n  trust: {}\n  state_dir: \"{{dir}}/state\"\n  kill_switches: {{ {FILE}, trust: {} }}\n{SITE}",
        origin.address,
        people.publisher.trust(),
        people.guard.trust()
    );
    let gateway = Builder::new(&policy).start();
    wait("the question for a bundle", || !origin.seen().is_empty());
    // Nobody has answered it yet, so a load is under way now.
    replace(
        &gateway.path("kill.signed"),
        &people.guard.sign_kill(&document(1, &["evil"])),
    );
    let reason = |tenant: &str| of_tenant(&gateway, tenant).reason();
    assert_eq!(reason("good"), "no_bundle_loaded");
    wait("the document", || reason("evil") == "kill_switch");
    let set = json!({ "key": "header:x-tenant", "value": "worse", "ttl": "1h", "reason": "test" });
    assert_eq!(gateway.admin("POST", "/-/kill", &set.to_string()).0, 201);
    assert_eq!(reason("worse"), "kill_switch");
    assert_eq!(origin.seen().len(), 1, "it still waits");
    drop(go);
}

#[test]
fn a_hundred_thousand_switches_of_each_source() {
    let people = People::new();
    let list = |prefix: &str| {
        let mut text = String::from("kill_switches:\n");
        for number in 0..100_000 {
            let _ = writeln!(
                text,
                "- {{ scope_key: header:x-tenant, scope_value: {prefix}{number} }}"
            );
        }
        text
    };
    let json = |yaml: String, head: &str| {
        let values = yaml
            .lines()
            .skip(1)
            .filter_map(|line| line.split("scope_value: ").nth(1)?.split(' ').next());
        let switches: Vec<Value> = values
            .map(|value| json!({ "scope_key": "header:x-tenant", "scope_value": value }))
            .collect();
        format!("{{{head},\"kill_switches\":{}}}", Value::from(switches)).into_bytes()
    };
    let gateway = people
        .builder(FILE)
        .file(
            "kill.signed",
            people.guard.sign_kill_text(&json(list("d"), "\"version\":1")),
        )
        .file(
            "policy.bundle",
            people
                .publisher
                .sign_text(&json(list("b"), "\"bundle_version\":1,\"policies\":[]")),
        )
        .start();
    for (tenant, killed) in [
        ("d0", true),
        ("d99999", true),
        ("b0", true),
        ("b99999", true),
        ("d100000", false),
    ] {
        assert_eq!(is_killed(&gateway, tenant), killed, "{tenant}");
    }
    let set = json!({ "key": "header:x-tenant", "value": "evil", "ttl": "1h", "reason": "test" });
    assert_eq!(gateway.admin("POST", "/-/kill", &set.to_string()).0, 201);
    assert!(is_killed(&gateway, "evil"));
    let shown = status(&gateway)["active"].clone();
    assert_eq!(shown, json!({ "runtime": 1, "document": 100_000, "bundle": 100_000 }));
    let (_, listed) = gateway.admin("GET", "/-/kill", "");
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    assert_eq!(
        listed["switches"].as_array().map(Vec::len),
        Some(10_000),
        "an answer has bounds"
    );
    assert_eq!(
        (&listed["omitted"], &listed["switches"][0]["value"]),
        (&json!(190_001), &json!("evil"))
    );
}

#[test]
fn every_value_of_a_repeated_field_counts() {
    let people = People::new();
    let list = "version: 1\nkill_switches:\n- { scope_key: header:x-tenant, scope_value: evil }\n- { scope_key: query:t, scope_value: evil }\n";
    let gateway = people
        .builder(FILE)
        .file("kill.signed", people.guard.sign_kill(list))
        .start();
    for (query, fields, expected) in [
        ("", &[("X-Tenant", "good"), ("X-Tenant", "evil")][..], 429),
        ("", &[("X-Tenant", "evil"), ("X-Tenant", "good")], 429),
        ("", &[("X-Tenant", ""), ("x_tenant", "evil")], 429),
        ("", &[("X-Tenant", "good"), ("x_tenant", "evil")], 429),
        ("", &[("X-Tenant", "good"), ("X-Tenant", "better")], 200),
        ("?t=good&t=evil", &[], 429),
        ("?t=&t=evil", &[], 429),
        ("?t=good&u=evil", &[], 200),
    ] {
        let answer = h1::get(gateway.public, "a", &format!("/here{query}"), fields);
        assert_eq!(answer.status, expected, "{query} {fields:?}");
    }
}

fn portcullis(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(binary())
        .arg("kill")
        .args(arguments)
        .current_dir(dir)
        .output()
        .expect("the binary");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_command_line_signs_documents_and_tells_of_them() {
    let people = People::new();
    let gateway = people.builder(FILE).start();
    let dir = gateway.dir.path();
    let key = portcullis_bundles::signing::generate(portcullis_bundles::trust::KeyAlgorithm::Ed25519).expect("a key");
    std::fs::write(dir.join("kill.pem"), key.private.expose()).expect("the key");
    let trust = format!(
        "{{ ed25519: [{{ id: kill, public_key: \"{}\" }}] }}",
        key.public_key.expect("a public key")
    );
    let kill = format!("  kill_switches: {{ {FILE}, trust: {trust} }}\n");
    gateway.write_config(&format!("{}{kill}{SITE}", people.publisher.policy()));
    assert_eq!(gateway.reload().0, 200);
    std::fs::write(dir.join("kill.yaml"), document(3, &["evil"])).expect("a file");
    let sign = [
        "sign",
        "kill.yaml",
        "--key",
        "file:kill.pem",
        "--key-id",
        "kill",
        "--out",
        "kill.signed",
    ];
    let (code, _, said) = portcullis(dir, &sign);
    assert!(
        code == Some(0) && said.contains("version 3, 1 kill switch, sha256 "),
        "{said}"
    );
    wait("the document", || is_killed(&gateway, "evil"));
    let admin = gateway.admin.to_string();
    let (code, said, _) = portcullis(dir, &["status", "--admin", &admin]);
    assert!(
        code == Some(0) && said.contains("1 of the document") && said.contains("version 3"),
        "{said}"
    );
    let (_, said, _) = portcullis(dir, &["list", "--admin", &admin]);
    assert!(said.contains("(document)"), "{said}");
    // What a gateway would refuse is not signed, and errors have places.
    std::fs::write(
        dir.join("kill.yaml"),
        "version: 4\nkill_switches:\n- { scope_key: colour:red, scope_value: x }\n",
    )
    .expect("a file");
    let (code, _, said) = portcullis(dir, &sign);
    assert!(code == Some(1) && said.contains("kill.yaml:3:"), "{said}");
    let (code, _, _) = portcullis(
        dir,
        &["sign", "nothing.yaml", "--key", "file:kill.pem", "--key-id", "kill"],
    );
    assert_eq!(code, Some(2));
    std::fs::write(dir.join("kill.signed"), "torn").expect("a file");
    wait("the refusal", || {
        portcullis(dir, &["status", "--admin", &admin]).0 == Some(2)
    });
    let (_, said, _) = portcullis(dir, &["status", "--admin", &admin, "--format", "json"]);
    let read: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(read["document"]["version"], json!(3), "{said}");
}
