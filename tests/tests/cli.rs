//! The command line without a running gateway: help, check, exit codes, and in the folder bundles. What people read is
//! compared with `golden/cli/`; `UPDATE_GOLDEN=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis_e2e::gateway::binary;
use serde_json::Value;
use tempfile::TempDir;

#[path = "cli/bundles.rs"]
mod bundles;

/// What came of a command.
struct Done {
    code: Option<i32>,
    out: String,
    err: String,
}

fn command(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    command.args(arguments).current_dir(dir).stdin(Stdio::null());
    // Help shows their values.
    command.env_remove("PORTCULLIS_ADMIN").env_remove("PORTCULLIS_CONFIG");
    command
}

fn run(dir: &Path, arguments: &[&str]) -> Done {
    let output = command(dir, arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Done {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// Runs what must end well; gives standard output.
fn good(dir: &Path, arguments: &[&str]) -> String {
    let done = run(dir, arguments);
    assert_eq!(done.code, Some(0), "{arguments:?}\n{}{}", done.out, done.err);
    done.out
}

/// Runs what must end with exit code 1; gives standard error.
fn bad(dir: &Path, arguments: &[&str]) -> String {
    let done = run(dir, arguments);
    assert_eq!(done.code, Some(1), "{arguments:?}\n{}{}", done.out, done.err);
    done.err
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../bundles/examples")
        .join(name);
    path.canonicalize().unwrap().display().to_string()
}

fn golden(name: &str, told: &str) -> Option<String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden/cli")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, told).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    (written != told).then(|| format!("{name}:\n{told}"))
}

/// Every command, as `--help` lists them.
fn commands(dir: &Path, prefix: &[String]) -> Vec<Vec<String>> {
    let mut arguments: Vec<&str> = prefix.iter().map(String::as_str).collect();
    arguments.push("--help");
    let help = good(dir, &arguments);
    let mut all = vec![prefix.to_vec()];
    let listed = help
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    // A description that goes on in the next line is indented further.
    let names = listed.filter_map(|line| {
        line.strip_prefix("  ")?
            .split(' ')
            .next()
            .filter(|name| !name.is_empty())
    });
    for name in names.filter(|name| *name != "help") {
        let mut longer = prefix.to_vec();
        longer.push(name.to_owned());
        all.extend(commands(dir, &longer));
    }
    all
}

#[test]
fn help_of_every_command_reads_as_written_down() {
    let dir = folder();
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for command in commands(dir.path(), &[]) {
        let mut arguments: Vec<&str> = command.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = good(dir.path(), &arguments);
        let name = if command.is_empty() {
            "portcullis".to_owned()
        } else {
            command.join("-")
        };
        assert!(
            help.lines()
                .all(|line| line.chars().count() <= 100 || line.starts_with("Usage:")),
            "{name}\n{help}"
        );
        let has_example = help.contains("Example") || help.contains("From nothing");
        assert!(
            has_example || ["version", "help"].contains(&name.as_str()),
            "{name} has no example:\n{help}"
        );
        wrong.extend(golden(&format!("{name}.help"), &help));
        seen.push(format!("{name}.help"));
    }
    assert!(seen.len() >= 19, "{seen:?}");
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts these:\n{}", wrong.join("\n"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli");
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.strip_suffix(".help").is_none() || seen.contains(&name),
            "{name} belongs to no command"
        );
    }
}

#[test]
fn exit_code_2_is_for_commands_that_make_no_sense() {
    let dir = folder();
    let dir = dir.path();
    fs::write(dir.join("short"), "too short").unwrap();
    fs::write(dir.join("p.yaml"), "bundle_version: 1\npolicies: []\n").unwrap();
    good(dir, &["bundle", "keygen", "--id", "k", "--out", "key"]);
    good(
        dir,
        &[
            "bundle", "sign", "p.yaml", "--key", "file:key", "--key-id", "k", "--out", "b",
        ],
    );
    let long = "x".repeat(200);
    for arguments in [
        &["bundle"][..],
        &["bundle", "frobnicate"],
        &["bundle", "lint", "missing.yaml"],
        &["bundle", "verify", "b"],
        &["bundle", "verify", "b", "--public-key", "k=AAAA"],
        &["bundle", "verify", "b", "--hmac-key", "k=the-secret-itself"],
        &["bundle", "verify", "b", "--trust", "missing.yaml"],
        &["bundle", "verify", "b", "--trust", "p.yaml"],
        &["bundle", "keygen", "--id", "k", "--out", "key"],
        &["bundle", "keygen", "--id", &long, "--out", "another"],
        &["bundle", "sign", "p.yaml", "--key", "file:key", "--out", "c"],
        &[
            "bundle",
            "sign",
            "p.yaml",
            "--key",
            "the-secret-itself",
            "--key-id",
            "k",
        ],
        &[
            "bundle",
            "sign",
            "p.yaml",
            "--key",
            "file:short",
            "--key-id",
            "k",
            "--algorithm",
            "hmac_sha256",
        ],
        &["bundle", "sign", "p.yaml", "--key", "file:short", "--key-id", "k"],
        &[
            "bundle", "sign", "p.yaml", "--key", "file:key", "--key-id", "k", "--key-id", "l",
        ],
        &["bundle", "sign", "b", "--key", "file:key", "--key-id", "k"],
        &["check", "--frobnicate"],
        &["-t", "--once"],
        &[],
    ] {
        let done = run(dir, arguments);
        assert_eq!(done.code, Some(2), "{arguments:?}\n{}{}", done.out, done.err);
        assert!(!done.err.contains("the-secret-itself"), "{}", done.err);
    }
    assert!(!dir.join("another").exists());
}

#[test]
fn check_finds_what_a_start_would_stumble_over() {
    let dir = folder();
    let dir = dir.path();
    let trust = good(dir, &["bundle", "keygen", "--id", "k", "--out", "key"]);
    good(
        dir,
        &[
            "bundle",
            "sign",
            &example("require.yaml"),
            "--key",
            "file:key",
            "--key-id",
            "k",
            "--out",
            "b",
        ],
    );
    let configuration = |route: &str| {
        format!(
            "listeners:\n- {{ name: a, address: \"127.0.0.1:1\", tls: {{ certificates: [{{ certificate: no.crt, key: no.key }}] }} }}\n{trust}  bundle: {{ file: b }}\n  state_dir: state\ntelemetry: {{ access_log: {{ file: no/such/folder/access.log }} }}\nsites:\n- hosts: [\"*\"]\n  routes:\n  - {{ {route} }}\n"
        )
    };
    fs::write(dir.join("p.yaml"), configuration("respond: { status: 200 }")).unwrap();
    let told = bad(dir, &["check", "--config", "p.yaml"]);
    for part in [
        "error[unusable-file]: listener `a`",
        "error[unusable-file]: no/such/folder is no folder",
        "error[unmet-requirement]: the bundle requires `ip_access`",
    ] {
        assert!(told.contains(part), "{part} is missing in\n{told}");
    }
    let told = run(dir, &["check", "--config", "p.yaml", "--format", "json"]);
    let told: Value = serde_json::from_str(&told.out).unwrap();
    let codes: Vec<_> = told["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["code"].as_str().unwrap())
        .collect();
    assert_eq!(
        codes,
        [
            "unusable-file",
            "unusable-file",
            "unmet-requirement",
            "unmet-requirement",
            "unmet-requirement"
        ]
    );
    assert_eq!((&told["ok"], &told["bundle_version"]), (&false.into(), &1.into()));
    assert!(!dir.join("state").exists(), "a check writes nothing");
    // The same by the flag that nginx has.
    bad(dir, &["-t", "-c", "p.yaml"]);
    let told = bad(dir, &["-t", "-c", "missing.yaml"]);
    assert!(told.starts_with("error[unreadable-file]: "), "{told}");
}

#[test]
fn schemas_and_completions_are_whole() {
    let dir = folder();
    for (of, key) in [("config", "listeners"), ("bundle", "bundle_version")] {
        let schema: Value = serde_json::from_str(&good(dir.path(), &["schema", of])).unwrap();
        assert!(schema["properties"][key].is_object(), "{of}");
    }
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(good(dir.path(), &["completions", shell]).contains("keygen"), "{shell}");
    }
    let version = good(dir.path(), &["version"]);
    assert_eq!(version, good(dir.path(), &["--version"]));
}

#[test]
fn a_reader_that_goes_away_is_no_panic() {
    let dir = folder();
    let mut child = command(dir.path(), &["schema"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    child.wait().unwrap();
    assert_eq!(err, "");
}
