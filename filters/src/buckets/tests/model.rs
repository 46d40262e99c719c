//! The table against a model that keeps every bucket for ever and counts in whole millionths of a token.

use std::collections::BTreeMap;

use proptest::prelude::*;
use smallvec::SmallVec;

use super::key;
use crate::buckets::{BucketTable, Charge, Cost, Params, Taken};

/// Rates in thousandths of a token a second and bursts in thousandths of a token, so that a millisecond is a whole number of
/// millionths.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Limit {
    rate: u32,
    burst: u32,
}

impl Limit {
    fn params(self) -> Params {
        Params::new(f64::from(self.rate) / 1000.0, f64::from(self.burst) / 1000.0).unwrap()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Takes from these keys (with their costs in thousandths), all or nothing.
    Take(Vec<(u8, u32)>),
    /// Gives back what the last allowed take of one key took.
    Refund,
    /// Time passes, in milliseconds.
    Time(u32),
    /// Other parameters; the burst only shrinks (a full bucket may be forgotten, and is full again by the new burst).
    Reload(u32, u32),
}

#[derive(Default)]
struct Model {
    buckets: BTreeMap<u8, Bucket>,
    /// When other parameters came last.
    changed_ms: i64,
}

#[derive(Clone, Copy)]
struct Bucket {
    /// In millionths.
    level: i128,
    at_ms: i64,
    limit: Limit,
}

impl Bucket {
    fn fill(&mut self, now_ms: i64) {
        let elapsed = i128::from((now_ms - self.at_ms).max(0));
        self.level = (self.level + elapsed * i128::from(self.limit.rate)).min(i128::from(self.limit.burst) * 1000);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

impl Model {
    /// The bucket's level in millionths, by its old parameters until they changed and by the new ones since.
    fn level(&mut self, key: u8, limit: Limit, now_ms: i64) -> &mut i128 {
        let full = Bucket {
            level: i128::from(limit.burst) * 1000,
            at_ms: now_ms,
            limit,
        };
        let bucket = self.buckets.entry(key).or_insert(full);
        if bucket.limit != limit {
            bucket.fill(self.changed_ms.min(now_ms));
            bucket.limit = limit;
        }
        bucket.fill(now_ms);
        &mut bucket.level
    }

    fn take(&mut self, keys: &[(u8, u32)], limit: Limit, now_ms: i64) -> Vec<(bool, i128)> {
        let mut answers = Vec::new();
        for (key, cost) in keys {
            let level = self.level(*key, limit, now_ms);
            let cost = i128::from(*cost) * 1000;
            let allowed = *level >= cost;
            if allowed {
                *level -= cost;
            }
            answers.push((allowed, *level));
        }
        if answers.iter().any(|(allowed, _)| !allowed) {
            for ((key, cost), (allowed, _)) in keys.iter().zip(&answers) {
                if *allowed {
                    *self.level(*key, limit, now_ms) += i128::from(*cost) * 1000;
                }
            }
        }
        answers
    }

    fn refund(&mut self, key: u8, cost: u32, limit: Limit, now_ms: i64) {
        let burst = i128::from(limit.burst) * 1000;
        let level = self.level(key, limit, now_ms);
        *level = (*level + i128::from(cost) * 1000).min(burst);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = || (0..40_u8, 0..6000_u32);
    let step = prop_oneof![
        6 => prop::collection::vec(key(), 1..4).prop_map(Step::Take),
        1 => Just(Step::Refund),
        3 => (0..4000_u32).prop_map(Step::Time),
        1 => (1..5000_u32, 1..1000_u32).prop_map(|(rate, less)| Step::Reload(rate, less)),
    ];
    prop::collection::vec(step, 1..200)
}

fn compare(taken: &Taken, expected: (bool, i128), cost: u32, limit: Limit) -> Result<(), TestCaseError> {
    let (allowed, level) = expected;
    prop_assert_eq!(taken.allowed, allowed);
    if allowed {
        prop_assert_eq!(i128::from(taken.remaining), level / 1_000_000);
    } else {
        let short = i128::from(cost) * 1000 - level;
        let seconds =
            u32::try_from((short + i128::from(limit.rate) * 1000 - 1) / (i128::from(limit.rate) * 1000)).unwrap();
        prop_assert_eq!(taken.retry_after, seconds.max(1));
    }
    Ok(())
}

proptest! {
    #[test]
    fn table_and_model_agree(steps in steps(), rate in 1..5000_u32, burst in 1000..8000_u32) {
        let table = BucketTable::new(64);
        let mut model = Model::default();
        let (mut limit, mut now_ms, mut generation) = (Limit { rate, burst }, 1_000_000_i64, 1_u64);
        let mut last: Option<(u8, u32)> = None;
        for step in steps {
            let now = u64::try_from(now_ms).unwrap() * 1_000_000;
            table.in_use(generation, now, || limit.params().fill_ns());
            let charge = |key_number: u8, cost: u32| {
                let cost = Cost::new(f64::from(cost) / 1000.0).unwrap();
                Charge::new(key(&key_number.to_string()), limit.params(), cost)
            };
            match step {
                Step::Time(milliseconds) => now_ms += i64::from(milliseconds),
                Step::Reload(rate, less) => {
                    model.changed_ms = now_ms;
                    limit = Limit { rate, burst: limit.burst.saturating_sub(less).max(1) };
                    generation += 1;
                }
                Step::Refund => {
                    if let Some((number, cost)) = last.take() {
                        let taken = charge(number, cost);
                        table.refund(&super::reserved(&taken, false), taken.cost, now);
                        model.refund(number, cost, limit, now_ms);
                    }
                }
                Step::Take(keys) => {
                    let expected = model.take(&keys, limit, now_ms);
                    let charges: Vec<Charge> = keys.iter().map(|(number, cost)| charge(*number, *cost)).collect();
                    let mut answers = SmallVec::new();
                    if let [one] = charges.as_slice() {
                        prop_assert_eq!(table.peek(one, now).allowed, expected[0].0);
                        answers.push(table.take(one, now));
                    } else {
                        table.take_all(&charges, now, &mut answers);
                    }
                    for ((taken, expected), (_, cost)) in answers.iter().zip(&expected).zip(&keys) {
                        compare(taken, *expected, *cost, limit)?;
                    }
                    let passed = expected.iter().all(|(allowed, _)| *allowed);
                    last = keys.first().copied().filter(|_| passed && keys.len() == 1);
                }
            }
            prop_assert!(table.len() <= 64 && table.shared_total() == 0);
        }
    }
}
