//! The zone of signatures that were let pass: a bounded memory until their time is over. It never forgets one early.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use crate::tenant::Scoped;
use crate::zones::{Entropy, ZoneState};

/// The signature of one scope's request.
pub(super) type Seen = Scoped<[u8; 32]>;

/// Signatures that were let pass.
#[derive(Debug)]
pub struct SeenSignatures {
    room: usize,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Until when, in milliseconds since 1970.
    until: HashMap<Seen, u64>,
    order: VecDeque<(u64, Seen)>,
}

/// What became of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Noted {
    /// It is new, and remembered now.
    New,
    /// It was there before.
    Known,
    /// It may be new; there is no room to remember it.
    NoRoom,
}

impl SeenSignatures {
    /// Remembers a signature until a moment.
    pub(super) fn note(&self, seen: &Seen, until_ms: u64, now_ms: u64) -> Noted {
        // A panic elsewhere leaves whole entries.
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // All of a link are remembered for the same time, so the oldest is the first to go.
        while let Some((until, oldest)) = inner.order.front().cloned() {
            if until > now_ms && inner.until.get(&oldest) == Some(&until) {
                break;
            }
            inner.order.pop_front();
            if inner.until.get(&oldest).is_some_and(|known| *known <= now_ms) {
                inner.until.remove(&oldest);
            }
        }
        if inner.until.get(seen).is_some_and(|until| *until > now_ms) {
            return Noted::Known;
        }
        if inner.order.len() >= self.room {
            return Noted::NoRoom;
        }
        inner.until.insert(seen.clone(), until_ms);
        inner.order.push_back((until_ms, seen.clone()));
        Noted::New
    }

    /// Forgets one that did not get through after all: its sender will try again.
    pub(super) fn forget(&self, seen: &Seen) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.until.remove(seen);
        inner.order.retain(|(_, known)| known != seen);
    }
}

impl ZoneState for SeenSignatures {
    const KIND: &'static str = "seen signatures";
    type Shape = usize;

    fn open(room: &usize, _: &Entropy) -> Self {
        Self {
            room: *room,
            inner: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenant::{Scope, TenantId};

    #[test]
    fn each_once_in_its_time_and_its_scope() {
        let zone = SeenSignatures {
            room: 3,
            inner: Mutex::default(),
        };
        let nobody = |n: u8| Scope::gateway().key([n; 32]);
        let acme = Scope::of(&TenantId::new("acme").unwrap());
        assert_eq!(zone.note(&nobody(1), 100, 0), Noted::New);
        assert_eq!(zone.note(&nobody(1), 100, 99), Noted::Known);
        assert_eq!(zone.note(&acme.key([1; 32]), 100, 0), Noted::New, "another's");
        assert_eq!(zone.note(&nobody(2), 200, 0), Noted::New);
        assert_eq!(zone.note(&nobody(3), 200, 0), Noted::NoRoom);
        assert_eq!(zone.note(&nobody(2), 200, 0), Noted::Known, "none is pushed out");
        zone.forget(&nobody(2));
        assert_eq!(zone.note(&nobody(2), 200, 0), Noted::New);
        assert_eq!(zone.note(&nobody(3), 200, 100), Noted::New, "two are over");
        assert_eq!(zone.note(&nobody(1), 200, 100), Noted::New);
        assert_eq!(zone.note(&nobody(4), 300, 199), Noted::NoRoom);
        assert_eq!(zone.note(&nobody(4), 300, 200), Noted::New);
    }
}
