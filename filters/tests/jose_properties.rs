//! What holds for any bytes: nothing panics, and nothing but the very token that was signed is accepted.
// A test may fail.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::string_slice)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::needless_pass_by_value
)]

mod jose;

use jose::{ALL, NOW, Signer, at, b64, claims, issuer, trusted};
use portcullis_filters::jwt::issuer::Trusted;
use portcullis_filters::jwt::json;
use portcullis_filters::jwt::jwk::Keys;
use portcullis_filters::jwt::jws::Compact;
use portcullis_filters::jwt::verify::verify;
use proptest::prelude::*;
use serde_json::{Value, json};

struct World {
    tokens: Vec<String>,
    issuers: Vec<Trusted>,
}

fn world() -> &'static World {
    static WORLD: std::sync::OnceLock<World> = std::sync::OnceLock::new();
    WORLD.get_or_init(|| {
        let signers = [
            ("RS256", Signer::rsa("rsa-2048-a.pk8.der", "RS256")),
            ("PS256", Signer::rsa("rsa-2048-b.pk8.der", "PS256")),
            ("ES256", Signer::p256()),
            ("ES384", Signer::p384()),
            ("EdDSA", Signer::ed25519(1)),
        ];
        let keys: Vec<Value> = signers
            .iter()
            .map(|(name, signer)| signer.jwk(name, json!({ "alg": name })))
            .collect();
        let token = |(name, signer): &(&str, Signer)| {
            signer.token(
                &json!({ "alg": name, "kid": name, "typ": "at+jwt" }),
                &claims(json!({ "scope": "a b" })),
            )
        };
        World {
            tokens: signers.iter().map(token).collect(),
            issuers: vec![trusted("main", &issuer(&ALL), &keys)],
        }
    })
}

fn accepted(token: &[u8]) -> bool {
    verify(token, &world().issuers, at(NOW)).is_ok()
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        prop::sample::select(vec![
            "RSA", "EC", "OKP", "oct", "P-256", "Ed25519", "sig", "AQAB", "EdDSA"
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        let name = prop_oneof![
            prop::sample::select(vec![
                "kty", "crv", "x", "y", "n", "e", "d", "alg", "kid", "use", "key_ops", "keys"
            ])
            .prop_map(String::from),
            "[a-z]{1,4}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn bytes_never_panic_and_never_pass(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(!accepted(&bytes));
        let _ = Keys::parse(&bytes);
        let _ = json::object(&bytes, 8);
    }

    #[test]
    fn things_like_tokens_never_pass(
        header in any_json(), payload in any_json(), signature in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let token = format!("{}.{}.{}", b64(header.to_string()), b64(payload.to_string()), b64(signature));
        prop_assert!(!accepted(token.as_bytes()));
    }

    #[test]
    fn things_like_key_sets_never_panic(keys in prop::collection::vec(any_json(), 0..8)) {
        let _ = Keys::parse(json!({ "keys": keys }).to_string().as_bytes());
    }

    #[test]
    fn a_changed_token_never_passes(which in 0_usize..5, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let good = &world().tokens[which];
        prop_assert!(accepted(good.as_bytes()));
        let mut bytes = good.clone().into_bytes();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        prop_assert!(!accepted(&bytes));
    }

    #[test]
    fn a_cut_or_longer_token_never_passes(
        which in 0_usize..5, from in any::<prop::sample::Index>(), count in 0_usize..4, insert in "[A-Za-z0-9_.=-]{0,4}",
    ) {
        let good = &world().tokens[which];
        let from = from.index(good.len());
        let until = (from + count).min(good.len());
        let changed = format!("{}{insert}{}", &good[..from], &good[until..]);
        prop_assume!(changed != *good);
        prop_assert!(!accepted(changed.as_bytes()));
    }

    #[test]
    fn parts_of_two_tokens_never_pass(a in 0_usize..5, b in 0_usize..5, which in 0_usize..3) {
        prop_assume!(a != b);
        let mut parts: Vec<&str> = world().tokens[a].split('.').collect();
        let other = world().tokens[b].split('.').nth(which).unwrap();
        prop_assume!(parts[which] != other);
        parts[which] = other;
        prop_assert!(!accepted(parts.join(".").as_bytes()));
    }

    #[test]
    fn what_is_read_is_what_serde_reads(value in any_json()) {
        let text = value.to_string();
        if let Ok(map) = json::object(text.as_bytes(), 8) {
            prop_assert_eq!(Value::Object(map), serde_json::from_str::<Value>(&text).unwrap());
        }
    }

    #[test]
    fn a_compact_token_reads_back(payload in prop::collection::vec(any::<u8>(), 0..200), kid in "[^\"\\\\\\x00-\\x1f]{0,40}") {
        let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
        let token = format!("{}.{}.{}", b64(&header), b64(&payload), b64([7; 64]));
        let compact = Compact::parse(token.as_bytes()).unwrap();
        prop_assert_eq!(compact.payload, payload);
        prop_assert_eq!(compact.header.kid, Some(kid));
        prop_assert_eq!(compact.signature, vec![7; 64]);
        prop_assert_eq!(compact.signed, &token.as_bytes()[..token.rfind('.').unwrap()]);
    }
}
