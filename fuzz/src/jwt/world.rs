//! Who is trusted: two issuers, fixed keys, and tokens that were signed with them. Always the same, so that a crash of one
//! run is a crash of the next.

use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use portcullis_config::identity::{Algorithm, Issuer, Refresh};
use portcullis_config::units::Duration;
use portcullis_filters::client::Now;
use portcullis_filters::jwt::issuer::Trusted;
use portcullis_filters::jwt::{KeySet, KeySource};
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

use crate::seeds::Seed;

pub(super) const NOW: i64 = 1_700_000_000;
pub(super) const ISSUER: &str = "https://id.example.com/";
pub(super) const AUDIENCE: &str = "api";
const OTHER: &str = "https://other.example.com/";

const RSA: &[u8] = include_bytes!("../../../filters/tests/data/keys/rsa-2048-a.pk8.der");
const P256: &str = include_str!("../../../bundles/tests/vectors/p256.pem");

/// See the module.
pub(super) struct World {
    /// The first one trusts every key, the second one an Ed25519 key of its own with the same id.
    pub(super) issuers: Vec<Trusted>,
    /// The key that inputs are signed with.
    pub(super) ed25519: Ed25519KeyPair,
    /// Header and payload of every token that was signed.
    pub(super) signed: Vec<String>,
    /// Those tokens, each with a public part of the key that signed it.
    pub(super) tokens: Vec<(String, Vec<u8>)>,
    jwks: Value,
}

/// The moment of a request.
pub(super) fn at(seconds: i64) -> Now {
    Now {
        monotonic_ns: 3_600_000_000_000,
        unix_ms: u64::try_from(seconds).unwrap_or(0) * 1000,
    }
}

pub(super) fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(World::new)
}

/// The first issuer, with these keys instead.
pub(super) fn issuers_with(jwks: &[u8]) -> Vec<Trusted> {
    vec![trusted("main", ISSUER, jwks)]
}

impl World {
    fn new() -> Self {
        let signers = Signers::new();
        let jwks = signers.jwks();
        let other = ed25519(2);
        let others = json!({ "keys": [okp("ed25519", &other)] });
        let tokens = signers.tokens();
        Self {
            issuers: vec![
                trusted("main", ISSUER, jwks.to_string().as_bytes()),
                trusted("other", OTHER, others.to_string().as_bytes()),
            ],
            ed25519: signers.ed25519,
            signed: tokens
                .iter()
                .filter_map(|(token, _)| Some(token.rsplit_once('.')?.0.to_owned()))
                .collect(),
            tokens,
            jwks,
        }
    }
}

fn ed25519(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key")
}

fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn okp(kid: &str, pair: &Ed25519KeyPair) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": b64(pair.public_key()) })
}

fn trusted(name: &str, issuer: &str, jwks: &[u8]) -> Trusted {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let written = Issuer {
        issuer: issuer.into(),
        jwks_url: Some("https://id.example.com/jwks.json".into()),
        hmac: Vec::new(),
        ca: None,
        algorithms: vec![RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA],
        audiences: vec![AUDIENCE.into()],
        types: None,
        leeway: Duration::from_secs(30),
        refresh: Refresh::default(),
    };
    let keys = KeySet::new(KeySource::of(name, &written));
    keys.publish(jwks, at(NOW)).expect("a key set with a usable key");
    Trusted::new(name, &written, Arc::new(keys))
}

struct Signers {
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
    random: SystemRandom,
}

impl Signers {
    fn new() -> Self {
        let random = SystemRandom::new();
        let der: String = P256.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(der).expect("a PEM file");
        let signing = &signature::ECDSA_P256_SHA256_FIXED_SIGNING;
        Self {
            rsa: RsaKeyPair::from_pkcs8(RSA).expect("a key of the tests"),
            p256: EcdsaKeyPair::from_pkcs8(signing, &der, &random).expect("a key of the tests"),
            ed25519: ed25519(1),
            random,
        }
    }

    fn rsa_parts(&self) -> RsaPublicKeyComponents<Vec<u8>> {
        self.rsa.public().into()
    }

    /// The coordinates of the point on P-256.
    fn point(&self) -> (&[u8], &[u8]) {
        let point = self.p256.public_key().as_ref();
        (&point[1..33], &point[33..])
    }

    fn jwks(&self) -> Value {
        let rsa = self.rsa_parts();
        let (x, y) = self.point();
        json!({ "keys": [
            { "kty": "RSA", "kid": "rsa", "use": "sig", "n": b64(rsa.n), "e": b64(rsa.e) },
            { "kty": "EC", "crv": "P-256", "kid": "p256", "alg": "ES256", "x": b64(x), "y": b64(y) },
            okp("ed25519", &self.ed25519),
        ] })
    }

    fn rsa_signature(&self, encoding: &'static dyn signature::RsaEncoding, text: &[u8]) -> Vec<u8> {
        let mut out = vec![0; self.rsa.public().modulus_len()];
        self.rsa
            .sign(encoding, &self.random, text, &mut out)
            .expect("a signature");
        out
    }

    /// One good token an algorithm.
    fn tokens(&self) -> Vec<(String, Vec<u8>)> {
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "exp": NOW + 600, "iat": NOW - 10 });
        let token = |algorithm: &str, kid: &str, key: &[u8], sign: &dyn Fn(&[u8]) -> Vec<u8>| {
            let header = json!({ "alg": algorithm, "kid": kid, "typ": "JWT" });
            let text = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
            let signature = sign(text.as_bytes());
            (format!("{text}.{}", b64(signature)), key.to_vec())
        };
        let modulus = self.rsa_parts().n;
        let rs256 = |text: &[u8]| self.rsa_signature(&signature::RSA_PKCS1_SHA256, text);
        let ps384 = |text: &[u8]| self.rsa_signature(&signature::RSA_PSS_SHA384, text);
        let es256 = |text: &[u8]| {
            self.p256
                .sign(&self.random, text)
                .expect("a signature")
                .as_ref()
                .to_vec()
        };
        let eddsa = |text: &[u8]| self.ed25519.sign(text).as_ref().to_vec();
        vec![
            token("RS256", "rsa", &modulus, &rs256),
            token("PS384", "rsa", &modulus, &ps384),
            token("ES256", "p256", self.point().0, &es256),
            token("EdDSA", "ed25519", self.ed25519.public_key().as_ref(), &eddsa),
        ]
    }
}

/// Good tokens, tokens that are nearly good, and the key set.
pub(super) fn seeds() -> Vec<Seed> {
    let world = world();
    let mut seeds = vec![Seed::new("key set", format!("k{}", world.jwks))];
    for (number, (token, _)) in world.tokens.iter().enumerate() {
        seeds.push(Seed::new(format!("token {number}"), format!("t{token}")));
    }
    let good = json!({ "iss": ISSUER, "aud": [AUDIENCE], "sub": "u1", "exp": NOW + 600 });
    let rich = json!({ "iss": ISSUER, "aud": AUDIENCE, "exp": 1_700_000_000.5, "nbf": NOW, "iat": NOW, "scope": "a b",
        "tenant": "acme", "nested": { "a": [1, -2, 3.5, null, true, "x"] } });
    let other = json!({ "iss": OTHER, "aud": AUDIENCE, "exp": NOW + 600 });
    let headers = [
        json!({ "alg": "EdDSA", "kid": "ed25519", "typ": "JWT" }),
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "EdDSA", "typ": "application/at+jwt", "kid": "ed25519", "cty": "JWT" }),
        json!({ "alg": "none" }),
        json!({ "alg": "HS256", "kid": "rsa" }),
        json!({ "alg": "EdDSA", "crit": ["b64"], "b64": false }),
        json!({ "alg": "EdDSA", "jwk": { "kty": "OKP", "crv": "Ed25519", "x": "" }, "jku": "https://evil.example/" }),
    ];
    for (number, header) in headers.iter().enumerate() {
        for (name, payload) in [("good", &good), ("rich", &rich), ("other", &other)] {
            seeds.push(Seed::new(
                format!("signed {number} {name}"),
                format!("s{header}\n{payload}"),
            ));
        }
        seeds.push(Seed::new(format!("parts {number}"), format!("p{header}\n{good}\n")));
    }
    seeds
}
