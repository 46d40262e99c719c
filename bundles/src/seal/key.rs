//! The state key: what the configuration refers to, made into a key and a name. Which files it opens is not known here.

use std::fmt;
use std::str::FromStr;

use portcullis_config::secret::{SecretError, SecretRef};
use ring::hmac;
use zeroize::Zeroizing;

/// Fewest bytes of a state key.
const FEWEST_BYTES: usize = 32;

/// Names a key without telling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyId(u64);

impl KeyId {
    pub(super) const fn new(id: u64) -> Self {
        Self(id)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for KeyId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() != 16 || !text.bytes().all(hex) {
            return Err(());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| ())
    }
}

/// A state key.
#[derive(Clone)]
pub struct StateKey {
    id: KeyId,
    key: Zeroizing<[u8; 32]>,
}

/// Why a state key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// It cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// It is too short to be a key.
    #[error("{0} has {1} bytes; a state key has at least {FEWEST_BYTES}, such as `openssl rand -base64 32` prints")]
    Short(SecretRef, usize),
}

impl StateKey {
    /// Reads a key.
    pub fn resolve(reference: &SecretRef) -> Result<Self, KeyError> {
        let secret = reference.resolve()?;
        let length = secret.expose().len();
        if length < FEWEST_BYTES {
            return Err(KeyError::Short(reference.clone(), length));
        }
        Ok(Self::of(secret.expose()))
    }

    /// Makes a key of a secret.
    pub fn of(secret: &[u8]) -> Self {
        let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let part = |what: &[u8]| hmac::sign(&secret, what);
        let id = part(b"portcullis state key id");
        let id = id.as_ref().first_chunk::<8>().copied().unwrap_or_default();
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(part(b"portcullis state key").as_ref());
        Self {
            id: KeyId(u64::from_be_bytes(id)),
            key,
        }
    }

    /// Its name.
    pub const fn id(&self) -> KeyId {
        self.id
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StateKey({})", self.id)
    }
}

/// The key that state is sealed with, and those that it may have been sealed with before.
#[derive(Debug, Clone)]
pub struct StateKeys {
    /// Seals.
    pub key: StateKey,
    /// Only open.
    pub previous: Vec<StateKey>,
}

impl StateKeys {
    /// Reads them.
    pub fn resolve(key: &SecretRef, previous: &[SecretRef]) -> Result<Self, KeyError> {
        Ok(Self {
            key: StateKey::resolve(key)?,
            previous: previous.iter().map(StateKey::resolve).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn find(&self, id: KeyId) -> Option<&StateKey> {
        std::iter::once(&self.key)
            .chain(&self.previous)
            .find(|key| key.id == id)
    }

    pub(super) fn ids(&self) -> String {
        let ids = std::iter::once(&self.key).chain(&self.previous);
        ids.map(|key| key.id.to_string()).collect::<Vec<_>>().join(", ")
    }
}
