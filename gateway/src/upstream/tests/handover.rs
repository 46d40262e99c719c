//! Reload: health, ejections, requests in flight, counters and addresses stay with (upstream, address).

use super::super::Outcome;
use super::*;

fn reload(config: Value, previous: &Upstreams) -> Upstreams {
    try_compile(config, previous).expect("it compiles")
}

#[test]
fn a_reload_forgets_nothing() {
    let shape = |weight: u32| {
        json!({ "app": {
            "servers": [{ "address": "10.0.0.1:80", "weight": weight }, "10.0.0.2:80", "10.0.0.3:80"],
            "health": quick_health(),
            "passive_health": { "failures": 1, "eject_for": "10s" },
        }})
    };
    let first = compile(shape(1));
    let upstream = only(&first);
    set_health(&upstream, 1, false);
    let held = pick(&upstream);
    held.report(Outcome::ConnectError);
    let place = held.index();
    let second = reload(shape(5), &first);
    drop(first);
    let upstream = only(&second);
    assert_eq!(verdict(&upstream, 1), Verdict::Down);
    assert!(!upstream.servers()[place].is_available(), "still ejected");
    assert_eq!(upstream.servers()[place].in_flight(), 1);
    assert_eq!(upstream.status().servers[place].totals.connect_errors, 1);
    assert_eq!(upstream.servers()[0].weight, 5);
    drop(held);
    assert_eq!(upstream.servers()[place].in_flight(), 0);
}

#[test]
fn round_robin_goes_on_where_it_stood() {
    let config = json!({ "app": { "servers": servers(&[1, 1]) } });
    let mut upstreams = compile(config.clone());
    let mut counts = [0, 0];
    for _ in 0..100 {
        counts[pick(&only(&upstreams)).index()] += 1;
        upstreams = reload(config.clone(), &upstreams);
    }
    assert_eq!(counts, [50, 50]);
}

#[test]
fn a_server_that_left_and_came_back_is_still_counted() {
    let with = json!({ "app": { "servers": servers(&[1]) } });
    let without = json!({ "app": { "servers": ["10.9.9.9:80"] } });
    let first = compile(with.clone());
    let held = pick(&only(&first));
    let mut upstreams = reload(without.clone(), &first);
    drop(first);
    for _ in 0..3 {
        upstreams = reload(without.clone(), &upstreams);
    }
    assert_eq!(upstreams.retired.len(), 1);
    let back = reload(with, &upstreams);
    assert_eq!(only(&back).servers()[0].in_flight(), 1);
    assert!(back.retired.is_empty());
    drop(held);
    assert_eq!(only(&back).servers()[0].in_flight(), 0);
    assert!(
        reload(without, &back).retired.is_empty(),
        "an idle server is not remembered"
    );
}

#[test]
fn the_same_address_elsewhere_is_another_server() {
    let shape = json!({ "servers": servers(&[1]) });
    let first = compile(json!({ "a": shape }));
    let held = pick(&only(&first));
    let second = reload(json!({ "a": shape, "b": shape }), &first);
    let in_flight = |name: &str| second.get(second.index_of(name).unwrap()).unwrap().servers()[0].in_flight();
    assert_eq!((in_flight("a"), in_flight("b")), (1, 0));
    assert_eq!(second.index_of("c"), None);
    drop(held);
}

#[test]
fn a_failed_compilation_touches_nothing() {
    let first = compile(json!({ "app": { "servers": servers(&[1]), "health": quick_health() } }));
    set_health(&only(&first), 0, false);
    try_compile(
        json!({ "app": { "servers": servers(&[1]) }, "bad": { "servers": [] } }),
        &first,
    )
    .unwrap_err();
    assert_eq!(verdict(&only(&first), 0), Verdict::Down);
    assert!(!only(&first).servers()[0].is_available());
}

#[test]
fn a_verdict_without_checks_does_not_count() {
    let first = compile(json!({ "app": { "servers": servers(&[1]), "health": quick_health() } }));
    set_health(&only(&first), 0, false);
    let second = reload(json!({ "app": { "servers": servers(&[1]) } }), &first);
    assert!(only(&second).servers()[0].is_available());
    assert!(
        !only(&first).servers()[0].is_available(),
        "the old snapshot still has its checks"
    );
}
