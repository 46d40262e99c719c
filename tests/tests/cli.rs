//! The command line without a running gateway: help, bundles from key to verification, lint, check. What people read is
//! compared with `golden/cli/`; `UPDATE_GOLDEN=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use portcullis_e2e::gateway::binary;
use serde_json::Value;
use tempfile::TempDir;

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
fn from_key_to_verification_with_every_algorithm() {
    for (algorithm, format) in [
        ("ed25519", "dsse"),
        ("ecdsa_p256", "dsse"),
        ("hmac_sha256", "dsse"),
        ("hmac_sha256", "line"),
    ] {
        let dir = folder();
        let dir = dir.path();
        let trust = good(
            dir,
            &[
                "bundle",
                "keygen",
                "--algorithm",
                algorithm,
                "--id",
                "k1",
                "--out",
                "key",
            ],
        );
        assert_eq!(
            fs::metadata(dir.join("key")).unwrap().permissions().mode() & 0o777,
            0o600
        );

        let source = example("tenants.yaml");
        let mut sign = vec![
            "bundle", "sign", &source, "--key", "file:key", "--key-id", "k1", "--format", format,
        ];
        if algorithm == "hmac_sha256" {
            sign.extend(["--algorithm", algorithm]);
        }
        sign.extend(["--out", "policy.bundle"]);
        good(dir, &sign);

        // The lines that keygen prints are a configuration's own.
        let lines = format!(
            "{trust}  bundle: {{ file: policy.bundle }}\n  state_dir: state\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
        );
        fs::write(dir.join("portcullis.yaml"), lines).unwrap();
        let verified = good(
            dir,
            &["bundle", "verify", "policy.bundle", "--trust", "portcullis.yaml"],
        );
        assert!(
            verified.starts_with("policy.bundle: ok: version 1, signed by k1, "),
            "{verified}"
        );
        let told = good(
            dir,
            &[
                "bundle",
                "verify",
                "policy.bundle",
                "--trust",
                "portcullis.yaml",
                "--format",
                "json",
            ],
        );
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(
            (&told["ok"], &told["bundle_version"], &told["signed_by"][0]),
            (&true.into(), &1.into(), &"k1".into())
        );

        let inspected = good(dir, &["bundle", "inspect", "policy.bundle"]);
        assert!(inspected.contains("signature   NOT CHECKED"), "{inspected}");
        assert!(inspected.contains("2 policies, 4 rules"), "{inspected}");
        let inspected = good(dir, &["bundle", "inspect", "policy.bundle", "--format", "json"]);
        let inspected: Value = serde_json::from_str(&inspected).unwrap();
        assert_eq!(inspected["signature_checked"], false);
        assert_eq!(inspected["sha256"], told["sha256"]);

        let tested = good(dir, &["bundle", "test", "policy.bundle"]);
        assert!(tested.ends_with("policy.bundle: 5 tests, 0 failed\n"), "{tested}");
        assert!(good(dir, &["check", "--config", "portcullis.yaml"]).contains("bundle version 1"));
        assert!(!dir.join("state").exists(), "a check writes nothing");
        any_flipped_byte_is_refused(dir);
    }
}

/// Not all of them: `portcullis` is started for each.
fn any_flipped_byte_is_refused(dir: &Path) {
    let bytes = fs::read(dir.join("policy.bundle")).unwrap();
    for place in (0..bytes.len()).step_by(bytes.len() / 7) {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        fs::write(dir.join("flipped.bundle"), flipped).unwrap();
        let refused = bad(
            dir,
            &["bundle", "verify", "flipped.bundle", "--trust", "portcullis.yaml"],
        );
        assert!(
            refused.starts_with("flipped.bundle: refused: "),
            "byte {place}: {refused}"
        );
    }
}

#[test]
fn keys_on_the_command_line_and_two_signatures() {
    let dir = folder();
    let dir = dir.path();
    let mut public = Vec::new();
    for id in ["old", "new", "stranger"] {
        let trust = good(dir, &["bundle", "keygen", "--id", id, "--out", id]);
        let key = trust.split("public_key: \"").nth(1).unwrap().split('"').next().unwrap();
        public.push(format!("{id}={key}"));
    }
    let source = example("minimal.yaml");
    let keys = [
        "--key", "file:old", "--key-id", "old", "--key", "file:new", "--key-id", "new",
    ];
    good(dir, &[&["bundle", "sign", &source, "--out", "b"][..], &keys].concat());
    for key in public.iter().take(2) {
        good(dir, &["bundle", "verify", "b", "--public-key", key]);
    }
    let refused = bad(dir, &["bundle", "verify", "b", "--public-key", &public[2]]);
    assert!(refused.contains("refused: unknown_key"), "{refused}");
    // The key under another id is another key.
    let renamed = public[0].replacen("old", "new", 1);
    let refused = bad(dir, &["bundle", "verify", "b", "--public-key", &renamed]);
    assert!(refused.contains("refused: invalid_signature"), "{refused}");
    // Through a variable, and to standard output.
    let key = fs::read_to_string(dir.join("old")).unwrap();
    let arguments = ["bundle", "sign", &source, "--key", "env:KEY", "--key-id", "old"];
    let output = command(dir, &arguments).env("KEY", key).output().unwrap();
    fs::write(dir.join("c"), output.stdout).unwrap();
    good(dir, &["bundle", "verify", "c", "--public-key", &public[0]]);
}

#[test]
fn a_bad_bundle_is_told_everything_and_not_signed() {
    let dir = folder();
    let dir = dir.path();
    let bundle = "\
bundle_version: 3
expires_at: 2020-01-01T00:00:00Z
require: [{ filters: [jwtt] }]
policies:
  - id: api
    spec:
      selector: { pathPrefix: /v1, methods: [GET] }
      rules:
        - name: per-user
          limit_keys: [jwt:sub]
          on_missing: skip
          algorithm: token_bucket
          algorithm_config: { tokens_per_second: 1, burst: 2 }
tests:
  - name: three at once are too many
    request: { path: /v1, claims: { sub: alice } }
    repeat: 3
    expect: { decision: allow }
";
    fs::write(dir.join("late.yaml"), bundle).unwrap();
    fs::write(
        dir.join("keys.yaml"),
        bundle.replace("2020", "2099").replace("jwt:sub", "ip:country"),
    )
    .unwrap();
    fs::write(
        dir.join("shape.yaml"),
        bundle
            .replace("methods: [GET]", "method: [GET]")
            .replace("burst: 2", "burst: 0"),
    )
    .unwrap();
    good(dir, &["bundle", "keygen", "--id", "k", "--out", "key"]);
    let mut wrong = Vec::new();
    for name in ["late", "keys", "shape"] {
        let file = format!("{name}.yaml");
        let told = bad(dir, &["bundle", "lint", &file]);
        // The one thing that differs each time: what o'clock it is.
        let told = match told.split_once("and it is ") {
            Some((before, after)) => format!("{before}and it is NOW {}", after.split_once(' ').unwrap().1),
            None => told,
        };
        wrong.extend(golden(&format!("{name}.lint"), &told));
        bad(
            dir,
            &[
                "bundle",
                "sign",
                &file,
                "--key",
                "file:key",
                "--key-id",
                "k",
                "--out",
                "policy.bundle",
            ],
        );
        assert!(!dir.join("policy.bundle").exists(), "{name} was signed");
        let told = run(dir, &["bundle", "lint", &file, "--format", "json"]);
        let json: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!((told.code, &json["ok"]), (Some(1), &false.into()));
        assert!(!json["errors"].as_array().unwrap().is_empty());
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts these:\n{}", wrong.join("\n"));
    let tested = run(dir, &["bundle", "test", "late.yaml"]);
    assert_eq!(tested.code, Some(1));
    assert!(
        tested
            .out
            .starts_with("FAIL  three at once are too many  expected decision `allow`, got `reject`"),
        "{}",
        tested.out
    );
}

#[test]
fn hints_refuse_nothing_unless_asked_to() {
    let dir = folder();
    let file = example("tenants.yaml");
    let done = run(dir.path(), &["bundle", "lint", &file]);
    assert_eq!(done.code, Some(0));
    assert!(done.err.starts_with("hint[one-counter-for-all]: "), "{}", done.err);
    assert!(
        done.out
            .ends_with(": ok (version 1, 2 policies, 4 rules, 5 tests passed, 1 hint)\n"),
        "{}",
        done.out
    );
    let done = run(dir.path(), &["bundle", "lint", &file, "--strict"]);
    assert_eq!((done.code, done.out.as_str()), (Some(1), ""));
}

#[test]
fn a_bundle_that_begins_later_can_be_signed_today() {
    let dir = folder();
    let dir = dir.path();
    fs::write(
        dir.join("p.yaml"),
        "bundle_version: 1\nnot_before: 2098-01-01T00:00:00Z\nexpires_at: 2099-01-01T00:00:00Z\npolicies: []\n",
    )
    .unwrap();
    let trust = good(dir, &["bundle", "keygen", "--id", "k", "--out", "key"]);
    let done = run(
        dir,
        &[
            "bundle", "sign", "p.yaml", "--key", "file:key", "--key-id", "k", "--out", "b",
        ],
    );
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert!(
        done.err.contains("gateways refuse it before 2098-01-01T00:00:00Z"),
        "{}",
        done.err
    );
    let key = trust.split("public_key: \"").nth(1).unwrap().split('"').next().unwrap();
    let refused = bad(dir, &["bundle", "verify", "b", "--public-key", &format!("k={key}")]);
    assert!(refused.contains("refused: not_yet_valid"), "{refused}");
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
