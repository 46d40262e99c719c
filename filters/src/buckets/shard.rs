//! One shard of a table: a bounded map of buckets that forgets only what is full again. Locks are the table's matter.

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Place;

use super::arithmetic::Params;
use super::bucket::Bucket;

/// Places looked at for full buckets whenever a key is new.
const PROBES: usize = 8;
/// The same when there is no room.
const PROBES_WHEN_CROWDED: usize = 64;

/// For so long after a change, requests that began before it may still use the parameters of before.
const SETTLED_NS: u64 = 60_000_000_000;

/// A bucket under its key: 56 bytes, and not 64, which the alignment of the key would make of them.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed(8))]
pub(super) struct Entry {
    pub(super) key: u128,
    pub(super) bucket: Bucket,
}

/// Since when the parameters are what they are, and how long the slowest bucket takes to fill.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Epoch {
    pub(super) since: u64,
    pub(super) longest_fill_ns: u64,
}

impl Epoch {
    /// Whether a bucket equals one that is not there. It must be full by the parameters it was last used with; and when
    /// those may have changed before it was, it must have had the time to fill by the slowest of the new ones.
    fn forgets(self, bucket: &Bucket, now: u64) -> bool {
        bucket.is_full_at(now)
            && (bucket.has_window()
                || bucket.is_full_at(self.since.min(now))
                || bucket.at > self.since.saturating_add(SETTLED_NS)
                || bucket.at.max(self.since).saturating_add(self.longest_fill_ns) <= now)
    }
}

/// A bounded map of buckets.
#[derive(Debug, Default)]
pub(super) struct Shard {
    table: HashTable<Entry>,
    hand: usize,
}

impl Shard {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// Bytes that it takes, free places included.
    pub(super) fn bytes(&self) -> usize {
        self.table.allocation_size()
    }

    pub(super) fn get(&self, key: u128) -> Option<&Entry> {
        self.table.find(hash(key), |entry| entry.key == key)
    }

    pub(super) fn get_mut(&mut self, key: u128) -> Option<&mut Entry> {
        self.table.find_mut(hash(key), |entry| entry.key == key)
    }

    /// The entry of a key, a new one with a full bucket when there is none. `None` when there is no room for a new one.
    pub(super) fn open(
        &mut self,
        key: u128,
        params: Params,
        now: u64,
        epoch: Epoch,
        room: usize,
    ) -> Option<&mut Entry> {
        if self.get(key).is_none() {
            let crowded = self.len() >= room;
            self.forget(if crowded { PROBES_WHEN_CROWDED } else { PROBES }, now, epoch);
            if self.len() >= room {
                return None;
            }
        }
        let found = self
            .table
            .entry(hash(key), |entry| entry.key == key, |entry| hash(entry.key));
        Some(match found {
            Place::Occupied(entry) => entry.into_mut(),
            Place::Vacant(place) => place
                .insert(Entry {
                    key,
                    bucket: Bucket::full(params, now),
                })
                .into_mut(),
        })
    }

    /// Puts an entry of another process in, when there is room and the key is not in use.
    pub(super) fn adopt(&mut self, entry: Entry, room: usize) -> bool {
        let free = self.len() < room && self.get(entry.key).is_none();
        if free {
            self.table
                .insert_unique(hash(entry.key), entry, |entry| hash(entry.key));
        }
        free
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }

    /// Forgets full buckets at the next few places, round and round.
    fn forget(&mut self, probes: usize, now: u64, epoch: Epoch) {
        let places = self.table.num_buckets();
        for _ in 0..probes.min(places) {
            self.hand = if self.hand + 1 < places { self.hand + 1 } else { 0 };
            if let Ok(found) = self.table.get_bucket_entry(self.hand)
                && epoch.forgets(&found.get().bucket, now)
            {
                found.remove();
            }
        }
    }
}

/// Keys are hashes already; the shard was chosen by the low half.
fn hash(key: u128) -> u64 {
    u64::try_from(key >> 64).unwrap_or(u64::MAX)
}
