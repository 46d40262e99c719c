//! How many connections are open, in all and from each client, and whether one more may come in.
//!
//! The table of clients holds only those that have a connection open, so the limit on connections bounds it too.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::events::Refusal;

const SHARDS: usize = 64;

/// Counts the open connections of all listeners.
#[derive(Debug)]
pub struct Admission {
    open: AtomicU32,
    clients: [Mutex<HashMap<Client, u32>>; SHARDS],
    hasher: RandomState,
}

/// Whom connections are counted for: an IPv4 address or an IPv6 /64, which one customer of any provider has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Client {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

impl Default for Admission {
    fn default() -> Self {
        Self {
            open: AtomicU32::new(0),
            clients: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
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
                client: None,
            })
            .map_err(|_| Refusal::Connections)
    }

    fn shard(&self, client: Client) -> MutexGuard<'_, HashMap<Client, u32>> {
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash do")]
        let index = self.hasher.hash_one(client) as usize % SHARDS;
        // The array is never empty and the index is below its length; the first stands in for a case that is none.
        let [first, ..] = &self.clients;
        // Nothing can panic while the lock is held.
        self.clients
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
    client: Option<Client>,
}

impl Permit {
    /// Counts the connection for the client at `address`, if that has fewer than `limit`.
    pub(super) fn claim(&mut self, address: IpAddr, limit: u32) -> Result<(), Refusal> {
        let client = Client::from(address);
        let mut shard = self.admission.shard(client);
        match shard.entry(client) {
            Entry::Occupied(entry) if *entry.get() >= limit => return Err(Refusal::ConnectionsPerIp),
            Entry::Occupied(mut entry) => *entry.get_mut() += 1,
            Entry::Vacant(_) if limit == 0 => return Err(Refusal::ConnectionsPerIp),
            Entry::Vacant(entry) => {
                entry.insert(1);
            }
        }
        drop(shard);
        self.client = Some(client);
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Relaxed);
        let Some(client) = self.client else { return };
        let mut shard = self.admission.shard(client);
        if let Entry::Occupied(mut entry) = shard.entry(client) {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clients(admission: &Admission) -> usize {
        admission.clients.iter().map(|shard| shard.lock().unwrap().len()).sum()
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
            permit.claim(address.parse().unwrap(), 2).map(|()| permit)
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
        assert_eq!(clients(&admission), 4);
        permits.clear();
        assert_eq!((admission.open(), clients(&admission)), (0, 0));
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
                        let _ = permit.claim("192.0.2.1".parse().unwrap(), 1);
                    }
                });
            }
        });
        assert_eq!((admission.open(), clients(&admission)), (0, 0));
    }
}
