//! Sessions in memory, for clients that take no tickets: so many and no more, each for so long. The oldest makes room.

use std::sync::Arc;
use std::time::Duration;

use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

use super::unix_now;

/// Largest session that is kept. A client's certificate chain is part of it.
const LARGEST: usize = 16 << 10;
/// Bytes of the time at the end of each session.
const STAMP: usize = size_of::<u64>();

/// Sessions that end after some time.
#[derive(Debug)]
pub(super) struct Cache {
    sessions: Arc<ServerSessionMemoryCache>,
    lifetime_s: u64,
}

impl Cache {
    /// With room for so many.
    pub(super) fn new(most: usize, lifetime: Duration) -> Self {
        Self {
            sessions: ServerSessionMemoryCache::new(most),
            lifetime_s: lifetime.as_secs(),
        }
    }

    fn put_at(&self, key: Vec<u8>, mut value: Vec<u8>, now: u64) -> bool {
        if value.len() > LARGEST {
            return false;
        }
        value.extend_from_slice(&now.saturating_add(self.lifetime_s).to_be_bytes());
        self.sessions.put(key, value)
    }

    fn alive(mut value: Vec<u8>, now: u64) -> Option<Vec<u8>> {
        let until = u64::from_be_bytes(value.last_chunk::<STAMP>().copied()?);
        value.truncate(value.len().saturating_sub(STAMP));
        (now <= until).then_some(value)
    }
}

impl StoresServerSessions for Cache {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        self.put_at(key, value, unix_now())
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        Self::alive(self.sessions.get(key)?, unix_now())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        Self::alive(self.sessions.take(key)?, unix_now())
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_age_by_number_and_by_use() {
        let cache = Cache::new(2, Duration::from_secs(60));
        assert!(cache.put(vec![1], b"one".to_vec()));
        assert_eq!(cache.get(&[1]).unwrap(), b"one");
        assert_eq!(cache.take(&[1]).unwrap(), b"one");
        assert_eq!(cache.take(&[1]), None);

        assert!(cache.put_at(vec![2], b"old".to_vec(), unix_now() - 100));
        assert_eq!(cache.get(&[2]), None);

        for key in 3..9 {
            assert!(cache.put(vec![key], vec![key]));
        }
        let kept = (3..9).filter(|key| cache.get(&[*key]).is_some()).count();
        assert!((1..=2).contains(&kept), "{kept}");
        assert!(!cache.put(vec![9], vec![0; LARGEST + 1]));
    }
}
