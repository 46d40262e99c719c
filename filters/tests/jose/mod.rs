//! What the JOSE tests share: keys, tokens signed with them, and an issuer that trusts them.
// Every test binary uses another part.
#![allow(dead_code, unreachable_pub)]
#![allow(
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::unwrap_used
)]

pub mod world;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_config::identity::{Algorithm, Issuer, Refresh};
use portcullis_config::units::Duration;
use portcullis_filters::client::Now;
use portcullis_filters::jwt::issuer::Trusted;
use portcullis_filters::jwt::keys::{KeySet, KeySource};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

/// Now, in seconds since 1970.
pub const NOW: i64 = 1_700_000_000;
pub const ISSUER: &str = "https://id.example.com/";

/// A file of `tests/data`.
pub fn data(path: &str) -> Vec<u8> {
    std::fs::read(format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The moment of a request.
pub fn at(seconds: i64) -> Now {
    Now {
        monotonic_ns: 3_600_000_000_000,
        unix_ms: seconds as u64 * 1000,
    }
}

pub fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A key that tests sign with.
pub enum Signer {
    Rsa(RsaKeyPair, &'static dyn signature::RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    pub fn rsa(file: &str, algorithm: &str) -> Self {
        let pair = RsaKeyPair::from_pkcs8(&data(&format!("keys/{file}"))).unwrap();
        let encoding: &'static dyn signature::RsaEncoding = match algorithm {
            "RS256" => &signature::RSA_PKCS1_SHA256,
            "RS384" => &signature::RSA_PKCS1_SHA384,
            "RS512" => &signature::RSA_PKCS1_SHA512,
            "PS256" => &signature::RSA_PSS_SHA256,
            "PS384" => &signature::RSA_PSS_SHA384,
            "PS512" => &signature::RSA_PSS_SHA512,
            other => panic!("{other}"),
        };
        Self::Rsa(pair, encoding)
    }

    pub fn p256() -> Self {
        Self::ec(&signature::ECDSA_P256_SHA256_FIXED_SIGNING)
    }

    pub fn p384() -> Self {
        Self::ec(&signature::ECDSA_P384_SHA384_FIXED_SIGNING)
    }

    pub fn ec(algorithm: &'static signature::EcdsaSigningAlgorithm) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        Self::Ec(EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).unwrap())
    }

    pub fn ed25519(seed: u8) -> Self {
        Self::Ed(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair, encoding) => {
                let mut out = vec![0; pair.public().modulus_len()];
                pair.sign(*encoding, &random, message, &mut out).unwrap();
                out
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    /// The public key as a JWK, with these members on top (`null` takes one away).
    pub fn jwk(&self, kid: &str, extra: Value) -> Value {
        let mut jwk = match self {
            Self::Rsa(pair, _) => {
                let parts: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
                json!({ "kty": "RSA", "n": b64(parts.n), "e": b64(parts.e) })
            }
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at((point.len() - 1) / 2);
                let crv = if point.len() == 65 { "P-256" } else { "P-384" };
                json!({ "kty": "EC", "crv": crv, "x": b64(x), "y": b64(y) })
            }
            Self::Ed(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key()) }),
        };
        jwk["kid"] = kid.into();
        merge(&mut jwk, extra);
        jwk
    }

    /// A token over these very bytes.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        let signed = format!("{}.{}", b64(header), b64(payload));
        format!("{signed}.{}", b64(self.sign(signed.as_bytes())))
    }

    pub fn token(&self, header: &Value, payload: &Value) -> String {
        self.token_of(&header.to_string(), &payload.to_string())
    }
}

/// Sets members; `null` takes one away.
pub fn merge(object: &mut Value, extra: Value) {
    for (name, value) in extra.as_object().unwrap() {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(name);
        } else {
            object[name] = value.clone();
        }
    }
}

/// Good claims, with changes.
pub fn claims(extra: Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "aud": "api", "sub": "u1", "exp": NOW + 600, "iat": NOW - 10 });
    merge(&mut claims, extra);
    claims
}

pub const ALL: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

pub fn issuer(algorithms: &[Algorithm]) -> Issuer {
    Issuer {
        issuer: ISSUER.into(),
        jwks_url: Some("https://id.example.com/jwks.json".into()),
        hmac: Vec::new(),
        ca: None,
        algorithms: algorithms.to_vec(),
        audiences: vec!["api".into(), "api-2".into()],
        types: None,
        leeway: Duration::from_secs(30),
        refresh: Refresh::default(),
    }
}

/// An issuer with these keys.
pub fn trusted(name: &str, written: &Issuer, keys: &[Value]) -> Trusted {
    let set = KeySet::new(KeySource::of(name, written));
    if !keys.is_empty() {
        set.publish(json!({ "keys": keys }).to_string().as_bytes(), at(NOW))
            .unwrap();
    }
    Trusted::new(name, written, Arc::new(set))
}
