//! The world of the attacks: signers, and two issuers that trust them.

use portcullis_config::identity::Algorithm;
use portcullis_filters::jwt::issuer::Trusted;
use portcullis_filters::jwt::refusal::Refusal;
use portcullis_filters::jwt::verify::{Failure, verify};
use serde_json::{Value, json};

use super::{NOW, Signer, at, claims, issuer, merge, trusted};

/// Signers and an issuer that trusts them, plus a second issuer with a key of its own.
pub struct World {
    pub rsa: Signer,
    pub p256: Signer,
    pub p384: Signer,
    pub ed: Signer,
    pub other: Signer,
    pub issuers: Vec<Trusted>,
}

pub const OTHER: &str = "https://other.example.com/";

pub fn world() -> World {
    let (rsa, p256, p384) = (
        Signer::rsa("rsa-2048-a.pk8.der", "RS256"),
        Signer::p256(),
        Signer::p384(),
    );
    let (ed, other) = (Signer::ed25519(1), Signer::ed25519(2));
    let keys = [
        rsa.jwk("rsa", json!({ "alg": "RS256" })),
        p256.jwk("p256", json!({ "use": "sig" })),
        p384.jwk("p384", json!({})),
        ed.jwk("ed", json!({ "key_ops": ["verify"] })),
    ];
    let mut second = issuer(&[Algorithm::EdDSA]);
    second.issuer = OTHER.into();
    let issuers = vec![
        trusted(
            "main",
            &issuer(&[Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]),
            &keys,
        ),
        trusted("other", &second, &[other.jwk("ed", json!({}))]),
    ];
    World {
        rsa,
        p256,
        p384,
        ed,
        other,
        issuers,
    }
}

impl World {
    pub fn outcome(&self, token: &str) -> Option<Failure> {
        verify(token.as_bytes(), &self.issuers, at(NOW)).err()
    }

    #[track_caller]
    pub fn refused(&self, table: &[(&str, String, Refusal)]) -> usize {
        for (name, token, refusal) in table {
            assert_eq!(
                self.outcome(token),
                Some(Failure::Refused(*refusal)),
                "{name}: {token:.200}"
            );
        }
        table.len()
    }

    /// A token of the Ed25519 key whose header has these changes.
    pub fn header(&self, extra: Value) -> String {
        let mut header = json!({ "alg": "EdDSA", "kid": "ed", "typ": "JWT" });
        merge(&mut header, extra);
        self.ed.token(&header, &claims(json!({})))
    }

    /// A token of the Ed25519 key whose claims have these changes.
    pub fn claims(&self, extra: Value) -> String {
        self.ed.token(&json!({ "alg": "EdDSA", "kid": "ed" }), &claims(extra))
    }

    /// A token of the Ed25519 key over these claims, as text.
    pub fn raw(&self, payload: &str) -> String {
        self.ed.token_of(r#"{"alg":"EdDSA","kid":"ed"}"#, payload)
    }
}
