//! What limits met beside their verdict, counted: what each algorithm said, missing keys, costs that are no numbers, conditions. In
//! a zone, so that the counters outlive reloads.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use portcullis_bundles::format::OnMissing;
use portcullis_config::key::Key;

use crate::zones::{Entropy, OneShape, ZoneState};

/// The algorithms whose results are counted.
pub const ALGORITHMS: [&str; 3] = ["token_bucket", "cost_based", "token_bucket_llm"];
/// Results are counted by each thread for itself: every request has some.
const SHARDS: usize = 8;
/// Most keys that are counted apart; the rest share one line.
const MOST_KEYS: usize = 1000;
/// The line that they share.
const OTHERS: &str = "(others)";

/// Two for each algorithm: refused, allowed. On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Results([[AtomicU64; 2]; ALGORITHMS.len()]);

/// Counters of one link's limits.
#[derive(Debug, Default)]
pub struct LimitStats {
    results: [Results; SHARDS],
    missing_keys: RwLock<HashMap<Key, AtomicU64>>,
    missing_others: AtomicU64,
    errors: AtomicU64,
    missing_skipped: AtomicU64,
    missing_anonymous: AtomicU64,
    missing_denied: AtomicU64,
    bad_costs: AtomicU64,
    untold_conditions: AtomicU64,
}

impl LimitStats {
    /// A limit of this algorithm was evaluated.
    pub(crate) fn result(&self, algorithm: &str, allowed: bool) {
        let place = ALGORITHMS.iter().position(|known| *known == algorithm);
        let shard = self.results.get(own_shard());
        let of = place.and_then(|place| shard?.0.get(place));
        if let Some(count) = of.and_then(|counts| counts.get(usize::from(allowed))) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// A rule of the bundle could not be evaluated.
    pub(crate) fn error(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// A rule's key was missing.
    pub(crate) fn missing_key(&self, key: &Key) {
        // Counters only grow, so a panic elsewhere does not spoil them.
        let known = self.missing_keys.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = known.get(key) {
            count.fetch_add(1, Relaxed);
            return;
        }
        if known.len() >= MOST_KEYS {
            // No request waits for another's lock where no key is added any more.
            self.missing_others.fetch_add(1, Relaxed);
            return;
        }
        drop(known);
        let mut keys = self.missing_keys.write().unwrap_or_else(PoisonError::into_inner);
        if keys.len() < MOST_KEYS || keys.contains_key(key) {
            keys.entry(key.clone()).or_default().fetch_add(1, Relaxed);
        } else {
            self.missing_others.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn missing(&self, then: OnMissing) {
        let counter = match then {
            OnMissing::Skip => &self.missing_skipped,
            OnMissing::Anonymous => &self.missing_anonymous,
            OnMissing::Deny => &self.missing_denied,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn bad_cost(&self) {
        self.bad_costs.fetch_add(1, Relaxed);
    }

    /// How often limits of an algorithm let a request pass, or did not.
    pub fn results(&self, algorithm: &str, allowed: bool) -> u64 {
        let place = ALGORITHMS.iter().position(|known| *known == algorithm);
        let of = |shard: &Results| {
            let count = shard.0.get(place?)?.get(usize::from(allowed))?;
            Some(count.load(Relaxed))
        };
        self.results.iter().filter_map(of).sum()
    }

    /// How often a rule could not be evaluated.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    /// The keys that rules missed, and how often.
    pub fn missing_keys(&self) -> Vec<(String, u64)> {
        let keys = self.missing_keys.read().unwrap_or_else(PoisonError::into_inner);
        let others = self.missing_others.load(Relaxed);
        let others = (others > 0).then(|| (OTHERS.to_owned(), others));
        let known = keys.iter().map(|(key, count)| (key.to_string(), count.load(Relaxed)));
        known.chain(others).collect()
    }

    pub(crate) fn untold_condition(&self) {
        self.untold_conditions.fetch_add(1, Relaxed);
    }

    /// A condition could not be told, and counted as holding.
    pub fn untold_conditions(&self) -> u64 {
        self.untold_conditions.load(Relaxed)
    }

    /// A key was missing and the limit was not applied.
    pub fn missing_skipped(&self) -> u64 {
        self.missing_skipped.load(Relaxed)
    }

    /// A key was missing and the request counted with all others that lack it.
    pub fn missing_anonymous(&self) -> u64 {
        self.missing_anonymous.load(Relaxed)
    }

    /// A key was missing and the request was refused.
    pub fn missing_denied(&self) -> u64 {
        self.missing_denied.load(Relaxed)
    }

    /// A request gave a cost that cannot be one, and was charged the default.
    pub fn bad_costs(&self) -> u64 {
        self.bad_costs.load(Relaxed)
    }
}

/// The counters of this thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % SHARDS);
    }
    OWN.with(Cell::get)
}

impl ZoneState for LimitStats {
    const KIND: &'static str = "limit stats";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_threads_are_one() {
        let stats = LimitStats::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        stats.result("cost_based", true);
                        stats.result("token_bucket_llm", false);
                        stats.result("none that is known", true);
                    }
                });
            }
        });
        let all = ALGORITHMS.map(|algorithm| [true, false].map(|allowed| stats.results(algorithm, allowed)));
        assert_eq!(all, [[0, 0], [2000, 0], [0, 2000]]);
    }

    #[test]
    fn keys_are_bounded_and_what_is_over_is_counted() {
        let stats = LimitStats::default();
        for n in 0..MOST_KEYS + 5 {
            for _ in 0..2 {
                stats.missing_key(&format!("query:k{n}").parse().unwrap());
            }
        }
        let keys = stats.missing_keys();
        assert_eq!(keys.len(), MOST_KEYS + 1);
        assert!(keys.contains(&("query:k0".into(), 2)) && keys.contains(&(OTHERS.into(), 10)));
    }
}
