//! Zones from snapshot to snapshot, and to another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::{Entropy, ImportError, MAX_UNUSED, OneShape, ZoneError, ZoneState, Zones, ZonesBuilder};
use crate::testing::{Bench, ENTROPY, RequestBuilder, START, after};

#[derive(Default)]
struct Counter(AtomicU32);

impl ZoneState for Counter {
    const KIND: &'static str = "counter";
    type Shape = u32;

    fn open(_: &u32, _: &Entropy) -> Self {
        Self::default()
    }
}

struct Other;

impl ZoneState for Other {
    const KIND: &'static str = "other";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self
    }
}

fn build(from: &Zones, names: &[&str]) -> Zones {
    let mut builder = ZonesBuilder::from(from);
    for name in names {
        builder.open::<Counter>(name, &1).unwrap();
    }
    builder.finish()
}

#[test]
fn state_is_handed_over_by_name_and_shape() {
    let first = build(&Zones::new(ENTROPY), &["a"]);
    let state = first.get::<Counter>("a").unwrap();
    state.0.store(7, Relaxed);
    let mut builder = ZonesBuilder::from(&first);
    assert!(Arc::ptr_eq(&state, &builder.open::<Counter>("a", &1).unwrap()));
    assert_eq!(builder.open::<Counter>("b", &1).unwrap().0.load(Relaxed), 0);
    builder.open::<Other>("a", &OneShape).unwrap();
    let Err(ZoneError::Shape { kind, name, old, new }) = builder.open::<Counter>("a", &2) else {
        panic!("opened")
    };
    assert_eq!((kind, &*name, &*old, &*new), ("counter", "a", "1", "2"));
    let second = builder.finish();
    assert_eq!(
        second
            .each::<Counter>()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert!(
        first.get::<Counter>("b").is_none(),
        "a build changes nothing that is in use"
    );
}

#[test]
fn terms_hold_for_one_configuration() {
    let mut builder = ZonesBuilder::from(&Zones::new(ENTROPY));
    builder.open_on::<Counter>("a", &1, "10/s").unwrap();
    builder.open_on::<Counter>("a", &1, "10/s").unwrap();
    assert!(matches!(
        builder.open_on::<Counter>("a", &1, "20/s"),
        Err(ZoneError::Terms { .. })
    ));
    let mut next = ZonesBuilder::from(&builder.finish());
    next.open_on::<Counter>("a", &1, "20/s").unwrap();
}

#[test]
fn what_nobody_uses_is_kept_for_a_while() {
    let first = build(&Zones::new(ENTROPY), &["a"]);
    let state = first.get::<Counter>("a").unwrap();
    let mut zones = first;
    for _ in 0..1000 {
        zones = build(&zones, &["b"]);
    }
    assert_eq!(zones.each::<Counter>().count(), 1);
    assert_eq!(zones.each_kept::<Counter>().count(), 2);
    assert!(Arc::ptr_eq(&state, &build(&zones, &["a"]).get::<Counter>("a").unwrap()));
}

#[test]
fn what_nobody_uses_is_bounded_and_the_oldest_goes_first() {
    let mut zones = build(&Zones::new(ENTROPY), &["used"]);
    for number in 0..MAX_UNUSED + 10 {
        zones = build(&zones, &["used", &format!("n{number}")]);
    }
    zones = build(&zones, &["used"]);
    assert_eq!(zones.each_kept::<Counter>().count(), MAX_UNUSED + 1);
    assert!(zones.get::<Counter>("n0").is_none() && zones.get::<Counter>("n9").is_none());
    assert!(zones.get::<Counter>("n10").is_some() && zones.get::<Counter>("used").is_some());
}

#[test]
fn a_new_process_goes_on_with_the_buckets_of_the_old_one() {
    let yaml = "filters: [{ policy: {} }, { rate_limit: { key: ip:address, rate: 1/h, burst: 2 } }]";
    let policies = Bench::policies(
        "bundle_version: 1\npolicies:\n  - id: p\n    spec: { selector: { pathPrefix: / }, rules: [{ name: r, limit_keys: ['query:k'], \
         algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 1 } }] }\n",
    );
    let request = |target: &str| RequestBuilder::get(target).policies(Arc::clone(&policies));
    let old = Bench::reloaded(&Zones::new(ENTROPY), yaml);
    assert_eq!(old.send(&request("/?k=1")).status, 200);
    assert_eq!(old.send(&request("/?k=2")).status, 200);
    let bytes = old.zones.export(START, 1 << 20);
    let later = after(START, 1000);
    let (zones, imported) = Zones::import(&bytes, later).unwrap();
    assert_eq!((imported.zones, imported.buckets), (2, 3));
    assert_eq!(*zones.entropy(), ENTROPY, "the keys of buckets mean the same");
    let roomy = yaml.replace("burst: 2", "burst: 2, max_keys: 77");
    assert!(crate::testing::try_bench(&old.zones, &roomy).is_err());
    let other = Bench::reloaded(&zones, &roomy);
    assert_eq!(
        &*other.send(&request("/?k=3").at(later)).facts.decisions[0].link,
        "rate_limit",
        "after a restart it may"
    );
    let new = Bench::reloaded(&zones, yaml);
    assert_eq!(
        &*new.send(&request("/?k=1").at(later)).facts.decisions[0].link,
        "policy"
    );
    assert_eq!(
        &*new.send(&request("/?k=5").at(later)).facts.decisions[0].link,
        "rate_limit"
    );
    assert_eq!(new.send(&request("/?k=4").at(later).ip("192.0.2.9")).status, 200);
}

#[test]
fn exports_are_bounded_and_what_is_no_export_is_refused() {
    let bench = Bench::new("filters: [{ rate_limit: { key: query:k, rate: 1/h } }]");
    for number in 0..100 {
        bench.send(&RequestBuilder::get(&format!("/?k={number}")));
    }
    let bytes = bench.zones.export(START, 1000);
    assert!(bytes.len() <= 1000);
    assert!(Zones::import(&bytes, START).unwrap().1.buckets > 5);
    assert!(matches!(Zones::import(b"PCZONE99", START), Err(ImportError::Foreign)));
    assert!(matches!(Zones::import(b"", START), Err(ImportError::Foreign)));
    for length in 9..bytes.len() {
        // Cut anywhere: refused, or (between two zones) less of it. Never a panic.
        let _ = Zones::import(&bytes[..length], START);
    }
    let mut lying = bytes.clone();
    lying[49..57].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(matches!(Zones::import(&lying, START), Err(ImportError::Damaged)));
    assert_eq!(
        format!("{:?}", bench.zones.entropy()),
        "Entropy(..)",
        "secrets do not show"
    );
}
