//! How many connections are open, in all, from each client and from each network, and whether one more may come in.
//!
//! The table of them holds only those that have a connection open, so the limit on connections bounds it too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::arrivals::{ArrivalRate, Arrivals};
use super::events::Refusal;

const SHARDS: usize = 64;

/// Counts the open connections of all listeners.
#[derive(Debug)]
pub struct Admission {
    open: AtomicU32,
    holders: [Mutex<HashMap<Holder, u32>>; SHARDS],
    hasher: RandomState,
    arrivals: Arrivals,
}

/// Whom connections are counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Holder {
    /// An IPv4 address.
    V4Client(u32),
    /// An IPv6 /64, which one customer of any provider has.
    V6Client(u64),
    /// An IPv4 /24, the least that is routed by itself.
    V4Network(u32),
    /// An IPv6 /48, the least that is routed by itself.
    V6Network(u64),
}

impl Holder {
    fn client(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4Client(address.to_bits()),
            IpAddr::V6(address) => Self::V6Client((address.to_bits() >> 64) as u64),
        }
    }

    fn network(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4Network(address.to_bits() >> 8),
            IpAddr::V6(address) => Self::V6Network((address.to_bits() >> 80) as u64),
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            open: AtomicU32::new(0),
            holders: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            arrivals: Arrivals::default(),
        }
    }
}

impl Admission {
    /// Connections open now, those in their handshake included.
    pub fn open(&self) -> u32 {
        self.open.load(Relaxed)
    }

    /// Lets a connection in if fewer than `limit` are open.
    pub(super) fn enter(self: &Arc<Self>, limit: u32) -> Result<Permit, Refusal> {
        self.open
            .fetch_update(Relaxed, Relaxed, |open| (open < limit).then_some(open + 1))
            .map(|_| Permit {
                admission: Arc::clone(self),
                holders: [None; 2],
            })
            .map_err(|_| Refusal::Connections)
    }

    /// Counts a connection for `holder`, if that has fewer than `limit`.
    fn add(&self, holder: Holder, limit: u32) -> bool {
        match self.shard(holder).entry(holder) {
            Entry::Occupied(entry) if *entry.get() >= limit => return false,
            Entry::Occupied(mut entry) => *entry.get_mut() += 1,
            Entry::Vacant(_) if limit == 0 => return false,
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        true
    }

    fn remove(&self, holder: Holder) {
        let mut shard = self.shard(holder);
        if let Entry::Occupied(mut entry) = shard.entry(holder) {
            if *entry.get() > 1 {
                *entry.get_mut() -= 1;
            } else {
                entry.remove();
            }
        }
        // A crowd that has gone should not keep its memory.
        if shard.capacity() > 1024 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to_fit();
        }
    }

    fn shard(&self, holder: Holder) -> MutexGuard<'_, HashMap<Holder, u32>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
        let index = self.hasher.hash_one(holder) as usize % SHARDS;
        // The array is never empty and the index is below its length; the first stands in for a case that is none.
        let [first, ..] = &self.holders;
        // Nothing can panic while the lock is held.
        self.holders
            .get(index)
            .unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open connection. Gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Arc<Admission>,
    holders: [Option<Holder>; 2],
}

impl Permit {
    /// Whether the client at `address` may open another connection already.
    pub(super) fn arrive(&self, address: IpAddr, rate: ArrivalRate, now: Instant) -> Result<(), Refusal> {
        let welcome = self.admission.arrivals.permit(address, rate, now);
        welcome.then_some(()).ok_or(Refusal::NewConnectionsPerIp)
    }

    /// Counts the connection for the client at `address` and for its network, if they have fewer than these.
    pub(super) fn claim(&mut self, address: IpAddr, per_client: u32, per_network: u32) -> Result<(), Refusal> {
        let (client, network) = (Holder::client(address), Holder::network(address));
        if !self.admission.add(client, per_client) {
            return Err(Refusal::ConnectionsPerIp);
        }
        // What is counted is given back when the permit is dropped.
        self.holders = [Some(client), None];
        if !self.admission.add(network, per_network) {
            return Err(Refusal::ConnectionsPerPrefix);
        }
        self.holders = [Some(client), Some(network)];
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        for holder in self.holders.into_iter().flatten() {
            self.admission.remove(holder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders(admission: &Admission) -> usize {
        admission.holders.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }

    #[test]
    fn counts_all_connections() {
        let admission = Arc::new(Admission::default());
        let first = admission.enter(2).unwrap();
        let _second = admission.enter(2).unwrap();
        assert_eq!(admission.enter(2).unwrap_err(), Refusal::Connections);
        drop(first);
        assert_eq!(admission.open(), 1);
        let _third = admission.enter(2).unwrap();
        assert_eq!(admission.open(), 2);
    }

    #[test]
    fn counts_each_client_and_forgets_it() {
        let admission = Arc::new(Admission::default());
        let claim = |address: &str| {
            let mut permit = admission.enter(100).unwrap();
            permit.claim(address.parse().unwrap(), 2, 100).map(|()| permit)
        };
        let mut permits = Vec::new();
        for address in [
            "192.0.2.1",
            "::ffff:192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::ffff:1",
            "2001:db8:0:1::1",
        ] {
            permits.push(claim(address).unwrap());
        }
        for address in ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"] {
            assert_eq!(claim(address).unwrap_err(), Refusal::ConnectionsPerIp, "{address}");
        }
        assert_eq!(admission.open(), 6, "a refused connection is not counted");
        assert_eq!(holders(&admission), 4 + 2, "four clients in two networks");
        permits.clear();
        assert_eq!((admission.open(), holders(&admission)), (0, 0));
    }

    #[test]
    fn counts_each_network() {
        let admission = Arc::new(Admission::default());
        let claim = |address: &str| {
            let mut permit = admission.enter(100).unwrap();
            permit.claim(address.parse().unwrap(), 9, 2).map(|()| permit)
        };
        let mut permits = Vec::new();
        for address in [
            "192.0.2.1",
            "192.0.2.2",
            "192.0.3.1",
            "2001:db8::1",
            "2001:db8:0:1::1",
            "2001:db8:1::1",
        ] {
            permits.push(claim(address).unwrap());
        }
        for address in ["192.0.2.3", "::ffff:192.0.2.4", "2001:db8:0:2::1"] {
            assert_eq!(claim(address).unwrap_err(), Refusal::ConnectionsPerPrefix, "{address}");
        }
        assert_eq!(admission.open(), 6, "a refused connection is not counted");
        assert_eq!(holders(&admission), 6 + 4);
        permits.clear();
        assert_eq!((admission.open(), holders(&admission)), (0, 0));
    }

    #[test]
    fn nobody_passes_the_limit_in_a_race() {
        let admission = Arc::new(Admission::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2000 {
                        let Ok(mut permit) = admission.enter(3) else { continue };
                        assert!(admission.open() <= 3);
                        let _ = permit.claim("192.0.2.1".parse().unwrap(), 1, 1);
                    }
                });
            }
        });
        assert_eq!((admission.open(), holders(&admission)), (0, 0));
    }
}
