//! State at rest, of the real process: nothing of it is in the clear once there is a key, a wrong key and a damaged file
//! refuse the start, and a key can be changed with the gateway running or not.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis_e2e::bundle::{Signer, bucket};
use portcullis_e2e::gateway::{Builder, Gateway, binary, wait};
use portcullis_e2e::h1;

const SITE: &str =
    "sites: [{ hosts: [\"*\"], filters: [{ policy: {} }], routes: [{ respond: { status: 200, body: here } }] }]\n";
const ONE: &str = "a state key of thirty-two bytes, one\n";
const TWO: &str = "a state key of thirty-two bytes, two\n";
/// What a request says that is recorded.
const IDENTITY: &str = "identity-of-a-caller";

fn yaml(signer: &Signer, state: &str) -> String {
    format!(
        "{state}policy:\n  bundle: {{ file: \"{{dir}}/policy.bundle\" }}\n  trust: {{ ed25519: [{{ id: k1, public_key: \"{}\" }}] }}\n  record: {{ requests: 100 }}\n{SITE}",
        signer.public_key
    )
}

fn sealed(key: &str, previous: &str) -> String {
    format!("state: {{ dir: \"{{dir}}/state\", key: \"file:{{dir}}/{key}\", previous_keys: [{previous}] }}\n")
}

const CLEAR: &str = "state: { dir: \"{dir}/state\" }\n";

fn builder(signer: &Signer, state: &str) -> Builder {
    let bundle = signer.sign(&bucket(5, "header:x-key", 100.0, 100.0));
    Builder::new(&yaml(signer, state))
        .file("policy.bundle", bundle)
        .file("one", ONE)
        .file("two", TWO)
}

/// Every kind of file that a gateway with a bundle keeps.
fn use_it(gateway: &Gateway) {
    let request = format!("GET /asked HTTP/1.1\r\nHost: a\r\nX-Key: {IDENTITY}\r\nConnection: close\r\n\r\n");
    assert_eq!(status(gateway, &request), 200);
    let (status, body) = gateway.admin(
        "POST",
        "/-/kill",
        "{\"key\":\"header:x-key\",\"value\":\"mallory\",\"ttl\":\"1h\",\"reason\":\"drill\"}",
    );
    assert_eq!(status, 201, "{body}");
    wait("the counters in the state folder", || {
        gateway.path("state/counters").exists()
    });
    let file = gateway.path("state/record-key");
    wait("the key of the record", || file.exists());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let entries = entries.flat_map(|entry| {
        let path = entry.path();
        if path.is_dir() { files(&path) } else { vec![path] }
    });
    entries.collect()
}

/// Files of the state folder that are not sealed. Locks hold nothing.
fn in_the_clear(gateway: &Gateway) -> Vec<PathBuf> {
    let mut files = files(&gateway.path("state"));
    files.retain(|file| {
        let bytes = fs::read(file).unwrap_or_default();
        let known: [&[u8]; 3] = [
            b"portcullis-sealed 1 ",
            b"portcullis-keyring 1 ",
            b"portcullis-store 1\n",
        ];
        !bytes.is_empty() && !known.iter().any(|magic| bytes.starts_with(magic))
    });
    files
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

fn refused(gateway: &Gateway) -> u16 {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Key: mallory\r\nConnection: close\r\n\r\n";
    status(gateway, request)
}

fn status(gateway: &Gateway, request: &str) -> u16 {
    let answer = h1::Connection::open(gateway.public).ask(request);
    answer.expect("an answer").status
}

#[test]
fn dir_and_key() {
    let signer = Signer::new("k1");
    let mut gateway = builder(&signer, &sealed("one", "")).start();
    use_it(&gateway);
    assert!(gateway.log().contains("state is sealed"), "{}", gateway.log());
    gateway.signal("TERM");
    gateway.wait_for_exit();
    assert_eq!(in_the_clear(&gateway), Vec::<PathBuf>::new());
    let names: Vec<_> = files(&gateway.path("state"))
        .iter()
        .filter_map(|file| Some(file.file_name()?.to_owned()))
        .collect();
    for name in [
        "counters",
        "floor",
        "keyring",
        "kill-switches",
        "last-good",
        "record",
        "record-key",
    ] {
        assert!(names.iter().any(|known| known == name), "{name} of {names:?}");
    }
    gateway.restart();
    assert_eq!(refused(&gateway), 429, "the switch is still set");
    gateway.crash();
    // The record is read with the key, and with no other.
    let replay = ["bundle", "replay", "policy.bundle", "--against", "state/record"];
    let with = |key: &str| portcullis(&gateway, &[&replay[..], &["--state-key", key]].concat());
    assert!(with("file:one").status.success(), "{}", text(&with("file:one")));
    assert!(text(&with("file:two")).contains("sealed with the state key"));
    assert!(text(&portcullis(&gateway, &replay)).contains("no `state.key`"));
}

#[test]
fn a_wrong_key_and_no_key_refuse_the_start() {
    let signer = Signer::new("k1");
    let mut gateway = builder(&signer, &sealed("one", "")).start();
    use_it(&gateway);
    gateway.crash();
    for (state, says) in [
        (sealed("two", ""), "sealed with the state key"),
        (CLEAR.to_owned(), "no `state.key`"),
        (sealed("gone", ""), "gone"),
    ] {
        gateway.write_config(&yaml(&signer, &state));
        let told = gateway.restart_expecting_refusal();
        assert!(told.contains(says) && !told.contains("thirty-two"), "{told}");
        let check = portcullis(&gateway, &["check", "--config", "portcullis.yaml"]);
        assert!(
            !check.status.success() && text(&check).contains(says),
            "{}",
            text(&check)
        );
    }
    fs::write(gateway.path("short"), "short").expect("a file");
    gateway.write_config(&yaml(&signer, &sealed("short", "")));
    assert!(gateway.restart_expecting_refusal().contains("at least 32"));
    // Any byte of any file that the start needs.
    gateway.write_config(&yaml(&signer, &sealed("one", "")));
    for name in ["keyring", "floor", "last-good", "kill-switches", "counters"] {
        let path = gateway.path("state").join(name);
        let whole = fs::read(&path).expect("a state file");
        let mut bytes = whole.clone();
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
        fs::write(&path, bytes).expect("written");
        let told = gateway.restart_expecting_refusal();
        assert!(told.contains(name), "{name}: {told}");
        fs::write(&path, whole).expect("written");
    }
    gateway.restart();
    assert_eq!(refused(&gateway), 429);
}

#[test]
fn without_a_key_it_is_said_and_with_one_what_is_there_is_sealed() {
    let signer = Signer::new("k1");
    let mut gateway = builder(&signer, CLEAR).start();
    use_it(&gateway);
    assert!(gateway.log().contains("state is in the clear"), "{}", gateway.log());
    let check = portcullis(&gateway, &["check", "--config", "portcullis.yaml"]);
    assert!(
        check.status.success() && text(&check).contains("in the clear"),
        "{}",
        text(&check)
    );
    // A running gateway goes on as it began, and says that it must be started again.
    gateway.write_config(&yaml(&signer, &sealed("one", "")));
    let (status, body) = gateway.reload();
    assert!(status == 200 && body.contains("\"state\""), "{body}");
    gateway.crash();
    assert!(!in_the_clear(&gateway).is_empty());
    gateway.restart();
    assert_eq!(refused(&gateway), 429, "nothing was lost on the way");
    assert_eq!(in_the_clear(&gateway), Vec::<PathBuf>::new());
}

#[test]
fn previous_keys_and_rotation_with_no_gateway_running() {
    let signer = Signer::new("k1");
    let mut gateway = builder(&signer, &sealed("one", "")).start();
    use_it(&gateway);
    let rotate = ["state", "rotate-key", "--config", "portcullis.yaml"];
    let told = portcullis(&gateway, &rotate);
    assert!(
        !told.status.success() && text(&told).contains("a gateway runs"),
        "{}",
        text(&told)
    );
    gateway.crash();
    gateway.write_config(&yaml(&signer, &sealed("two", "\"file:{dir}/one\"")));
    gateway.restart();
    assert_eq!(refused(&gateway), 429, "the previous key opens what it sealed");
    gateway.crash();
    let old = fs::read(gateway.path("state/last-good")).expect("a state file");
    let told = portcullis(&gateway, &rotate);
    assert!(told.status.success(), "{}", text(&told));
    assert_ne!(
        old,
        fs::read(gateway.path("state/last-good")).expect("a state file"),
        "sealed anew"
    );
    gateway.write_config(&yaml(&signer, &sealed("two", "")));
    gateway.restart();
    assert_eq!(refused(&gateway), 429, "and is not needed any more");
    gateway.crash();
    gateway.write_config(&yaml(&signer, &sealed("one", "")));
    gateway.restart_expecting_refusal();
}

#[test]
fn rotation_of_a_running_gateway() {
    let signer = Signer::new("k1");
    let mut gateway = builder(&signer, &sealed("one", "")).start();
    use_it(&gateway);
    let admin = gateway.admin.to_string();
    // As an operator does: the new key and the old one in the configuration, then the command.
    gateway.write_config(&yaml(&signer, &sealed("two", "\"file:{dir}/one\"")));
    let told = portcullis(&gateway, &["state", "rotate-key", "--admin", &admin]);
    assert!(told.status.success(), "{}", text(&told));
    gateway.write_config(&yaml(&signer, &sealed("two", "")));
    assert_eq!(gateway.reload().0, 200);
    // A configuration that the next start could not use is refused now.
    gateway.write_config(&yaml(&signer, &sealed("one", "")));
    let (status, body) = gateway.reload();
    assert!(status == 422 && body.contains("sealed with the state key"), "{body}");
    gateway.write_config(&yaml(&signer, &sealed("two", "")));
    gateway.crash_and_restart();
    assert_eq!(refused(&gateway), 429);
    assert_eq!(in_the_clear(&gateway), Vec::<PathBuf>::new());
}

#[test]
fn a_hand_over_is_sealed_too() {
    let signer = Signer::new("k1");
    let state = format!(
        "runtime: {{ upgrade_socket: \"{{dir}}/upgrade.sock\" }}\n{}",
        sealed("one", "")
    );
    let mut gateway = builder(&signer, &state).start();
    use_it(&gateway);
    let mut old = gateway.upgrade();
    wait("the old process's end", || {
        old.try_wait().is_ok_and(|status| status.is_some())
    });
    gateway.wait_for("/livez", |status, _| status == 200);
    assert!(gateway.log().contains("counters taken over"), "{}", gateway.log());
    assert_eq!(refused(&gateway), 429);
}
