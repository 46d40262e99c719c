//! Counts of decisions and answers since they were last taken. Requests count here, each on its thread's own share of the
//! table, so that they hardly ever meet.

use std::cell::Cell;
use std::hash::Hash;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::{Equivalent, HashMap};
use portcullis_config::site::Mode;
use portcullis_filters::record::Decision;

use super::event::{Decisions, Event, Traffic};

/// Parts of the table.
const SHARDS: usize = 16;
/// Most kinds of decisions that a part tells apart. A bundle has fewer, unless it is very large.
const MOST_KINDS: usize = 512;

/// The counts.
#[derive(Debug, Default)]
pub(super) struct Tally {
    shards: [Mutex<HashMap<Kind, u64>>; SHARDS],
    /// Decisions that found no room.
    lost: AtomicU64,
    /// By the hundreds of the status, 1 to 5; 0 is none.
    statuses: [AtomicU64; 6],
}

/// What decisions are told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Kind {
    policy: Option<Arc<str>>,
    rule: Option<Arc<str>>,
    action: &'static str,
    mode: &'static str,
    reason: &'static str,
}

/// The same, borrowed. Its hash is that of [`Kind`], since the fields are the same in the same order.
#[derive(Hash)]
struct KindRef<'a> {
    policy: Option<&'a str>,
    rule: Option<&'a str>,
    action: &'static str,
    mode: &'static str,
    reason: &'static str,
}

impl<'a> KindRef<'a> {
    fn of(decision: &'a Decision) -> Self {
        Self {
            policy: decision.policy.as_deref(),
            rule: decision.rule.as_deref(),
            action: decision.action.as_str(),
            mode: match decision.mode {
                Mode::Enforce => "enforce",
                Mode::Shadow => "shadow",
            },
            reason: decision.reason.0,
        }
    }
}

impl Equivalent<Kind> for KindRef<'_> {
    fn equivalent(&self, kind: &Kind) -> bool {
        self.reason == kind.reason
            && self.action == kind.action
            && self.mode == kind.mode
            && self.policy == kind.policy.as_deref()
            && self.rule == kind.rule.as_deref()
    }
}

impl Tally {
    /// Counts an answer and what was decided on the way.
    pub(super) fn count(&self, status: Option<u16>, decisions: &[Decision]) {
        let class = usize::from(status.unwrap_or(0) / 100);
        if let Some(count) = self.statuses.get(class).or(self.statuses.first()) {
            count.fetch_add(1, Relaxed);
        }
        if decisions.is_empty() {
            return;
        }
        let Some(shard) = self.shards.get(own_shard()) else {
            return;
        };
        let mut kinds = shard.lock().unwrap_or_else(PoisonError::into_inner);
        for decision in decisions {
            let kind = KindRef::of(decision);
            if let Some(count) = kinds.get_mut(&kind) {
                *count += 1;
            } else if kinds.len() < MOST_KINDS {
                let kind = Kind {
                    policy: decision.policy.clone(),
                    rule: decision.rule.clone(),
                    action: kind.action,
                    mode: kind.mode,
                    reason: kind.reason,
                };
                kinds.insert(kind, 1);
            } else {
                self.lost.fetch_add(1, Relaxed);
            }
        }
    }

    /// Takes all counts, as events about the time between `from` and `to`; and how many decisions found no room.
    pub(super) fn take(&self, from: f64, to: f64) -> (Vec<Event>, u64) {
        let mut events = Vec::new();
        let statuses = [0, 1, 2, 3, 4, 5].map(|class: usize| {
            let count = self.statuses.get(class);
            count.map_or(0, |count| count.swap(0, Relaxed))
        });
        let [none, status_1xx, status_2xx, status_3xx, status_4xx, status_5xx] = statuses;
        let requests = none + status_1xx + status_2xx + status_3xx + status_4xx + status_5xx;
        if requests > 0 {
            events.push(Event::Traffic(Traffic {
                from,
                to,
                requests,
                status_1xx,
                status_2xx,
                status_3xx,
                status_4xx,
                status_5xx,
            }));
        }
        let mut all: HashMap<Kind, u64> = HashMap::new();
        for shard in &self.shards {
            let kinds = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for (kind, count) in kinds {
                *all.entry(kind).or_default() += count;
            }
        }
        events.extend(all.into_iter().map(|(kind, count)| {
            Event::Decisions(Decisions {
                from,
                to,
                policy: kind.policy,
                rule: kind.rule,
                action: kind.action,
                mode: kind.mode,
                reason: kind.reason,
                count,
            })
        }));
        (events, self.lost.swap(0, Relaxed))
    }
}

/// The part of this thread.
fn own_shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = Cell::new(NEXT.fetch_add(1, Relaxed) % SHARDS);
    }
    OWN.with(Cell::get)
}

#[cfg(test)]
mod tests {
    use portcullis_filters::record::Action;
    use portcullis_filters::verdict::Reason;

    use super::*;

    fn decision(policy: &str, reason: &'static str) -> Decision {
        Decision {
            policy: Some(policy.into()),
            rule: Some("rule".into()),
            detail: Some("never told".into()),
            ..Decision::new(Action::Deny, Reason(reason))
        }
    }

    #[test]
    fn counts_of_all_threads_are_one() {
        let tally = Tally::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        tally.count(Some(429), &[decision("a", "x"), decision("b", "x")]);
                        tally.count(Some(200), &[]);
                    }
                });
            }
        });
        let (events, lost) = tally.take(1.0, 2.0);
        assert_eq!((events.len(), lost), (3, 0));
        let counted: Vec<u64> = events
            .iter()
            .map(|event| match event {
                Event::Decisions(decisions) => decisions.count,
                Event::Traffic(traffic) => {
                    assert_eq!((traffic.status_2xx, traffic.status_4xx), (2_000, 2_000));
                    traffic.requests
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(counted, [4_000, 2_000, 2_000]);
        assert!(!serde_json::to_string(&events).unwrap().contains("never told"));
        assert!(tally.take(2.0, 3.0).0.is_empty(), "they are taken once");
    }

    #[test]
    fn kinds_are_bounded_and_what_is_over_is_counted() {
        let tally = Tally::default();
        for n in 0..MOST_KINDS + 7 {
            tally.count(None, &[decision(&n.to_string(), "x")]);
        }
        tally.count(Some(999), &[decision("0", "x")]);
        let (events, lost) = tally.take(0.0, 1.0);
        assert_eq!((events.len(), lost), (MOST_KINDS + 1, 7));
    }
}
