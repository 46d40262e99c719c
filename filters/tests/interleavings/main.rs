//! The bucket table under orders of its tasks' steps that no machine would show: a scheduler stops every task at each lock
//! and each atomic, and lets another go on. A few tasks in all orders, sixteen in many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)] // helpers of tests

#[allow(dead_code, unreachable_pub)] // the gateway asks more of them, from elsewhere
mod buckets;

use std::sync::Arc;
// What the tests count with is no step of a task.
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use portcullis_bundles::algorithm::Period;
// The files of the buckets know them by these paths.
use portcullis_filters::{client, tenant, zones};
use shuttle::scheduler::DfsScheduler;
use shuttle::{Config, Runner, thread};
use smallvec::SmallVec;

use buckets::{BucketTable, Charge, Cost, KeyHasher, Params, Reserved, Window};
use client::Now;
use tenant::Scope;

const SECOND: u64 = 1_000_000_000;
const NOW: Now = Now {
    monotonic_ns: 1_000 * SECOND,
    unix_ms: 1_770_129_000_000,
};
/// Tasks at once.
const TASKS: u64 = 16;
/// How many orders of sixteen tasks are tried, of either kind.
const ORDERS: usize = 200;
/// How many orders of a few tasks are tried at most: more than there are.
const MOST: usize = 20_000;

fn charge_of(limit: &str, value: u64, params: Params, cost: u64) -> Charge {
    let mut hasher = KeyHasher::new(&[7; 16], &[limit]).within(&Scope::gateway());
    hasher.add(Some(&value.to_string()));
    Charge::new(hasher.finish(), params, Cost::whole(cost))
}

/// From a bucket that refills steadily, but not while no time passes.
fn bucket(value: u64, burst: u32, cost: u64) -> Charge {
    charge_of("bucket", value, Params::new(0.001, f64::from(burst)).unwrap(), cost)
}

/// From a budget of a day.
fn budget(value: u64, tokens: u32, cost: u64) -> Charge {
    let window = Window::utc(Period::Day, NOW);
    charge_of(
        "budget",
        value,
        Params::window(window, f64::from(tokens)).unwrap(),
        cost,
    )
}

/// Takes all or nothing; what was taken, in order.
fn take(table: &BucketTable, charges: &[Charge]) -> Option<Vec<Reserved>> {
    let mut answers = SmallVec::new();
    let taken = table.take_all(charges, NOW.monotonic_ns, &mut answers);
    let reserved = || {
        charges
            .iter()
            .zip(&answers)
            .map(|(charge, answer)| charge.reserved(answer).unwrap())
    };
    taken.then(|| reserved().collect())
}

/// Whole tokens that are taken of a charge's bucket.
fn used(table: &BucketTable, charge: &Charge) -> u64 {
    let millionths = table.peek(&charge.soft(), NOW.monotonic_ns).used_millionths;
    assert_eq!(millionths % 1_000_000, 0, "nothing is taken by parts");
    millionths / 1_000_000
}

/// Runs tasks at once; `each` is told the number of its task.
fn at_once(tasks: u64, each: impl Fn(u64) + Clone + Send + 'static) {
    let running: Vec<_> = (0..tasks)
        .map(|task| {
            let each = each.clone();
            thread::spawn(move || each(task))
        })
        .collect();
    for task in running {
        task.join().unwrap();
    }
}

/// In many orders: by chance, and by the few turns that most mistakes need.
fn in_many_orders(test: fn()) {
    shuttle::check_random(test, ORDERS);
    shuttle::check_pct(test, ORDERS, 3);
}

/// Tasks that take one to three tokens from two buckets at once, in either order.
fn two_at_once(tasks: u64, burst: u32, tokens: u32) {
    let table = Arc::new(BucketTable::new(1000));
    let admitted = Arc::new(AtomicU64::new(0));
    let (theirs, counted) = (Arc::clone(&table), Arc::clone(&admitted));
    at_once(tasks, move |task| {
        let cost = task % 3 + 1;
        let mut charges = [bucket(1, burst, cost), budget(1, tokens, cost)];
        if task % 2 == 1 {
            charges.reverse();
        }
        if take(&theirs, &charges).is_some() {
            counted.fetch_add(cost, SeqCst);
        }
    });
    let admitted = admitted.load(SeqCst);
    assert!(
        admitted <= u64::from(burst.min(tokens)),
        "{admitted} of {burst} and {tokens}"
    );
    assert_eq!(used(&table, &bucket(1, burst, 0)), admitted);
    assert_eq!(used(&table, &budget(1, tokens, 0)), admitted);
}

#[test]
fn in_no_order_is_more_admitted_than_the_limit() {
    in_many_orders(|| two_at_once(TASKS, 20, 17));
}

#[test]
fn two_tasks_in_every_order() {
    for (burst, tokens) in [(2, 6), (6, 2), (3, 3)] {
        let every = DfsScheduler::new(Some(MOST), false);
        let orders = Runner::new(every, Config::default()).run(move || two_at_once(2, burst, tokens));
        assert!(orders > 30 && orders < MOST, "every one, and not only {orders}");
    }
}

/// Tasks that reserve and then keep, give back, use half of it, or more.
fn reservations() {
    let table = Arc::new(BucketTable::new(1000));
    let net = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let (theirs, counted) = (Arc::clone(&table), Arc::clone(&net));
    at_once(TASKS, move |task| {
        let charges = [bucket(1, 30, 4), budget(1, 40, 4)];
        let Some(reserved) = take(&theirs, &charges) else {
            return;
        };
        for ((reserved, charge), net) in reserved.iter().zip(&charges).zip(counted.iter()) {
            let now = NOW.monotonic_ns;
            let stays = match task % 4 {
                0 => 4,
                1 => {
                    theirs.refund(reserved, reserved.cost, now);
                    0
                }
                2 => {
                    theirs.refund(reserved, Cost::whole(2), now);
                    2
                }
                _ => {
                    theirs.take(&reserved.overrun(charge.params, Cost::whole(3)), now);
                    7
                }
            };
            net.fetch_add(stays, SeqCst);
        }
    });
    assert_eq!(used(&table, &bucket(1, 30, 0)), net[0].load(SeqCst));
    assert_eq!(used(&table, &budget(1, 40, 0)), net[1].load(SeqCst));
}

#[test]
fn what_is_reserved_is_neither_lost_nor_made() {
    in_many_orders(reservations);
}

/// Sixteen clients where there is room for two.
fn crowded() {
    let table = Arc::new(BucketTable::new(2));
    let (own, shared) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let (theirs, by_own, by_shared) = (Arc::clone(&table), Arc::clone(&own), Arc::clone(&shared));
    at_once(TASKS, move |task| {
        let one = bucket(task, 3, 1);
        for _ in 0..4 {
            let answer = theirs.take(&one, NOW.monotonic_ns);
            let by = if answer.shared { &by_shared } else { &by_own };
            by.fetch_add(u64::from(answer.allowed), SeqCst);
        }
    });
    assert_eq!(own.load(SeqCst), 2 * 3, "two have a bucket of their own, and use it up");
    assert_eq!(shared.load(SeqCst), 3, "all others have one together");
    assert_eq!(table.len(), 2);
}

#[test]
fn without_room_all_share_one_limit() {
    in_many_orders(crowded);
}

/// A change of the parameters while requests are under way.
fn reloaded() {
    let table = Arc::new(BucketTable::new(1000));
    let charge = |burst| charge_of("bucket", 1, Params::new(1.0, f64::from(burst)).unwrap(), 1);
    table.in_use(1, 0, || charge(8_u32).params.fill_ns());
    let admitted = Arc::new(AtomicU64::new(0));
    let (theirs, counted) = (Arc::clone(&table), Arc::clone(&admitted));
    at_once(4, move |task| {
        let (tag, burst) = if task < 2 { (1, 8) } else { (2, 5) };
        for _ in 0..4 {
            theirs.in_use(tag, 0, || charge(burst).params.fill_ns());
            counted.fetch_add(u64::from(theirs.take(&charge(burst), 0).allowed), SeqCst);
        }
    });
    let admitted = admitted.load(SeqCst);
    assert!(
        (5..=8).contains(&admitted),
        "{admitted}: never more than the larger limit"
    );
}

#[test]
fn a_reload_makes_no_tokens() {
    in_many_orders(reloaded);
}
