//! Buckets that go to another process.

use super::{SECOND, charge};
use crate::buckets::{BUCKET_BYTES, BucketTable};
use crate::client::Now;

fn now(monotonic_s: u64, unix_s: u64) -> Now {
    Now {
        monotonic_ns: monotonic_s * SECOND,
        unix_ms: unix_s * 1000,
    }
}

#[test]
fn a_new_process_goes_on_where_the_old_one_was() {
    let old = BucketTable::new(100);
    assert!(old.take(&charge("spent", 0.1, 10.0, 10.0), 1000 * SECOND).allowed);
    assert!(old.take(&charge("full", 1.0, 10.0, 1.0), 900 * SECOND).allowed);
    let mut bytes = Vec::new();
    assert_eq!(
        old.export(now(1010, 5000), 0, 100, &mut bytes),
        1,
        "full ones need not go"
    );
    assert_eq!(bytes.len(), BUCKET_BYTES);
    for (clock, start) in [("same boot", 1020), ("rebooted", 15)] {
        let new = BucketTable::new(100);
        assert_eq!(new.import(&bytes, 10 * SECOND, now(start, 5010)), 1);
        let taken = new.take(&charge("spent", 0.1, 10.0, 0.0), start * SECOND);
        // 20 seconds have passed since; a process that boots later cannot know of those before its boot.
        assert_eq!(taken.remaining, if clock == "rebooted" { 1 } else { 2 }, "{clock}");
        assert_eq!(new.import(&bytes, 0, now(start, 5010)), 0, "a bucket in use is kept");
    }
}

#[test]
fn exports_are_bounded_and_damage_is_harmless() {
    let old = BucketTable::new(1000);
    for number in 0..500 {
        old.take(&charge(&number.to_string(), 0.1, 10.0, 10.0), SECOND);
    }
    let mut bytes = Vec::new();
    assert_eq!(old.export(now(1, 1), 0, 7, &mut bytes), 7);
    let new = BucketTable::new(1000);
    assert_eq!(new.import(&bytes[..bytes.len() - 1], 0, now(1, 1)), 6);
    let garbage: Vec<u8> = (0..4800_u32).map(|n| u8::try_from(n * 37 % 251).unwrap()).collect();
    new.import(&garbage, u64::MAX, now(1, 1));
    let small = BucketTable::new(3);
    assert_eq!(small.import(&bytes, 0, now(1, 1)), 3, "no more than there is room for");
}

#[test]
fn windows_live_on_and_what_is_soon_whole_stays_behind() {
    use portcullis_bundles::algorithm::Period;

    use crate::buckets::tests::key;
    use crate::buckets::{Charge, Cost, Params, Window};
    let budget = |at: Now| {
        let params = Params::window(Window::utc(Period::Hour, at), 3.0).unwrap();
        Charge::new(key("budget"), params, Cost::ONE)
    };
    let began = now(1000, 7_200);
    let old = BucketTable::new(100);
    assert!(old.take(&budget(began), began.monotonic_ns).allowed);
    let more = budget(began).soft();
    assert!(
        (0..4)
            .map(|_| old.take(&more, began.monotonic_ns))
            .last()
            .is_some_and(|last| !last.allowed),
        "it owes"
    );
    assert!(old.take(&charge("soon", 10.0, 10.0, 1.0), began.monotonic_ns).allowed);
    let mut bytes = Vec::new();
    assert_eq!(old.export(began, 5 * SECOND, 100, &mut bytes), 1);
    let at = now(50, 7_300);
    let new = BucketTable::new(100);
    assert_eq!(new.import(&bytes, 100 * SECOND, at), 1);
    let refused = new.peek(&budget(at), at.monotonic_ns);
    assert!(!refused.allowed && refused.retry_after == 3_500, "{refused:?}");
    let late = BucketTable::new(100);
    assert_eq!(
        late.import(&bytes, 3_600 * SECOND, now(5000, 10_800)),
        0,
        "its window is over"
    );
}
