//! Attacks on tokens (RFC 8725 and what its readers thought of since): each token is refused for the right reason, and
//! its harmless sibling passes. Attacks on form and signature are in `jose_forms.rs`, on claims in `jose_claims.rs`, on
//! key sets in `jose_keys.rs`.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use jose::world::{OTHER, world};
use jose::{ALL, ISSUER, NOW, Signer, at, b64, claims, data, issuer, merge, trusted};
use portcullis_filters::jwt::refusal::Refusal;
use portcullis_filters::jwt::verify::{Failure, verify};
use serde_json::{Value, json};

#[test]
fn good_tokens_pass() {
    let world = world();
    let rsa = Signer::rsa("rsa-2048-a.pk8.der", "RS256");
    for (name, token) in [
        (
            "RS256",
            world
                .rsa
                .token(&json!({ "alg": "RS256", "kid": "rsa" }), &claims(json!({}))),
        ),
        (
            "ES256",
            world
                .p256
                .token(&json!({ "alg": "ES256", "kid": "p256" }), &claims(json!({}))),
        ),
        (
            "ES384",
            world
                .p384
                .token(&json!({ "alg": "ES384", "kid": "p384" }), &claims(json!({}))),
        ),
        ("EdDSA", world.header(json!({}))),
        (
            "no kid, one key fits",
            rsa.token(&json!({ "alg": "RS256" }), &claims(json!({}))),
        ),
        ("no typ", world.header(json!({ "typ": null }))),
        ("typ at+jwt", world.header(json!({ "typ": "at+jwt" }))),
        ("typ in full", world.header(json!({ "typ": "application/AT+jwt" }))),
        (
            "unknown header parameter",
            world.header(json!({ "x": { "y": [1, 2] } })),
        ),
        (
            "jku is ignored",
            world.header(json!({ "jku": "https://evil.example.com/" })),
        ),
        ("aud as a list", world.claims(json!({ "aud": ["else", "api-2"] }))),
        ("exp within leeway", world.claims(json!({ "exp": NOW - 29 }))),
        ("exp as a float", world.claims(json!({ "exp": NOW as f64 + 60.5 }))),
        (
            "exp in the year 9999",
            world.claims(json!({ "exp": 253_402_300_799_i64 })),
        ),
        ("nbf within leeway", world.claims(json!({ "nbf": NOW + 30 }))),
        ("iat within leeway", world.claims(json!({ "iat": NOW + 30 }))),
        ("no iat", world.claims(json!({ "iat": null }))),
        ("no sub", world.claims(json!({ "sub": null }))),
        (
            "white space",
            world.raw(&format!(
                " {{ \"iss\" : \"{ISSUER}\",\n\"aud\":\"api\",\"exp\":{} }}\t",
                NOW + 1
            )),
        ),
        (
            "another issuer",
            world
                .other
                .token(&json!({ "alg": "EdDSA" }), &claims(json!({ "iss": OTHER }))),
        ),
    ] {
        assert_eq!(world.outcome(&token), None, "{name}");
    }
    let token = world.claims(json!({ "exp": NOW + 60 }));
    let verified = verify(token.as_bytes(), &world.issuers, at(NOW)).unwrap();
    assert_eq!(
        (&*verified.claims.issuer, verified.claims.expires_at),
        ("main", NOW + 60)
    );
    assert_eq!(verified.claims.get("sub"), Some(&json!("u1")));
}

#[test]
fn every_algorithm_works_with_its_own_key_only() {
    let names = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA",
    ];
    let signer = |name: &str| match name {
        "ES256" => Signer::p256(),
        "ES384" => Signer::p384(),
        "EdDSA" => Signer::ed25519(7),
        rsa => Signer::rsa("rsa-2048-a.pk8.der", rsa),
    };
    for signed in names {
        let signer = signer(signed);
        let issuers = [trusted("main", &issuer(&ALL), &[signer.jwk("k", json!({}))])];
        let pinned = [trusted(
            "main",
            &issuer(&ALL),
            &[signer.jwk("k", json!({ "alg": signed }))],
        )];
        for said in names {
            let token = signer.token(&json!({ "alg": said, "kid": "k" }), &claims(json!({})));
            let (free, pinned) = (
                verify(token.as_bytes(), &issuers, at(NOW)),
                verify(token.as_bytes(), &pinned, at(NOW)),
            );
            assert_eq!(
                (free.is_ok(), pinned.is_ok()),
                (signed == said, signed == said),
                "{signed} said to be {said}"
            );
        }
    }
}

#[test]
fn algorithms() {
    let world = world();
    let none = |alg: &str| {
        format!(
            "{}.{}.",
            b64(json!({ "alg": alg }).to_string()),
            b64(claims(json!({})).to_string())
        )
    };
    let mut table: Vec<(&str, String, Refusal)> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
        table.push(("none without a signature", none(alg), Refusal::Algorithm));
        table.push((
            "none with a signature",
            world.header(json!({ "alg": alg })),
            Refusal::Algorithm,
        ));
    }
    for alg in [
        "HS256", "HS384", "HS512", "hs256", "eddsa", "EDDSA", "Ed25519", "ES512", "ES521", "ES256K", "RSA-OAEP",
    ] {
        table.push((
            "not in the list",
            world.header(json!({ "alg": alg })),
            Refusal::Algorithm,
        ));
    }
    // HMAC with what everybody knows of the RSA key: its JWK, its DER.
    let jwk = world.rsa.jwk("rsa", json!({}));
    let head = b64(r#"{"alg":"HS256","kid":"rsa"}"#);
    let signed = format!("{head}.{}", b64(claims(json!({})).to_string()));
    for secret in [
        jwk.to_string().into_bytes(),
        jwk["n"].as_str().unwrap().into(),
        data("keys/rsa-2048-a.pk8.der"),
        vec![],
    ] {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &secret);
        let token = format!("{signed}.{}", b64(ring::hmac::sign(&key, signed.as_bytes())));
        table.push(("HS256 with the public key", token, Refusal::Algorithm));
    }
    for alg in [json!(1), json!(["EdDSA"]), json!(null), json!({}), json!(true)] {
        let header = json!({ "alg": alg, "kid": "ed" });
        table.push((
            "alg is no text",
            world.ed.token(&header, &claims(json!({}))),
            Refusal::Malformed,
        ));
    }
    table.push(("no alg", world.header(json!({ "alg": null })), Refusal::Malformed));
    let ps = Signer::rsa("rsa-2048-a.pk8.der", "PS256");
    table.push((
        "PS for RS, said so",
        ps.token(&json!({ "alg": "PS256", "kid": "rsa" }), &claims(json!({}))),
        Refusal::Algorithm,
    ));
    let quiet = ps.token(&json!({ "alg": "RS256", "kid": "rsa" }), &claims(json!({})));
    table.push(("PS for RS, not said", quiet, Refusal::Signature));
    let other = Signer::rsa("rsa-2048-b.pk8.der", "RS256");
    table.push((
        "another RSA key",
        other.token(&json!({ "alg": "RS256", "kid": "rsa" }), &claims(json!({}))),
        Refusal::Signature,
    ));
    // Allowed for one issuer is not allowed for the other.
    let crossed = world.p256.token(
        &json!({ "alg": "ES256", "kid": "ed" }),
        &claims(json!({ "iss": OTHER })),
    );
    table.push(("the other issuer's algorithm", crossed, Refusal::Algorithm));
    assert_eq!(world.refused(&table), 39);
}

#[test]
fn headers() {
    let world = world();
    let attacker = Signer::ed25519(66);
    let forged = |extra: Value| {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed" });
        merge(&mut header, extra);
        attacker.token(&header, &claims(json!({})))
    };
    let mut table = vec![
        (
            "jwk",
            forged(json!({ "jwk": attacker.jwk("ed", json!({})) })),
            Refusal::Signature,
        ),
        (
            "jku",
            forged(json!({ "jku": "https://evil.example.com/jwks.json" })),
            Refusal::Signature,
        ),
        (
            "x5u",
            forged(json!({ "x5u": "https://evil.example.com/cert.pem" })),
            Refusal::Signature,
        ),
        ("x5c", forged(json!({ "x5c": ["MIIB"] })), Refusal::Signature),
        (
            "x5t",
            forged(json!({ "x5t": "AAAA", "x5t#S256": "AAAA" })),
            Refusal::Signature,
        ),
    ];
    for crit in [
        json!([]),
        json!(["exp"]),
        json!(["x"]),
        json!(["alg"]),
        json!(["b64"]),
        json!("exp"),
        json!(null),
        json!({}),
    ] {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed", "exp": NOW + 60, "x": 1 });
        header["crit"] = crit;
        table.push(("crit", world.ed.token(&header, &claims(json!({}))), Refusal::Extension));
    }
    let header = r#"{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}"#;
    let payload = claims(json!({})).to_string();
    let unencoded = format!("{}.{payload}", b64(header));
    let unencoded = format!("{unencoded}.{}", b64(world.ed.sign(unencoded.as_bytes())));
    table.push(("unencoded payload", unencoded, Refusal::Malformed));
    table.push(("b64 false", world.header(json!({ "b64": false })), Refusal::Extension));
    table.push(("b64 true", world.header(json!({ "b64": true })), Refusal::Extension));
    table.push(("compressed", world.header(json!({ "zip": "DEF" })), Refusal::Extension));
    table.push((
        "of a JWE",
        world.header(json!({ "enc": "A256GCM" })),
        Refusal::Extension,
    ));
    table.push((
        "nested by its word",
        world.header(json!({ "cty": "application/jwt" })),
        Refusal::Extension,
    ));
    for typ in [
        "JWS",
        "jose",
        "dpop+jwt",
        "secevent+jwt",
        "id_token",
        "logout+jwt",
        "application/jwt/x",
        "",
        "JWT ",
    ] {
        table.push(("typ", world.header(json!({ "typ": typ })), Refusal::Type));
    }
    for typ in [json!(1), json!(["JWT"]), json!({})] {
        table.push((
            "typ is no text",
            world.header(json!({ "typ": typ })),
            Refusal::Malformed,
        ));
    }
    for kid in [
        json!(1),
        json!(["ed"]),
        json!({}),
        json!(true),
        json!("k".repeat(257)),
        json!("x".repeat(9000)),
    ] {
        table.push((
            "kid is no text, or a huge one",
            world.header(json!({ "kid": kid })),
            Refusal::Malformed,
        ));
    }
    for header in [
        r#"{"alg":"EdDSA","alg":"none","kid":"ed"}"#,
        r#"{"alg":"none","alg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"EdDSA","\u0061lg":"EdDSA","kid":"ed"}"#,
        r#"{"alg":"EdDSA","kid":"ed","kid":"ed"}"#,
        r#"["alg","EdDSA"]"#,
        r#""EdDSA""#,
        "null",
        "",
        "{",
        "\u{feff}{\"alg\":\"EdDSA\",\"kid\":\"ed\"}",
        "{\"alg\":\"EdDSA\",\"kid\":\"ed\"}\0",
        r#"{"alg":"EdDSA","kid":"ed"}{"alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","kid":"ed","a":{"b":{"c":{"d":{}}}}}"#,
    ] {
        table.push(("header text", world.ed.token_of(header, &payload), Refusal::Malformed));
    }
    assert_eq!(world.refused(&table), 50);
}

#[test]
fn key_ids() {
    let world = world();
    for kid in [
        "nope",
        "ED",
        "ed ",
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "https://evil.example.com/key",
        "ed\0",
        "\u{0435}d",
        "",
        "$(id)",
        "p256",
    ] {
        assert_eq!(
            world.outcome(&world.header(json!({ "kid": kid }))),
            Some(Failure::UnknownKey(0)),
            "{kid}"
        );
    }
    // A key of one issuer under the name of the other.
    let crossed = world.ed.token(
        &json!({ "alg": "EdDSA", "kid": "ed" }),
        &claims(json!({ "iss": OTHER })),
    );
    assert_eq!(world.outcome(&crossed), Some(Failure::Refused(Refusal::Signature)));
    let crossed = world
        .other
        .token(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims(json!({})));
    assert_eq!(world.outcome(&crossed), Some(Failure::Refused(Refusal::Signature)));
}
