//! Tokens of the wrong form, and signatures that are none.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use jose::world::world;
use jose::{b64, claims};
use portcullis_filters::jwt::refusal::Refusal;
use serde_json::json;

#[test]
fn forms() {
    let world = world();
    let good = world.header(json!({}));
    let [head, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let flat = json!({ "protected": head, "payload": payload, "signature": signature }).to_string();
    let general = json!({ "payload": payload, "signatures": [{ "protected": head, "signature": signature }] });
    let bare = format!("{head}.{payload}");
    let nested = world.ed.token_of(r#"{"alg":"EdDSA","kid":"ed"}"#, &good);
    let big = world.claims(json!({ "x": "y".repeat(1 << 20) }));
    let deep = world.raw(&format!("{{\"a\":{}1{}}}", "[".repeat(3000), "]".repeat(3000)));
    let table: Vec<(&str, String, Refusal)> = vec![
        ("nothing", String::new(), Refusal::Malformed),
        ("a dot", ".".into(), Refusal::Malformed),
        ("two dots", "..".into(), Refusal::Malformed),
        ("no signature part", bare.clone(), Refusal::Malformed),
        ("empty signature", format!("{bare}."), Refusal::Signature),
        ("empty payload", format!("{head}..{signature}"), Refusal::Malformed),
        ("empty header", format!(".{payload}.{signature}"), Refusal::Malformed),
        ("a dot at the end", format!("{good}."), Refusal::Malformed),
        ("a dot in front", format!(".{good}"), Refusal::Malformed),
        ("three dots", format!("{good}.x"), Refusal::Malformed),
        (
            "five parts",
            format!("{head}.{payload}.{payload}.{payload}.{signature}"),
            Refusal::Malformed,
        ),
        ("two tokens", format!("{good},{good}"), Refusal::Malformed),
        ("flattened JSON", flat, Refusal::Malformed),
        ("general JSON", general.to_string(), Refusal::Malformed),
        ("in quotes", format!("\"{good}\""), Refusal::Malformed),
        ("padding", format!("{head}.{payload}.{signature}=="), Refusal::Malformed),
        (
            "padding in the payload",
            format!("{head}.{payload}=.{signature}"),
            Refusal::Malformed,
        ),
        ("a space", format!("{head}.{payload}. {signature}"), Refusal::Malformed),
        ("a newline", format!("{good}\n"), Refusal::Malformed),
        ("a tab in front", format!("\t{good}"), Refusal::Malformed),
        (
            "a question mark",
            format!("{head}?.{payload}.{signature}"),
            Refusal::Malformed,
        ),
        ("a percent escape", good.replace('.', "%2E"), Refusal::Malformed),
        (
            "not ASCII",
            format!("{head}.{payload}.{signature}é"),
            Refusal::Malformed,
        ),
        ("NUL", format!("{good}\0"), Refusal::Malformed),
        (
            "plain base64",
            format!("{head}.{payload}.+{}", &signature[1..]),
            Refusal::Malformed,
        ),
        (
            "one letter too many",
            format!("{head}.{payload}.{signature}AAA"),
            Refusal::Malformed,
        ),
        (
            "a byte more",
            format!(
                "{head}.{payload}.{}",
                b64([&world.ed.sign(bare.as_bytes())[..], &[0]].concat())
            ),
            Refusal::Signature,
        ),
        (
            "a byte less",
            format!("{head}.{payload}.{}", b64(&world.ed.sign(bare.as_bytes())[..63])),
            Refusal::Signature,
        ),
        ("nested", nested, Refusal::Malformed),
        ("a megabyte", big, Refusal::TooLong),
        ("a megabyte of dots", ".".repeat(1 << 20), Refusal::TooLong),
        ("a byte too long", "a".repeat((16 << 10) + 1), Refusal::TooLong),
        ("as long as may be", "a".repeat(16 << 10), Refusal::Malformed),
        ("deep", deep, Refusal::Malformed),
    ];
    assert_eq!(world.refused(&table), 34);
    // The last letter of a 64-byte signature has four bits that say nothing; another letter must not mean the same.
    let stray = "BCDEFGHIJKLMNOP"
        .chars()
        .map(|c| format!("{head}.{payload}.{}{c}", &signature[..signature.len() - 1]));
    for token in stray {
        assert!(world.outcome(&token).is_some(), "{token}");
    }
}

#[test]
fn signatures() {
    let world = world();
    let signed = |alg: &str, kid: &str| {
        format!(
            "{}.{}",
            b64(json!({ "alg": alg, "kid": kid }).to_string()),
            b64(claims(json!({})).to_string())
        )
    };
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let n: Vec<u8> = (0..64)
        .step_by(2)
        .map(|at| u8::from_str_radix(&order[at..at + 2], 16).unwrap())
        .collect();
    let mut one = vec![0; 32];
    one[31] = 1;
    let zero = vec![0; 32];
    let text = signed("ES256", "p256");
    let mut table = Vec::new();
    for (name, r, s) in [
        ("psychic: r = s = 0", &zero, &zero),
        ("r = 0", &zero, &one),
        ("s = 0", &one, &zero),
        ("r = s = 1", &one, &one),
        ("r = n", &n, &one),
        ("s = n", &one, &n),
        ("r = s = n", &n, &n),
        ("r = n, s = 0", &n, &zero),
    ] {
        table.push((
            name,
            format!("{text}.{}", b64([r.as_slice(), s].concat())),
            Refusal::Signature,
        ));
    }
    let good = world.p256.sign(text.as_bytes());
    let der = [&[0x30, 68, 2, 32][..], &good[..32], &[2, 32], &good[32..]].concat();
    table.push(("DER", format!("{text}.{}", b64(der)), Refusal::Signature));
    table.push((
        "r and s with a zero in front",
        format!("{text}.{}", b64([&[0], &good[..32], &[0], &good[32..]].concat())),
        Refusal::Signature,
    ));
    table.push((
        "halves swapped",
        format!("{text}.{}", b64([&good[32..], &good[..32]].concat())),
        Refusal::Signature,
    ));
    table.push(("half", format!("{text}.{}", b64(&good[..32])), Refusal::Signature));
    table.push((
        "too long",
        format!("{text}.{}", b64([good.as_slice(); 40].concat())),
        Refusal::Signature,
    ));
    let p384 = format!("{}.{}", signed("ES384", "p384"), b64(vec![0; 96]));
    table.push(("psychic on P-384", p384, Refusal::Signature));
    let ed = signed("EdDSA", "ed");
    table.push(("Ed25519: zeros", format!("{ed}.{}", b64([0; 64])), Refusal::Signature));
    let mut identity = [0; 64];
    identity[0] = 1;
    table.push((
        "Ed25519: R = 1, S = 0",
        format!("{ed}.{}", b64(identity)),
        Refusal::Signature,
    ));
    table.push((
        "Ed25519: S + L",
        format!("{ed}.{}", b64(add_order(world.ed.sign(ed.as_bytes())))),
        Refusal::Signature,
    ));
    let rsa = signed("RS256", "rsa");
    for (name, bytes) in [
        ("RSA: zeros", vec![0; 256]),
        ("RSA: one", [vec![0; 255], vec![1]].concat()),
        ("RSA: ff", vec![255; 256]),
    ] {
        table.push((name, format!("{rsa}.{}", b64(bytes)), Refusal::Signature));
    }
    let good = world.rsa.sign(rsa.as_bytes());
    table.push((
        "RSA: a zero in front",
        format!("{rsa}.{}", b64([&[0], good.as_slice()].concat())),
        Refusal::Signature,
    ));
    table.push((
        "RSA: a byte short",
        format!("{rsa}.{}", b64(&good[1..])),
        Refusal::Signature,
    ));
    // Another payload or header under a good signature.
    let token = world.header(json!({}));
    let [head, payload, signature]: [&str; 3] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let admin = b64(claims(json!({ "sub": "admin" })).to_string());
    table.push((
        "payload exchanged",
        format!("{head}.{admin}.{signature}"),
        Refusal::Signature,
    ));
    let header = b64(r#"{"alg":"EdDSA","kid":"ed"}"#);
    table.push((
        "header exchanged",
        format!("{header}.{payload}.{signature}"),
        Refusal::Signature,
    ));
    assert_eq!(world.refused(&table), 24);
}

/// The same Ed25519 signature with S + L for S, as verifiers that do not reduce take it.
fn add_order(mut signature: Vec<u8>) -> Vec<u8> {
    let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
    let mut carry = 0;
    for (at, byte) in signature[32..].iter_mut().enumerate() {
        let sum = u16::from(*byte) + u16::from_str_radix(&order[2 * at..2 * at + 2], 16).unwrap() + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
    signature
}
