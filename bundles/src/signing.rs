//! Keys that sign, for whoever publishes bundles: making them, reading them, using them. The gateway never holds one
//! (but for HMAC, where the two are the same, which is why Ed25519 is recommended).

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_config::secret::Secret;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use ring::{error, hkdf, hmac};
use zeroize::Zeroizing;

use crate::trust::{KeyAlgorithm, Trust};

/// A key that signs.
pub struct SigningKey {
    id: Arc<str>,
    material: Material,
}

enum Material {
    Hmac(hmac::Key),
    Ed25519(Ed25519KeyPair),
    EcdsaP256(EcdsaKeyPair),
}

/// Why there is no key or no signature. Never holds key material.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// The text is in none of the forms of a private key.
    #[error(
        "not a private key for {0}: PKCS#8 PEM (`-----BEGIN PRIVATE KEY-----`), or a seed of 32 bytes in base64 for ed25519"
    )]
    NotAKey(KeyAlgorithm),
    /// The older form of EC keys.
    #[error("this EC key is not in PKCS#8 form; convert it: openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW")]
    Sec1,
    /// The file is PEM, but no algorithm was named and none fits.
    #[error("neither an Ed25519 nor an ECDSA P-256 key in PKCS#8 form")]
    NoAlgorithm,
    /// Neither PEM nor a named algorithm.
    #[error("this is not a PEM file: say which algorithm the key is for")]
    Ambiguous,
    /// The HMAC key is too short.
    #[error("the HMAC key has {0} bytes; at least {min} are needed", min = Trust::MIN_HMAC_BYTES)]
    ShortHmac(usize),
    /// The system gives no random numbers, or the key cannot be used.
    #[error("the cryptographic library failed")]
    Failed,
}

impl From<error::Unspecified> for SigningError {
    fn from(_: error::Unspecified) -> Self {
        Self::Failed
    }
}

/// A new key.
#[derive(Debug)]
pub struct NewKey {
    /// What it signs with.
    pub algorithm: KeyAlgorithm,
    /// The private key's file: PKCS#8 PEM, or random text for HMAC. Keep it where bundles are signed.
    pub private: Secret,
    /// The public key as `policy.trust` wants it. `None` for HMAC.
    pub public_key: Option<String>,
}

/// Makes a key.
pub fn generate(algorithm: KeyAlgorithm) -> Result<NewKey, SigningError> {
    let random = SystemRandom::new();
    let document = match algorithm {
        KeyAlgorithm::HmacSha256 => {
            let mut bytes = Zeroizing::new([0u8; 32]);
            random.fill(bytes.as_mut())?;
            let private = Secret::new(STANDARD.encode(bytes.as_ref()).into_bytes());
            return Ok(NewKey {
                algorithm,
                private,
                public_key: None,
            });
        }
        KeyAlgorithm::Ed25519 => Ed25519KeyPair::generate_pkcs8(&random)?,
        KeyAlgorithm::EcdsaP256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?,
    };
    let private = Secret::new(to_pem(document.as_ref()));
    let key = SigningKey::read("new", Some(algorithm), &private)?;
    Ok(NewKey {
        algorithm,
        public_key: key.public_key(),
        private,
    })
}

/// The HMAC key of one gateway, from a key that only the publisher holds: HKDF with SHA-256 (RFC 5869), the name of the
/// gateway as `info`. Whoever has it can sign for this gateway and for no other.
pub fn derive(publisher: &Secret, edge_id: &str) -> Result<NewKey, SigningError> {
    let bytes = publisher.expose();
    if bytes.len() < Trust::MIN_HMAC_BYTES {
        return Err(SigningError::ShortHmac(bytes.len()));
    }
    let mut key = Zeroizing::new([0u8; 32]);
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"portcullis bundle key 1").extract(bytes);
    let info = [edge_id.as_bytes()];
    extracted.expand(&info, hkdf::HKDF_SHA256)?.fill(key.as_mut())?;
    Ok(NewKey {
        algorithm: KeyAlgorithm::HmacSha256,
        private: Secret::new(STANDARD.encode(key.as_ref()).into_bytes()),
        public_key: None,
    })
}

impl SigningKey {
    /// Reads a private key: PKCS#8 PEM for Ed25519 and ECDSA P-256, a seed in base64 for Ed25519, the bytes themselves for
    /// HMAC. Without `algorithm` the PEM decides.
    pub fn read(id: &str, algorithm: Option<KeyAlgorithm>, secret: &Secret) -> Result<Self, SigningError> {
        let bytes = secret.expose();
        let text = std::str::from_utf8(bytes).unwrap_or("").trim();
        if text.starts_with("-----BEGIN EC ") {
            return Err(SigningError::Sec1);
        }
        let material = match (algorithm, text.starts_with("-----BEGIN ")) {
            (Some(KeyAlgorithm::HmacSha256), _) if bytes.len() < Trust::MIN_HMAC_BYTES => {
                return Err(SigningError::ShortHmac(bytes.len()));
            }
            (Some(KeyAlgorithm::HmacSha256), _) => Some(Material::Hmac(hmac::Key::new(hmac::HMAC_SHA256, bytes))),
            (Some(KeyAlgorithm::Ed25519), true) => from_pem(text).and_then(|der| ed25519(&der)),
            (Some(KeyAlgorithm::Ed25519), false) => seed(text),
            (Some(KeyAlgorithm::EcdsaP256), _) => from_pem(text).and_then(|der| ecdsa_p256(&der)),
            (None, true) => from_pem(text).and_then(|der| ed25519(&der).or_else(|| ecdsa_p256(&der))),
            (None, false) => return Err(SigningError::Ambiguous),
        };
        let error = algorithm.map_or(SigningError::NoAlgorithm, SigningError::NotAKey);
        Ok(Self {
            id: id.into(),
            material: material.ok_or(error)?,
        })
    }

    /// The id that goes into envelopes.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How it signs.
    pub fn algorithm(&self) -> KeyAlgorithm {
        match self.material {
            Material::Hmac(_) => KeyAlgorithm::HmacSha256,
            Material::Ed25519(_) => KeyAlgorithm::Ed25519,
            Material::EcdsaP256(_) => KeyAlgorithm::EcdsaP256,
        }
    }

    /// The public key in base64, as `policy.trust` wants it. `None` for HMAC.
    pub fn public_key(&self) -> Option<String> {
        match &self.material {
            Material::Hmac(_) => None,
            Material::Ed25519(pair) => Some(STANDARD.encode(pair.public_key())),
            Material::EcdsaP256(pair) => Some(STANDARD.encode(pair.public_key())),
        }
    }

    /// The signature of `text`.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, SigningError> {
        Ok(match &self.material {
            Material::Hmac(key) => hmac::sign(key, text).as_ref().to_vec(),
            Material::Ed25519(pair) => pair.sign(text).as_ref().to_vec(),
            Material::EcdsaP256(pair) => pair.sign(&SystemRandom::new(), text)?.as_ref().to_vec(),
        })
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {})", self.id, self.algorithm())
    }
}

fn ed25519(der: &[u8]) -> Option<Material> {
    // "Maybe unchecked": OpenSSL writes the form without the public key, so there is nothing to check it against.
    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der)
        .ok()
        .map(Material::Ed25519)
}

fn ecdsa_p256(der: &[u8]) -> Option<Material> {
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der, &SystemRandom::new());
    pair.ok().map(Material::EcdsaP256)
}

fn seed(text: &str) -> Option<Material> {
    let seed = Zeroizing::new(STANDARD.decode(text).ok()?);
    Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(Material::Ed25519)
}

const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";

fn from_pem(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let body = text.strip_prefix(BEGIN)?.split_once(END)?.0;
    let joined: Zeroizing<String> = Zeroizing::new(body.split_ascii_whitespace().collect());
    STANDARD.decode(joined.as_bytes()).ok().map(Zeroizing::new)
}

fn to_pem(der: &[u8]) -> Vec<u8> {
    let body = Zeroizing::new(STANDARD.encode(der));
    let mut pem = Vec::with_capacity(body.len() + 128);
    pem.extend_from_slice(BEGIN.as_bytes());
    pem.push(b'\n');
    for line in body.as_bytes().chunks(64) {
        pem.extend_from_slice(line);
        pem.push(b'\n');
    }
    pem.extend_from_slice(END.as_bytes());
    pem.push(b'\n');
    pem
}
