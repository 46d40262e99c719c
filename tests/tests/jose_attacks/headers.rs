//! What a header says: algorithms, key ids, keys of its own, types, extensions.

use portcullis_e2e::idp::{Idp, Key, encode, hmac_token, unsigned};
use ring::hmac::{HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use serde_json::json;

use super::{Case, OTHER, PARTNER, World, case, change};

#[test]
fn algorithms() {
    let world = World::new();
    let claims = Idp::claims("mallory");
    let mut cases: Vec<Case> = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", "none ", "", "null"] {
        let bare = unsigned(&json!({ "alg": alg }), &claims);
        cases.push(case(
            format!("alg {alg:?}, no signature"),
            format!("{bare}."),
            "alg_not_allowed",
        ));
        cases.push(case(
            format!("alg {alg:?}, signed"),
            world.header(&json!({ "alg": alg })),
            "alg_not_allowed",
        ));
    }
    for alg in [
        "hs256", "eddsa", "EDDSA", "Ed25519", "ES512", "ES521", "ES256K", "RSA-OAEP", "A256GCM", "dir",
    ] {
        cases.push(case(
            format!("alg {alg}"),
            world.header(&json!({ "alg": alg })),
            "alg_not_allowed",
        ));
    }
    for (alg, why) in [
        ("RS256", "unknown_key"),
        ("ES256", "unknown_key"),
        ("HS256", "alg_not_allowed"),
    ] {
        cases.push(case(
            format!("{alg} for an Ed25519 key"),
            world.header(&json!({ "alg": alg })),
            why,
        ));
    }
    cases.push(case(
        "ES384 for a P-256 key",
        world.ec.token_with(&json!({ "alg": "ES384", "kid": "ec" }), &claims),
        "alg_not_allowed",
    ));
    cases.push(case(
        "PS256 for an RS256 key",
        world.rsa.token_with(&json!({ "alg": "PS256", "kid": "rsa" }), &claims),
        "alg_not_allowed",
    ));
    for (alg, hash) in [("HS256", HMAC_SHA256), ("HS384", HMAC_SHA384), ("HS512", HMAC_SHA512)] {
        for (form, secret) in world.rsa.public_forms() {
            let token = hmac_token(hash, &secret, &json!({ "alg": alg, "kid": "rsa" }), &claims);
            cases.push(case(
                format!("{alg} with the RSA key as {form}"),
                token,
                "alg_not_allowed",
            ));
        }
    }
    for alg in [json!(1), json!(["EdDSA"]), json!({}), json!(true)] {
        cases.push(case(
            format!("alg {alg}"),
            world.header(&json!({ "alg": alg })),
            "token_malformed",
        ));
    }
    cases.push(case("no alg", world.header(&json!({ "alg": null })), "token_malformed"));
    let mut partners = claims.clone();
    change(&mut partners, &json!({ "iss": PARTNER }));
    let header = json!({ "alg": "HS256" });
    cases.push(case(
        "an empty secret",
        hmac_token(HMAC_SHA256, b"", &header, &partners),
        "signature_invalid",
    ));
    cases.push(case(
        "a short secret",
        hmac_token(HMAC_SHA256, b"secret", &header, &partners),
        "signature_invalid",
    ));
    cases.push(case(
        "a key for who shares a secret",
        world.ed.token(&partners),
        "alg_not_allowed",
    ));
    assert_eq!(world.refuses(&cases), 64);
}

#[test]
fn keys_of_its_own() {
    let world = World::new();
    let evil = Key::ed25519("ed");
    let token = |name: &str, value: serde_json::Value| {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed" });
        header[name] = value;
        case(
            name,
            evil.token_with(&header, &Idp::claims("mallory")),
            "signature_invalid",
        )
    };
    let url = format!("http://{}/keys", world.origin.address);
    let mut cases: Vec<Case> = vec![
        token("jwk", evil.jwk()),
        token("jku", json!(url)),
        token("x5u", json!(url)),
        token("x5c", json!(["MIIB"])),
        token("x5t", json!("AAAA")),
        token("x5t#S256", json!("AAAA")),
        token("epk", evil.jwk()),
    ];
    for kid in [
        "nope",
        "ED",
        "ed ",
        "../../../../dev/null",
        "/etc/passwd",
        "' OR 1=1 --",
        "https://evil.example.com/key",
        "ed\0",
        "\u{435}d",
        "",
        "$(id)",
    ] {
        cases.push(case(
            format!("kid {kid:?}"),
            world.header(&json!({ "kid": kid })),
            "unknown_key",
        ));
    }
    for kid in [
        json!(1),
        json!(["ed"]),
        json!({}),
        json!(true),
        json!("k".repeat(257)),
        json!("k".repeat(9000)),
    ] {
        let name = format!("kid {kid:.20}");
        cases.push(case(name, world.header(&json!({ "kid": kid })), "token_malformed"));
    }
    let mut of_other = Idp::claims("mallory");
    change(&mut of_other, &json!({ "iss": OTHER }));
    cases.push(case(
        "an issuer's key under another's name",
        world.ed.token(&of_other),
        "signature_invalid",
    ));
    cases.push(case(
        "and the other way round",
        world.other.token(&Idp::claims("mallory")),
        "signature_invalid",
    ));
    assert_eq!(world.refuses(&cases), 26);
}

#[test]
fn extensions_and_types() {
    let world = World::new();
    let mut cases: Vec<Case> = Vec::new();
    for crit in [
        json!([]),
        json!(["exp"]),
        json!(["x"]),
        json!(["alg"]),
        json!(["b64"]),
        json!("exp"),
        json!({}),
    ] {
        let header = json!({ "crit": crit, "exp": 4_000_000_000_u64, "x": 1 });
        cases.push(case(
            format!("crit {crit}"),
            world.header(&header),
            "header_not_supported",
        ));
    }
    for (name, changes) in [
        ("b64 false", json!({ "b64": false })),
        ("b64 true", json!({ "b64": true })),
        ("compressed", json!({ "zip": "DEF" })),
        ("of a JWE", json!({ "enc": "A256GCM" })),
        ("nested by its word", json!({ "cty": "JWT" })),
        ("nested in full", json!({ "cty": "application/jwt" })),
    ] {
        cases.push(case(name, world.header(&changes), "header_not_supported"));
    }
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
        cases.push(case(
            format!("typ {typ:?}"),
            world.header(&json!({ "typ": typ })),
            "type_not_allowed",
        ));
    }
    for typ in [json!(1), json!(["JWT"]), json!({})] {
        cases.push(case(
            format!("typ {typ}"),
            world.header(&json!({ "typ": typ })),
            "token_malformed",
        ));
    }
    let payload = Idp::claims("mallory").to_string();
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
        cases.push(case(
            format!("header {header:?}"),
            world.ed.token_of(header, &payload),
            "token_malformed",
        ));
    }
    let header = encode(br#"{"alg":"EdDSA","kid":"ed","b64":false,"crit":["b64"]}"#);
    let bare = format!("{header}.{}", payload.replace(' ', ""));
    let unencoded = format!("{bare}.{}", encode(&world.ed.sign(bare.as_bytes())));
    cases.push(case("an unencoded payload", unencoded, "token_malformed"));
    assert_eq!(world.refuses(&cases), 39);
}
