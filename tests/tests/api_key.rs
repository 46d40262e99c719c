//! API keys from issue to revocation, of the real process: what is acknowledged holds over every crash, keys are nowhere to be
//! read, and every setting is read.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis_e2e::gateway::{Builder, Gateway, ask, binary, wait};
use portcullis_e2e::h1::{self, Answer, Connection};
use portcullis_e2e::origin::Origin;
use serde_json::{Value, json};

const HASH_KEY: &str = "what keys are hashed with, of tests";
const STATE_KEY: &str = "what state is sealed with, of tests";
const HEAD: &str = "identity: { api_keys: { hash_key: \"file:{dir}/hash\" } }\nstate: { dir: \"{dir}/state\", key: \"file:{dir}/state-key\" }\n";

/// Each variant of the filter has a path of its own.
fn builder(origin: &Origin, head: &str, variants: &[(&str, &str)]) -> Builder {
    let route = |(name, keys): &(&str, &str)| {
        format!(
            "{{ match: {{ path_prefix: /{name} }}, filters: [{{ api_key: {{ {keys} }} }}], proxy: {{ upstream: app }} }}"
        )
    };
    let routes: Vec<String> = variants.iter().map(route).collect();
    let yaml = format!(
        "{head}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        origin.address,
        routes.join(", ")
    );
    let builder = Builder::new(&yaml)
        .file("hash", HASH_KEY)
        .file("hash-2", HASH_KEY.replace("what", "else"));
    builder.file("state-key", STATE_KEY)
}

/// A key and its id.
fn issue(gateway: &Gateway, request: &Value) -> (String, String) {
    let (status, body) = gateway.admin("POST", "/-/api-keys", &request.to_string());
    assert_eq!(status, 201, "{body}");
    read(&body)
}

fn read(body: &str) -> (String, String) {
    let issued: Value = serde_json::from_str(body).expect("JSON");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    (text(&issued["key"]), text(&issued["issued"]["id"]))
}

fn secret(organisation: &str) -> Value {
    json!({ "organisation": organisation, "class": "secret" })
}

fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    h1::get(gateway.public, "a", path, headers)
}

fn reason(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> String {
    let answer = get(gateway, path, headers);
    if answer.status == 200 {
        "passed".to_owned()
    } else {
        answer.reason()
    }
}

fn portcullis(gateway: &Gateway, arguments: &[&str]) -> Output {
    let output = Command::new(binary())
        .args(arguments)
        .current_dir(gateway.dir.path())
        .output();
    output.expect("the binary runs")
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

#[test]
fn fa_14_issued_shown_once_used_rotated_and_revoked() {
    let origin = Origin::start("ok");
    let gateway = builder(
        &origin,
        HEAD,
        &[("a", "to_headers: { X-Org: organisation, X-Key-Id: id }")],
    )
    .start();
    let admin = gateway.admin.to_string();
    let run = |arguments: &[&str]| portcullis(&gateway, &[&["api-key"], arguments, &["--admin", &admin]].concat());
    let issued = run(&["issue", "acme", "--class", "secret", "--name", "backend"]);
    let key = String::from_utf8_lossy(&issued.stdout).trim().to_owned();
    assert!(key.starts_with("sk_live_"), "{}", text(&issued));
    let bearer = format!("Bearer {key}");
    let sent = [("Authorization", &*bearer), ("X-Org", "evil"), ("x_org", "evil")];
    assert_eq!(get(&gateway, "/a", &sent).status, 200);
    let seen = origin.seen().pop().expect("it arrived");
    assert_eq!((seen.all("x-org"), seen.all("authorization")), (vec!["acme"], vec![]));
    assert!(seen.all("x_org").is_empty(), "nor what a server could take for it");
    let id = seen.all("x-key-id")[0].to_owned();
    let list = run(&["list", "--format", "json"]);
    let keys: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    assert!(keys[0]["id"] == *id && keys[0]["last_used_at"].is_string() && !text(&list).contains(&key));
    // Two texts while it is rotated, then one.
    let rotated = run(&["rotate", &id, "--overlap", "1h"]);
    let second = String::from_utf8_lossy(&rotated.stdout).trim().to_owned();
    let passes = |key: &str| reason(&gateway, "/a", &[("X-API-Key", key)]);
    assert_eq!((passes(&key), passes(&second)), ("passed".into(), "passed".into()));
    let third = run(&["rotate", &id]);
    let third = String::from_utf8_lossy(&third.stdout).trim().to_owned();
    assert_eq!(
        (passes(&key), passes(&second)),
        ("api_key_unknown".into(), "api_key_unknown".into())
    );
    assert_eq!(passes(&third), "passed");
    // On a connection that is open already: the next request is refused.
    let mut open = Connection::open(gateway.public);
    let request = format!("GET /a HTTP/1.1\r\nHost: a\r\nX-API-Key: {third}\r\n\r\n");
    assert_eq!(open.ask(&request).expect("an answer").status, 200);
    assert!(run(&["revoke", &id]).status.success());
    let refused = open.ask(&request).expect("an answer");
    assert_eq!((refused.status, refused.reason()), (401, "api_key_revoked".to_owned()));
    assert!(refused.header("www-authenticate").is_some());
    assert!(
        text(&run(&["rotate", &id])).contains("revoked") && text(&run(&["revoke", "key_none"])).contains("no API key")
    );
    assert!(gateway.metric("portcullis_api_keys{status=\"revoked\"}") > 0.0);
    // Nothing that the gateway wrote has a key, or a hash that could be tried.
    for file in files(gateway.dir.path()) {
        let bytes = fs::read(&file).unwrap_or_default();
        for key in [&key, &second, &third] {
            let found = bytes.windows(key.len()).any(|window| window == key.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    entries.collect()
}

#[test]
fn kill_9_loses_no_key_and_no_revocation() {
    let origin = Origin::start("ok");
    let mut gateway = builder(&origin, HEAD, &[("a", "")]).start();
    let keys: Vec<(String, String)> = (0..40).map(|n| issue(&gateway, &secret(&format!("org-{n}")))).collect();
    let revoked: Arc<Mutex<usize>> = Arc::default();
    for round in 0..8_u64 {
        let (admin, revoked_by) = (gateway.admin, Arc::clone(&revoked));
        let ids: Vec<String> = keys.iter().map(|(_, id)| id.clone()).collect();
        let worker = std::thread::spawn(move || {
            loop {
                let next = *revoked_by.lock().expect("a lock");
                let Some(id) = ids.get(next) else { return };
                // Until the process is killed. What it did not acknowledge may hold or not, and is asked again.
                match ask(admin, "DELETE", &format!("/-/api-keys/{id}"), "") {
                    Ok((200, _)) => *revoked_by.lock().expect("a lock") += 1,
                    _ => return,
                }
            }
        });
        let before = *revoked.lock().expect("a lock");
        wait("a revocation", || {
            let now = *revoked.lock().expect("a lock");
            now > before || now >= keys.len()
        });
        // Any moment will do: this only makes them differ.
        std::thread::sleep(Duration::from_millis(round * 3 % 11));
        gateway.crash();
        worker.join().expect("the one who revokes");
        gateway.restart();
        let acknowledged = *revoked.lock().expect("a lock");
        for (place, (key, _)) in keys.iter().enumerate() {
            let judged = reason(&gateway, "/a", &[("X-API-Key", key)]);
            if place < acknowledged {
                assert_eq!(judged, "api_key_revoked", "{place} of {acknowledged}");
            } else if place > acknowledged {
                assert_eq!(judged, "passed", "{place} of {acknowledged}");
            }
        }
    }
}

#[test]
fn keys_go_along_to_a_new_binary() {
    let origin = Origin::start("ok");
    let head = format!("runtime: {{ upgrade_socket: \"{{dir}}/upgrade.sock\" }}\n{HEAD}");
    let mut gateway = builder(&origin, &head, &[("a", "")]).start();
    let (key, id) = issue(&gateway, &secret("acme"));
    let mut old = gateway.upgrade();
    wait("the old process's end", || {
        old.try_wait().is_ok_and(|status| status.is_some())
    });
    gateway.wait_for("/livez", |status, _| status == 200);
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "passed");
    assert_eq!(gateway.admin("DELETE", &format!("/-/api-keys/{id}"), "").0, 200);
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "api_key_revoked");
    gateway.crash_and_restart();
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "api_key_revoked");
}

#[test]
fn keys_of_a_gateway_that_does_not_run() {
    let origin = Origin::start("ok");
    let mut gateway = builder(&origin, HEAD, &[("a", "")]).start();
    let (online, id) = issue(&gateway, &secret("acme"));
    gateway.crash();
    let run = |arguments: &[&str]| {
        let output = portcullis(
            &gateway,
            &[&["api-key"], arguments, &["--config", "portcullis.yaml"]].concat(),
        );
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let offline = run(&["issue", "acme", "--class", "secret"]);
    run(&["revoke", &id]);
    assert_eq!(run(&["list"]).lines().count(), 2);
    gateway.restart();
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", offline.trim())]), "passed");
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &online)]), "api_key_revoked");
}

#[test]
fn hash_key() {
    let origin = Origin::start("ok");
    let mut gateway = builder(&origin, HEAD, &[("a", "")]).start();
    let (key, _) = issue(&gateway, &secret("acme"));
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "passed");
    let yaml = fs::read_to_string(gateway.path("portcullis.yaml")).expect("the configuration");
    fs::write(gateway.path("portcullis.yaml"), yaml.replace("/hash\"", "/hash-2\"")).expect("written");
    gateway.crash_and_restart();
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "api_key_unknown");
    fs::write(gateway.path("portcullis.yaml"), &yaml).expect("written");
    gateway.crash_and_restart();
    assert_eq!(reason(&gateway, "/a", &[("X-API-Key", &key)]), "passed");
    // The store is part of what is sealed: a byte of it, and the start is refused.
    gateway.crash();
    let store = gateway.path("state/store");
    let mut bytes = fs::read(&store).expect("the store");
    let at = bytes.len() - 5;
    bytes[at] ^= 1;
    fs::write(&store, bytes).expect("written");
    let told = gateway.restart_expecting_refusal();
    assert!(told.contains("damaged at byte"), "{told}");
}

#[test]
fn settings_of_the_filter() {
    let origin = Origin::start("ok");
    let variants = [
        ("server", ""),
        ("public", "classes: [publishable]"),
        ("test", "environment: test"),
        ("scoped", "scopes: [read:orders]"),
        ("own", "headers: [X-Own]"),
        ("open", "optional: true, to_headers: { X-Org: organisation }"),
        ("kept", "forward: keep"),
    ];
    let gateway = builder(&origin, HEAD, &variants).start();
    let (sk, _) = issue(&gateway, &secret("acme"));
    let (pk, _) = issue(&gateway, &json!({ "organisation": "acme", "class": "publishable" }));
    let (test, _) = issue(
        &gateway,
        &json!({ "organisation": "acme", "class": "secret", "environment": "test" }),
    );
    let restricted = |scopes: &[&str]| {
        issue(
            &gateway,
            &json!({ "organisation": "acme", "class": "restricted", "scopes": scopes }),
        )
        .0
    };
    let (other, right) = (restricted(&["write:orders"]), restricted(&["read:orders"]));
    for (path, field, key, expected) in [
        ("/server", "X-API-Key", &sk, "passed"),
        ("/server", "X-Publishable-Key", &pk, "api_key_class"),
        ("/public", "X-Publishable-Key", &pk, "passed"),
        ("/public", "X-API-Key", &sk, "api_key_class"),
        ("/server", "X-API-Key", &test, "api_key_environment"),
        ("/test", "X-API-Key", &test, "passed"),
        ("/test", "X-API-Key", &sk, "api_key_environment"),
        ("/scoped", "X-API-Key", &sk, "passed"),
        ("/scoped", "X-API-Key", &other, "api_key_scope"),
        ("/scoped", "X-API-Key", &right, "passed"),
        ("/own", "X-API-Key", &sk, "api_key_missing"),
        ("/own", "X-Own", &sk, "passed"),
    ] {
        assert_eq!(reason(&gateway, path, &[(field, key)]), expected, "{path} {field}");
    }
    let browser = [("X-API-Key", &*sk), ("Sec-Fetch-Site", "cross-site")];
    assert_eq!(get(&gateway, "/server", &browser).status, 403, "FF-06");
    assert_eq!(
        reason(
            &gateway,
            "/public",
            &[("X-Publishable-Key", &*pk), ("Origin", "https://a")]
        ),
        "passed"
    );
    assert_eq!(
        reason(&gateway, "/server", &[("X-API-Key", &*sk), ("X-Publishable-Key", &*pk)]),
        "api_key_repeated"
    );
    let refusals = "portcullis_api_key_refusals_total{reason=\"api_key_class\"}";
    assert!(gateway.metric(refusals) >= 2.0, "counted");
    assert_eq!(
        reason(
            &gateway,
            "/open",
            &[("X-Org", "evil"), ("Authorization", "Bearer a.b.c")]
        ),
        "passed"
    );
    let seen = origin.seen().pop().expect("it arrived");
    assert_eq!(
        (seen.all("x-org"), seen.all("authorization")),
        (vec![], vec!["Bearer a.b.c"])
    );
    assert_eq!(reason(&gateway, "/kept", &[("X-API-Key", &*sk)]), "passed");
    assert_eq!(origin.seen().pop().expect("it arrived").all("x-api-key"), vec![&*sk]);
    assert_eq!(reason(&gateway, "/server", &[("X-API-Key", &*sk)]), "passed");
    assert!(origin.seen().pop().expect("it arrived").all("x-api-key").is_empty());
    // What makes no sense is not issued.
    for wrong in [
        json!({ "organisation": "a/b", "class": "secret" }),
        json!({ "organisation": "a", "class": "secret", "ttl": "0s" }),
        json!({ "organisation": "a", "class": "secret", "origins": ["nowhere"] }),
        json!({ "organisation": "a", "class": "secret", "admin": true }),
    ] {
        assert_eq!(
            gateway.admin("POST", "/-/api-keys", &wrong.to_string()).0,
            422,
            "{wrong}"
        );
    }
    // A page of somebody else reaches the admin listener through an operator's browser: it changes nothing.
    let cross = [("Origin", "https://evil.example"), ("Content-Type", "application/json")];
    let forged = h1::request(
        gateway.admin,
        "POST",
        &gateway.admin.to_string(),
        "/-/api-keys",
        &cross,
        b"{}",
    );
    assert_eq!(forged.status, 403);
}

#[test]
fn ends_by_itself() {
    let origin = Origin::start("ok");
    let gateway = builder(&origin, HEAD, &[("a", "")]).start();
    let mut asked = secret("acme");
    asked["ttl"] = "1s".into();
    let (key, _) = issue(&gateway, &asked);
    wait("its end", || {
        reason(&gateway, "/a", &[("X-API-Key", &key)]) == "api_key_expired"
    });
}
