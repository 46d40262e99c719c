//! The ring of consistent hashing (ketama): each server stands at many points, a key belongs to the next point. The points
//! come from a server's address and weight alone, so every gateway agrees, and a server that comes or goes moves only its own share.

use std::hash::Hasher;

use siphasher::sip::SipHasher13;

/// Points of a server for each unit of weight, as in ketama and nginx.
const POINTS_PER_WEIGHT: u32 = 160;
/// The greatest sum of weights on a ring: 10 MiB of points.
pub(super) const MAX_WEIGHT: u64 = 4096;

/// Points in order, each with the place of its server.
#[derive(Debug, Default)]
pub(super) struct Ring(Box<[(u64, usize)]>);

impl Ring {
    pub(super) fn new<'a>(servers: impl Iterator<Item = (&'a str, u32)>) -> Self {
        let mut points = Vec::new();
        for (place, (address, weight)) in servers.enumerate() {
            for point in 0..weight.saturating_mul(POINTS_PER_WEIGHT) {
                let mut hasher = SipHasher13::new();
                hasher.write(address.as_bytes());
                hasher.write(&point.to_le_bytes());
                points.push((hasher.finish(), place));
            }
        }
        points.sort_unstable();
        Self(points.into())
    }

    /// Places of servers from `hash` on, once around. Places repeat.
    pub(super) fn walk(&self, hash: u64) -> impl Iterator<Item = usize> {
        let start = self.0.partition_point(|(point, _)| *point < hash);
        let (before, after) = self.0.split_at_checked(start).unwrap_or_default();
        after.iter().chain(before).map(|(_, place)| *place)
    }
}

/// The hash of a key for [`Choice::hash`](super::Choice). Not keyed: every gateway must send the same key to the same server.
pub fn hash_key(key: &[u8]) -> u64 {
    SipHasher13::new().hash(key)
}
