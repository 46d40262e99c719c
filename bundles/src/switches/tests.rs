//! Look-ups: every value counts, and how many switches there are does not.

use std::borrow::Cow;
use std::cell::Cell;

use super::*;

/// A request with some values of one header field, which counts how often it is asked.
struct Probe {
    values: Vec<&'static str>,
    path: &'static str,
    asked: Cell<u32>,
}

impl Probe {
    fn new(values: &[&'static str], path: &'static str) -> Self {
        Self {
            values: values.to_vec(),
            path,
            asked: Cell::new(0),
        }
    }
}

impl Attributes for Probe {
    fn get(&self, _: &Key) -> Option<Cow<'_, str>> {
        self.values.first().map(|value| Cow::Borrowed(*value))
    }

    fn each(&self, _: &Key, look: &mut dyn FnMut(&str)) {
        self.asked.set(self.asked.get() + 1);
        self.values.iter().for_each(|value| look(value));
    }

    fn path(&self) -> &str {
        self.path
    }

    fn claims_known(&self) -> bool {
        false
    }
}

fn switch(value: &str, route: Option<&str>, until: Option<i64>, place: u32) -> Switch {
    Switch {
        key: "header:x-tenant".parse().unwrap(),
        value: value.into(),
        route: route.map(Into::into),
        reason: None,
        expires_at: until.map(Timestamp::from_unix),
        suspended_until: None,
        origin: Origin::Bundle(place),
    }
}

fn found(switches: &Switches, probe: &Probe, now: i64) -> Option<u32> {
    match switches.find(probe, Phase::BeforeIdentity, now)?.origin {
        Origin::Bundle(place) => Some(place),
        _ => None,
    }
}

#[test]
fn every_value_counts_and_the_first_switch_is_told() {
    let switches = Switches::new(vec![
        switch("b", None, None, 0),
        switch("a", Some("/x"), None, 1),
        switch("a", None, None, 2),
    ]);
    for (values, path, expected) in [
        (&["a"][..], "/", Some(2)),
        (&["a"], "/x", Some(1)),
        (&["a", "b"], "/x", Some(0)),
        (&["c", "c", "b"], "/", Some(0)),
        (&["c"], "/x", None),
        (&[], "/x", None),
    ] {
        assert_eq!(
            found(&switches, &Probe::new(values, path), 0),
            expected,
            "{values:?} {path}"
        );
    }
}

#[test]
fn a_hundred_thousand_are_asked_like_one() {
    let many = (0..100_000).map(|n| switch(&format!("v{n}"), None, None, n));
    // The same value on as many paths, and as often with another end: no list that would have to be walked.
    let routes = (0..100_000).map(|n| switch("routes", Some(&format!("/r{n}")), None, 100_000 + n));
    let ends = (0..100_000).map(|n| switch("ends", None, Some(i64::from(n)), 200_000 + n));
    let switches = Switches::new(many.chain(routes).chain(ends).collect());
    let one = Switches::new(vec![switch("v7", None, None, 0)]);
    for (values, path, now, expected) in [
        (&["v99999"][..], "/", 0, Some(99_999)),
        (&["nobody"], "/", 0, None),
        (&["routes"], "/r77", 0, Some(100_077)),
        (&["routes"], "/r", 0, None),
        (&["ends"], "/", 0, Some(200_000)),
        (&["ends"], "/", 70_000, Some(270_000)),
        (&["ends"], "/", 100_000, None),
    ] {
        let (probe, alone) = (Probe::new(values, path), Probe::new(values, path));
        assert_eq!(found(&switches, &probe, now), expected, "{values:?} {path} {now}");
        one.find(&alone, Phase::BeforeIdentity, now);
        assert_eq!((probe.asked.get(), alone.asked.get()), (1, 1), "one question a key");
    }
    let groups = switches.before.iter().flat_map(|group| group.by_value.values());
    let longest = groups.map(|scope| scope.everywhere.0.len()).max();
    assert_eq!(
        longest,
        Some(100_000),
        "sorted by end, so that it is searched and not walked"
    );
}

#[test]
fn what_ends_no_later_than_another_is_not_kept_twice() {
    let switches = Switches::new(vec![
        switch("a", None, Some(10), 0),
        switch("a", None, Some(5), 1),
        switch("a", None, Some(20), 2),
        switch("a", None, None, 3),
        switch("a", None, Some(30), 4),
    ]);
    let probe = Probe::new(&["a"], "/");
    for (now, expected) in [(0, 0), (10, 0), (11, 2), (20, 2), (21, 3), (1_000, 3)] {
        assert_eq!(found(&switches, &probe, now), Some(expected), "{now}");
    }
}

#[test]
fn sources_are_asked_in_order() {
    let all = AllSwitches::new([
        Arc::default(),
        Arc::new(Switches::new(vec![switch("a", None, Some(10), 7)])),
        Arc::new(Switches::new(vec![switch("a", None, None, 8)])),
    ]);
    let probe = Probe::new(&["a"], "/");
    let place = |now| {
        all.find(&probe, Phase::BeforeIdentity, now)
            .map(|found| found.origin.clone())
    };
    assert_eq!(place(0), Some(Origin::Bundle(7)));
    assert_eq!(place(11), Some(Origin::Bundle(8)));
    assert_eq!(all.iter().count(), 2);
    assert!(all.has(Phase::BeforeIdentity) && !all.has(Phase::AfterIdentity));
}
