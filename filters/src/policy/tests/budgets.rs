//! Budgets: their stages, their windows, and requests that are held back.

use std::time::Duration;

use super::*;
use crate::policy::Throttle;

/// A rule with a budget of a day.
fn budget(name: &str, keys: &str, budget: f64, stages: &str) -> String {
    format!(
        "{{ name: {name}, limit_keys: [{keys}], algorithm: cost_based, algorithm_config: {{ budget: {budget}, period: 1d, \
         cost_key: \"header:X-Cost\", staged_actions: [{stages}{{ threshold_percent: 100, action: reject }}] }} }}"
    )
}

const WARN: &str = "{ threshold_percent: 80, action: warn }, ";
const THROTTLE: &str = "{ threshold_percent: 90, action: throttle, delay_ms: 250 }, ";

fn spend(bench: &Bench, policies: &Arc<Policies>, cost: &str) -> Answered {
    let request = RequestBuilder::get("/")
        .header("x-cost", cost)
        .policies(Arc::clone(policies));
    bench.send(&request)
}

fn warning(answered: &Answered) -> &str {
    let field = answered.headers.get("x-portcullis-warning");
    field.map_or("", |value| value.to_str().unwrap())
}

#[test]
fn stages_begin_at_their_share_and_exactly_all_passes() {
    let policies = bundle(
        &[policy("p", "", &[budget("b", "", 10.0, &format!("{WARN}{THROTTLE}"))])],
        "",
    );
    let bench = bench();
    let seven = spend(&bench, &policies, "7");
    assert_eq!((seven.status.as_u16(), warning(&seven)), (200, ""));
    assert_eq!(seven.headers["ratelimit-remaining"], "3");
    let eight = spend(&bench, &policies, "1");
    assert_eq!(
        (eight.status.as_u16(), warning(&eight), eight.paused),
        (200, "budget_warn", Duration::ZERO)
    );
    assert_eq!(who(&eight), ("p", "b"));
    let nine = spend(&bench, &policies, "1");
    assert_eq!((nine.status.as_u16(), warning(&nine)), (200, "budget_throttle"));
    assert_eq!(nine.paused, Duration::from_millis(250));
    assert_eq!(spend(&bench, &policies, "1").status, 200, "exactly the budget");
    let over = spend(&bench, &policies, "0.000001");
    assert_eq!((over.status.as_u16(), over.reason.unwrap().0), (429, "budget_exceeded"));
    assert_eq!((warning(&over), over.paused), ("", Duration::ZERO));
    assert!(over.headers["ratelimit-limit"] == "10" && over.headers["ratelimit-remaining"] == "0");
    let left: u32 = over.headers["ratelimit-reset"].to_str().unwrap().parse().unwrap();
    let after: u32 = over.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!(
        (left / 2..=left).contains(&after),
        "{after} of {left}: spread towards now, never beyond the window"
    );
}

#[test]
fn a_reject_below_all_rejects() {
    let stages = "{ threshold_percent: 50, action: reject }, ";
    let policies = bundle(&[policy("p", "", &[budget("b", "", 10.0, stages)])], "");
    let bench = bench();
    assert_eq!(spend(&bench, &policies, "5").status, 200);
    assert_eq!(spend(&bench, &policies, "1").status, 429);
}

#[test]
fn costs_that_are_no_numbers_are_the_default() {
    let policies = bundle(&[policy("p", "", &[budget("b", "", 100.0, "")])], "");
    let bench = bench();
    for (turn, cost) in (1..).zip([
        "nan", "inf", "-inf", "-5", "1e400", "0x10", "101", "", "five", "NaN", "Infinity",
    ]) {
        let left = spend(&bench, &policies, cost).headers["ratelimit-remaining"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_eq!(left, (100 - turn).to_string(), "{cost}");
    }
}

#[test]
fn a_budget_is_refilled_by_its_day_and_by_nothing_else() {
    let policies = bundle(&[policy("p", "", &[budget("b", "", 1.0, "")])], "");
    let bench = bench();
    let at = |bench: &Bench, milliseconds: u64| {
        let request = RequestBuilder::get("/")
            .policies(Arc::clone(&policies))
            .at(after(START, milliseconds));
        bench.send(&request).status.as_u16()
    };
    assert_eq!((at(&bench, 0), at(&bench, 1)), (200, 429));
    let again = Bench::reloaded(&bench.zones, "filters: [{ policy: {} }]");
    assert_eq!(at(&again, 2), 429);
    let left = 86_400_000 - START.unix_ms % 86_400_000;
    assert_eq!((at(&again, left - 6_000), at(&again, left)), (429, 200));
}

#[test]
fn who_is_refused_by_a_bucket_keeps_the_budget() {
    let policies = bundle(
        &[policy(
            "p",
            "",
            &[budget("b", "", 10.0, ""), rule("r", "query:k", 0.001, 1.0, "")],
        )],
        "",
    );
    let bench = bench();
    assert_eq!(
        statuses(&bench, &policies, &["/?k=1", "/?k=1", "/?k=1", "/?k=2"]),
        [200, 429, 429, 200]
    );
    let alone = bundle(&[policy("p", "", &[budget("b", "", 10.0, "")])], "");
    assert_eq!(send(&bench, &alone, "/").headers["ratelimit-remaining"], "7");
}

#[test]
fn requests_beyond_the_queue_are_refused_and_not_charged() {
    let policies = bundle(
        &[policy(
            "p",
            "",
            &[budget(
                "b",
                "",
                10.0,
                "{ threshold_percent: 0, action: throttle, delay_ms: 250 }, ",
            )],
        )],
        "",
    );
    for settings in ["max_waiting: 0", "max_delay: 249ms"] {
        let bench = Bench::new(&format!("filters: [{{ policy: {{ throttle: {{ {settings} }} }} }}]"));
        let refused = spend(&bench, &policies, "4");
        assert_eq!(
            (refused.status.as_u16(), refused.reason.unwrap().0),
            (429, "throttle_queue_full")
        );
        assert!(refused.headers.contains_key("retry-after"));
        let roomy = Bench::reloaded(
            &bench.zones,
            "filters: [{ policy: { throttle: { max_delay: 250ms } } }]",
        );
        let passed = spend(&roomy, &policies, "4");
        assert_eq!(
            (passed.status.as_u16(), &passed.headers["ratelimit-remaining"]),
            (200, &"6".parse().unwrap())
        );
        let throttle = roomy.zones.get::<Throttle>("test policy").unwrap();
        assert_eq!(
            (throttle.waiting(), throttle.throttled_total(), throttle.refused_total()),
            (0, 1, 1)
        );
    }
    for wrong in ["max_waiting: 1000001", "max_delay: 31s"] {
        let yaml = format!("filters: [{{ policy: {{ throttle: {{ {wrong} }} }} }}]");
        assert!(
            try_bench(&Zones::new(ENTROPY), &yaml)
                .err()
                .unwrap()
                .contains("out-of-range")
        );
    }
}

#[test]
fn shadows_hold_nobody_back_and_warn_nobody() {
    let stages = format!("{WARN}{THROTTLE}");
    let policies = bundle(&[policy("p", "mode: shadow,", &[budget("b", "", 10.0, &stages)])], "");
    let bench = bench();
    let throttled = spend(&bench, &policies, "9");
    assert_eq!(
        (throttled.status.as_u16(), warning(&throttled), throttled.paused),
        (200, "", Duration::ZERO)
    );
    assert_eq!(throttled.facts.decisions.last().unwrap().reason.0, "budget_throttle");
    let enforced = bundle(&[policy("p", "", &[budget("b", "", 10.0, &stages)])], "");
    let shadow = Bench::new("filters: [{ policy: { mode: shadow } }]");
    let throttled = spend(&shadow, &enforced, "9");
    assert_eq!((warning(&throttled), throttled.paused), ("", Duration::ZERO));
}

#[test]
fn the_public_jitter_is_the_same_everywhere() {
    let policies = bundle(&[policy("p", "", &[budget("c", "", 1.0, "")])], "");
    let after_of = |yaml: &str, entropy| {
        let bench = Bench::reloaded(&Zones::new(entropy), yaml);
        assert_eq!(send(&bench, &policies, "/").status, 200);
        send(&bench, &policies, "/").headers["retry-after"].clone()
    };
    let other = || crate::zones::Entropy {
        jitter_salt: [7; 16],
        ..ENTROPY
    };
    let public = "retry_jitter: public\nfilters: [{ policy: {} }]";
    assert_eq!(after_of(public, ENTROPY), after_of(public, other()));
    let salted = "filters: [{ policy: {} }]";
    assert_ne!(after_of(salted, ENTROPY), after_of(salted, other()));
}
