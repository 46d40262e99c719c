//! Keys that tickets are encrypted with: our own, replaced as they age, or those that a fleet shares.
//!
//! A key is a name that its tickets bear, and a secret that a key for each single ticket is derived from.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_config::secret::SecretRef;
use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use smallvec::SmallVec;
use zeroize::Zeroizing;

use super::super::certificate;
use super::super::error::TlsError;
use super::{Binding, unix_now};

/// Bytes of a key's name.
pub(super) const NAME: usize = 16;
/// Bytes of the random part that a ticket's own key is derived with.
pub(super) const SALT: usize = 16;
/// Lengths of a shared key: a name, then 32 or 64 secret bytes.
const LENGTHS: [usize; 2] = [48, 80];

/// One key.
pub(super) struct Key {
    name: [u8; NAME],
    secret: hmac::Key,
}

impl Key {
    /// From a name and secret bytes one after the other. `None`: that is not enough.
    fn new(bytes: &[u8]) -> Option<Self> {
        let (name, secret) = bytes.split_first_chunk::<NAME>()?;
        (secret.len() >= 32).then(|| Self {
            name: *name,
            secret: hmac::Key::new(hmac::HMAC_SHA256, secret),
        })
    }

    fn random() -> Result<Self, TlsError> {
        let mut bytes = Zeroizing::new([0; NAME + 32]);
        let filled = SystemRandom::new().fill(&mut *bytes).is_ok();
        filled.then(|| Self::new(&*bytes)).flatten().ok_or(TlsError::NoRandom)
    }

    pub(super) fn name(&self) -> &[u8; NAME] {
        &self.name
    }

    /// The key of the one ticket with this salt, for sessions under this binding.
    pub(super) fn derive(&self, salt: &[u8; SALT], binding: &Binding) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.secret);
        context.update(b"portcullis session ticket 1");
        context.update(salt);
        context.update(binding);
        context.sign()
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

/// Keys that are the first one's to encrypt and everyone's to decrypt.
pub(super) type Ring = SmallVec<[Arc<Key>; 2]>;

/// Keys of a fleet.
#[derive(Debug)]
pub(super) struct SharedKeys(pub(super) Ring);

impl SharedKeys {
    /// Reads all of them. Blocks on the disk.
    pub(super) fn read(references: &[SecretRef]) -> Result<Self, TlsError> {
        let keys = references.iter().map(|reference| shared(reference).map(Arc::new));
        keys.collect::<Result<_, _>>().map(Self)
    }
}

fn shared(reference: &SecretRef) -> Result<Key, TlsError> {
    let bytes = match reference {
        // Raw bytes may end in what looks like the end of a line.
        SecretRef::File(path) => Zeroizing::new(certificate::read(Path::new(path))?),
        SecretRef::Env(_) => {
            let secret = reference.resolve().map_err(TlsError::Secret)?;
            Zeroizing::new(secret.expose().to_vec())
        }
    };
    let wrong = || TlsError::TicketKey {
        reference: reference.to_string(),
    };
    if LENGTHS.contains(&bytes.len()) {
        return Key::new(&bytes).ok_or_else(wrong);
    }
    let text: Zeroizing<Vec<u8>> = Zeroizing::new(
        bytes
            .iter()
            .copied()
            .filter(|byte| !byte.is_ascii_whitespace())
            .collect(),
    );
    let decoded = Zeroizing::new(STANDARD.decode(&*text).map_err(|_| wrong())?);
    let fits = LENGTHS.contains(&decoded.len());
    fits.then(|| Key::new(&decoded)).flatten().ok_or_else(wrong)
}

/// Keys of our own: one that encrypts for as long as a ticket lives, and the one before it.
#[derive(Debug)]
pub(super) struct OwnKeys {
    current: ArcSwap<Turn>,
    /// Held by the one that makes the next key.
    turning: Mutex<()>,
}

#[derive(Debug)]
struct Turn {
    keys: Ring,
    /// When the first key began, in seconds since 1970.
    since: u64,
}

impl OwnKeys {
    pub(super) fn new() -> Result<Self, TlsError> {
        let turn = Turn {
            keys: Ring::from_iter([Arc::new(Key::random()?)]),
            since: unix_now(),
        };
        Ok(Self {
            current: ArcSwap::from_pointee(turn),
            turning: Mutex::new(()),
        })
    }

    /// The keys at this time. When the first is too old, it is replaced. `None`: the system gives no random bytes.
    pub(super) fn at(&self, now: u64, lifetime: Duration) -> Option<Ring> {
        let turn = self.current.load();
        let age = now.saturating_sub(turn.since);
        if age < lifetime.as_secs() {
            return Some(turn.keys.clone());
        }
        drop(turn);
        self.turn(now, lifetime.as_secs())
    }

    fn turn(&self, now: u64, lifetime_s: u64) -> Option<Ring> {
        let _turning = self.turning.lock().ok()?;
        let before = self.current.load_full();
        let age = now.saturating_sub(before.since);
        if age < lifetime_s {
            return Some(before.keys.clone());
        }
        let mut keys = Ring::from_iter([Arc::new(Key::random().ok()?)]);
        // No ticket of a key that ended a whole life ago is alive.
        if age < lifetime_s.saturating_mul(2) {
            keys.extend(before.keys.first().cloned());
        }
        self.current.store(Arc::new(Turn {
            keys: keys.clone(),
            since: now,
        }));
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn own_keys_take_turns() {
        let own = OwnKeys::new().unwrap();
        let start = own.current.load().since;
        let names = |at: u64| -> Vec<[u8; NAME]> {
            let keys = own.at(start + at, HOUR).unwrap();
            keys.iter().map(|key| *key.name()).collect()
        };
        let first = names(0);
        assert_eq!(first, names(3599));
        let second = names(3600);
        assert_eq!((second.len(), second[1]), (2, first[0]));
        assert_eq!(second, names(7000));
        let third = names(7300);
        assert_eq!((third.len(), third[1]), (2, second[0]));
        assert_eq!(names(7300 + 7200).len(), 1, "what has long been over is forgotten");
    }

    #[test]
    fn shared_keys_are_48_or_80_bytes_raw_or_base64() {
        let folder = tempfile::tempdir().unwrap();
        let read = |content: &[u8]| {
            std::fs::write(folder.path().join("key"), content).unwrap();
            let reference = SecretRef::File(folder.path().join("key"));
            SharedKeys::read(&[reference]).map(|keys| *keys.0[0].name())
        };
        let mut raw = vec![7; 80];
        *raw.last_mut().unwrap() = b'\n';
        assert_eq!(read(&raw).unwrap(), [7; NAME]);
        assert_eq!(read(&raw[..48]).unwrap(), [7; NAME]);
        let mut wrapped = STANDARD.encode(&raw);
        wrapped.insert(64, '\n');
        assert_eq!(read(format!("{wrapped}\n").as_bytes()).unwrap(), [7; NAME]);
        for wrong in [&raw[..47], &[7; 79], b"", STANDARD.encode(&raw[..64]).as_bytes()] {
            let text = read(wrong).unwrap_err().to_string();
            assert!(text.contains("48 or 80") && text.contains("key"), "{text}");
        }
        let missing = SharedKeys::read(&["env:PORTCULLIS_NO_SUCH_KEY".parse().unwrap()]).unwrap_err();
        assert!(missing.to_string().contains("PORTCULLIS_NO_SUCH_KEY"), "{missing}");
    }
}
