//! Every example is read, passes its own tests, is signed in both forms and accepted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

mod support;

use std::fs;
use std::path::Path;

use portcullis_bundles::author;
use portcullis_bundles::envelope::{payload_unverified, sign_dsse, sign_line};
use portcullis_bundles::format::Bundle;
use portcullis_bundles::inspect::Summary;
use portcullis_bundles::lint;
use portcullis_bundles::loader::RefusedReason;

use support::{NOW, loader, release, shared, unsigned_loader};

#[test]
fn every_example_is_accepted_signed_and_unsigned() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let authored = author::read(name, &text, author::format_of(name))
            .unwrap_or_else(|error| panic!("{}", error.render_text()));
        let json = authored.canonical_json().unwrap();
        let again = author::read(name, std::str::from_utf8(&json).unwrap(), author::Format::Json).unwrap();
        assert_eq!(again.bundle, authored.bundle, "{name}: the JSON form means the same");
        assert_eq!(
            again.canonical_json().unwrap(),
            json,
            "{name}: the JSON form is its own"
        );
        for signed in [
            sign_line(&json, &shared()).unwrap().unwrap(),
            sign_dsse(&json, &[release(), shared()]).unwrap(),
        ] {
            let accepted = loader()
                .accept(&signed, NOW, None)
                .unwrap_or_else(|refused| panic!("{name}: {refused}"));
            assert_eq!(
                accepted.hints.iter().map(|hint| hint.code).collect::<Vec<_>>(),
                expected_hints(name),
                "{name}"
            );
            let summary = serde_json::to_value(Summary::of(&accepted.policies)).unwrap();
            assert_eq!(summary["bundle_version"], 1);
        }
        assert!(unsigned_loader().accept(&json, NOW, None).is_ok(), "{name}");
        count += 1;
    }
    assert_eq!(count, 5);
}

fn expected_hints(name: &str) -> &'static [&'static str] {
    if name == "tenants.yaml" {
        &["one-counter-for-all"]
    } else {
        &[]
    }
}

#[test]
fn a_bundle_whose_own_test_fails_is_refused() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/require.yaml")).unwrap();
    let authored = author::read(
        "require.yaml",
        &text.replace("burst: 10", "burst: 9"),
        author::Format::Yaml,
    )
    .unwrap();
    let refused = unsigned_loader()
        .accept(&authored.canonical_json().unwrap(), NOW, None)
        .unwrap_err();
    assert_eq!(refused.reason, RefusedReason::TestsFailed);
    assert!(refused.detail.contains("ten at once"), "{refused}");
}

#[test]
fn hints_have_places_in_the_authors_text() {
    let text = "bundle_version: 1
kill_switches:
  - { scope_key: \"jwt:sub\", scope_value: a, expires_at: 2020-01-01T00:00:00Z }
  - { scope_key: \"jwt:sub\", scope_value: a }
policies:
  - id: a
    spec: { selector: { pathPrefix: /, methods: [GET] }, rules: [], fallback_limit: &rule { limit_keys: [\"jwt:sub\"], algorithm: token_bucket, algorithm_config: { rps: 1, burst: 1 } } }
  - id: b
    spec:
      selector: { pathPrefix: /, methods: [GET] }
      rules: [{ name: r, limit_keys: [\"jwt:sub\"], on_missing: skip, algorithm: token_bucket, algorithm_config: { rps: 1, burst: 1 } }]
";
    let authored =
        author::read("hints.yaml", text, author::Format::Yaml).unwrap_or_else(|e| panic!("{}", e.render_text()));
    let hints = lint::hints(&authored.bundle, NOW);
    let codes: Vec<_> = hints.iter().map(|hint| hint.code).collect();
    let expected = [
        "no-expiry",
        "expired-switch",
        "duplicate-switch",
        "no-rules",
        "idle-fallback",
        "head-not-covered",
        "head-not-covered",
        "missing-key-skips",
        "duplicate-selector",
    ];
    assert_eq!(codes, expected);
    let told = authored.explain(&hints).render_text();
    assert!(told.contains("hints.yaml:3:5"), "{told}");
}

#[test]
fn the_schema_knows_the_algorithms_numbers() {
    let schema = serde_json::to_value(schemars::schema_for!(Bundle)).unwrap();
    assert_eq!(
        schema["$defs"]["Rule"]["properties"]["algorithm_config"]["$ref"],
        "#/$defs/AlgorithmConfig"
    );
    let known = schema["$defs"]["AlgorithmConfig"]["anyOf"].as_array().unwrap();
    assert_eq!(known.len(), portcullis_bundles::algorithm::NAMES.len());
    assert_eq!(known[0]["$ref"], "#/$defs/TokenBucketConfig");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn tools_can_look_at_what_they_cannot_verify() {
    let text = b"{}";
    for (bytes, ids) in [
        (text.to_vec(), vec![]),
        (sign_line(text, &shared()).unwrap().unwrap(), vec![]),
        (
            sign_dsse(text, &[release(), shared()]).unwrap(),
            vec!["release", "shared"],
        ),
    ] {
        let (payload, named) = payload_unverified(&bytes).unwrap();
        assert_eq!((payload.as_ref(), named), (&text[..], ids));
    }
    assert!(payload_unverified(b"bundle_version: 1\n").is_err());
}
