//! The table of buckets: sharded, exact under concurrency, bounded. What a bucket's numbers mean is
//! [`super::arithmetic`]'s, who is counted under which key is the caller's.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use smallvec::SmallVec;

use super::arithmetic::{Cost, Taken};
use super::bucket::Bucket;
use super::charge::{Charge, NoRoom, Reserved};
use super::shard::{Entry, Epoch, Shard};
use super::sync::{AtomicU64, Mutex, MutexGuard};

/// Most shards of a table.
const SHARDS: usize = 128;
/// Fewest buckets a full shard holds; smaller tables have fewer shards. It is what a map of a power of two of places holds
/// before it grows, as are its doubles: so a full table has few places that nobody can use.
const ROOM: usize = 112;
/// Most shared buckets: one for each limit that ever ran out of room.
const SHARED: usize = 16_384;

/// Buckets by key.
///
/// A bucket that is full again may be forgotten, since one that is not there is full. When there is no room for a new
/// key, it shares one bucket with all such keys of its limit; a live bucket is never forgotten for it.
#[derive(Debug)]
pub struct BucketTable {
    shards: Box<[Mutex<Shard>]>,
    shared: Mutex<Shard>,
    room: usize,
    capacity: usize,
    epoch_tag: AtomicU64,
    epoch_since: AtomicU64,
    epoch_longest_fill_ns: AtomicU64,
    shared_total: AtomicU64,
    refused_total: AtomicU64,
    uncounted_total: AtomicU64,
}

/// Locked shards, in ascending order.
type Locked<'t> = SmallVec<[(usize, MutexGuard<'t, Shard>); 8]>;

impl BucketTable {
    /// With room for about `capacity` keys (rounded up to fill its shards).
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let mut most = ROOM;
        while capacity.div_ceil(most) > SHARDS {
            most *= 2;
        }
        let shards = capacity.div_ceil(most);
        Self {
            shards: (0..shards).map(|_| Mutex::default()).collect(),
            shared: Mutex::default(),
            room: capacity.div_ceil(shards),
            capacity,
            epoch_tag: AtomicU64::new(0),
            epoch_since: AtomicU64::new(0),
            epoch_longest_fill_ns: AtomicU64::new(0),
            shared_total: AtomicU64::new(0),
            refused_total: AtomicU64::new(0),
            uncounted_total: AtomicU64::new(0),
        }
    }

    /// Keys it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Buckets in it. Takes every lock in turn: for metrics.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    /// Bytes that its buckets take, places that are free included. Takes every lock in turn.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes()).sum()
    }

    /// Whether every bucket is full.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How often a key had to share a bucket because there was no room.
    pub fn shared_total(&self) -> u64 {
        self.shared_total.load(Relaxed)
    }

    /// How often a key was refused because there was no room, and none to share.
    pub fn refused_total(&self) -> u64 {
        self.refused_total.load(Relaxed)
    }

    /// How often a key was not counted because there was no room.
    pub fn uncounted_total(&self) -> u64 {
        self.uncounted_total.load(Relaxed)
    }

    /// Tells the table which parameters are in use, before they are used: `tag` stands for all of them, `longest_fill_ns`
    /// gives the longest [`Params::fill_ns`]. Buckets that were not full when they changed are kept until they are full
    /// by the new ones. Cheap when nothing changed.
    pub fn in_use(&self, tag: u64, now: u64, longest_fill_ns: impl FnOnce() -> u64) {
        if self.epoch_tag.load(Acquire) != tag {
            self.epoch_longest_fill_ns.store(longest_fill_ns(), Relaxed);
            self.epoch_since.fetch_max(now, Release);
            self.epoch_tag.store(tag, Release);
        }
    }

    fn epoch(&self) -> Epoch {
        let since = self.epoch_since.load(Acquire);
        Epoch {
            since,
            longest_fill_ns: self.epoch_longest_fill_ns.load(Relaxed),
        }
    }

    /// Takes from a bucket.
    pub fn take(&self, charge: &Charge, now: u64) -> Taken {
        let mut locked = self.lock_all([charge.key.own]);
        self.take_locked(&mut locked, charge, now)
    }

    /// Takes from all of these buckets or, when one that may refuse has not enough, from none. Nobody sees a state in
    /// between.
    ///
    /// `answers` gets one answer a charge, in order.
    pub fn take_all(&self, charges: &[Charge], now: u64, answers: &mut SmallVec<[Taken; 8]>) -> bool {
        let mut locked = self.lock_all(charges.iter().map(|charge| charge.key.own));
        let first = answers.len();
        for charge in charges {
            let taken = self.take_locked(&mut locked, charge, now);
            answers.push(taken);
        }
        let taken = answers.get(first..).unwrap_or_default();
        let all = charges
            .iter()
            .zip(taken)
            .all(|(charge, taken)| charge.soft || taken.allowed);
        if !all {
            for reserved in charges
                .iter()
                .zip(taken)
                .filter_map(|(charge, taken)| charge.reserved(taken))
            {
                self.refund_locked(&mut locked, &reserved, reserved.cost, now);
            }
        }
        all
    }

    /// What [`Self::take`] would answer now, taking nothing. As if nothing could be forgotten to make room.
    pub fn peek(&self, charge: &Charge, now: u64) -> Taken {
        let shard = lock_at(&self.shards, self.place(charge.key.own));
        let own = shard.as_ref().and_then(|shard| shard.get(charge.key.own));
        let crowded = own.is_none() && shard.as_ref().is_some_and(|shard| shard.len() >= self.room);
        if crowded && charge.no_room != NoRoom::Share {
            return uncounted(charge, now);
        }
        let shared = crowded
            .then(|| lock(&self.shared).get(charge.key.shared).copied())
            .flatten();
        let known = own.copied().or(shared);
        let mut bucket = known.map_or_else(|| Bucket::full(charge.params, now), |entry| entry.bucket);
        take_from(&mut bucket, charge, self.epoch(), now, crowded)
    }

    /// Gives back `cost` of what was taken; nothing when the window that it was taken from is over.
    pub fn refund(&self, reserved: &Reserved, cost: Cost, now: u64) {
        let cost = cost.min(reserved.cost);
        let mut locked = self.lock_all([reserved.key.own]);
        self.refund_locked(&mut locked, reserved, cost, now);
    }

    fn take_locked(&self, locked: &mut Locked<'_>, charge: &Charge, now: u64) -> Taken {
        let Charge { key, params, .. } = *charge;
        let epoch = self.epoch();
        let place = self.place(key.own);
        let own = guard(locked, place).and_then(|shard| shard.open(key.own, params, now, epoch, self.room));
        if let Some(entry) = own {
            return take_from(&mut entry.bucket, charge, epoch, now, false);
        }
        if charge.no_room == NoRoom::Share
            && let Some(entry) = lock(&self.shared).open(key.shared, params, now, epoch, SHARED)
        {
            self.shared_total.fetch_add(1, Relaxed);
            return take_from(&mut entry.bucket, charge, epoch, now, true);
        }
        // Where one may be shared, every shared bucket is live, so thousands of limits are flooded at once: no room is no.
        let passes = charge.no_room == NoRoom::Pass;
        let total = if passes {
            &self.uncounted_total
        } else {
            &self.refused_total
        };
        total.fetch_add(1, Relaxed);
        uncounted(charge, now)
    }

    /// Gives back, unless the window that was taken from is over.
    fn refund_locked(&self, locked: &mut Locked<'_>, reserved: &Reserved, cost: Cost, now: u64) {
        let since = self.epoch().since;
        let give = |entry: &mut Entry| {
            let mut bucket = entry.bucket;
            // A window turns when the next request comes, and not because something is given back.
            if !bucket.has_window() {
                bucket.refill(reserved.params, since, now);
            }
            if bucket.window() == reserved.window {
                bucket.refund(cost);
            }
            entry.bucket = bucket;
        };
        if reserved.shared {
            if let Some(entry) = lock(&self.shared).get_mut(reserved.key.shared) {
                give(entry);
            }
        } else if let Some(entry) =
            guard(locked, self.place(reserved.key.own)).and_then(|shard| shard.get_mut(reserved.key.own))
        {
            give(entry);
        }
    }

    /// Locks the shards of all keys, in ascending order, so that no two callers wait for each other.
    fn lock_all(&self, keys: impl IntoIterator<Item = u128>) -> Locked<'_> {
        let mut places: SmallVec<[usize; 8]> = keys.into_iter().map(|key| self.place(key)).collect();
        places.sort_unstable();
        places.dedup();
        places
            .into_iter()
            .filter_map(|place| Some((place, lock_at(&self.shards, place)?)))
            .collect()
    }

    fn place(&self, key: u128) -> usize {
        place(key, self.shards.len())
    }

    /// Every bucket that is not full, at most `most`.
    pub(super) fn entries(&self, most: usize, now: u64, each: &mut dyn FnMut(&Entry)) {
        let mut left = most;
        for shard in &self.shards {
            let shard = lock(shard);
            let live = shard.iter().filter(|entry| !entry.bucket.is_full_at(now));
            for entry in live.take(left) {
                each(entry);
                left -= 1;
            }
        }
    }

    /// Puts a bucket of another process in. False when there is no room or the key is in use.
    pub(super) fn adopt(&self, entry: Entry) -> bool {
        let shard = lock_at(&self.shards, self.place(entry.key));
        shard.is_some_and(|mut shard| shard.adopt(entry, self.room))
    }
}

fn take_from(bucket: &mut Bucket, charge: &Charge, epoch: Epoch, now: u64, shared: bool) -> Taken {
    bucket.refill(charge.params, epoch.since, now);
    let allowed = bucket.take(charge.cost);
    if charge.soft && !allowed {
        bucket.owe(charge.cost);
    }
    bucket.report(charge.cost, allowed, shared, now)
}

/// The answer to who has no room, and none to share.
fn uncounted(charge: &Charge, now: u64) -> Taken {
    let passes = charge.no_room == NoRoom::Pass;
    let mut bucket = Bucket::full(charge.params, now);
    if !passes {
        bucket.take_everything();
    }
    let told = bucket.report(charge.cost, passes, false, now);
    Taken { no_room: true, ..told }
}

/// The shard of a key: keys are hashes, so a share of them is that share of all keys.
fn place(key: u128, shards: usize) -> usize {
    let low = key & u128::from(u64::MAX);
    let shards = u128::try_from(shards).unwrap_or(1);
    usize::try_from((low * shards) >> 64).unwrap_or(0)
}

fn guard<'g>(locked: &'g mut Locked<'_>, place: usize) -> Option<&'g mut Shard> {
    locked
        .iter_mut()
        .find(|(at, _)| *at == place)
        .map(|(_, shard)| &mut **shard)
}

fn lock_at(shards: &[Mutex<Shard>], place: usize) -> Option<MutexGuard<'_, Shard>> {
    shards.get(place).map(lock)
}

/// A shard is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl crate::zones::ZoneState for BucketTable {
    const KIND: &'static str = "buckets";
    /// Keys it has room for.
    type Shape = usize;

    fn open(capacity: &usize, _: &crate::zones::Entropy) -> Self {
        Self::new(*capacity)
    }

    fn reshaped(&self, capacity: &usize) -> Option<Self> {
        let other = Self::new(*capacity);
        self.entries(usize::MAX, 0, &mut |entry| _ = other.adopt(*entry));
        Some(other)
    }
}
