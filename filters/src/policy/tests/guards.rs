//! Loop detection and circuit breakers: what they count, what they refuse, and what they leave alone.

use std::time::Duration;

use super::*;
use crate::policy::Breakers;

/// A policy on every path with a block and a rule that lets nearly everything through.
fn guarded(id: &str, block: &str, rules: &[String]) -> String {
    policy(id, &format!("{block},"), rules)
}

fn roomy() -> String {
    rule("roomy", "query:k", 1000.0, 1000.0, "")
}

fn loops(action: &str) -> String {
    format!(
        "loop_detection: {{ enabled: true, window_seconds: 60, threshold_identical_requests: 3, action: {action} }}"
    )
}

fn breaker(threshold: u32, reset: u32) -> String {
    format!(
        "circuit_breaker: {{ enabled: true, spend_rate_threshold_per_minute: {threshold}, auto_reset_after_minutes: {reset}, \
         alert: true }}"
    )
}

fn at(bench: &Bench, policies: &Arc<Policies>, target: &str, seconds: u64) -> Answered {
    let request = RequestBuilder::get(target)
        .policies(Arc::clone(policies))
        .at(after(START, seconds * 1000));
    bench.send(&request)
}

fn reason(answered: &Answered) -> &str {
    answered.reason.map_or("", |reason| reason.0)
}

#[test]
fn the_same_request_again_and_again_is_refused() {
    let policies = bundle(&[guarded("p", &loops("reject"), &[roomy()])], "");
    let bench = bench();
    let all = |target: &str, seconds: u64| at(&bench, &policies, target, seconds).status.as_u16();
    assert_eq!([all("/a?k=1&x=2", 0), all("/a?x=2&k=1", 1)], [200, 200]);
    let third = at(&bench, &policies, "/a?k=1&x=2", 2);
    assert_eq!((third.status.as_u16(), reason(&third)), (429, "loop_detected"));
    assert_eq!(who(&third), ("p", ""));
    let after: u32 = third.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((58..=87).contains(&after), "until the window is over: {after}");
    assert!(!third.headers.contains_key("ratelimit"), "it is no limit");
    for other in [
        "/a?k=1&x=3",
        "/a?k=2&x=2",
        "/b?k=1&x=2",
        "/a?k=1&x=2&x=2",
        "/a?k=1",
        "/a?k=1&x=2&y",
    ] {
        assert_eq!(all(other, 3), 200, "{other}");
    }
    assert_eq!(
        [all("/a?k=1&x=2", 59), all("/a?k=1&x=2", 60)],
        [429, 200],
        "a window from the first request on"
    );
}

#[test]
fn a_repeated_parameter_evades_nothing() {
    let policies = bundle(&[guarded("p", &loops("reject"), &[roomy()])], "");
    let bench = bench();
    let targets = ["/?k=1&x=1&x=2", "/?x=2&k=1&x=1", "/?x=1&x=2&k=1"];
    assert_eq!(statuses(&bench, &policies, &targets), [200, 200, 429]);
}

#[test]
fn a_loop_that_warns_or_holds_back_ends_nothing() {
    for (action, warning, paused) in [("warn", "loop_warn", 0), ("throttle", "loop_throttle", 300)] {
        let two = rule("two", "", 0.001, 4.0, "");
        let policies = bundle(&[guarded("p", &loops(action), &[roomy()]), policy("q", "", &[two])], "");
        let bench = bench();
        assert_eq!(statuses(&bench, &policies, &["/", "/"]), [200, 200]);
        let third = send(&bench, &policies, "/");
        assert_eq!(
            (third.status.as_u16(), &third.headers["x-portcullis-warning"]),
            (200, &warning.parse().unwrap())
        );
        assert_eq!(third.paused, Duration::from_millis(paused));
        let fourth = send(&bench, &policies, "/");
        assert!(
            fourth.paused.as_millis() == u128::from(paused / 3 * 4),
            "each time longer"
        );
        let fifth = send(&bench, &policies, "/");
        assert_eq!(
            (fifth.status.as_u16(), reason(&fifth)),
            (429, "token_bucket_exceeded"),
            "{action}"
        );
    }
}

#[test]
fn who_is_refused_drives_neither_loop_nor_breaker() {
    let one = rule("one", "query:k", 0.001, 2.0, "");
    let blocks = format!("{}, {}", loops("reject"), breaker(100, 0));
    let policies = bundle(&[guarded("p", &blocks, std::slice::from_ref(&one))], "");
    let bench = bench();
    assert_eq!(statuses(&bench, &policies, &["/?k=1", "/?k=1"]), [200, 200]);
    for _ in 0..500 {
        assert_eq!(send(&bench, &policies, "/?k=1").status, 429);
    }
    let free = bundle(&[guarded("p", &blocks, &[roomy()])], "");
    let others: Vec<u16> = (0..97)
        .map(|n| send(&bench, &free, &format!("/?k=1&n={n}")).status.as_u16())
        .collect();
    assert!(
        others.iter().all(|status| *status == 200),
        "two were spent of a hundred"
    );
    assert_eq!(reason(&send(&bench, &free, "/?k=1&n=x")), "circuit_breaker_open");
}

#[test]
fn a_breaker_opens_looks_and_closes() {
    let policies = bundle(&[guarded("p", &breaker(10, 5), &[roomy()])], "");
    let bench = bench();
    for _ in 0..9 {
        assert_eq!(at(&bench, &policies, "/?k=1", 0).status, 200);
    }
    let opened = at(&bench, &policies, "/?k=1", 1);
    assert_eq!((opened.status.as_u16(), reason(&opened)), (429, "circuit_breaker_open"));
    assert_eq!(who(&opened), ("p", ""));
    let after: u32 = opened.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((300..=450).contains(&after), "{after}");
    assert_eq!(at(&bench, &policies, "/?k=2", 2).status, 200, "another key has its own");
    let breakers = bench.zones.get::<Breakers>("policy").unwrap();
    assert_eq!((breakers.opened_total(), breakers.alerts_total()), (1, 1));
    assert_eq!(breakers.open(), [("p".into(), 1)]);
    assert_eq!(at(&bench, &policies, "/?k=1", 300).status, 429);
    let again = Bench::reloaded(&bench.zones, "filters: [{ policy: {} }]");
    assert_eq!(
        at(&again, &policies, "/?k=1", 300).status,
        429,
        "a reload closes nothing"
    );
    assert_eq!(at(&again, &policies, "/?k=1", 301).status, 200, "one to see");
    assert!(breakers.open().is_empty());
    assert_eq!(at(&again, &policies, "/?k=1", 302).status, 429, "too soon");
    assert_eq!(at(&again, &policies, "/?k=1", 602).status, 200);
    assert_eq!(
        at(&again, &policies, "/?k=1", 608).status,
        200,
        "six seconds later it is closed"
    );
    assert_eq!(at(&again, &policies, "/?k=1", 608).status, 200);
}

#[test]
fn a_request_that_a_breaker_refuses_is_charged_to_none() {
    let bucket = rule("b", "", 0.001, 1000.0, "");
    let policies = bundle(&[guarded("p", &breaker(3, 0), std::slice::from_ref(&bucket))], "");
    let bench = bench();
    assert_eq!(
        statuses(&bench, &policies, &["/", "/", "/", "/", "/"]),
        [200, 200, 429, 429, 429]
    );
    let without = bundle(&[policy("p", "", &[bucket])], "");
    assert_eq!(send(&bench, &without, "/").headers["ratelimit-remaining"], "997");
}

#[test]
fn in_shadow_both_only_record() {
    let blocks = format!("mode: shadow, {}, {}", loops("reject"), breaker(3, 0));
    let policies = bundle(&[guarded("p", &blocks, &[roomy()])], "");
    let bench = bench();
    for turn in 0..6 {
        let answered = send(&bench, &policies, "/?k=1");
        assert_eq!((answered.status.as_u16(), answered.headers.len()), (200, 0));
        let told: Vec<_> = answered
            .facts
            .decisions
            .iter()
            .map(|decision| decision.reason.0)
            .collect();
        assert_eq!(told.len(), usize::from(turn >= 2), "{turn}: {told:?}");
    }
    let breakers = bench.zones.get::<Breakers>("policy").unwrap();
    assert_eq!((breakers.opened_total(), breakers.open().len()), (0, 0));
}

#[test]
fn blocks_that_are_not_enabled_do_nothing() {
    let blocks = "loop_detection: { enabled: false }, circuit_breaker: { enabled: false }";
    let policies = bundle(&[guarded("p", blocks, &[roomy()])], "");
    let bench = bench();
    assert!((0..50).all(|_| send(&bench, &policies, "/").status == 200));
}
