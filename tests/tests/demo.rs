//! The demo keeps what it promises: by itself with `--once`, and through a shell and curl as people will try it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use portcullis_e2e::gateway::{binary, signal, wait};
use portcullis_e2e::skip;

/// A demo whose files are in a folder of the test.
fn demo(dir: &Path, arguments: &[&str]) -> Child {
    let file = |name: &str| File::create(dir.join(name)).unwrap();
    fs::create_dir(dir.join("tmp")).unwrap();
    Command::new(binary())
        .arg("demo")
        .args(arguments)
        .env("TMPDIR", dir.join("tmp"))
        .stdin(Stdio::null())
        .stdout(file("out"))
        .stderr(file("err"))
        .spawn()
        .unwrap()
}

fn read(dir: &Path, name: &str) -> String {
    fs::read_to_string(dir.join(name)).unwrap()
}

fn wait_for_exit(child: &mut Child) -> Option<i32> {
    let mut status = None;
    wait("the end of the demo", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap().code()
}

#[test]
fn it_keeps_its_promises() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(dir.path(), &["--once"]);
    let code = wait_for_exit(&mut child);
    let (out, err) = (read(dir.path(), "out"), read(dir.path(), "err"));
    assert_eq!(code, Some(0), "{out}\n{err}");
    for promise in [
        "-> 200\n",
        "-> 401 token_missing\n",
        "-> 401 signature_invalid\n",
        "200 429 token_bucket_exceeded\n",
    ] {
        assert!(out.contains(promise), "{promise}\n{out}");
    }
    for promise in [
        "-> 429 kill_switch\n",
        "-> bundle version 2 is in force\n",
        "another was refused: signed_bundle_format_error\n",
    ] {
        assert!(out.contains(promise), "{promise}\n{out}");
    }
    assert_eq!(
        fs::read_dir(dir.path().join("tmp")).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

#[test]
fn the_printed_lines_do_what_they_say() {
    if skip::tool("the_printed_lines_do_what_they_say", "curl").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut child = demo(dir.path(), &["--plain"]);
    wait("the commands", || read(dir.path(), "out").contains("status --admin"));
    let text = read(dir.path(), "out");
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains("   # "))
        .collect();
    assert!(lines.len() >= 14, "{text}");
    for line in &lines {
        let (command, promise) = line.rsplit_once("   # ").unwrap();
        let done = Command::new("sh")
            .args(["-c", line])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = format!(
            "{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        if command.starts_with("curl -i") {
            let (status, reason) = promise.split_once(' ').unwrap_or((promise, ""));
            assert!(told.contains(&format!("HTTP/1.1 {status} ")), "{line}\n{told}");
            assert!(
                reason.is_empty() || told.contains(&format!("\"reason\":\"{reason}\"")),
                "{line}\n{told}"
            );
        } else if command.starts_with("for ") {
            let statuses: Vec<_> = promise.split(' ').filter(|word| word.parse::<u16>().is_ok()).collect();
            assert_eq!(told.trim(), statuses.join(" "), "{line}");
        } else {
            assert_eq!(done.status.success(), !promise.starts_with("refused"), "{line}\n{told}");
        }
    }
    // A line for each decision.
    wait("the decisions", || {
        let out = read(dir.path(), "out");
        let shown = |part: &str| out.lines().any(|line| !line.contains('#') && line.contains(part));
        shown("429  GET /v1/hello         kill_switch") && shown("allowed  bundle 2") && shown("token_missing")
    });
    signal(child.id(), "TERM");
    assert_eq!(wait_for_exit(&mut child), Some(0), "{}", read(dir.path(), "err"));
    assert_eq!(
        fs::read_dir(dir.path().join("tmp")).unwrap().count(),
        0,
        "it leaves nothing behind"
    );
}

#[test]
fn every_way_to_end_it_removes_its_files() {
    for name in ["INT", "HUP"] {
        let dir = tempfile::tempdir().unwrap();
        let mut child = demo(dir.path(), &[]);
        wait("the commands", || read(dir.path(), "out").contains("status --admin"));
        assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 1);
        signal(child.id(), name);
        assert_eq!(
            wait_for_exit(&mut child),
            Some(0),
            "{name}: {}",
            read(dir.path(), "err")
        );
        assert_eq!(
            fs::read_dir(dir.path().join("tmp")).unwrap().count(),
            0,
            "{name} leaves something behind"
        );
    }
}
