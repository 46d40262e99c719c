//! Circuit breakers on their way to another process, as bytes, so that no restart closes one. The monotonic clock of the
//! other process may have another origin, so times travel as ages.

use std::sync::Arc;

use super::{Breakers, Entry, ROOM, SHARED, Shard, lock};
use crate::policy::breaker::{Breaker, Packed};

/// Bytes of a breaker without the name of its policy.
const FIXED: usize = 16 + 1 + 1 + 3 * 8 + 2;
/// It is one that all share for whom there was no room.
const IS_SHARED: u8 = 1;
/// It is told of under the name of its policy.
const IS_NAMED: u8 = 2;

impl Breakers {
    /// Appends every breaker that has seen something lately, in at most `max_bytes`, open ones first; says how many.
    pub(crate) fn export(&self, now: u64, max_bytes: usize, out: &mut Vec<u8>) -> usize {
        let (mut count, end) = (0, out.len().saturating_add(max_bytes));
        for open in [true, false] {
            let shards = self.shards.iter().map(|shard| (shard, 0));
            for (shard, place) in shards.chain([(&self.shared, IS_SHARED)]) {
                for (key, entry) in lock(shard).iter() {
                    let wanted = entry.breaker.is_open() == open && !entry.breaker.is_idle(now);
                    let name = entry.policy.as_deref().unwrap_or_default();
                    if wanted && out.len() + FIXED + name.len() <= end && u16::try_from(name.len()).is_ok() {
                        encode(*key, entry, place, now, out);
                        count += 1;
                    }
                }
            }
        }
        count
    }

    /// Takes breakers over that [`Self::export`] wrote `elapsed_ns` ago, and says how many. Those that are in use here stay
    /// as they are. `None`: the bytes are damaged.
    pub(crate) fn import(&self, mut bytes: &[u8], elapsed_ns: u64, now: u64) -> Option<usize> {
        let mut count = 0;
        while !bytes.is_empty() {
            let (key, place, entry, rest) = decode(bytes, elapsed_ns, now)?;
            bytes = rest;
            count += usize::from(self.adopt(key, place, entry));
        }
        Some(count)
    }

    fn adopt(&self, key: u128, place: u8, entry: Entry) -> bool {
        let free = |shard: &Shard, room: usize| shard.len() < room && !shard.contains_key(&key);
        let (shard, room) = if place & IS_SHARED == 0 {
            (self.shard(key), ROOM)
        } else {
            (Some(lock(&self.shared)), SHARED)
        };
        match shard {
            Some(mut shard) if free(&shard, room) => shard.insert(key, entry).is_none(),
            _ => false,
        }
    }
}

fn encode(key: u128, entry: &Entry, place: u8, now: u64, out: &mut Vec<u8>) {
    let packed = entry.breaker.packed(now);
    let named = if entry.policy.is_some() { IS_NAMED } else { 0 };
    let name = entry.policy.as_deref().unwrap_or_default();
    out.extend(key.to_le_bytes());
    out.extend([place | named, packed.phase]);
    for number in [packed.age_ns, packed.previous, packed.current] {
        out.extend(number.to_le_bytes());
    }
    out.extend(u16::try_from(name.len()).unwrap_or(0).to_le_bytes());
    out.extend(name.as_bytes());
}

fn decode(bytes: &[u8], elapsed_ns: u64, now: u64) -> Option<(u128, u8, Entry, &[u8])> {
    let (key, rest) = bytes.split_first_chunk::<16>()?;
    let ([flags, phase], rest) = rest.split_first_chunk::<2>()?;
    let (age, rest) = rest.split_first_chunk::<8>()?;
    let (previous, rest) = rest.split_first_chunk::<8>()?;
    let (current, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
    let name = std::str::from_utf8(name).ok()?;
    let packed = Packed {
        phase: *phase,
        age_ns: u64::from_le_bytes(*age).saturating_add(elapsed_ns),
        previous: u64::from_le_bytes(*previous),
        current: u64::from_le_bytes(*current),
    };
    let entry = Entry {
        breaker: Breaker::unpacked(packed, now)?,
        policy: (flags & IS_NAMED != 0).then(|| Arc::from(name)),
    };
    Some((u128::from_le_bytes(*key), *flags, entry, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buckets::{Cost, KeyHasher};
    use crate::policy::breaker::{Answer, Terms};
    use crate::policy::breakers::Spending;
    use crate::tenant::Scope;

    const SECOND: u64 = 1_000_000_000;

    fn spending(name: &str, reset_seconds: Option<u64>) -> Spending {
        let mut hasher = KeyHasher::new(&[0; 16], &["p"]).within(&Scope::gateway());
        hasher.add(Some(name));
        Spending {
            policy: "p".into(),
            key: hasher.finish(),
            terms: Terms {
                threshold: 10_000_000,
                reset_ns: reset_seconds.map(|seconds| seconds * SECOND),
            },
            cost: Cost::whole(6),
            alert: false,
            shadow: false,
            own_only: false,
        }
    }

    #[test]
    fn a_restart_closes_none_and_forgets_nothing_that_counts() {
        let old = Breakers::default();
        let (good, timed, closed) = (
            spending("good", None),
            spending("timed", Some(300)),
            spending("closed", None),
        );
        let at = 1_000_000 * SECOND;
        for spending in [&good, &timed] {
            assert_eq!(old.spend(spending, at), Answer::Spent);
            assert!(matches!(old.spend(spending, at), Answer::Opened(_)));
        }
        assert_eq!(old.spend(&closed, at), Answer::Spent);
        let mut bytes = Vec::new();
        assert_eq!(old.export(at, 10_000, &mut bytes), 3);
        // The same boot ten seconds later, and another one whose clock has just begun.
        for later in [at + 10 * SECOND, 20 * SECOND] {
            let new = Breakers::default();
            assert_eq!(new.import(&bytes, 10 * SECOND, later), Some(3));
            assert_eq!(new.open(), [("p".into(), 2)]);
            assert_eq!(new.refuses(&good, later + 1_000_000 * SECOND), Some(Answer::Open(None)));
            let left = new.refuses(&timed, later);
            assert!(
                matches!(left, Some(Answer::Open(Some(left))) if left >= 290 * SECOND),
                "{left:?}"
            );
            assert!(
                matches!(new.spend(&closed, later), Answer::Opened(_)),
                "six were spent in this minute"
            );
            assert_eq!(new.import(&bytes, 0, later), Some(0), "what is in use stays");
        }
        let new = Breakers::default();
        assert_eq!(new.import(&bytes, 300 * SECOND, at + 300 * SECOND), Some(3));
        assert_eq!(
            new.refuses(&timed, at + 300 * SECOND),
            None,
            "its time has passed meanwhile"
        );
    }

    #[test]
    fn exports_are_bounded_and_damage_is_told() {
        let old = Breakers::default();
        for number in 0..100 {
            let one = spending(&number.to_string(), None);
            assert_eq!(old.spend(&one, 0), Answer::Spent);
            assert!(number % 2 == 0 || matches!(old.spend(&one, 0), Answer::Opened(_)));
        }
        let mut bytes = Vec::new();
        assert_eq!(old.export(0, 50 * (FIXED + 1), &mut bytes), 50);
        let new = Breakers::default();
        assert_eq!(new.import(&bytes, 0, 0), Some(50));
        assert_eq!(new.open(), [("p".into(), 50)], "open ones come first");
        for length in 0..bytes.len() {
            let whole = length % (FIXED + 1) == 0;
            assert_eq!(
                Breakers::default().import(&bytes[..length], 0, 0).is_some(),
                whole,
                "{length}"
            );
        }
        bytes[17] = 9;
        assert_eq!(Breakers::default().import(&bytes, 0, 0), None, "no such phase");
    }
}
