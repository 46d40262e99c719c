//! The circuit breakers of all policies: one for each policy and value of its first limit key. Bounded. What a breaker does
//! is [`super::breaker`]'s.

mod transfer;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::breaker::{Answer, Breaker, Terms};
use crate::buckets::{BucketKey, Cost};
use crate::zones::{Entropy, OneShape, ZoneState};

/// Shards; a power of two.
const SHARDS: usize = 64;
/// Breakers that a shard has room for.
const ROOM: usize = 1_024;
/// Breakers that are shared for lack of room: one for each policy that ever was short of it.
const SHARED: usize = 16_384;

/// The circuit breakers of all policies.
#[derive(Debug)]
pub struct Breakers {
    shards: Box<[Mutex<Shard>]>,
    shared: Mutex<Shard>,
    opened: AtomicU64,
    alerts: AtomicU64,
    no_room: AtomicU64,
}

type Shard = HashMap<u128, Entry>;

/// A breaker with the policy that it is told of as; none of one that only records.
#[derive(Debug, Clone)]
struct Entry {
    breaker: Breaker,
    policy: Option<Arc<str>>,
}

/// What a request spends of a breaker.
#[derive(Debug, Clone)]
pub(super) struct Spending {
    pub(super) policy: Arc<str>,
    pub(super) key: BucketKey,
    pub(super) terms: Terms,
    pub(super) cost: Cost,
    /// Its opening is counted as an alert.
    pub(super) alert: bool,
    /// It only records, so it is not told of as open.
    pub(super) shadow: bool,
    /// Where there is no room for a breaker of its own, the request is refused.
    pub(super) own_only: bool,
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shared: Mutex::default(),
            opened: AtomicU64::new(0),
            alerts: AtomicU64::new(0),
            no_room: AtomicU64::new(0),
        }
    }
}

impl Breakers {
    /// Whether the breaker refuses whatever is asked of it.
    pub(super) fn refuses(&self, spending: &Spending, now: u64) -> Option<Answer> {
        self.found(spending)?.refuses(spending.terms, now)
    }

    /// The breaker as it is now: its own, or the one that it shares.
    fn found(&self, spending: &Spending) -> Option<Breaker> {
        let (own, shared) = spending.key.parts();
        let of = |shard: &Shard, key| shard.get(&key).map(|entry| entry.breaker);
        let found = self.shard(own).and_then(|shard| of(&shard, own));
        let may_share = found.is_none() && !spending.own_only;
        if may_share {
            of(&lock(&self.shared), shared)
        } else {
            found
        }
    }

    /// Spends, unless it is open or opens.
    pub(super) fn spend(&self, spending: &Spending, now: u64) -> Answer {
        let spend = |breaker: &mut Breaker| breaker.spend(spending.cost, spending.terms, now);
        let Some(answer) = self.with(spending, now, spend) else {
            self.no_room.fetch_add(1, Relaxed);
            return Answer::NoRoom;
        };
        if matches!(answer, Answer::Opened(_)) && !spending.shadow {
            self.opened.fetch_add(1, Relaxed);
            self.alerts.fetch_add(u64::from(spending.alert), Relaxed);
        }
        answer
    }

    /// What [`Self::spend`] would answer now, and the millionths that would then be left until it opens. Nothing is spent.
    pub(super) fn look(&self, spending: &Spending, now: u64) -> (Answer, u64) {
        let mut breaker = self.found(spending).unwrap_or_else(|| Breaker::new(now));
        let answer = breaker.spend(spending.cost, spending.terms, now);
        (answer, breaker.left(spending.terms, now))
    }

    /// Takes back what was spent.
    pub(super) fn take_back(&self, spending: &Spending, now: u64) {
        self.with(spending, now, |breaker| breaker.take_back(spending.cost, now));
    }

    /// How often one opened.
    pub fn opened_total(&self) -> u64 {
        self.opened.load(Relaxed)
    }

    /// How often one opened whose policy asks for an alert.
    pub fn alerts_total(&self) -> u64 {
        self.alerts.load(Relaxed)
    }

    /// How often a request was refused because there was no room for a breaker, and none to share.
    pub fn refused_total(&self) -> u64 {
        self.no_room.load(Relaxed)
    }

    /// The policies that have an open breaker, and how many. Takes every lock in turn: for metrics.
    pub fn open(&self) -> Vec<(Arc<str>, usize)> {
        let mut open = BTreeMap::new();
        for shard in self.shards.iter().chain([&self.shared]) {
            let shard = lock(shard);
            let policies = shard.values().filter(|entry| entry.breaker.is_open());
            for policy in policies.filter_map(|entry| entry.policy.as_ref()) {
                *open.entry(Arc::clone(policy)).or_insert(0) += 1;
            }
        }
        open.into_iter().collect()
    }

    /// Runs `then` on the breaker: its own, or one that all share for whom there is no room. Those that are forgotten for
    /// it have seen nothing for two minutes; an open one never is. `None`: there is no room, and it may not share.
    fn with<R>(&self, spending: &Spending, now: u64, then: impl FnOnce(&mut Breaker) -> R) -> Option<R> {
        let (own, shared) = spending.key.parts();
        let new = || Entry {
            breaker: Breaker::new(now),
            policy: (!spending.shadow).then(|| Arc::clone(&spending.policy)),
        };
        if let Some(mut shard) = self.shard(own)
            && make_room(&mut shard, own, ROOM, now)
        {
            return Some(then(&mut shard.entry(own).or_insert_with(new).breaker));
        }
        if spending.own_only {
            return None;
        }
        let mut all = lock(&self.shared);
        if make_room(&mut all, shared, SHARED, now) {
            return Some(then(&mut all.entry(shared).or_insert_with(new).breaker));
        }
        // Thousands of policies are flooded at once: this one is judged by itself.
        Some(then(&mut Breaker::new(now)))
    }

    fn shard(&self, key: u128) -> Option<MutexGuard<'_, Shard>> {
        let mask = u128::try_from(self.shards.len()).unwrap_or(1).saturating_sub(1);
        let place = usize::try_from(key & mask).unwrap_or(0);
        self.shards.get(place).map(lock)
    }
}

/// Whether a key is there or there is room for it.
fn make_room(all: &mut Shard, key: u128, room: usize, now: u64) -> bool {
    if all.len() < room || all.contains_key(&key) {
        return true;
    }
    all.retain(|_, entry| !entry.breaker.is_idle(now));
    all.len() < room
}

/// A map is whole at every moment, so a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ZoneState for Breakers {
    const KIND: &'static str = "circuit breakers";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
