//! Key sets that must not be believed (RFC 7517; RFC 7518, 6), and the choice of a key.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use jose::{Signer, b64, data};
use portcullis_config::identity::Algorithm;
use portcullis_filters::jwt::jwk::{JwksError, Keys, NoKey, Unfit};
use portcullis_filters::jwt::material::Weakness;
use serde_json::{Value, json};

fn parse(document: &Value) -> Result<Keys, JwksError> {
    Keys::parse(document.to_string().as_bytes())
}

/// Why the only key of a set is left out; `None` if it is not.
fn unfit(key: Value) -> Option<Unfit> {
    match parse(&json!({ "keys": [key] })) {
        Ok(_) => None,
        Err(JwksError::NoUsableKey(omissions)) => Some(omissions[0].why),
        Err(other) => panic!("{other}"),
    }
}

/// A modulus of so many bits, with these lowest ones.
fn modulus(bits: usize, low: u8) -> String {
    let mut bytes = vec![0xa7; bits / 8];
    bytes[0] = 0x80;
    *bytes.last_mut().unwrap() = low;
    b64(bytes)
}

#[test]
fn keys_that_are_left_out() {
    let (rsa, p256, p384, ed) = (
        Signer::rsa("rsa-2048-a.pk8.der", "RS256"),
        Signer::p256(),
        Signer::p384(),
        Signer::ed25519(1),
    );
    let rsa = |extra: Value| unfit(rsa.jwk("k", extra));
    let p256 = |extra: Value| unfit(p256.jwk("k", extra));
    let ed = |extra: Value| unfit(ed.jwk("k", extra));
    for good in [
        rsa(json!({})),
        p256(json!({})),
        ed(json!({})),
        unfit(p384.jwk("k", json!({ "use": "sig" }))),
    ] {
        assert_eq!(good, None);
    }
    let weak = |weakness| Some(Unfit::Weak(weakness));
    let roca: Value = serde_json::from_slice(&data("wycheproof/json_web_key_test.json")).unwrap();
    let roca = roca["testGroups"][5]["public"]["keys"][0]["n"].clone();
    for (name, found, expected) in [
        (
            "oct",
            unfit(json!({ "kty": "oct", "k": "AAAA", "kid": "k" })),
            Some(Unfit::Symmetric),
        ),
        (
            "oct without a key",
            unfit(json!({ "kty": "oct" })),
            Some(Unfit::Symmetric),
        ),
        ("k in an RSA key", rsa(json!({ "k": "AAAA" })), Some(Unfit::Symmetric)),
        ("d in an RSA key", rsa(json!({ "d": "AAAA" })), Some(Unfit::Private)),
        ("p in an RSA key", rsa(json!({ "p": "AAAA" })), Some(Unfit::Private)),
        ("oth in an RSA key", rsa(json!({ "oth": [] })), Some(Unfit::Private)),
        ("d in an EC key", p256(json!({ "d": "AAAA" })), Some(Unfit::Private)),
        (
            "d in an Ed25519 key",
            ed(json!({ "d": null, "dq": "AAAA" })),
            Some(Unfit::Private),
        ),
        ("no kty", ed(json!({ "kty": null })), Some(Unfit::Malformed)),
        ("kty is no text", ed(json!({ "kty": ["OKP"] })), Some(Unfit::Malformed)),
        ("kty unknown", ed(json!({ "kty": "AKP" })), Some(Unfit::Unsupported)),
        (
            "kty in lower case",
            ed(json!({ "kty": "okp" })),
            Some(Unfit::Unsupported),
        ),
        ("use enc", ed(json!({ "use": "enc" })), Some(Unfit::Purpose)),
        ("use is no text", ed(json!({ "use": 1 })), Some(Unfit::Malformed)),
        (
            "key_ops without verify",
            ed(json!({ "key_ops": ["sign", "encrypt"] })),
            Some(Unfit::Purpose),
        ),
        ("key_ops empty", ed(json!({ "key_ops": [] })), Some(Unfit::Purpose)),
        (
            "key_ops twice",
            ed(json!({ "key_ops": ["verify", "verify"] })),
            Some(Unfit::Malformed),
        ),
        (
            "key_ops is no list",
            ed(json!({ "key_ops": "verify" })),
            Some(Unfit::Malformed),
        ),
        (
            "use sig, key_ops encrypt",
            ed(json!({ "use": "sig", "key_ops": ["encrypt"] })),
            Some(Unfit::Purpose),
        ),
        (
            "use enc, key_ops verify",
            ed(json!({ "use": "enc", "key_ops": ["verify"] })),
            Some(Unfit::Purpose),
        ),
        (
            "alg of another kind",
            ed(json!({ "alg": "RS256" })),
            Some(Unfit::Algorithm),
        ),
        (
            "alg for encryption",
            rsa(json!({ "alg": "RSA-OAEP" })),
            Some(Unfit::Algorithm),
        ),
        ("alg none", ed(json!({ "alg": "none" })), Some(Unfit::Algorithm)),
        ("alg HS256", rsa(json!({ "alg": "HS256" })), Some(Unfit::Algorithm)),
        (
            "alg of another curve",
            p256(json!({ "alg": "ES384" })),
            Some(Unfit::Algorithm),
        ),
        ("alg is no text", ed(json!({ "alg": 1 })), Some(Unfit::Malformed)),
        ("kid is no text", ed(json!({ "kid": 1 })), Some(Unfit::Malformed)),
        (
            "kid is huge",
            ed(json!({ "kid": "k".repeat(257) })),
            Some(Unfit::Malformed),
        ),
        ("curve P-521", p256(json!({ "crv": "P-521" })), Some(Unfit::Unsupported)),
        (
            "curve secp256k1",
            p256(json!({ "crv": "secp256k1" })),
            Some(Unfit::Unsupported),
        ),
        (
            "curve P-384 with P-256 points",
            p256(json!({ "crv": "P-384" })),
            weak(Weakness::Point),
        ),
        (
            "point off the curve",
            p256(json!({ "y": b64([1; 32]) })),
            weak(Weakness::Point),
        ),
        (
            "point at zero",
            p256(json!({ "x": b64([0; 32]), "y": b64([0; 32]) })),
            weak(Weakness::Point),
        ),
        (
            "coordinate beyond p",
            p256(json!({ "x": b64([0xff; 32]) })),
            weak(Weakness::Point),
        ),
        (
            "short coordinate",
            p256(json!({ "x": b64([1; 31]) })),
            weak(Weakness::Point),
        ),
        (
            "long coordinate",
            p256(json!({ "x": b64([0; 33]) })),
            weak(Weakness::Point),
        ),
        ("no y", p256(json!({ "y": null })), Some(Unfit::Malformed)),
        ("X25519", ed(json!({ "crv": "X25519" })), Some(Unfit::Unsupported)),
        ("Ed448", ed(json!({ "crv": "Ed448" })), Some(Unfit::Unsupported)),
        ("short Ed25519", ed(json!({ "x": b64([1; 31]) })), weak(Weakness::Point)),
        (
            "padding",
            ed(json!({ "x": format!("{}=", b64([7; 32])) })),
            Some(Unfit::Malformed),
        ),
        (
            "RSA 1024",
            rsa(json!({ "n": modulus(1024, 0xa7) })),
            weak(Weakness::RsaSize),
        ),
        (
            "RSA 2040",
            rsa(json!({ "n": modulus(2040, 0xa7) })),
            weak(Weakness::RsaSize),
        ),
        (
            "RSA 16384",
            rsa(json!({ "n": modulus(16384, 0xa7) })),
            weak(Weakness::RsaSize),
        ),
        (
            "RSA with zeros in front",
            rsa(json!({ "n": b64([&[0; 128][..], &[0xa7; 128]].concat()) })),
            weak(Weakness::RsaSize),
        ),
        ("RSA empty", rsa(json!({ "n": "" })), weak(Weakness::RsaSize)),
        (
            "RSA even modulus",
            rsa(json!({ "n": modulus(2048, 0xa6) })),
            weak(Weakness::RsaEven),
        ),
        ("RSA e = 1", rsa(json!({ "e": "AQ" })), weak(Weakness::RsaExponent)),
        ("RSA e = 2", rsa(json!({ "e": "Ag" })), weak(Weakness::RsaExponent)),
        (
            "RSA e even",
            rsa(json!({ "e": b64([1, 0, 0]) })),
            weak(Weakness::RsaExponent),
        ),
        ("RSA e = 0", rsa(json!({ "e": "AA" })), weak(Weakness::RsaExponent)),
        ("RSA e empty", rsa(json!({ "e": "" })), weak(Weakness::RsaExponent)),
        (
            "RSA e huge",
            rsa(json!({ "e": b64([1; 9]) })),
            weak(Weakness::RsaExponent),
        ),
        (
            "RSA e of 34 bits",
            rsa(json!({ "e": b64([2, 0, 0, 0, 1]) })),
            weak(Weakness::RsaExponent),
        ),
        ("RSA n is no text", rsa(json!({ "n": 1 })), Some(Unfit::Malformed)),
        (
            "RSA n has a +",
            rsa(json!({ "n": format!("+{}", modulus(2048, 0xa7)) })),
            Some(Unfit::Malformed),
        ),
        ("ROCA", rsa(json!({ "n": roca })), weak(Weakness::Roca)),
    ] {
        assert_eq!(found, expected, "{name}");
    }
    assert_eq!(
        rsa(json!({ "e": "Aw" })),
        None,
        "e = 3 is weak only with bad padding, which is checked"
    );
    assert_eq!(
        rsa(json!({ "n": b64([&[0][..], &[0xa7; 256]].concat()) })),
        None,
        "a sign octet changes nothing"
    );
}

#[test]
fn ed25519_keys_of_small_order() {
    // With such a key, R = S = 0 and the like are signatures of everything.
    let le = |first: u8, middle: u8, last: u8| {
        let mut y = [middle; 32];
        (y[0], y[31]) = (first, last);
        y
    };
    let hex = |text: &str| {
        let bytes: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect();
        <[u8; 32]>::try_from(bytes).unwrap()
    };
    let mut points = vec![
        le(0, 0, 0),
        le(1, 0, 0),
        le(0xec, 0xff, 0x7f),
        le(0xed, 0xff, 0x7f),
        le(0xee, 0xff, 0x7f),
    ];
    points.push(hex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"));
    points.push(hex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"));
    for point in points {
        for sign in [0, 0x80] {
            let mut x = point;
            x[31] |= sign;
            let found = unfit(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": b64(x) }));
            assert_eq!(found, Some(Unfit::Weak(Weakness::SmallOrder)), "{x:02x?}");
        }
    }
}

#[test]
fn sets_that_are_refused_whole() {
    let ed = Signer::ed25519(1).jwk("k", json!({}));
    let huge = format!("{{\"keys\":[{ed}],\"pad\":\"{}\"}}", "x".repeat(16 << 20));
    assert!(matches!(Keys::parse(huge.as_bytes()), Err(JwksError::TooLarge(_))));
    for text in [
        "",
        "<html><body>Sign in</body></html>",
        "{",
        "null",
        "[]",
        &format!("[{ed}]"),
        &format!("{{\"keys\":[{ed}],\"keys\":[]}}"),
        &format!("{{\"keys\":[{ed}]}}{{}}"),
        &format!("\u{feff}{{\"keys\":[{ed}]}}"),
        "{\"keys\":[{\"kty\":\"OKP\",\"kty\":\"RSA\"}]}",
        &format!("{{\"keys\":{}{}}}", "[".repeat(2000), "]".repeat(2000)),
    ] {
        assert!(
            matches!(Keys::parse(text.as_bytes()), Err(JwksError::Json(_))),
            "{text:.80}"
        );
    }
    for document in [
        json!({}),
        json!({ "keys": null }),
        json!({ "keys": {} }),
        json!({ "keys": [1] }),
        json!({ "Keys": [ed] }),
    ] {
        assert_eq!(parse(&document), Err(JwksError::Shape), "{document}");
    }
    assert_eq!(parse(&json!({ "keys": [] })), Err(JwksError::NoUsableKey(vec![])));
    assert_eq!(
        parse(&json!({ "keys": vec![ed.clone(); 65] })),
        Err(JwksError::TooMany(65))
    );
    assert!(parse(&json!({ "keys": vec![ed; 64] })).is_ok());
}

#[test]
fn good_keys_survive_bad_neighbours() {
    let (good, other) = (Signer::ed25519(1), Signer::ed25519(2));
    let rsa = Signer::rsa("rsa-2048-a.pk8.der", "RS256");
    let keys = parse(&json!({ "keys": [
        { "kty": "oct", "kid": "mixed", "k": "c2VjcmV0" },
        good.jwk("good", json!({})),
        other.jwk("leaked", json!({ "d": "AAAA" })),
        rsa.jwk("enc", json!({ "use": "enc" })),
    ] }))
    .unwrap();
    assert_eq!(keys.kids().collect::<Vec<_>>(), [Some("good")]);
    let reasons: Vec<(usize, Unfit)> = keys.omissions().iter().map(|it| (it.place, it.why)).collect();
    assert_eq!(
        reasons,
        [(0, Unfit::Symmetric), (2, Unfit::Private), (3, Unfit::Purpose)]
    );
    assert_eq!(keys.select(Some("leaked"), Algorithm::EdDSA), Err(NoKey::Unknown));
}

#[test]
fn choosing_a_key() {
    let (a, b, rsa) = (
        Signer::ed25519(1),
        Signer::ed25519(2),
        Signer::rsa("rsa-2048-a.pk8.der", "RS256"),
    );
    let select = |keys: &[Value], kid: Option<&str>, algorithm| {
        parse(&json!({ "keys": keys }))
            .unwrap()
            .select(kid, algorithm)
            .map(|_| ())
    };
    let (ed, rs) = (Algorithm::EdDSA, Algorithm::RS256);
    let nameless = |signer: &Signer| signer.jwk("", json!({ "kid": null }));
    for (name, keys, kid, algorithm, expected) in [
        (
            "by kid",
            vec![a.jwk("a", json!({})), b.jwk("b", json!({}))],
            Some("b"),
            ed,
            Ok(()),
        ),
        (
            "no kid, several keys",
            vec![a.jwk("a", json!({})), b.jwk("b", json!({}))],
            None,
            ed,
            Err(NoKey::Ambiguous),
        ),
        (
            "no kid, one of the kind",
            vec![a.jwk("a", json!({})), rsa.jwk("b", json!({}))],
            None,
            ed,
            Ok(()),
        ),
        (
            "no kid, none of the kind",
            vec![a.jwk("a", json!({}))],
            None,
            rs,
            Err(NoKey::Unknown),
        ),
        (
            "kid of another kind",
            vec![a.jwk("a", json!({})), rsa.jwk("b", json!({}))],
            Some("b"),
            ed,
            Err(NoKey::Unknown),
        ),
        (
            "kid against a nameless key",
            vec![nameless(&a)],
            Some("a"),
            ed,
            Err(NoKey::Unknown),
        ),
        (
            "kid twice, two keys",
            vec![a.jwk("a", json!({})), b.jwk("a", json!({}))],
            Some("a"),
            ed,
            Err(NoKey::Ambiguous),
        ),
        (
            "kid twice, the same key",
            vec![a.jwk("a", json!({})), a.jwk("a", json!({}))],
            Some("a"),
            ed,
            Ok(()),
        ),
        (
            "kid twice, two kinds",
            vec![a.jwk("a", json!({})), rsa.jwk("a", json!({}))],
            Some("a"),
            rs,
            Ok(()),
        ),
        (
            "kid twice, two algorithms",
            vec![
                rsa.jwk("a", json!({ "alg": "RS256" })),
                rsa.jwk("a", json!({ "alg": "PS256" })),
            ],
            Some("a"),
            rs,
            Ok(()),
        ),
        (
            "kid twice, one bound to an algorithm",
            vec![rsa.jwk("a", json!({})), rsa.jwk("a", json!({ "alg": "PS256" }))],
            Some("a"),
            Algorithm::PS256,
            Err(NoKey::Ambiguous),
        ),
    ] {
        assert_eq!(select(&keys, kid, algorithm), expected, "{name}");
    }
    let keys = parse(&json!({ "keys": [a.jwk("a", json!({})), b.jwk("a", json!({}))] })).unwrap();
    assert!(keys.omissions().iter().all(|it| it.why == Unfit::Ambiguous) && keys.omissions().len() == 2);
}

#[test]
fn a_generation_stands_for_the_keys() {
    let (a, b) = (Signer::ed25519(1), Signer::ed25519(2));
    let generation = |keys: &[Value]| parse(&json!({ "keys": keys })).unwrap().generation();
    let one = generation(&[a.jwk("a", json!({}))]);
    assert_eq!(
        one,
        generation(&[a.jwk("a", json!({ "x5t": "whatever", "use": "sig" }))])
    );
    for other in [
        vec![a.jwk("b", json!({}))],
        vec![b.jwk("a", json!({}))],
        vec![a.jwk("a", json!({})), b.jwk("b", json!({}))],
    ] {
        assert_ne!(one, generation(&other));
    }
}
