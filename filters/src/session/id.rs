//! Session ids: what the cookie holds, and how one id follows another (RFC 9700, 4.14). An id is a random handle, a number,
//! and a keyed tag over both and the session's salt. Only a hash of the handle is kept, so that a store tells nobody an id.
//! Pure: chance and time come from outside.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::{digest, hmac};

const PURPOSE: &[u8] = b"portcullis session id v1\0";
const HANDLE: usize = 32;
const NUMBER: usize = 4;
const ID: usize = HANDLE + NUMBER + 32;

/// 256 random bits.
pub type Random = [u8; 32];

/// By what a session is found: a hash of its handle.
pub type Key = [u8; 32];

/// The id that a cookie holds. It is not known to be one of ours until [`Id::is_genuine`].
#[derive(Clone, PartialEq, Eq)]
pub struct Id {
    handle: Random,
    number: u32,
    tag: [u8; 32],
}

impl Id {
    /// The id with a number in the family of a handle.
    pub fn new(key: &hmac::Key, handle: Random, salt: &Random, number: u32) -> Self {
        let mut tag = [0; 32];
        let signed = hmac::sign(key, &message(&handle, salt, number));
        for (to, from) in tag.iter_mut().zip(signed.as_ref()) {
            *to = *from;
        }
        Self { handle, number, tag }
    }

    /// Reads a cookie's value. `None` if it has not the form of an id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; ID];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()? != ID {
            return None;
        }
        let (handle, rest) = bytes.split_first_chunk::<HANDLE>()?;
        let (number, tag) = rest.split_first_chunk::<NUMBER>()?;
        Some(Self {
            handle: *handle,
            number: u32::from_be_bytes(*number),
            tag: tag.try_into().ok()?,
        })
    }

    /// The cookie's value.
    pub fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(ID);
        bytes.extend_from_slice(&self.handle);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&self.tag);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// By what its session is found.
    pub fn key(&self) -> Key {
        Self::key_of(&self.handle)
    }

    /// By what the session of a handle is found.
    pub fn key_of(handle: &Random) -> Key {
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(digest::digest(&digest::SHA256, handle).as_ref()) {
            *to = *from;
        }
        key
    }

    /// Whether it was made with this key for the session with this salt.
    pub fn is_genuine(&self, key: &hmac::Key, salt: &Random) -> bool {
        hmac::verify(key, &message(&self.handle, salt, self.number), &self.tag).is_ok()
    }

    /// The id of the same family with another number.
    #[must_use]
    pub fn with_number(&self, key: &hmac::Key, salt: &Random, number: u32) -> Self {
        Self::new(key, self.handle, salt, number)
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }
}

impl std::fmt::Debug for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Id(.., {})", self.number)
    }
}

fn message(handle: &Random, salt: &Random, number: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(PURPOSE.len() + 2 * HANDLE + NUMBER);
    message.extend_from_slice(PURPOSE);
    message.extend_from_slice(salt);
    message.extend_from_slice(handle);
    message.extend_from_slice(&number.to_be_bytes());
    message
}

/// Which ids of a family are good: the current one, and for a while the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Family {
    /// The number of the current id.
    pub number: u32,
    /// When it became that, milliseconds since 1970.
    pub since_ms: u64,
}

/// What an id is to its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The current one.
    Current,
    /// The one before, of a request that was under way when its successor was given out, or whose answer got lost.
    Before,
    /// The one that comes next: it was given out, and then a crash made the family forget. It is the current one now.
    Ahead,
    /// One of before: somebody has a copy. The family ends.
    Reused,
    /// Never given out.
    Unknown,
}

impl Family {
    /// What a genuine id with this number is.
    pub fn standing(&self, number: u32, now_ms: u64, grace_ms: u64) -> Standing {
        let within = now_ms.saturating_sub(self.since_ms) <= grace_ms;
        if number == self.number {
            Standing::Current
        } else if number.checked_add(1) == Some(self.number) && within {
            Standing::Before
        } else if self.number.checked_add(1) == Some(number) {
            Standing::Ahead
        } else if number < self.number {
            Standing::Reused
        } else {
            Standing::Unknown
        }
    }

    /// Whether the current id is due to be replaced.
    pub fn is_due(&self, now_ms: u64, after_ms: u64) -> bool {
        now_ms.saturating_sub(self.since_ms) >= after_ms && self.number < u32::MAX
    }

    /// The next id becomes the current one.
    pub fn advance(&mut self, now_ms: u64) {
        self.number = self.number.saturating_add(1);
        self.since_ms = now_ms;
    }
}
