//! Claims that must not pass under a good signature (RFC 7519, 4.1; RFC 8725, 3.8 to 3.11), and the settings of an
//! issuer that decide about them.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use jose::{ISSUER, NOW, Signer, at, claims, issuer, trusted};
use portcullis_config::identity::Algorithm;
use portcullis_config::units::Duration;
use portcullis_filters::jwt::issuer::Trusted;
use portcullis_filters::jwt::refusal::Refusal;
use portcullis_filters::jwt::verify::{Failure, verify};
use serde_json::{Value, json};

const HEADER: &str = r#"{"alg":"EdDSA","kid":"ed"}"#;

fn outcome(signer: &Signer, issuer: &Trusted, payload: &str) -> Option<Failure> {
    let token = signer.token_of(HEADER, payload);
    verify(token.as_bytes(), std::slice::from_ref(issuer), at(NOW)).err()
}

#[test]
fn claims_that_are_refused() {
    let signer = Signer::ed25519(1);
    let issuer = trusted("main", &issuer(&[Algorithm::EdDSA]), &[signer.jwk("ed", json!({}))]);
    let table: Vec<(Refusal, Vec<Value>)> = vec![
        (
            Refusal::Issuer,
            vec![
                json!({ "iss": null }),
                json!({ "iss": "" }),
                json!({ "iss": [ISSUER] }),
                json!({ "iss": { "a": ISSUER } }),
                json!({ "iss": 1 }),
                json!({ "iss": "https://id.example.com" }),
                json!({ "iss": "https://id.example.com//" }),
                json!({ "iss": "HTTPS://ID.EXAMPLE.COM/" }),
                json!({ "iss": "https://id.example.com/\u{0}" }),
                json!({ "iss": "https://id.example.com.evil.example/" }),
            ],
        ),
        (
            Refusal::Audience,
            vec![
                json!({ "aud": "" }),
                json!({ "aud": [] }),
                json!({ "aud": [""] }),
                json!({ "aud": "API" }),
                json!({ "aud": "api api-2" }),
                json!({ "aud": "api," }),
                json!({ "aud": ["else", "apix"] }),
                json!({ "aud": "client-of-an-id-token", "nonce": "n", "at_hash": "h" }),
            ],
        ),
        (
            Refusal::Claims,
            vec![
                json!({ "aud": null }),
                json!({ "aud": 1 }),
                json!({ "aud": { "api": true } }),
                json!({ "aud": ["api", 1] }),
                json!({ "aud": [["api"]] }),
                json!({ "aud": [null, "api"] }),
                json!({ "aud": true }),
                json!({ "sub": 1 }),
                json!({ "sub": ["u1"] }),
                json!({ "sub": { "id": "u1" } }),
                json!({ "exp": null }),
                json!({ "exp": "1700000600" }),
                json!({ "exp": [NOW + 600] }),
                json!({ "exp": true }),
                json!({ "exp": {} }),
                json!({ "exp": -1 }),
                json!({ "exp": -1.5 }),
                json!({ "exp": 253_402_300_800_i64 }),
                json!({ "exp": i64::MAX }),
                json!({ "exp": u64::MAX }),
                json!({ "nbf": "1700000000" }),
                json!({ "nbf": -1 }),
                json!({ "nbf": [0] }),
                json!({ "nbf": false }),
                json!({ "iat": "yesterday" }),
                json!({ "iat": -0.5 }),
                json!({ "iat": {} }),
                json!({ "iat": u64::MAX }),
            ],
        ),
        (
            Refusal::Expired,
            vec![
                json!({ "exp": 0 }),
                json!({ "exp": NOW - 30 }),
                json!({ "exp": NOW - 3600 }),
                json!({ "exp": NOW as f64 - 29.5 }),
                json!({ "exp": 1.5 }),
            ],
        ),
        (
            Refusal::NotYetValid,
            vec![
                json!({ "nbf": NOW + 31 }),
                json!({ "nbf": NOW as f64 + 30.5 }),
                json!({ "nbf": 253_402_300_799_i64, "exp": 253_402_300_799_i64 }),
                json!({ "iat": NOW + 31 }),
                json!({ "iat": NOW + 1_000_000_000, "exp": NOW + 1_000_000_600 }),
            ],
        ),
    ];
    let mut count = 0;
    for (refusal, cases) in table {
        for extra in cases {
            let mut all = claims(json!({}));
            for (name, value) in extra.as_object().unwrap() {
                all[name] = value.clone();
            }
            let expected = Some(Failure::Refused(refusal));
            assert_eq!(outcome(&signer, &issuer, &all.to_string()), expected, "{extra}");
            count += 1;
        }
    }
    assert_eq!(count, 56);
    for (name, refusal) in [
        ("iss", Refusal::Issuer),
        ("aud", Refusal::Audience),
        ("exp", Refusal::Claims),
    ] {
        let without = claims(json!({ name: null }));
        assert_eq!(
            outcome(&signer, &issuer, &without.to_string()),
            Some(Failure::Refused(refusal)),
            "no {name}"
        );
    }
}

#[test]
fn payloads_that_are_no_claims() {
    let signer = Signer::ed25519(1);
    let issuer = trusted("main", &issuer(&[Algorithm::EdDSA]), &[signer.jwk("ed", json!({}))]);
    let good = format!("\"iss\":\"{ISSUER}\",\"aud\":\"api\"");
    for payload in [
        "null".to_owned(),
        "1".into(),
        "\"text\"".into(),
        "[]".into(),
        "plain text".into(),
        "\u{1f}\u{8b}".into(),
        format!("{{{good},\"exp\":1e308}}"),
        format!("{{{good},\"exp\":1e400}}"),
        format!("{{{good},\"exp\":NaN}}"),
        format!("{{{good},\"exp\":Infinity}}"),
        format!("{{{good},\"exp\":0x7fffffff}}"),
        format!("{{{good},\"exp\":1700000600,\"exp\":1}}"),
        format!("{{{good},\"exp\":1700000600,\"iss\":\"{ISSUER}\"}}"),
        format!("{{{good},\"exp\":1700000600,\"sub\":\"a\",\"s\\u0075b\":\"b\"}}"),
        format!("{{{good},\"exp\":1700000600,\"x\":{{\"a\":1,\"a\":2}}}}"),
        format!("{{{good},\"exp\":1700000600}} "),
        format!("{{{good},\"exp\":1700000600}}}}"),
        format!("{{{good},\"exp\":1700000600,}}"),
        format!("{{{good},\"exp\":1700000600,\"org\":123456789012345678901234567890}}"),
        format!(
            "{{{good},\"exp\":1700000600,\"a\":{}1{}}}",
            "[".repeat(16),
            "]".repeat(16)
        ),
    ] {
        let expected = (!payload.ends_with("} ")).then_some(Failure::Refused(Refusal::Malformed));
        assert_eq!(outcome(&signer, &issuer, &payload), expected, "{payload}");
    }
}

#[test]
fn an_issuer_decides_about_types_and_leeway() {
    let signer = Signer::ed25519(1);
    let mut written = issuer(&[Algorithm::EdDSA]);
    let try_type = |types: Option<&[&str]>, typ: Value| {
        let mut written = issuer(&[Algorithm::EdDSA]);
        written.types = types.map(|types| types.iter().map(ToString::to_string).collect());
        let issuer = trusted("main", &written, &[signer.jwk("ed", json!({}))]);
        let mut header = json!({ "alg": "EdDSA", "kid": "ed", "typ": typ });
        if typ.is_null() {
            header.as_object_mut().unwrap().remove("typ");
        }
        verify(signer.token(&header, &claims(json!({}))).as_bytes(), &[issuer], at(NOW)).is_ok()
    };
    for (types, typ, expected) in [
        (Some(&["at+jwt"][..]), json!("at+jwt"), true),
        (Some(&["at+jwt"]), json!("application/at+JWT"), true),
        (Some(&["application/at+jwt"]), json!("at+jwt"), true),
        (Some(&["at+jwt"]), json!("JWT"), false),
        (Some(&["at+jwt"]), json!(null), false),
        (Some(&["at+jwt", "JWT"]), json!("jwt"), true),
        (Some(&[]), json!(null), false),
        (None, json!(null), true),
        (None, json!("dpop+jwt"), false),
    ] {
        assert_eq!(try_type(types, typ.clone()), expected, "{types:?} {typ}");
    }
    written.leeway = Duration::from_secs(0);
    let strict = trusted("main", &written, &[signer.jwk("ed", json!({}))]);
    for (extra, expected) in [
        (json!({ "exp": NOW + 1 }), None),
        (json!({ "exp": NOW }), Some(Failure::Refused(Refusal::Expired))),
        (json!({ "nbf": NOW }), None),
        (json!({ "nbf": NOW + 1 }), Some(Failure::Refused(Refusal::NotYetValid))),
        (json!({ "iat": NOW + 1 }), Some(Failure::Refused(Refusal::NotYetValid))),
    ] {
        assert_eq!(
            outcome(&signer, &strict, &claims(extra.clone()).to_string()),
            expected,
            "{extra}"
        );
    }
}
