//! An identity provider: serves a key set that the test can change, counts who asks, and signs tokens.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

use crate::leaks;
use crate::origin::Origin;

/// A key that signs tokens.
pub struct Key {
    /// Its `kid`.
    pub id: String,
    secret: Secret,
}

enum Secret {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Rs256(Box<RsaKeyPair>),
}

impl Key {
    /// A new Ed25519 key.
    pub fn ed25519(id: &str) -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).expect("the same key");
        Self {
            id: id.into(),
            secret: Secret::Ed25519(pair),
        }
    }

    /// A new P-256 key.
    pub fn es256(id: &str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self {
            id: id.into(),
            secret: Secret::Es256(pair.expect("the same key")),
        }
    }

    /// The RSA test key `data/rsa.pk8` (2048 bits; it signs nothing but tests).
    pub fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::from_pkcs8(include_bytes!("../data/rsa.pk8")).expect("the test key");
        Self {
            id: id.into(),
            secret: Secret::Rs256(Box::new(pair)),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.secret {
            Secret::Ed25519(_) => "EdDSA",
            Secret::Es256(_) => "ES256",
            Secret::Rs256(_) => "RS256",
        }
    }

    /// As it stands in a key set.
    pub fn jwk(&self) -> Value {
        let mut jwk = match &self.secret {
            Secret::Ed25519(pair) => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) }),
            Secret::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": encode(&point[1..33]), "y": encode(&point[33..65]) })
            }
            Secret::Rs256(pair) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk["alg"] = json!(self.algorithm());
        jwk
    }

    /// A token of these claims, signed as it should be.
    pub fn token(&self, claims: &Value) -> String {
        self.token_with(
            &json!({ "alg": self.algorithm(), "kid": self.id, "typ": "JWT" }),
            claims,
        )
    }

    /// A token with any header, signed with this key.
    pub fn token_with(&self, header: &Value, claims: &Value) -> String {
        self.signed(unsigned(header, claims))
    }

    /// The public key of an RSA key as bytes that somebody could take for a shared secret: PEM and DER in both usual
    /// forms, the modulus, the JWK.
    pub fn public_forms(&self) -> Vec<(&'static str, Vec<u8>)> {
        let Secret::Rs256(pair) = &self.secret else {
            return Vec::new();
        };
        let pkcs1 = pair.public().as_ref().to_vec();
        // SubjectPublicKeyInfo (RFC 5280, 4.1): rsaEncryption without parameters, then the key as a bit string.
        let algorithm = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
        let bits = der(0x03, &[&[0], &*pkcs1].concat());
        let spki = der(0x30, &[&algorithm[..], &bits].concat());
        let modulus = PublicKeyComponents::<Vec<u8>>::from(pair.public()).n;
        vec![
            ("PEM", pem("PUBLIC KEY", &spki).into_bytes()),
            ("PEM of PKCS #1", pem("RSA PUBLIC KEY", &pkcs1).into_bytes()),
            (
                "PEM without line feed",
                pem("PUBLIC KEY", &spki).trim_end().as_bytes().to_vec(),
            ),
            ("DER", spki),
            ("DER of PKCS #1", pkcs1),
            ("n in base64url", encode(&modulus).into_bytes()),
            ("n", modulus),
            ("JWK", self.jwk().to_string().into_bytes()),
            ("nothing", Vec::new()),
        ]
    }

    /// A token over these very texts, signed with this key.
    pub fn token_of(&self, header: &str, payload: &str) -> String {
        self.signed(format!("{}.{}", encode(header.as_bytes()), encode(payload.as_bytes())))
    }

    fn signed(&self, text: String) -> String {
        let signature = encode(&self.sign(text.as_bytes()));
        leaks::used(&signature);
        text + "." + &signature
    }

    /// A signature over these bytes.
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Secret::Es256(pair) => pair.sign(&random, text).expect("a signature").as_ref().to_vec(),
            Secret::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature)
                    .expect("a signature");
                signature
            }
        }
    }
}

/// A token whose signature is an HMAC with `secret`, or as long as one when `algorithm` is no HMAC.
pub fn hmac_token(algorithm: hmac::Algorithm, secret: &[u8], header: &Value, claims: &Value) -> String {
    let text = unsigned(header, claims);
    let signature = hmac::sign(&hmac::Key::new(algorithm, secret), text.as_bytes());
    format!("{text}.{}", encode(signature.as_ref()))
}

/// Header and claims, without a signature and its dot.
pub fn unsigned(header: &Value, claims: &Value) -> String {
    let (header, claims) = (header.to_string(), claims.to_string());
    format!("{}.{}", encode(header.as_bytes()), encode(claims.as_bytes()))
}

/// A DER value of less than 64 KiB.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).expect("a short value").to_be_bytes();
    let mut out = match length {
        [0, short] if short < 0x80 => vec![tag, short],
        [0, short] => vec![tag, 0x81, short],
        [high, low] => vec![tag, 0x82, high, low],
    };
    out.extend_from_slice(content);
    out
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out + &format!("-----END {label}-----\n")
}

/// Base64url without padding.
pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes behind base64url without padding.
pub fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("base64url")
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs()
}

/// A running identity provider.
pub struct Idp {
    /// Where its key set is: `http://ADDRESS/jwks.json`.
    pub address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    fetches: Arc<AtomicU64>,
    held: Arc<AtomicBool>,
    origin: Origin,
}

impl Idp {
    /// The issuer of its tokens.
    pub const ISSUER: &'static str = "https://id.example.com/";

    /// Serves a set of these keys.
    pub fn start(keys: &[&Key]) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), keys)
    }

    /// Serves a set of these keys at a given address.
    pub fn start_at(address: SocketAddr, keys: &[&Key]) -> Self {
        let answer = Arc::new(Mutex::new(Vec::new()));
        let (fetches, held) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (shared, counter, holds) = (Arc::clone(&answer), Arc::clone(&fetches), Arc::clone(&held));
        let origin = Origin::at(address, move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            while holds.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(5));
            }
            shared.lock().expect("the answer").clone()
        });
        let idp = Self {
            address: origin.address,
            answer,
            fetches,
            held,
            origin,
        };
        idp.serve(keys);
        idp
    }

    /// Refuses connections from now on.
    pub fn stop(&self) {
        self.origin.stop();
    }

    /// Counts who asks and lets them wait for their answer, until it is told otherwise.
    pub fn hold(&self, hold: bool) {
        self.held.store(hold, Ordering::SeqCst);
    }

    /// Serves a set of these keys from now on.
    pub fn serve(&self, keys: &[&Key]) {
        self.serve_jwks(&keys.iter().map(|key| key.jwk()).collect::<Vec<_>>());
    }

    /// Serves a set of these JWKs from now on, whatever they are.
    pub fn serve_jwks(&self, jwks: &[Value]) {
        let body = json!({ "keys": jwks }).to_string();
        let length = body.len();
        self.answer_with(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"));
    }

    /// Answers with these bytes from now on; empty: closes the connection.
    pub fn answer_with(&self, bytes: impl Into<Vec<u8>>) {
        *self.answer.lock().expect("the answer") = bytes.into();
    }

    /// How often its key set was asked for.
    pub fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::SeqCst)
    }

    /// The `identity` section of a configuration; `more` is added to the issuer.
    pub fn identity(&self, more: &str) -> String {
        Self::identity_at(self.address, more)
    }

    /// The same for a provider that is not there yet.
    pub fn identity_at(address: SocketAddr, more: &str) -> String {
        format!(
            "identity:\n  issuers:\n    main: {{ issuer: \"{}\", jwks_url: \"http://{address}/jwks.json\", algorithms: [RS256, ES256, EdDSA], audiences: [api]{more} }}\n",
            Self::ISSUER,
        )
    }

    /// Claims that are good for an hour.
    pub fn claims(subject: &str) -> Value {
        json!({ "iss": Self::ISSUER, "aud": "api", "sub": subject, "iat": now(), "exp": now() + 3600 })
    }
}
