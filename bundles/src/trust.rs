//! Whose signatures count. A key id chooses the algorithm from this list, and nothing that a bundle says changes that.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_config::policy;
use portcullis_config::secret::{Secret, SecretError};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};
use ring::{agreement, hmac};
use serde::Serialize;

use crate::digest::Digest;

/// How a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum KeyAlgorithm {
    /// HMAC with SHA-256 (RFC 2104). Whoever can verify can also sign.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// Ed25519 (RFC 8032).
    #[serde(rename = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5); signatures are `r || s`, 64 bytes.
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
}

impl KeyAlgorithm {
    /// All of them, the recommended one first.
    pub const ALL: [Self; 3] = [Self::Ed25519, Self::EcdsaP256, Self::HmacSha256];

    /// As command lines and reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::Ed25519 => "ed25519",
            Self::EcdsaP256 => "ecdsa-p256",
        }
    }

    /// The algorithm of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The keys whose signatures count.
#[derive(Clone, Default)]
pub struct Trust {
    keys: Vec<TrustedKey>,
}

#[derive(Clone)]
struct TrustedKey {
    id: Arc<str>,
    material: Material,
}

#[derive(Clone)]
enum Material {
    Hmac(hmac::Key),
    Ed25519([u8; 32]),
    EcdsaP256([u8; 65]),
}

/// What a key says of a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Check {
    /// There is no such key.
    Unknown,
    /// It is not this key's signature of this text.
    Invalid,
    /// It is.
    Valid(Arc<str>),
}

/// Why a key cannot be trusted. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The id is empty, too long or has control characters.
    #[error("key id {id:?} must have 1 to {max} printable characters", max = Trust::MAX_ID)]
    Id {
        /// The id.
        id: String,
    },
    /// Two keys have this id.
    #[error("key id `{id}` is given twice; an id chooses one key")]
    Duplicate {
        /// The id.
        id: String,
    },
    /// There are too many keys.
    #[error("more than {max} trusted keys", max = Trust::MAX_KEYS)]
    TooMany,
    /// The HMAC key is too short.
    #[error(
        "HMAC key `{id}` has {bytes} bytes; at least {min} are needed (`portcullis bundle keygen` makes one)",
        min = Trust::MIN_HMAC_BYTES
    )]
    ShortHmac {
        /// The id.
        id: String,
        /// Its length.
        bytes: usize,
    },
    /// The public key is not one.
    #[error("public key `{id}`: {why}")]
    PublicKey {
        /// The id.
        id: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The secret cannot be had.
    #[error("HMAC key `{id}`: {source}")]
    Secret {
        /// The id.
        id: String,
        /// Why.
        source: SecretError,
    },
}

impl Trust {
    /// Most keys.
    pub const MAX_KEYS: usize = 64;
    /// Most bytes of a key's id.
    pub const MAX_ID: usize = 128;
    /// Fewest bytes of an HMAC key: as many as its hash has.
    pub const MIN_HMAC_BYTES: usize = 32;

    /// Reads the keys that the configuration names. Collects everything that is wrong.
    ///
    /// Reads secrets: call it when a configuration is put to use, not when it is checked.
    pub fn resolve(written: &policy::Trust) -> Result<Self, Vec<TrustError>> {
        let mut trust = Self::default();
        let mut errors = Vec::new();
        for key in &written.hmac {
            let added = match key.secret.resolve() {
                Ok(secret) => trust.add_hmac(&key.id, &secret),
                Err(source) => Err(TrustError::Secret {
                    id: key.id.clone(),
                    source,
                }),
            };
            errors.extend(added.err());
        }
        for key in &written.ed25519 {
            errors.extend(trust.add_ed25519(&key.id, &key.public_key).err());
        }
        for key in &written.ecdsa_p256 {
            errors.extend(trust.add_ecdsa_p256(&key.id, &key.public_key).err());
        }
        if errors.is_empty() { Ok(trust) } else { Err(errors) }
    }

    /// Trusts an HMAC key: the secret's bytes as they are.
    pub fn add_hmac(&mut self, id: &str, secret: &Secret) -> Result<(), TrustError> {
        let bytes = secret.expose();
        if bytes.len() < Self::MIN_HMAC_BYTES {
            return Err(TrustError::ShortHmac {
                id: id.into(),
                bytes: bytes.len(),
            });
        }
        self.add(id, Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes)))
    }

    /// Trusts an Ed25519 public key: 32 bytes in base64.
    pub fn add_ed25519(&mut self, id: &str, public_key: &str) -> Result<(), TrustError> {
        let key: [u8; 32] = decode_key(id, public_key, "an Ed25519 public key is 32 bytes in base64")?;
        if is_small_order(&key) {
            // Such a "key" accepts signatures that anybody can make; all zeros is one of them.
            return Err(TrustError::PublicKey {
                id: id.into(),
                why: "a point of small order is not a key",
            });
        }
        self.add(id, Material::Ed25519(key))
    }

    /// Trusts an ECDSA P-256 public key: an uncompressed point of 65 bytes in base64.
    pub fn add_ecdsa_p256(&mut self, id: &str, public_key: &str) -> Result<(), TrustError> {
        let why = "an ECDSA P-256 public key is an uncompressed point, 65 bytes in base64";
        let key: [u8; 65] = decode_key(id, public_key, why)?;
        if !is_on_p256(&key) {
            return Err(TrustError::PublicKey {
                id: id.into(),
                why: "not a point of the curve P-256",
            });
        }
        self.add(id, Material::EcdsaP256(key))
    }

    fn add(&mut self, id: &str, material: Material) -> Result<(), TrustError> {
        if id.is_empty() || id.len() > Self::MAX_ID || id.chars().any(|c| c.is_control() || matches!(c, '"' | '\\')) {
            return Err(TrustError::Id {
                id: id.chars().take(Self::MAX_ID).collect(),
            });
        }
        if self.keys.iter().any(|key| key.id.as_ref() == id) {
            return Err(TrustError::Duplicate { id: id.into() });
        }
        if self.keys.len() >= Self::MAX_KEYS {
            return Err(TrustError::TooMany);
        }
        self.keys.push(TrustedKey {
            id: id.into(),
            material,
        });
        Ok(())
    }

    /// Whether no key is trusted.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys' ids and algorithms, for status pages.
    pub fn keys(&self) -> impl Iterator<Item = (&str, KeyAlgorithm)> {
        self.keys.iter().map(|key| (key.id.as_ref(), key.material.algorithm()))
    }

    /// What the key `id` says of a signature.
    pub(crate) fn check(&self, id: &str, text: &[u8], signature: &[u8]) -> Check {
        match self.keys.iter().find(|key| key.id.as_ref() == id) {
            None => Check::Unknown,
            Some(key) if key.material.verifies(text, signature) => Check::Valid(Arc::clone(&key.id)),
            Some(_) => Check::Invalid,
        }
    }

    /// What the HMAC keys say of a signature that names no key. Every key is tried, so that the time tells nothing.
    pub(crate) fn check_hmac(&self, text: &[u8], signature: &[u8]) -> Check {
        let mut verdict = Check::Unknown;
        for key in &self.keys {
            if !matches!(key.material, Material::Hmac(_)) {
                continue;
            }
            let valid = key.material.verifies(text, signature);
            match (&verdict, valid) {
                (Check::Valid(_), _) => {}
                (_, true) => verdict = Check::Valid(Arc::clone(&key.id)),
                (_, false) => verdict = Check::Invalid,
            }
        }
        verdict
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.keys()).finish()
    }
}

impl Material {
    fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::Hmac(_) => KeyAlgorithm::HmacSha256,
            Self::Ed25519(_) => KeyAlgorithm::Ed25519,
            Self::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
        }
    }

    fn verifies(&self, text: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => hmac::verify(key, text, signature).is_ok(),
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(text, signature).is_ok(),
            Self::EcdsaP256(key) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
                .verify(text, signature)
                .is_ok(),
        }
    }
}

fn decode_key<const N: usize>(id: &str, text: &str, why: &'static str) -> Result<[u8; N], TrustError> {
    let bytes = STANDARD.decode(text).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(TrustError::PublicKey { id: id.into(), why })
}

/// Whether an encoded Edwards point has order 1, 2, 4 or 8 (both signs, non-canonical encodings included).
fn is_small_order(key: &[u8; 32]) -> bool {
    const ORDER_8: [&str; 2] = [
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ];
    let mut y = *key;
    if let Some(last) = y.last_mut() {
        *last &= 0x7f;
    }
    let [first, middle @ .., last] = &y;
    let low = matches!(first, 0 | 1) && *last == 0 && middle.iter().all(|byte| *byte == 0);
    let high = matches!(first, 0xec..=0xee) && *last == 0x7f && middle.iter().all(|byte| *byte == 0xff);
    low || high
        || ORDER_8
            .iter()
            .any(|text| text.parse::<Digest>().is_ok_and(|point| *point.as_bytes() == y))
}

/// ring looks at a point only when it is used; an agreement with a throw-away key is such a use.
fn is_on_p256(key: &[u8; 65]) -> bool {
    let Ok(own) = agreement::EphemeralPrivateKey::generate(&agreement::ECDH_P256, &SystemRandom::new()) else {
        return false;
    };
    agreement::agree_ephemeral(
        own,
        &agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, key),
        |_| (),
    )
    .is_ok()
}
