//! Many threads and many keys.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use smallvec::SmallVec;

use super::{SECOND, charge, key};
use crate::buckets::{BucketTable, Charge, Cost, Params};
use crate::tenant::Scope;

#[test]
fn threads_admit_exactly_the_burst() {
    let table = BucketTable::new(1000);
    let admitted = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let one = charge("one", 1000.0, 5000.0, 1.0);
                let count = (0..2000).filter(|_| table.take(&one, SECOND).allowed).count();
                admitted.fetch_add(u64::try_from(count).unwrap(), Relaxed);
            });
        }
    });
    assert_eq!(admitted.load(Relaxed), 5000);
}

#[test]
fn threads_that_take_several_at_once_never_charge_by_halves_nor_wait_for_each_other() {
    let table = BucketTable::new(1000);
    let admitted = AtomicU64::new(0);
    // Every pair shares a bucket with every other, in every order.
    let names = ["a", "b", "c", "d"];
    let burst = 3000.0;
    thread::scope(|scope| {
        for turn in 0..4 {
            let (table, admitted) = (&table, &admitted);
            scope.spawn(move || {
                let charges: Vec<Charge> = (0..4)
                    .map(|at| charge(names[(turn + at) % 4], 1.0, burst, 1.0))
                    .collect();
                for _ in 0..2000 {
                    let mut answers = SmallVec::new();
                    if table.take_all(&charges, 0, &mut answers) {
                        admitted.fetch_add(1, Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(admitted.load(Relaxed), 3000);
    for name in names {
        assert!(
            !table.take(&charge(name, 1.0, burst, 1.0), 0).allowed,
            "{name} was charged for each that passed"
        );
    }
}

#[test]
fn a_flood_of_keys_neither_resets_nor_evicts_a_live_bucket() {
    let table = BucketTable::new(1000);
    let victim = charge("victim", 0.001, 5.0, 5.0);
    assert!(table.take(&victim, 0).allowed);
    let mut admitted = 0;
    for number in 0..200_000_u64 {
        let one = Charge::new(key(&format!("made up {number}")), victim.params, Cost::ONE);
        let taken = table.take(&one, number * 1000);
        admitted += u64::from(taken.allowed);
        assert!(number < 2000 || taken.shared, "{number}: there is no room left");
    }
    assert!(table.len() <= 1024 && table.shared_total() > 190_000);
    assert!(admitted <= 1024 + 5, "new keys share one bucket: {admitted}");
    let refused = table.take(&victim, 1);
    assert!(!refused.allowed && !refused.shared && refused.retry_after > 4000);
}

#[test]
fn full_buckets_make_room() {
    let table = BucketTable::new(64);
    let params = Params::new(1.0, 1.0).unwrap();
    for number in 0..10_000_u64 {
        let one = Charge::new(key(&number.to_string()), params, Cost::ONE);
        assert!(
            !table.take(&one, number * SECOND / 30).shared,
            "at most 30 are live at a time"
        );
    }
    assert_eq!(table.shared_total(), 0);
    assert!(table.len() <= 64);
}

#[test]
fn limits_that_ran_out_of_room_share_apart() {
    let table = BucketTable::new(1);
    let of = |limit: &str, name: &str| {
        let mut hasher = crate::buckets::KeyHasher::new(&[0; 16], &[limit]).within(&Scope::gateway());
        hasher.add(Some(name));
        Charge::new(hasher.finish(), Params::new(0.001, 2.0).unwrap(), Cost::ONE)
    };
    assert!(!table.take(&of("a", "1"), 0).shared);
    let shared = table.take(&of("a", "2"), 0);
    assert!(shared.allowed && shared.shared);
    assert_eq!(table.peek(&of("a", "3"), 0).remaining, 0, "peek sees the shared bucket");
    assert!(table.take(&of("a", "3"), 0).allowed && !table.take(&of("a", "4"), 0).allowed);
    assert!(table.take(&of("b", "2"), 0).allowed, "another limit has its own");
    table.refund(&super::reserved(&of("a", "4"), true), Cost::ONE, 0);
    assert!(table.take(&of("a", "5"), 0).allowed, "a refund finds it");
    let mut answers = SmallVec::new();
    assert!(!table.take_all(&[of("b", "3"), of("a", "6")], 0, &mut answers));
    assert!(
        table.take(&of("b", "4"), 0).allowed,
        "the half that passed was given back"
    );
}

#[test]
fn a_change_refills_no_bucket() {
    let table = BucketTable::new(64);
    let (old, new) = (charge("a", 1.0, 10.0, 10.0), charge("a", 1.0, 100.0, 1.0));
    table.in_use(1, 0, || old.params.fill_ns());
    assert!(table.take(&old, 0).allowed);
    table.in_use(2, SECOND, || new.params.fill_ns());
    // By the old burst it is full after 10 seconds, and would be forgotten by all these keys.
    for number in 0..60_u64 {
        table.take(&charge(&format!("other {number}"), 1.0, 100.0, 1.0), 20 * SECOND);
    }
    assert_eq!(table.take(&new, 20 * SECOND).remaining, 19);
    // Once it must be full by the new burst too, it may go.
    for number in 0..1000_u64 {
        table.take(
            &charge(&format!("later {number}"), 1.0, 100.0, 1.0),
            (200 + number) * SECOND,
        );
    }
    assert_eq!(table.take(&new, 1300 * SECOND).remaining, 99);
}

#[test]
fn a_faster_rate_counts_from_the_change_on() {
    let table = BucketTable::new(64);
    let (slow, fast) = (charge("a", 0.01, 10.0, 10.0), charge("a", 10.0, 10.0, 1.0));
    table.in_use(1, 0, || slow.params.fill_ns());
    assert!(table.take(&slow, 0).allowed);
    table.in_use(2, 200 * SECOND, || fast.params.fill_ns());
    assert_eq!(
        table.take(&fast, 200 * SECOND).remaining,
        1,
        "200 s at the old rate, not at the new one"
    );
    assert_eq!(table.take(&fast, 200 * SECOND + SECOND / 2).remaining, 5);
}
