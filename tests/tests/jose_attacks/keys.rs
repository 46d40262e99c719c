//! Keys that a set has and nobody may use: each signs a token that would be good under it.

use portcullis_e2e::idp::{Idp, Key, hmac_token};
use ring::hmac::HMAC_SHA256;
use serde_json::{Value, json};

use super::{Case, World, case, change};

/// Changes that make a key unfit, by name.
fn flaws() -> Vec<(&'static str, Value)> {
    vec![
        ("for encryption", json!({ "use": "enc" })),
        ("use is no text", json!({ "use": 1 })),
        ("key_ops without verify", json!({ "key_ops": ["sign", "encrypt"] })),
        ("key_ops empty", json!({ "key_ops": [] })),
        ("key_ops twice", json!({ "key_ops": ["verify", "verify"] })),
        ("key_ops is no list", json!({ "key_ops": "verify" })),
        ("a private key", json!({ "d": "AAAA" })),
        ("a part of a private key", json!({ "dq": "AAAA" })),
        ("alg of another kind", json!({ "alg": "ES256" })),
        ("alg none", json!({ "alg": "none" })),
        ("alg HS256", json!({ "alg": "HS256" })),
        ("alg is no text", json!({ "alg": ["EdDSA"] })),
        ("another kty", json!({ "kty": "AKP" })),
        ("kty in lower case", json!({ "kty": "okp" })),
        ("another curve", json!({ "crv": "X25519" })),
        ("x too short", json!({ "x": "AAAA" })),
        (
            "of small order",
            json!({ "x": "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" }),
        ),
        ("mixed with a secret", json!({ "k": "AAAA" })),
    ]
}

/// Unfit keys of a set.
pub(crate) struct Unfit {
    keys: Vec<(Key, Value)>,
    twins: [Key; 2],
    secret: Vec<u8>,
}

impl Unfit {
    pub(crate) fn new() -> Self {
        let flawed = |(name, changes): (&str, Value)| {
            let key = Key::ed25519(name);
            let mut jwk = key.jwk();
            change(&mut jwk, &changes);
            (key, jwk)
        };
        Self {
            keys: flaws().into_iter().map(flawed).collect(),
            twins: [Key::ed25519("twin"), Key::ed25519("twin")],
            secret: vec![7; 32],
        }
    }

    /// They and a few more that nobody has the other half of.
    pub(crate) fn jwks(&self) -> Vec<Value> {
        let modulus = |bytes: usize, low: u8| {
            let mut modulus = vec![0xa7; bytes];
            modulus[bytes - 1] = low;
            portcullis_e2e::idp::encode(&modulus)
        };
        let rsa = |kid: &str, n: String, e: &str| json!({ "kty": "RSA", "kid": kid, "n": n, "e": e });
        let mut jwks: Vec<Value> = self.keys.iter().map(|(_, jwk)| jwk.clone()).collect();
        jwks.extend(self.twins.iter().map(Key::jwk));
        jwks.push(
            json!({ "kty": "oct", "kid": "oct", "alg": "HS256", "k": portcullis_e2e::idp::encode(&self.secret) }),
        );
        jwks.push(rsa("RSA of 1024 bits", modulus(128, 1), "AQAB"));
        jwks.push(rsa("an even modulus", modulus(256, 2), "AQAB"));
        jwks.push(rsa("an even exponent", modulus(256, 1), "AQAA"));
        jwks.push(rsa("the exponent 1", modulus(256, 1), "AQ"));
        let zeros = portcullis_e2e::idp::encode(&[0; 32]);
        jwks.push(json!({ "kty": "EC", "crv": "P-256", "kid": "a point off the curve", "x": zeros, "y": zeros }));
        jwks
    }
}

#[test]
fn keys_of_a_set_that_are_not_fit() {
    let world = World::new();
    let claims = Idp::claims("mallory");
    let mut cases: Vec<Case> = Vec::new();
    for (key, _) in &world.unfit.keys {
        cases.push(case(key.id.clone(), key.token(&claims), "unknown_key"));
    }
    for twin in &world.unfit.twins {
        cases.push(case("one of two with the same kid", twin.token(&claims), "unknown_key"));
    }
    let header = json!({ "alg": "HS256", "kid": "oct" });
    let token = hmac_token(HMAC_SHA256, &world.unfit.secret, &header, &claims);
    cases.push(case("a secret of the set", token, "alg_not_allowed"));
    for kid in [
        "RSA of 1024 bits",
        "an even modulus",
        "an even exponent",
        "the exponent 1",
    ] {
        let header = json!({ "alg": "RS256", "kid": kid });
        cases.push(case(kid, world.rsa.token_with(&header, &claims), "unknown_key"));
    }
    let header = json!({ "alg": "ES256", "kid": "a point off the curve" });
    cases.push(case(
        "a point off the curve",
        world.ec.token_with(&header, &claims),
        "unknown_key",
    ));
    assert_eq!(world.refuses(&cases), 26);
}
