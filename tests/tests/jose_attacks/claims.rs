//! Claims that must not pass under a good signature.

use portcullis_e2e::idp::{Idp, now};
use serde_json::{Value, json};

use super::{Case, World, case};

#[test]
fn claims() {
    let world = World::new();
    let (soon, iss) = (now() + 3600, Idp::ISSUER);
    let table: Vec<(&'static str, Vec<Value>)> = vec![
        (
            "issuer_unknown",
            vec![
                json!({ "iss": null }),
                json!({ "iss": "" }),
                json!({ "iss": [iss] }),
                json!({ "iss": { "a": iss } }),
                json!({ "iss": 1 }),
                json!({ "iss": "https://id.example.com" }),
                json!({ "iss": "HTTPS://ID.EXAMPLE.COM/" }),
                json!({ "iss": format!("{iss}\0") }),
                json!({ "iss": "https://id.example.com.evil.example/" }),
            ],
        ),
        (
            "audience_mismatch",
            vec![
                json!({ "aud": null }),
                json!({ "aud": "" }),
                json!({ "aud": [] }),
                json!({ "aud": [""] }),
                json!({ "aud": "API" }),
                json!({ "aud": "api api-2" }),
                json!({ "aud": ["else", "apix"] }),
                json!({ "aud": "client-of-an-id-token", "nonce": "n", "at_hash": "h" }),
            ],
        ),
        (
            "claims_invalid",
            vec![
                json!({ "aud": 1 }),
                json!({ "aud": { "api": true } }),
                json!({ "aud": ["api", 1] }),
                json!({ "aud": [["api"]] }),
                json!({ "aud": true }),
                json!({ "sub": 1 }),
                json!({ "sub": ["alice"] }),
                json!({ "sub": { "id": "alice" } }),
                json!({ "exp": null }),
                json!({ "exp": soon.to_string() }),
                json!({ "exp": [soon] }),
                json!({ "exp": true }),
                json!({ "exp": {} }),
                json!({ "exp": -1 }),
                json!({ "exp": -1.5 }),
                json!({ "exp": 253_402_300_800_u64 }),
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
            "token_expired",
            vec![
                json!({ "exp": 0 }),
                json!({ "exp": now() - 3600 }),
                json!({ "exp": 1.5 }),
            ],
        ),
        (
            "token_not_yet_valid",
            vec![
                json!({ "nbf": soon }),
                json!({ "iat": soon }),
                json!({ "nbf": 253_402_300_799_u64, "exp": 253_402_300_799_u64 }),
            ],
        ),
    ];
    let cases: Vec<Case> = table
        .iter()
        .flat_map(|(reason, changes)| {
            changes
                .iter()
                .map(|changes| case(changes.to_string(), world.claims(changes), reason))
        })
        .collect();
    assert_eq!(world.refuses(&cases), 48);
}

#[test]
fn payloads_that_are_no_claims() {
    let world = World::new();
    let good = format!("\"iss\":\"{}\",\"aud\":\"api\"", Idp::ISSUER);
    let exp = now() + 3600;
    let payloads = [
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
        format!("{{{good},\"exp\":{exp},\"exp\":1}}"),
        format!("{{{good},\"exp\":{exp},\"iss\":\"{}\"}}", Idp::ISSUER),
        format!("{{{good},\"exp\":{exp},\"sub\":\"a\",\"s\\u0075b\":\"b\"}}"),
        format!("{{{good},\"exp\":{exp},\"x\":{{\"a\":1,\"a\":2}}}}"),
        format!("{{{good},\"exp\":{exp}}}}}"),
        format!("{{{good},\"exp\":{exp},}}"),
        format!("{{{good},\"exp\":{exp},\"org\":123456789012345678901234567890}}"),
        format!("{{{good},\"exp\":{exp},\"a\":{}1{}}}", "[".repeat(16), "]".repeat(16)),
    ];
    let cases: Vec<Case> = payloads
        .iter()
        .map(|payload| case(payload, world.payload(payload), "token_malformed"))
        .collect();
    assert_eq!(world.refuses(&cases), 19);
}
