//! Windows: when they begin and end, what the clock's steps do to them, and what is given back across their ends.

use portcullis_bundles::algorithm::Period;

use super::super::{BucketTable, Charge, Cost, Params, Taken, Window};
use super::{SECOND, key};
use crate::client::Now;

/// 2026-02-03T14:30:00Z, an hour after the machine began.
const NOON: Now = Now {
    monotonic_ns: 3_600 * SECOND,
    unix_ms: 1_770_129_000_000,
};

/// So many seconds later, the wall clock set by so many besides.
fn later(seconds: i64, step: i64) -> Now {
    let monotonic_ns = NOON.monotonic_ns.checked_add_signed(seconds * 1_000_000_000).unwrap();
    let unix_ms = NOON.unix_ms.checked_add_signed((seconds + step) * 1000).unwrap();
    Now { monotonic_ns, unix_ms }
}

fn charge(period: Period, budget: f64, cost: f64, now: Now) -> Charge {
    let params = Params::window(Window::utc(period, now), budget).unwrap();
    Charge::new(key("a"), params, Cost::new(cost).unwrap())
}

fn take(table: &BucketTable, period: Period, budget: f64, now: Now) -> Taken {
    table.take(&charge(period, budget, 1.0, now), now.monotonic_ns)
}

#[test]
fn a_budget_is_whole_again_when_its_period_is_over() {
    for (period, left) in [
        (Period::FiveMinutes, 300),
        (Period::Hour, 1_800),
        (Period::Day, 34_200),
        (Period::Week, 4 * 86_400 + 34_200 - 2 * 86_400 + 86_400 - 86_400),
    ] {
        let left = if period == Period::Week {
            Period::Week.start(1_770_129_000) + 604_800 - 1_770_129_000
        } else {
            left
        };
        let table = BucketTable::new(100);
        assert_eq!(take(&table, period, 2.0, NOON).remaining, 1);
        assert!(take(&table, period, 2.0, later(1, 0)).allowed);
        let refused = take(&table, period, 2.0, later(2, 0));
        assert!(!refused.allowed, "{period:?}");
        assert_eq!(i64::from(refused.retry_after), left - 2, "{period:?}");
        assert_eq!(refused.limit, 2);
        let slack = 5;
        assert!(
            !take(&table, period, 2.0, later(left - slack - 1, 0)).allowed,
            "{period:?}"
        );
        let again = take(&table, period, 2.0, later(left, 0));
        assert!(again.allowed && again.remaining == 1, "{period:?}: {again:?}");
    }
}

#[test]
fn steps_of_the_wall_clock_refill_nothing() {
    let table = BucketTable::new(100);
    assert!(take(&table, Period::Hour, 1.0, NOON).allowed);
    for step in [-86_400, -3_600, -1_800, -60, 60, 1_800, 3_600, 86_400, 31_536_000] {
        assert!(!take(&table, Period::Hour, 1.0, later(10, step)).allowed, "{step}");
        assert!(
            !take(&table, Period::Hour, 1.0, later(11, 0)).allowed,
            "and back from {step}"
        );
    }
    assert!(
        take(&table, Period::Hour, 1.0, later(1_800, 0)).allowed,
        "the hour is over"
    );
}

#[test]
fn a_clock_that_stays_ahead_or_behind_costs_one_period_at_most() {
    for (step, until) in [(86_400, 1_800), (-60, 1_860), (-3_600, 5_400), (-86_400 * 30, 1_800)] {
        let table = BucketTable::new(100);
        assert!(take(&table, Period::Hour, 1.0, NOON).allowed);
        let before = later(until - 6, step);
        assert!(!take(&table, Period::Hour, 1.0, before).allowed, "{step}");
        assert!(take(&table, Period::Hour, 1.0, later(until, step)).allowed, "{step}");
    }
}

#[test]
fn a_window_that_is_over_is_forgotten_and_a_live_one_never() {
    let table = BucketTable::new(64);
    let of = |number: u32, now: Now| {
        let params = Params::window(Window::utc(Period::Hour, now), 1.0).unwrap();
        let charge = Charge::new(key(&number.to_string()), params, Cost::ONE);
        table.take(&charge, now.monotonic_ns)
    };
    let passed = (0..1000).filter(|number| of(*number, NOON).allowed).count();
    assert_eq!(passed, 64 + 1, "the room, and one counter for all others");
    assert!((0..64).all(|number| !of(number, later(1_000, 0)).allowed));
    let next = later(1_800 + 700, 0);
    let passed = (2_000..2_064).filter(|number| of(*number, next).allowed).count();
    assert_eq!(passed, 64, "what is over makes room");
}

#[test]
fn nothing_is_given_back_to_another_window() {
    let table = BucketTable::new(100);
    let two = charge(Period::Hour, 10.0, 2.0, NOON);
    let taken = table.take(&two, NOON.monotonic_ns);
    let reserved = two.reserved(&taken).unwrap();
    let next = later(1_800, 0);
    assert_eq!(take(&table, Period::Hour, 10.0, next).remaining, 9);
    table.refund(&reserved, reserved.cost, next.monotonic_ns);
    assert_eq!(take(&table, Period::Hour, 10.0, next).remaining, 8);
    let own = charge(Period::Hour, 10.0, 3.0, next);
    let taken = table.take(&own, next.monotonic_ns);
    let reserved = own.reserved(&taken).unwrap();
    table.refund(&reserved, Cost::ONE, next.monotonic_ns);
    assert_eq!(take(&table, Period::Hour, 10.0, next).remaining, 5, "8 - 3 + 1 - 1");
}

#[test]
fn an_overrun_is_owed() {
    let table = BucketTable::new(100);
    let two = charge(Period::Hour, 5.0, 2.0, NOON);
    let taken = table.take(&two, NOON.monotonic_ns);
    let more = two
        .reserved(&taken)
        .unwrap()
        .overrun(two.params, Cost::new(9.0).unwrap());
    let owed = table.take(&more, NOON.monotonic_ns);
    assert!(!owed.allowed && owed.remaining == 0);
    assert_eq!(owed.used_millionths, 11_000_000);
    let wide = charge(Period::Hour, 12.0, 1.0, NOON);
    assert_eq!(
        table.take(&wide, NOON.monotonic_ns).remaining,
        0,
        "a larger budget counts, less what was used"
    );
}

#[test]
fn a_window_from_the_first_request_is_not_extended_by_others() {
    let table = BucketTable::new(100);
    let hit = |at: Now| {
        let params = Params::window(Window::from_first(60, at), 2.0).unwrap();
        let charge = Charge::new(key("loop"), params, Cost::ONE).soft();
        table.take(&charge, at.monotonic_ns)
    };
    assert!(hit(NOON).allowed && hit(later(30, 0)).allowed);
    let third = hit(later(59, 0));
    assert!(
        !third.allowed && third.used_millionths == 3_000_000,
        "soft charges count on"
    );
    assert!(hit(later(60, 0)).allowed, "sixty seconds after the first");
}
