//! The open connections, to close those that wait for nothing when memory is low. Only whole connections come and go
//! here, never a request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::connection::{Connection, Phase, Protocol};
use super::events::Cut;

const SHARDS: usize = 16;

/// Every open connection by its id. Bounded as connections are.
#[derive(Debug, Default)]
pub(super) struct Roster([Mutex<HashMap<u64, Weak<Connection>>>; SHARDS]);

/// A connection's line in the roster, for as long as this lives.
#[derive(Debug)]
pub(super) struct Enrolled<'a> {
    roster: &'a Roster,
    id: u64,
}

impl Roster {
    /// Enters a connection.
    pub(super) fn enter(&self, connection: &Arc<Connection>) -> Enrolled<'_> {
        let id = connection.id();
        self.shard(id).insert(id, Arc::downgrade(connection));
        Enrolled { roster: self, id }
    }

    /// Closes the HTTP/1 connections that wait for a request of which nothing has come. How many.
    pub(super) fn close_idle(&self) -> usize {
        let ids = 0..SHARDS as u64;
        ids.map(|id| {
            // Outside of the lock: who is woken may run at once.
            let open: Vec<_> = self.shard(id).values().filter_map(Weak::upgrade).collect();
            let idle = open.iter().filter(|connection| is_idle(connection));
            idle.map(|connection| connection.end(Cut::MemoryLow)).count()
        })
        .sum()
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, HashMap<u64, Weak<Connection>>> {
        #[expect(clippy::cast_possible_truncation, reason = "below the number of shards")]
        let index = (id % SHARDS as u64) as usize;
        // The array is never empty and the index is below its length; the first stands in for a case that is none.
        let [first, ..] = &self.0;
        self.0
            .get(index)
            .unwrap_or(first)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_idle(connection: &Connection) -> bool {
    connection.protocol() == Protocol::Http1
        && connection.phase() == Phase::Header
        && connection.is_idle()
        && connection.was_cut().is_none()
}

impl Drop for Enrolled<'_> {
    fn drop(&mut self) {
        let mut shard = self.roster.shard(self.id);
        shard.remove(&self.id);
        // A crowd that has gone should not keep its memory.
        if shard.capacity() > 1024 && shard.len() < shard.capacity() / 8 {
            shard.shrink_to_fit();
        }
    }
}
