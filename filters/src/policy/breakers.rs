//! The circuit breakers of all policies: one for each policy and value of its first limit key. Bounded. What a breaker does
//! is [`super::breaker`]'s.

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
    shards: Box<[Mutex<HashMap<u128, Breaker>>]>,
    shared: Mutex<HashMap<u128, Breaker>>,
    /// How many are open, by policy.
    open: Mutex<BTreeMap<Arc<str>, usize>>,
    opened: AtomicU64,
    alerts: AtomicU64,
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
}

impl Default for Breakers {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shared: Mutex::default(),
            open: Mutex::default(),
            opened: AtomicU64::new(0),
            alerts: AtomicU64::new(0),
        }
    }
}

impl Breakers {
    /// Whether the breaker refuses whatever is asked of it.
    pub(super) fn refuses(&self, spending: &Spending, now: u64) -> Option<Answer> {
        let (own, shared) = spending.key.parts();
        let found = self.shard(own).and_then(|shard| shard.get(&own).copied());
        let found = found.or_else(|| lock(&self.shared).get(&shared).copied());
        found?.refuses(spending.terms, now)
    }

    /// Spends, unless it is open or opens.
    pub(super) fn spend(&self, spending: &Spending, now: u64) -> Answer {
        let answer = self.with(spending, now, |breaker| {
            let before = breaker.is_open();
            let answer = breaker.spend(spending.cost, spending.terms, now);
            if !spending.shadow {
                self.count(&spending.policy, before, breaker.is_open());
            }
            answer
        });
        if matches!(answer, Answer::Opened(_)) && !spending.shadow {
            self.opened.fetch_add(1, Relaxed);
            self.alerts.fetch_add(u64::from(spending.alert), Relaxed);
        }
        answer
    }

    /// What [`Self::spend`] would answer now, and the millionths that would then be left until it opens. Nothing is spent.
    pub(super) fn look(&self, spending: &Spending, now: u64) -> (Answer, u64) {
        let (own, shared) = spending.key.parts();
        let found = self.shard(own).and_then(|shard| shard.get(&own).copied());
        let found = found.or_else(|| lock(&self.shared).get(&shared).copied());
        let mut breaker = found.unwrap_or_else(|| Breaker::new(now));
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

    /// The policies that have an open breaker, and how many.
    pub fn open(&self) -> Vec<(Arc<str>, usize)> {
        let open = lock(&self.open);
        open.iter()
            .map(|(policy, count)| (Arc::clone(policy), *count))
            .collect()
    }

    fn count(&self, policy: &Arc<str>, before: bool, after: bool) {
        if before == after {
            return;
        }
        let mut open = lock(&self.open);
        let count = open.entry(Arc::clone(policy)).or_default();
        *count = if after { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            open.remove(policy);
        }
    }

    /// Runs `then` on the breaker: its own, or one that all share for whom there is no room. Those that are forgotten for
    /// it have seen nothing for two minutes; an open one never is.
    fn with<R>(&self, spending: &Spending, now: u64, then: impl FnOnce(&mut Breaker) -> R) -> R {
        let (own, shared) = spending.key.parts();
        if let Some(mut shard) = self.shard(own)
            && make_room(&mut shard, own, ROOM, now)
        {
            return then(shard.entry(own).or_insert_with(|| Breaker::new(now)));
        }
        let mut all = lock(&self.shared);
        if make_room(&mut all, shared, SHARED, now) {
            return then(all.entry(shared).or_insert_with(|| Breaker::new(now)));
        }
        // Thousands of policies are flooded at once: this one is judged by itself.
        then(&mut Breaker::new(now))
    }

    fn shard(&self, key: u128) -> Option<MutexGuard<'_, HashMap<u128, Breaker>>> {
        let mask = u128::try_from(self.shards.len()).unwrap_or(1).saturating_sub(1);
        let place = usize::try_from(key & mask).unwrap_or(0);
        self.shards.get(place).map(lock)
    }
}

/// Whether a key is there or there is room for it.
fn make_room(all: &mut HashMap<u128, Breaker>, key: u128, room: usize, now: u64) -> bool {
    if all.len() < room || all.contains_key(&key) {
        return true;
    }
    all.retain(|_, breaker| !breaker.is_idle(now));
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
