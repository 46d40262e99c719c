//! The filter in a chain: what it asks of a request, what it leaves behind, when it waits, and what of its
//! configuration is refused. Tokens and key sets by themselves are tested in `tests/jose_*.rs`.

mod build;
mod chain;
mod demands;
mod places;

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use super::keys::KeySet;
use crate::testing::{Bench, RequestBuilder, START};

fn signer(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn jwks(keys: &[(&str, u8)]) -> Vec<u8> {
    let key = |(kid, seed): &(&str, u8)| {
        let x = URL_SAFE_NO_PAD.encode(signer(*seed).public_key());
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x })
    };
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() })
        .to_string()
        .into_bytes()
}

/// A token of a key for an hour, with these claims on top.
#[allow(clippy::needless_pass_by_value)] // claims are written where they are used
fn token(kid: &str, seed: u8, extra: Value) -> String {
    let now = START.unix();
    let mut claims = json!({ "iss": "https://id.example.com/", "aud": "api", "sub": "alice", "exp": now + 3600 });
    for (name, value) in extra.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = json!({ "alg": "EdDSA", "kid": kid }).to_string();
    let signed = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let signature = URL_SAFE_NO_PAD.encode(signer(seed).sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// Issuers that share one secret, and two.
const SHARED: &str = "    \
    shared: { issuer: \"shared\", hmac: [{ secret: \"env:A\" }], algorithms: [HS256, HS512], audiences: [api] }
    two: { issuer: \"two\", hmac: [{ kid: a, secret: \"env:A\" }, { kid: b, secret: \"file:B\" }], algorithms: [HS256], audiences: [api] }
";

/// A configuration with the issuers `main` and `other`, and these filters.
fn config(filters: &str) -> String {
    let issuer = |name: &str, host: &str| {
        format!(
            "    {name}: {{ issuer: \"https://{host}/\", jwks_url: \"https://{host}/jwks.json\", algorithms: [EdDSA], \
             audiences: [api] }}\n"
        )
    };
    let issuers = issuer("main", "id.example.com") + &issuer("other", "other.example.com") + SHARED;
    format!("identity:\n  issuers:\n{issuers}filters: {filters}\n")
}

fn key_set(bench: &Bench, issuer: &str) -> Arc<KeySet> {
    bench
        .zones
        .each::<KeySet>()
        .map(|(_, set)| set)
        .find(|set| &*set.source().issuer == issuer)
        .unwrap()
}

/// A bench whose issuer `main` has the key `k1`.
fn bench(settings: &str) -> Bench {
    let bench = Bench::new(&config(&format!("[{{ jwt: {{ issuer: main{settings} }} }}]")));
    key_set(&bench, "main").publish(&jwks(&[("k1", 1)]), START).unwrap();
    bench
}

fn bearer(token: &str) -> RequestBuilder {
    RequestBuilder::get("/").header("authorization", &format!("Bearer {token}"))
}
