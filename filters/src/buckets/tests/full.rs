//! A table that is full of live buckets, and forgets those that are full again, against a ledger that forgets nothing:
//! what is reserved and comes back late is counted where it was taken from.

use std::collections::{BTreeMap, VecDeque};

use portcullis_bundles::algorithm::Period;
use proptest::prelude::*;
use smallvec::SmallVec;

use super::SECOND;
use crate::buckets::{BucketTable, Charge, Cost, KeyHasher, NoRoom, Params, Reserved, Taken, Window};
use crate::client::Now;
use crate::tenant::Scope;

/// Tokens of the bucket, one a second.
const BURST: i64 = 10;
/// Tokens of the budget, each five minutes.
const BUDGET: i64 = 12;
/// A moment at the beginning of a day.
const BEGIN: Now = Now {
    monotonic_ns: 1_000_000 * SECOND,
    unix_ms: 1_770_076_800_000,
};

/// What is counted: by the bucket or the budget, a value of its own or (`None`) all that share.
type Counter = (bool, Option<u8>);

#[derive(Debug, Clone)]
enum Step {
    /// Reserves from both limits at once, or from one of them.
    Reserve {
        value: u8,
        cost: u8,
        both: bool,
        no_room: NoRoom,
    },
    /// Gives back so much of the oldest reservation that is open; the rest stays taken.
    Settle(u8),
    /// The oldest reservation used so much more.
    Overrun(u8),
    /// Seconds pass.
    Time(u16),
}

/// What there is of a counter.
#[derive(Debug, Clone, Copy)]
struct Level {
    tokens: i64,
    /// Seconds: when it was filled last, or which window it is in.
    at: i64,
}

/// Every counter that ever was.
#[derive(Debug, Default)]
struct Ledger {
    levels: BTreeMap<Counter, Level>,
    seconds: i64,
}

impl Ledger {
    fn now(&self) -> Now {
        let passed = u64::try_from(self.seconds).unwrap();
        Now {
            monotonic_ns: BEGIN.monotonic_ns + passed * SECOND,
            unix_ms: BEGIN.unix_ms + passed * 1000,
        }
    }

    /// The number of the window that it is.
    fn window(&self) -> i64 {
        self.seconds / 300
    }

    fn level(&mut self, counter: Counter) -> &mut i64 {
        let (is_bucket, _) = counter;
        let (at, most) = if is_bucket {
            (self.seconds, BURST)
        } else {
            (self.window(), BUDGET)
        };
        let level = self.levels.entry(counter).or_insert(Level { tokens: most, at });
        if is_bucket {
            level.tokens = most.min(level.tokens + at - level.at);
        } else if level.at != at {
            level.tokens = most;
        }
        level.at = at;
        &mut level.tokens
    }

    fn charge(&self, is_bucket: bool, value: u8, cost: u8) -> Charge {
        let params = if is_bucket {
            Params::new(1.0, 10.0)
        } else {
            Params::window(Window::utc(Period::FiveMinutes, self.now()), 12.0)
        };
        let mut hasher = KeyHasher::new(b"0123456789abcdef", &[if is_bucket { "bucket" } else { "budget" }])
            .within(&Scope::gateway());
        hasher.add(Some(&value.to_string()));
        Charge::new(hasher.finish(), params.unwrap(), Cost::whole(cost.into()))
    }
}

/// A reservation whose request is still under way.
struct Open {
    counter: Counter,
    reserved: Reserved,
    params: Params,
    cost: i64,
    window: i64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let no_room = prop_oneof![3 => Just(NoRoom::Share), 1 => Just(NoRoom::Refuse), 1 => Just(NoRoom::Pass)];
    let reserve = (0_u8..40, 0_u8..7, any::<bool>(), no_room);
    let step = prop_oneof![
        8 => reserve.prop_map(|(value, cost, both, no_room)| Step::Reserve { value, cost, both, no_room }),
        3 => (0_u8..7).prop_map(Step::Settle),
        1 => (1_u8..9).prop_map(Step::Overrun),
        2 => (0_u16..8).prop_map(Step::Time),
        1 => (0_u16..400).prop_map(Step::Time),
    ];
    prop::collection::vec(step, 1..300)
}

/// What the table must have answered to one charge of several, and what that does to the ledger when it is taken.
fn check(
    ledger: &mut Ledger,
    counter: Counter,
    charge: &Charge,
    cost: i64,
    taken: &Taken,
) -> Result<(), TestCaseError> {
    if taken.no_room {
        prop_assert_eq!(taken.allowed, charge.no_room == NoRoom::Pass);
        return Ok(());
    }
    let level = ledger.level(counter);
    prop_assert_eq!(taken.allowed, *level >= cost, "{:?} of {}", counter, *level);
    if taken.allowed {
        *level -= cost;
        prop_assert_eq!(i64::try_from(taken.remaining).unwrap(), *level, "{:?}", counter);
    }
    Ok(())
}

fn reserve(
    table: &BucketTable,
    ledger: &mut Ledger,
    open: &mut VecDeque<Open>,
    (value, cost, both, no_room): (u8, u8, bool, NoRoom),
) -> Result<(), TestCaseError> {
    let kinds: &[bool] = if both { &[true, false] } else { &[true] };
    let mut charges: Vec<Charge> = kinds.iter().map(|kind| ledger.charge(*kind, value, cost)).collect();
    for charge in &mut charges {
        charge.no_room = no_room;
    }
    let mut answers = SmallVec::new();
    let all = table.take_all(&charges, ledger.now().monotonic_ns, &mut answers);
    let whole = i64::from(cost);
    for ((kind, charge), taken) in kinds.iter().zip(&charges).zip(&answers) {
        let counter = (*kind, (!taken.shared).then_some(value));
        check(ledger, counter, charge, whole, taken)?;
        let Some(reserved) = charge.reserved(taken) else {
            continue;
        };
        if all {
            open.push_back(Open {
                counter,
                reserved,
                params: charge.params,
                cost: whole,
                window: ledger.window(),
            });
        } else {
            *ledger.level(counter) += whole;
        }
    }
    prop_assert_eq!(all, answers.iter().all(|taken| taken.allowed));
    Ok(())
}

/// Gives back of what was reserved, unless its window is over.
fn settle(table: &BucketTable, ledger: &mut Ledger, open: &Open, back: u8) {
    let back = i64::from(back).min(open.cost);
    let cost = Cost::whole(u64::try_from(back).unwrap());
    table.refund(&open.reserved, cost, ledger.now().monotonic_ns);
    let (is_bucket, _) = open.counter;
    if is_bucket {
        let level = ledger.level(open.counter);
        *level = BURST.min(*level + back);
    } else if let Some(level) = ledger
        .levels
        .get_mut(&open.counter)
        .filter(|level| level.at == open.window)
    {
        level.tokens = BUDGET.min(level.tokens + back);
    }
}

proptest! {
    #[test]
    fn eviction_and_lack_of_room_lose_and_make_nothing(steps in steps()) {
        let table = BucketTable::new(12);
        table.in_use(1, 0, || Params::new(1.0, 10.0).unwrap().fill_ns());
        let mut ledger = Ledger::default();
        let mut open = VecDeque::new();
        for step in steps {
            match step {
                Step::Time(seconds) => ledger.seconds += i64::from(seconds),
                Step::Reserve { value, cost, both, no_room } => {
                    reserve(&table, &mut ledger, &mut open, (value, cost, both, no_room))?;
                }
                Step::Settle(back) => {
                    if let Some(oldest) = open.pop_front() {
                        settle(&table, &mut ledger, &oldest, back);
                    }
                }
                Step::Overrun(more) => {
                    let Some(oldest) = open.pop_front() else { continue };
                    let Open { counter: (is_bucket, value), reserved, params, .. } = oldest;
                    // Who shares may have room by now; the debt is then that of the value alone.
                    let Some(value) = value.filter(|_| is_bucket) else { continue };
                    let cost = Cost::whole(more.into());
                    let taken = table.take(&reserved.overrun(params, cost), ledger.now().monotonic_ns);
                    let counter = (true, (!taken.shared).then_some(value));
                    *ledger.level(counter) -= i64::from(more);
                }
            }
            prop_assert!(table.len() <= 12);
        }
    }
}

#[test]
fn a_debt_is_no_reason_to_be_forgotten() {
    let table = BucketTable::new(4);
    let mut ledger = Ledger::default();
    let owing = ledger.charge(true, 0, 10);
    let taken = table.take(&owing, ledger.now().monotonic_ns);
    let reserved = owing.reserved(&taken).unwrap();
    table.take(
        &reserved.overrun(owing.params, Cost::whole(30)),
        ledger.now().monotonic_ns,
    );
    ledger.seconds = 25;
    for value in 1..100 {
        table.take(&ledger.charge(true, value, 10), ledger.now().monotonic_ns);
    }
    let refused = table.take(&ledger.charge(true, 0, 1), ledger.now().monotonic_ns);
    assert!(
        !refused.allowed && !refused.shared && refused.retry_after == 6,
        "{refused:?}"
    );
}
