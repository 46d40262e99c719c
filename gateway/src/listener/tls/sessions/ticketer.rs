//! Session tickets: encrypted with ring's AES-256-GCM, readable by whoever has the key, good for one lifetime.
//!
//! A ticket is `name (16) | salt (16) | encrypted (time (8) | session) | tag (16)`. Its key is derived from the named
//! secret, the salt and the binding, and used for nothing else, so that a fleet may share a secret for as many tickets
//! as it likes.

use std::sync::Arc;
use std::time::Duration;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustls::server::ProducesTickets;

use super::keys::{Key, NAME, OwnKeys, Ring, SALT, SharedKeys};
use super::{Binding, unix_now};

/// Largest session that goes into a ticket. A client's certificate chain is part of it.
const LARGEST: usize = 12 << 10;
const STAMP: usize = size_of::<u64>();
/// How far the clocks of a fleet may differ, in seconds.
const SKEW: u64 = 60;

/// Where keys come from.
#[derive(Debug, Clone)]
pub(super) enum Keys {
    Own(Arc<OwnKeys>),
    Shared(Arc<SharedKeys>),
}

/// Makes and reads tickets.
#[derive(Debug)]
pub(super) struct Ticketer {
    keys: Keys,
    binding: Binding,
    lifetime: Duration,
}

impl Ticketer {
    pub(super) fn new(keys: Keys, binding: Binding, lifetime: Duration) -> Self {
        Self {
            keys,
            binding,
            lifetime,
        }
    }

    fn keys(&self, now: u64) -> Option<Ring> {
        match &self.keys {
            Keys::Own(own) => own.at(now, self.lifetime),
            Keys::Shared(shared) => Some(shared.0.clone()),
        }
    }

    fn seal(&self, session: &[u8], now: u64) -> Option<Vec<u8>> {
        if session.len() > LARGEST {
            return None;
        }
        let keys = self.keys(now)?;
        let key = keys.first()?;
        let mut salt = [0; SALT];
        SystemRandom::new().fill(&mut salt).ok()?;
        let mut text = Vec::with_capacity(STAMP + session.len() + AES_256_GCM.tag_len());
        text.extend_from_slice(&now.to_be_bytes());
        text.extend_from_slice(session);
        let name = key.name();
        let sealing = self.ticket_key(key, &salt)?;
        sealing
            .seal_in_place_append_tag(once(), Aad::from(name), &mut text)
            .ok()?;
        let mut ticket = Vec::with_capacity(NAME + SALT + text.len());
        ticket.extend_from_slice(name);
        ticket.extend_from_slice(&salt);
        ticket.append(&mut text);
        Some(ticket)
    }

    fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (salt, text) = rest.split_first_chunk::<SALT>()?;
        if text.len() > STAMP + LARGEST + AES_256_GCM.tag_len() {
            return None;
        }
        let keys = self.keys(now)?;
        let mut named = keys.iter().filter(|key| key.name() == name);
        named.find_map(|key| self.open_with(key, salt, text, now))
    }

    fn open_with(&self, key: &Key, salt: &[u8; SALT], text: &[u8], now: u64) -> Option<Vec<u8>> {
        let mut text = text.to_vec();
        let opening = self.ticket_key(key, salt)?;
        let plain = opening.open_in_place(once(), Aad::from(key.name()), &mut text).ok()?;
        let (stamp, session) = plain.split_first_chunk::<STAMP>()?;
        let made = u64::from_be_bytes(*stamp);
        let alive = made <= now.saturating_add(SKEW) && now.saturating_sub(made) <= self.lifetime.as_secs();
        alive.then(|| session.to_vec())
    }

    fn ticket_key(&self, key: &Key, salt: &[u8; SALT]) -> Option<LessSafeKey> {
        let bytes = key.derive(salt, &self.binding);
        UnboundKey::new(&AES_256_GCM, bytes.as_ref()).ok().map(LessSafeKey::new)
    }
}

/// A derived key encrypts one ticket, so its nonce is never used twice.
fn once() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, unix_now())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, unix_now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_config::secret::SecretRef;

    const HOUR: Duration = Duration::from_secs(3600);

    fn shared(folder: &std::path::Path, keys: &[u8]) -> Keys {
        let references: Vec<_> = keys
            .iter()
            .map(|key| {
                let path = folder.join(key.to_string());
                std::fs::write(&path, [*key; 80]).unwrap();
                SecretRef::File(path)
            })
            .collect();
        Keys::Shared(Arc::new(SharedKeys::read(&references).unwrap()))
    }

    #[test]
    fn whoever_has_the_key_reads_the_ticket() {
        let folder = tempfile::tempdir().unwrap();
        let make = |keys: &[u8], binding| Ticketer::new(shared(folder.path(), keys), [binding; 32], HOUR);
        let now = 1_000_000;
        let ticket = make(&[1, 2], 0).seal(b"session", now).unwrap();
        assert_eq!(make(&[1, 2], 0).open(&ticket, now).unwrap(), b"session");
        assert_eq!(
            make(&[3, 1], 0).open(&ticket, now).unwrap(),
            b"session",
            "not the first"
        );
        assert_eq!(make(&[2, 3], 0).open(&ticket, now), None, "not among them");
        assert_eq!(make(&[1], 9).open(&ticket, now), None, "other demands");
        assert_ne!(ticket, make(&[1], 0).seal(b"session", now).unwrap());
    }

    #[test]
    fn a_ticket_has_one_life_and_no_changed_byte() {
        let folder = tempfile::tempdir().unwrap();
        let ticketer = Ticketer::new(shared(folder.path(), &[1]), [0; 32], HOUR);
        let now = 1_000_000;
        let ticket = ticketer.seal(b"session", now).unwrap();
        for (at, alive) in [
            (now - SKEW, true),
            (now - SKEW - 1, false),
            (now + 3600, true),
            (now + 3601, false),
        ] {
            assert_eq!(ticketer.open(&ticket, at).is_some(), alive, "{at}");
        }
        for place in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[place] ^= 1;
            assert_eq!(ticketer.open(&changed, now), None, "{place}");
            assert_eq!(ticketer.open(&ticket[..place], now), None, "{place}");
        }
        assert_eq!(ticketer.seal(&vec![0; LARGEST + 1], now), None);
        assert_eq!(ticketer.open(&vec![0; 1 << 16], now), None);
    }

    #[test]
    fn own_keys_forget() {
        let ticketer = Ticketer::new(Keys::Own(Arc::new(OwnKeys::new().unwrap())), [0; 32], HOUR);
        let now = unix_now();
        let ticket = ticketer.seal(b"session", now + 3000).unwrap();
        assert!(ticketer.open(&ticket, now + 6000).is_some(), "under the key before");
        assert!(ticketer.open(&ticket, now + 6601).is_none());
    }
}
