//! Sixteen tasks that reserve, commit, give back and overrun as they like, with room for all and without: whatever they do,
//! nothing is lost and nothing is made of nothing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::thread;

use portcullis_bundles::algorithm::Period;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::SECOND;
use crate::buckets::{BucketTable, Charge, Cost, KeyHasher, Params, Window};
use crate::client::Now;
use crate::tenant::Scope;

const NOW: Now = Now {
    monotonic_ns: 1_000 * SECOND,
    unix_ms: 1_770_129_000_000,
};
/// Limits, each of one kind and with so many tokens for every value.
const LIMITS: [u32; 5] = [50, 400, 1_000, 25, 3_000];

/// What a task does once.
#[derive(Debug, Clone)]
struct Act {
    /// Which limits it charges, a bit each.
    limits: u8,
    /// Who is counted.
    value: u8,
    cost: u32,
    after: After,
}

/// What it does when it was let through.
#[derive(Debug, Clone, Copy)]
enum After {
    Commit,
    /// It was refused after all.
    GiveBack,
    /// It used half of it.
    Half,
    /// It used so much more.
    Overrun(u32),
}

/// Who is counted by which limit; `None` are those that share.
type Counter = (usize, Option<u8>);

/// What was taken and stays taken, and what was owed beyond it.
type Ledger = Mutex<BTreeMap<Counter, (u64, u64)>>;

fn charge(limit: usize, value: u8, cost: u32) -> Charge {
    let most = f64::from(LIMITS[limit]);
    // No time passes, so what refills steadily does not.
    let params = match limit {
        0 | 1 => Params::new(0.001, most),
        2 => Params::window(Window::utc(Period::Day, NOW), most),
        3 => Params::window(Window::utc(Period::FiveMinutes, NOW), most),
        _ => Params::window(Window::from_first(60, NOW), most),
    };
    let mut hasher = KeyHasher::new(b"0123456789abcdef", &[&limit.to_string()]).within(&Scope::gateway());
    hasher.add(Some(&value.to_string()));
    Charge::new(hasher.finish(), params.unwrap(), Cost::whole(cost.into()))
}

fn acts(values: u8) -> impl Strategy<Value = Vec<Act>> {
    let after = prop_oneof![
        4 => Just(After::Commit),
        2 => Just(After::GiveBack),
        1 => Just(After::Half),
        1 => (1_u32..4).prop_map(After::Overrun),
    ];
    let act = (1_u8..1 << LIMITS.len(), 0..values, 0_u32..7, after).prop_map(|(limits, value, cost, after)| Act {
        limits,
        value,
        cost: cost * 2,
        after,
    });
    prop::collection::vec(act, 1..60)
}

/// Does all of it, and keeps the ledger.
fn run(table: &BucketTable, acts: &[Act], ledger: &Ledger) {
    let now = NOW.monotonic_ns;
    for act in acts {
        let limits: Vec<usize> = (0..LIMITS.len()).filter(|at| act.limits >> at & 1 == 1).collect();
        let charges: Vec<Charge> = limits.iter().map(|limit| charge(*limit, act.value, act.cost)).collect();
        let mut answers = SmallVec::new();
        if !table.take_all(&charges, now, &mut answers) {
            continue;
        }
        for ((limit, charge), answer) in limits.iter().zip(&charges).zip(&answers) {
            let reserved = charge.reserved(answer).unwrap();
            let enter = |shared: bool, stays: u32, owed: u32| {
                let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
                let (taken, owes) = ledger.entry((*limit, (!shared).then_some(act.value))).or_default();
                *taken += u64::from(stays);
                *owes += u64::from(owed);
            };
            let stays = match act.after {
                After::Commit => act.cost,
                After::GiveBack => {
                    table.refund(&reserved, reserved.cost, now);
                    0
                }
                After::Half => {
                    table.refund(&reserved, Cost::whole((act.cost / 2).into()), now);
                    act.cost - act.cost / 2
                }
                After::Overrun(more) => {
                    let cost = Cost::whole(more.into());
                    // Who took nothing may have lost the bucket meanwhile, and who had none may have one.
                    let debt = table.take(&reserved.overrun(charge.params, cost), now);
                    enter(debt.shared, 0, more);
                    act.cost
                }
            };
            enter(answer.shared, stays, 0);
        }
    }
}

/// Runs sixteen tasks on a table with room for `room`, and compares every bucket with the ledger.
fn sixteen(tasks: &[Vec<Act>], room: usize) -> Result<bool, TestCaseError> {
    let table = BucketTable::new(room);
    let ledger = Ledger::default();
    thread::scope(|scope| {
        for acts in tasks {
            scope.spawn(|| run(&table, acts, &ledger));
        }
    });
    let ledger = ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut any_shared = false;
    for ((limit, value), (taken, owed)) in ledger {
        prop_assert!(taken <= u64::from(LIMITS[limit]), "{limit}: {taken}");
        any_shared |= value.is_none();
        // Nobody has this value, so where there is no room it is told of the bucket that is shared.
        let told = table.peek(&charge(limit, value.unwrap_or(u8::MAX), 0).soft(), NOW.monotonic_ns);
        if value.is_some() && taken + owed > 0 {
            prop_assert!(!told.shared, "{}: a live bucket is gone", limit);
        }
        if value.is_none() == told.shared {
            prop_assert_eq!(
                told.used_millionths,
                (taken + owed) * 1_000_000,
                "{} {:?}",
                limit,
                value
            );
        }
    }
    Ok(any_shared)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn sixteen_tasks_lose_and_make_nothing(tasks in prop::collection::vec(acts(2), 16)) {
        prop_assert!(!sixteen(&tasks, 1000)?);
    }

    #[test]
    fn nor_do_they_without_room(tasks in prop::collection::vec(acts(60), 16)) {
        sixteen(&tasks, 20)?;
    }
}
