//! What is accepted and what is refused, with which code: sizes, versions, times, and the way back after a restart.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

mod support;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::envelope::{sign_dsse, sign_line};
use portcullis_bundles::loader::{CLOCK_LEEWAY_S, Loader, RefusedReason, Settings};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_bundles::version::{Floor, Seen, Standing};
use serde_json::{Value, json};

use support::{NOW, Naive, loader, release, settings, shared, trust};

fn sign(bundle: &Value) -> Vec<u8> {
    sign_dsse(bundle.to_string().as_bytes(), &[release()]).unwrap()
}

fn version(version: u64) -> Vec<u8> {
    sign(&json!({ "bundle_version": version, "policies": [] }))
}

fn floor(version: u64, text: &str) -> Floor {
    Floor {
        version,
        digest: Digest::of(text.as_bytes()),
    }
}

fn reason(loader: &Loader, bytes: &[u8], floor: Option<Floor>) -> RefusedReason {
    loader.accept(bytes, NOW, floor).expect_err("accepted").reason
}

#[test]
fn versions_grow_and_the_same_text_is_the_same() {
    let loader = loader();
    let accepted = loader.accept(&version(7), NOW, None).unwrap();
    assert_eq!((accepted.standing, accepted.floor.version), (Standing::New, 7));
    let seven = Some(accepted.floor);
    assert_eq!(loader.accept(&version(8), NOW, seven).unwrap().standing, Standing::New);
    assert_eq!(loader.accept(&version(7), NOW, seven).unwrap().standing, Standing::Same);
    // The same text under another signature is the same text.
    let line = sign_line(
        json!({ "bundle_version": 7, "policies": [] }).to_string().as_bytes(),
        &shared(),
    );
    assert_eq!(
        loader.accept(&line.unwrap().unwrap(), NOW, seven).unwrap().standing,
        Standing::Same
    );
    assert_eq!(reason(&loader, &version(6), seven), RefusedReason::VersionNotMonotonic);
    let other = sign(&json!({ "bundle_version": 7, "policies": [], "kill_switches": [] }));
    assert_eq!(reason(&loader, &other, seven), RefusedReason::VersionNotMonotonic);
}

#[test]
fn jumps_and_sizes_are_bounded() {
    let careful = Settings {
        max_version_jump: Some(10),
        ..settings()
    };
    let loader = Loader::new(careful, trust(), Box::new(Naive));
    let seven = Some(floor(7, "seven"));
    assert!(loader.accept(&version(17), NOW, seven).is_ok());
    assert_eq!(reason(&loader, &version(18), seven), RefusedReason::VersionJump);
    assert!(
        loader.accept(&version(1 << 53), NOW, None).is_ok(),
        "the first may be any"
    );
    let bytes = version(1);
    let exact = Settings {
        max_bytes: bytes.len() as u64,
        ..settings()
    };
    assert!(
        Loader::new(exact, trust(), Box::new(Naive))
            .accept(&bytes, NOW, None)
            .is_ok()
    );
    let small = Settings {
        max_bytes: bytes.len() as u64 - 1,
        ..settings()
    };
    assert_eq!(
        reason(&Loader::new(small, trust(), Box::new(Naive)), &bytes, None),
        RefusedReason::TooLarge
    );
}

#[test]
fn times_are_compared_when_a_bundle_is_new() {
    let loader = loader();
    let at = |seconds: i64| Timestamp::from_unix(seconds).to_string();
    for (field, seconds, expected) in [
        ("expires_at", NOW + 1, None),
        ("expires_at", NOW, Some(RefusedReason::BundleExpired)),
        ("not_before", NOW, None),
        ("not_before", NOW + 1, Some(RefusedReason::NotYetValid)),
        ("issued_at", NOW + CLOCK_LEEWAY_S, None),
        (
            "issued_at",
            NOW + CLOCK_LEEWAY_S + 1,
            Some(RefusedReason::IssuedInFuture),
        ),
    ] {
        let bytes = sign(&json!({ "bundle_version": 1, "policies": [], field: at(seconds) }));
        let refused = loader.accept(&bytes, NOW, None).err().map(|refused| refused.reason);
        assert_eq!(refused, expected, "{field} {seconds}");
    }
}

#[test]
fn a_clock_that_is_a_year_behind_refuses_the_new_and_keeps_the_old() {
    let loader = loader();
    let year = 365 * 86_400;
    let at = Timestamp::from_unix(NOW).to_string();
    let bytes = sign(&json!({ "bundle_version": 2, "policies": [], "issued_at": at, "not_before": at }));
    assert_eq!(
        loader.accept(&bytes, NOW - year, None).unwrap_err().reason,
        RefusedReason::IssuedInFuture
    );
    let accepted = loader.accept(&bytes, NOW, None).unwrap();
    assert!(loader.restore(&bytes, accepted.floor, NOW - year).is_ok());
    assert_eq!(
        loader
            .accept(&bytes, NOW - year, Some(accepted.floor))
            .unwrap()
            .standing,
        Standing::Same
    );
}

#[test]
fn what_was_kept_is_verified_again_and_may_have_expired() {
    let loader = loader();
    let until = Timestamp::from_unix(NOW + 10).to_string();
    let bytes = sign(&json!({ "bundle_version": 3, "policies": [], "expires_at": until }));
    let accepted = loader.accept(&bytes, NOW, None).unwrap();
    assert!(!accepted.policies.is_expired(NOW + 9));
    let restored = loader.restore(&bytes, accepted.floor, NOW + 1000).unwrap();
    assert!(restored.policies.is_expired(NOW + 10));
    assert_eq!(restored.floor, accepted.floor);
    let wrong = loader.restore(&bytes, floor(4, "four"), NOW).unwrap_err();
    assert_eq!(wrong.reason, RefusedReason::VersionNotMonotonic);
    let mut flipped = bytes.clone();
    flipped[20] ^= 1;
    assert!(loader.restore(&flipped, accepted.floor, NOW).is_err());
}

#[test]
fn one_bad_policy_refuses_the_whole_bundle() {
    let good = |id: &str| json!({ "id": id, "spec": { "selector": { "pathPrefix": "/" }, "rules": [] } });
    let mut bad = good("bad");
    bad["spec"]["selector"] = json!({ "pathPrefix": "no-slash" });
    let bytes = sign(&json!({ "bundle_version": 1, "policies": [good("a"), bad, good("b")] }));
    let refused = loader().accept(&bytes, NOW, None).unwrap_err();
    assert_eq!(refused.reason, RefusedReason::Invalid);
    assert!(
        refused.detail.starts_with("/policies/1/spec/selector/pathPrefix: "),
        "{refused}"
    );
    assert_eq!(refused.explanation.diagnostics.len(), 1);
}

#[test]
fn signed_text_that_is_no_bundle_is_invalid() {
    let deep = format!(
        "{{\"bundle_version\":1,\"policies\":{}1{}}}",
        "[".repeat(5000),
        "]".repeat(5000)
    );
    for text in ["null", "[]", "7", "{}", "\"x\"", "[1,[]]", " ", "\u{feff}{}", &deep] {
        let signed = sign_dsse(text.as_bytes(), &[release()]).unwrap();
        assert_eq!(reason(&loader(), &signed, None), RefusedReason::Invalid, "{text}");
    }
    let yaml = sign_dsse(b"bundle_version: 1\npolicies: []\n", &[release()]).unwrap();
    assert_eq!(reason(&loader(), &yaml, None), RefusedReason::Invalid);
}

#[test]
fn a_bundle_for_others_is_refused_before_its_version_counts() {
    let named = |names: &[&str]| {
        let settings = Settings {
            names: Some(names.iter().map(|name| (*name).into()).collect()),
            ..settings()
        };
        Loader::new(settings, trust(), Box::new(Naive))
    };
    let for_two = sign(&json!({ "bundle_version": 7, "policies": [], "audience": ["edge-1", "eu"] }));
    for names in [&["edge-1"][..], &["us", "eu"]] {
        let accepted = named(names).accept(&for_two, NOW, None).unwrap();
        assert!(named(names).restore(&for_two, accepted.floor, NOW).is_ok());
        assert_eq!(
            named(&["edge-2"])
                .restore(&for_two, accepted.floor, NOW)
                .unwrap_err()
                .reason,
            RefusedReason::AudienceMismatch
        );
    }
    for names in [&[][..], &["edge-2"], &["Edge-1"], &["edge-11"]] {
        for seen in [None, Some(floor(9, "nine"))] {
            assert_eq!(reason(&named(names), &for_two, seen), RefusedReason::AudienceMismatch);
        }
    }
    assert!(named(&[]).accept(&version(7), NOW, None).is_ok(), "it is for everybody");
    assert!(
        loader().accept(&for_two, NOW, None).is_ok(),
        "whom it is for is not asked"
    );
}

#[test]
fn what_was_rolled_back_is_refused_for_good() {
    let accepted = loader().accept(&version(7), NOW, None).unwrap().floor;
    let seen = Seen {
        accepted: Some(accepted),
        tried: None,
        rolled_back: Some(loader().accept(&version(8), NOW, None).unwrap().floor),
    };
    let refused = |bytes: &[u8]| loader().accept(bytes, NOW, seen).err().map(|refused| refused.reason);
    assert_eq!(refused(&version(8)), Some(RefusedReason::RolledBack));
    assert_eq!(refused(&version(6)), Some(RefusedReason::VersionNotMonotonic));
    let other = sign(&json!({ "bundle_version": 8, "policies": [], "require": [] }));
    assert_eq!(refused(&other), Some(RefusedReason::VersionNotMonotonic));
    assert_eq!((refused(&version(7)), refused(&version(9))), (None, None));
}

#[test]
fn codes_are_stable() {
    let codes: Vec<_> = RefusedReason::ALL.iter().map(|reason| reason.as_str()).collect();
    let expected = [
        "too_large",
        "signed_bundle_format_error",
        "unknown_key",
        "invalid_signature",
        "invalid",
        "unsupported",
        "audience_mismatch",
        "version_not_monotonic",
        "rolled_back",
        "version_jump",
        "issued_in_future",
        "not_yet_valid",
        "bundle_expired",
        "override_expired",
        "tests_failed",
    ];
    assert_eq!(codes, expected);
}
