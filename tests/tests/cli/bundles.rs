//! `portcullis bundle`: from key to verification, what is told of a bad bundle, and what is never signed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use super::{bad, command, example, folder, golden, good, run};

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
        bundle.replace("2020", "2099").replace("jwt:sub", "ip:county"),
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
fn whom_a_bundle_is_for_is_told_and_asked() {
    let dir = folder();
    let dir = dir.path();
    let trust = good(dir, &["bundle", "keygen", "--id", "k1", "--out", "key"]);
    let written = fs::read_to_string(example("minimal.yaml")).unwrap();
    fs::write(dir.join("all.yaml"), &written).unwrap();
    fs::write(dir.join("some.yaml"), format!("{written}audience: [edge-1, eu]\n")).unwrap();
    let sign = [
        "bundle",
        "sign",
        "some.yaml",
        "--key",
        "file:key",
        "--key-id",
        "k1",
        "--out",
        "some.bundle",
    ];
    good(dir, &sign);
    assert!(good(dir, &["bundle", "inspect", "some.bundle"]).contains("edge-1, eu"));
    let done = run(dir, &["bundle", "diff", "all.yaml", "some.bundle"]);
    assert_eq!(done.code, Some(1));
    assert!(done.out.contains("+ audience: [\"edge-1\",\"eu\"]"), "{}", done.out);
    for (names, ours) in [("[eu]", true), ("[edge-2]", false)] {
        let lines = format!(
            "{trust}  bundle: {{ file: some.bundle }}\n  state_dir: state\n  audience: {names}\nlisteners: [{{ name: a, address: \"127.0.0.1:1\" }}]\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
        );
        fs::write(dir.join("portcullis.yaml"), lines).unwrap();
        let done = run(dir, &["bundle", "verify", "some.bundle", "--trust", "portcullis.yaml"]);
        let told = done.err;
        assert_eq!(done.code, Some(i32::from(!ours)), "{told}");
        assert!(
            ours || told.contains("audience_mismatch: the bundle is for edge-1, eu; this gateway is edge-2"),
            "{told}"
        );
    }
    // Whoever only has a key asks whether it is genuine, and not for whom.
    let key = trust.split("public_key: \"").nth(1).unwrap().split('"').next().unwrap();
    good(
        dir,
        &["bundle", "verify", "some.bundle", "--public-key", &format!("k1={key}")],
    );
}
