//! The keys of the demo's identity provider and the tokens it signs with them: ES256 (RFC 7518), a new key each round. A key
//! is published one round before it signs and one round after, as a careful provider does.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};

/// What tokens say of the one they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Subject<'a> {
    /// Who.
    pub(super) user: &'a str,
    /// Of which tenant.
    pub(super) tenant: &'a str,
}

/// The provider's keys.
pub(super) struct Keys {
    issuer: String,
    audience: &'static str,
    /// Seconds that a token is good for: not longer than its key is published.
    lifetime: u64,
    round: u64,
    previous: Option<Key>,
    current: Key,
    next: Key,
    /// Published nowhere: what somebody else signs with.
    forger: Key,
}

struct Key {
    id: String,
    pair: EcdsaKeyPair,
}

impl Key {
    fn new(round: u64) -> anyhow::Result<Self> {
        let random = SystemRandom::new();
        let failed = |_| anyhow::anyhow!("the cryptographic library gives no key");
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(failed)?;
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        let pair = pair.map_err(|error| anyhow::anyhow!("the new key cannot be used: {error}"))?;
        Ok(Self {
            id: format!("demo-{round}"),
            pair,
        })
    }

    /// As it stands in a key set (RFC 7517).
    fn public(&self) -> Option<Value> {
        // An uncompressed point: a byte, then x and y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.get(1..)?.split_at_checked(32)?;
        Some(json!({
            "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id, "x": encode(x), "y": encode(y),
        }))
    }
}

impl Keys {
    /// Of a new provider.
    pub(super) fn new(issuer: String, audience: &'static str, lifetime: u64) -> anyhow::Result<Self> {
        let (current, next, forger) = (Key::new(1)?, Key::new(2)?, Key::new(0)?);
        Ok(Self {
            issuer,
            audience,
            lifetime,
            round: 1,
            previous: None,
            current,
            next,
            forger,
        })
    }

    /// The next round: the next key signs, and another one is the next.
    pub(super) fn rotate(&mut self) -> anyhow::Result<()> {
        let fresh = Key::new(self.round + 2)?;
        let next = std::mem::replace(&mut self.next, fresh);
        self.previous = Some(std::mem::replace(&mut self.current, next));
        self.round += 1;
        Ok(())
    }

    /// The id of the key that signs now.
    pub(super) fn current(&self) -> &str {
        &self.current.id
    }

    /// Ids of all keys that are published.
    pub(super) fn published(&self) -> Vec<&str> {
        self.keys().map(|key| key.id.as_str()).collect()
    }

    fn keys(&self) -> impl Iterator<Item = &Key> {
        self.previous.iter().chain([&self.current, &self.next])
    }

    /// The key set.
    pub(super) fn key_set(&self) -> Value {
        json!({ "keys": self.keys().filter_map(Key::public).collect::<Vec<_>>() })
    }

    /// A token.
    pub(super) fn token(&self, subject: Subject<'_>, now: u64) -> Option<String> {
        self.signed(subject, now, &self.current.pair)
    }

    /// A token that looks the same and was signed by somebody else.
    pub(super) fn forged(&self, subject: Subject<'_>, now: u64) -> Option<String> {
        self.signed(subject, now, &self.forger.pair)
    }

    fn signed(&self, subject: Subject<'_>, now: u64, pair: &EcdsaKeyPair) -> Option<String> {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.current.id });
        let claims = json!({
            "iss": self.issuer, "aud": self.audience, "sub": subject.user, "tenant": subject.tenant,
            "iat": now, "exp": now.saturating_add(self.lifetime),
        });
        let text = format!(
            "{}.{}",
            encode(header.to_string().as_bytes()),
            encode(claims.to_string().as_bytes())
        );
        let signature = pair.sign(&SystemRandom::new(), text.as_bytes()).ok()?;
        Some(format!("{text}.{}", encode(signature.as_ref())))
    }
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Keys {
        Keys::new("http://127.0.0.1:1/".into(), "demo", 30).unwrap()
    }

    fn key_id(token: &str) -> String {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        header["kid"].as_str().unwrap().to_owned()
    }

    #[test]
    fn a_key_is_published_before_it_signs_and_after() {
        let mut keys = keys();
        let alice = Subject {
            user: "alice",
            tenant: "acme",
        };
        assert_eq!(keys.published(), ["demo-1", "demo-2"]);
        for round in 1..5 {
            let signs = format!("demo-{round}");
            assert_eq!(keys.current(), signs);
            assert_eq!(key_id(&keys.token(alice, 0).unwrap()), signs);
            let before = keys.published().into_iter().map(str::to_owned).collect::<Vec<_>>();
            keys.rotate().unwrap();
            assert!(
                keys.published().contains(&signs.as_str()),
                "the old key stays one more round"
            );
            assert!(
                before.iter().any(|id| id == keys.current()),
                "the new key was known before it signs"
            );
        }
        assert_eq!(keys.published(), ["demo-4", "demo-5", "demo-6"]);
        assert_eq!(keys.key_set()["keys"].as_array().unwrap().len(), 3);
    }

    #[test]
    fn a_forged_token_differs_in_its_signature_only() {
        let keys = keys();
        let alice = Subject {
            user: "alice",
            tenant: "acme",
        };
        let (good, forged) = (keys.token(alice, 7).unwrap(), keys.forged(alice, 7).unwrap());
        let head = |token: &str| token.rsplit_once('.').unwrap().0.to_owned();
        assert_eq!(head(&good), head(&forged));
        assert_ne!(good, forged);
    }
}
