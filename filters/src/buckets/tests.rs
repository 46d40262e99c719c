//! Buckets against known numbers, a naive model, many threads and a flood.

mod crowd;
mod full;
mod ledger;
mod model;
mod transfer;
mod windows;

use super::{BucketKey, BucketTable, Charge, Cost, KeyHasher, Params, Reserved};
use crate::tenant::{Scope, TenantId};

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn key(name: &str) -> BucketKey {
    let mut hasher = KeyHasher::new(b"0123456789abcdef", &["limit"]).within(&Scope::gateway());
    hasher.add(Some(name));
    hasher.finish()
}

pub(super) fn charge(name: &str, rate: f64, burst: f64, cost: f64) -> Charge {
    Charge::new(key(name), Params::new(rate, burst).unwrap(), Cost::new(cost).unwrap())
}

/// What a charge took from a bucket that refills steadily.
pub(super) fn reserved(charge: &Charge, shared: bool) -> Reserved {
    let Charge { key, params, cost, .. } = *charge;
    Reserved {
        key,
        params,
        shared,
        window: 0,
        cost,
    }
}

#[test]
fn burst_then_rate() {
    let table = BucketTable::new(100);
    let one = charge("a", 100.0, 200.0, 1.0);
    for left in (0..200).rev() {
        let taken = table.take(&one, 0);
        assert!(
            taken.allowed && taken.remaining == left && taken.limit == 200,
            "{taken:?}"
        );
    }
    let refused = table.take(&one, 0);
    assert!(!refused.allowed && refused.retry_after == 1 && refused.remaining == 0 && refused.full_after == 2);
    assert_eq!(table.take(&one, SECOND).remaining, 99);
}

#[test]
fn retry_after_is_the_time_until_there_is_enough() {
    let table = BucketTable::new(100);
    assert_eq!(table.take(&charge("a", 10.0, 100.0, 150.0), 0).retry_after, 5);
    let most = charge("b", 50.0, 50.0, 47.0);
    assert!(table.take(&most, 0).allowed);
    assert_eq!(table.take(&charge("b", 50.0, 50.0, 10.0), 0).retry_after, 1);
    assert!(table.take(&charge("c", 0.01, 1.0, 1.0), 0).allowed);
    assert_eq!(table.take(&charge("c", 0.01, 1.0, 1.0), SECOND).retry_after, 99);
    assert!(
        table.take(&charge("c", 0.01, 1.0, 1.0), 100 * SECOND).allowed,
        "after exactly that time"
    );
}

#[test]
fn nothing_is_rounded_away() {
    // 3 a second is no whole number of nanoseconds, nor is 7 a day; yet an hour and a year come out even.
    let table = BucketTable::new(100);
    for (name, rate, burst, every, times) in [
        ("third", 3.0, 1.0, SECOND / 1000, 3_600_000_u64),
        ("day", 7.0 / 86_400.0, 1.0, 3600 * SECOND, 8760),
    ] {
        let one = charge(name, rate, burst, 1.0);
        let admitted: f64 = (0..=times)
            .map(|tick| {
                if table.take(&one, tick * every).allowed {
                    1.0
                } else {
                    0.0
                }
            })
            .sum();
        let seconds = u32::try_from(times * every / SECOND).unwrap();
        // Ticks quantise each wait upwards: never more than the rate gives, and not much less.
        let most = burst + rate * f64::from(seconds);
        assert!(
            admitted <= most + 1e-6 && admitted > 0.85 * most,
            "{name}: {admitted} of {most}"
        );
    }
    let drops = charge("drops", 0.001, 1.0, 0.001);
    assert!((0..1000).all(|_| table.take(&drops, 0).allowed));
    assert!(!table.take(&drops, SECOND - 1).allowed, "a nanosecond too early");
    assert!(table.take(&drops, SECOND).allowed);
}

#[test]
fn a_bucket_takes_56_bytes() {
    assert_eq!(size_of::<super::shard::Entry>(), 56);
}

#[test]
fn a_bucket_of_a_full_table_takes_at_most_96_bytes() {
    // The smallest and the largest loads of its maps, and sizes in between.
    for capacity in [14_336_u32, 14_337, 20_000, 57_344, 57_345, 65_536, 100_000] {
        let table = BucketTable::new(usize::try_from(capacity).unwrap());
        for number in 0..capacity + capacity / 2 {
            table.take(&charge(&number.to_string(), 0.001, 1.0, 1.0), 0);
        }
        let (bytes, keys) = (table.bytes(), table.len());
        assert!(keys >= usize::try_from(capacity).unwrap(), "{keys} of {capacity}");
        assert!(bytes <= 96 * keys, "{} bytes a bucket of {capacity}", bytes / keys);
    }
}

#[test]
fn a_clock_that_goes_back_is_harmless() {
    let table = BucketTable::new(100);
    let one = charge("a", 1.0, 2.0, 1.0);
    assert!(table.take(&one, 100 * SECOND).allowed);
    assert!(table.take(&one, 50 * SECOND).allowed);
    assert!(!table.take(&one, 0).allowed);
    assert!(
        !table.take(&one, 100 * SECOND).allowed,
        "going back and forth refills nothing"
    );
    assert!(table.take(&one, 101 * SECOND).allowed);
}

#[test]
fn costs_are_finite_and_bounded() {
    for cost in [f64::NAN, f64::INFINITY, -1.0, -0.1, 1e13] {
        assert!(Cost::new(cost).is_none(), "{cost}");
    }
    assert_eq!(Cost::new(1e-9), Cost::new(1e-6), "nothing is free but zero");
    assert!(Cost::new(0.0) == Some(Cost::ZERO) && Cost::new(1.0) == Some(Cost::ONE));
    for (rate, burst) in [
        (0.0, 1.0),
        (1.0, 0.0),
        (f64::NAN, 1.0),
        (1.0, f64::INFINITY),
        (-1.0, 1.0),
        (1e13, 1.0),
    ] {
        assert!(Params::new(rate, burst).is_none(), "{rate} {burst}");
    }
    let huge = Params::new(1e9, 1e9).unwrap();
    assert!(huge.seconds() == 1 && huge.fill_ns() == SECOND && huge.limit() == 1_000_000_000);
}

#[test]
fn another_rate_keeps_the_tokens() {
    let table = BucketTable::new(100);
    assert!(table.take(&charge("a", 1.0, 100.0, 60.0), 0).allowed);
    assert_eq!(
        table.take(&charge("a", 1.0, 200.0, 1.0), 0).remaining,
        39,
        "a larger burst does not refill"
    );
    assert_eq!(
        table.take(&charge("a", 1.0, 10.0, 1.0), 0).remaining,
        9,
        "a smaller one clamps"
    );
    assert_eq!(
        table.take(&charge("a", 1.0, 100.0, 1.0), 0).remaining,
        8,
        "and what was clamped is gone"
    );
}

#[test]
fn zero_costs_nothing_even_when_nothing_is_left() {
    let table = BucketTable::new(100);
    assert!(table.take(&charge("a", 1.0, 5.0, 5.0), 0).allowed);
    assert!(table.take(&charge("a", 1.0, 5.0, 0.0), 0).allowed);
}

#[test]
fn peek_takes_nothing_and_refund_gives_back() {
    let table = BucketTable::new(100);
    let two = charge("a", 1.0, 5.0, 2.0);
    assert_eq!((table.peek(&two, 0).remaining, table.len()), (3, 0));
    let taken = table.take(&two, 0);
    let reserved = two.reserved(&taken).unwrap();
    assert_eq!(taken.remaining, 3);
    assert_eq!(table.peek(&two, 0).remaining, 1);
    table.refund(&reserved, Cost::new(9.0).unwrap(), 0);
    assert_eq!(table.peek(&two, 0).remaining, 3, "no more than was taken");
    table.refund(&reserved, two.cost, 0);
    assert_eq!(
        table.peek(&charge("a", 1.0, 5.0, 0.0), 0).remaining,
        5,
        "never above the burst"
    );
    let unknown = charge("unknown", 1.0, 5.0, 2.0);
    table.refund(&unknown.reserved(&taken).unwrap(), unknown.cost, 0);
    assert_eq!(table.len(), 1);
}

#[test]
fn all_or_nothing() {
    let table = BucketTable::new(100);
    let (wide, narrow) = (charge("wide", 1.0, 100.0, 10.0), charge("narrow", 1.0, 1.0, 1.0));
    let mut answers = smallvec::SmallVec::new();
    assert!(table.take_all(&[wide, narrow], 0, &mut answers));
    assert_eq!([answers[0].remaining, answers[1].remaining], [90, 0]);
    answers.clear();
    assert!(!table.take_all(&[wide, narrow], 0, &mut answers));
    assert!(answers[0].allowed && !answers[1].allowed);
    assert_eq!(
        table.peek(&charge("wide", 1.0, 100.0, 0.0), 0).remaining,
        90,
        "charged to none"
    );
    answers.clear();
    assert!(!table.take_all(
        &[charge("twice", 1.0, 3.0, 2.0), charge("twice", 1.0, 3.0, 2.0)],
        0,
        &mut answers
    ));
    assert_eq!(
        table.peek(&charge("twice", 1.0, 3.0, 0.0), 0).remaining,
        3,
        "the same bucket counts twice"
    );
}

#[test]
fn values_never_meet() {
    let of = |parts: &[&str], values: &[Option<&str>]| {
        let mut hasher = KeyHasher::new(b"0123456789abcdef", parts).within(&Scope::gateway());
        for value in values {
            hasher.add(*value);
        }
        hasher.finish().own
    };
    let mut seen = std::collections::BTreeSet::new();
    for (parts, values) in [
        (&["p", "r"][..], &[Some("u|v"), Some("w")][..]),
        (&["p", "r"], &[Some("u"), Some("v|w")]),
        (&["p", "r"], &[Some("u"), Some("v"), Some("w")]),
        (&["p", "r"], &[Some(""), Some("uvw")]),
        (&["p", "r"], &[None, Some("uvw")]),
        (&["p", "r"], &[Some("uvw")]),
        (&["p", "r"], &[Some("uvw"), None]),
        (&["pr", ""], &[Some("uvw")]),
        (&["q", "r"], &[Some("uvw")]),
        (&["p"], &[Some("r"), Some("uvw")]),
        (&["p", "r"], &[]),
    ] {
        assert!(seen.insert(of(parts, values)), "{parts:?} {values:?}");
    }
    let address = |text: &str| {
        let mut hasher = KeyHasher::of(b"0123456789abcdef", 7, false).within(&Scope::gateway());
        hasher.add_address(text.parse().unwrap());
        hasher.finish().own
    };
    assert_eq!(address("2001:db8::1"), address("2001:db8::ffff"), "a /64 is one client");
    assert_ne!(address("2001:db8::1"), address("2001:db8:0:1::1"));
    assert_eq!(address("::ffff:192.0.2.1"), address("192.0.2.1"));
    assert_ne!(address("192.0.2.1"), address("192.0.2.2"));
    let shadow = KeyHasher::of(b"0123456789abcdef", 7, true)
        .within(&Scope::gateway())
        .finish();
    assert_ne!(
        shadow,
        KeyHasher::of(b"0123456789abcdef", 7, false)
            .within(&Scope::gateway())
            .finish()
    );
}

#[test]
fn two_tenants_never_share_a_bucket() {
    let limit = KeyHasher::new(b"0123456789abcdef", &["p", "r"]);
    let tenant = |name: &str| Scope::of(&TenantId::new(name).unwrap());
    let of = |scope: &Scope, values: &[&str]| {
        let mut hasher = limit.within(scope);
        for value in values {
            hasher.add(Some(value));
        }
        hasher.finish()
    };
    let mut seen = std::collections::BTreeSet::new();
    for scope in [Scope::gateway(), tenant("a"), tenant("b"), tenant("ab")] {
        for values in [&["u"][..], &["a", "u"], &["b", "u"], &[]] {
            assert!(seen.insert(of(&scope, values).own), "{scope:?} {values:?}");
        }
        // The bucket that new keys share when the table is full.
        assert!(seen.insert(of(&scope, &[]).shared), "{scope:?}");
    }
    // Where there is no room for one more key, those of two tenants share no bucket either.
    let table = BucketTable::new(1);
    let take = |scope: &Scope, value: &str| {
        let params = Params::new(0.001, 1.0).unwrap();
        table
            .take(&Charge::new(of(scope, &[value]), params, Cost::ONE), 0)
            .allowed
    };
    let (a, b) = (tenant("a"), tenant("b"));
    let crowd = (0..10_000).filter(|n| take(&a, &n.to_string())).count();
    assert!(crowd < 10_000, "there is room for all");
    assert!(
        !take(&a, "late") && take(&b, "late") && !take(&b, "later"),
        "each shares with its own"
    );
}
