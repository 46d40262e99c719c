//! `on_full`: what becomes of requests when every counter that there is room for is in use.

use super::*;
use crate::buckets::{Cost, KeyHasher};
use crate::policy::breaker::{Answer, Terms};
use crate::policy::breakers::Spending;
use crate::policy::{Breakers, COUNTERS_FULL};
use crate::tenant::Scope;

/// Room for one counter.
fn narrow() -> Bench {
    Bench::new("filters: [{ policy: { max_keys: 1 } }]")
}

fn keyed(on_full: &str, mode: &str) -> Arc<Policies> {
    let rules = [rule("r", "query:k", 0.1, 2.0, "")];
    bundle(&[policy("p", &format!("{mode} on_full: {on_full},"), &rules)], "")
}

#[test]
fn those_without_a_counter_share_one_unless_the_policy_says_otherwise() {
    let bench = narrow();
    let rules = [rule("r", "query:k", 0.1, 2.0, "")];
    for policies in [keyed("shared_bucket", ""), bundle(&[policy("q", "", &rules)], "")] {
        let bench = Bench::reloaded(&Zones::new(ENTROPY), "filters: [{ policy: { max_keys: 1 } }]");
        let targets = ["/?k=a", "/?k=b", "/?k=c", "/?k=d", "/?k=a", "/?k=a"];
        assert_eq!(statuses(&bench, &policies, &targets), [200, 200, 200, 429, 200, 429]);
    }
    assert_eq!(statuses(&bench, &keyed("deny", ""), &["/?k=a", "/?k=b"]), [200, 503]);
}

#[test]
fn deny_refuses_whoever_is_new_and_nobody_who_is_known() {
    let (bench, policies) = (narrow(), keyed("deny", ""));
    assert_eq!(send(&bench, &policies, "/?k=a").status, 200);
    let refused = send(&bench, &policies, "/?k=b");
    assert_eq!((refused.status.as_u16(), refused.reason), (503, Some(COUNTERS_FULL)));
    assert_eq!(who(&refused), ("p", "r"));
    let seconds: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((60..=90).contains(&seconds), "{seconds}");
    assert!(!refused.headers.contains_key("ratelimit"), "no limit was reached");
    assert_eq!(statuses(&bench, &policies, &["/?k=a", "/?k=a"]), [200, 429]);
    // Ten seconds a token: by then the first is whole again, and makes room.
    let later = RequestBuilder::get("/?k=b")
        .policies(Arc::clone(&policies))
        .at(after(START, 40_000));
    assert_eq!(bench.send(&later).status, 200);
    let table = bench.zones.get::<crate::buckets::BucketTable>("policy").unwrap();
    assert_eq!((table.refused_total(), table.shared_total()), (1, 0));
}

#[test]
fn nothing_is_charged_when_one_counter_has_no_room() {
    let rules = [rule("all", "", 0.001, 3.0, ""), rule("r", "query:k", 0.001, 9.0, "")];
    let policies = bundle(&[policy("p", "on_full: deny,", &rules)], "");
    let bench = Bench::new("filters: [{ policy: { max_keys: 2 } }]");
    let targets = ["/?k=a", "/?k=b", "/?k=b", "/?k=b", "/?k=a", "/?k=a", "/?k=a"];
    assert_eq!(
        statuses(&bench, &policies, &targets),
        [200, 503, 503, 503, 200, 200, 429]
    );
}

#[test]
fn in_shadow_a_lack_of_room_is_told_and_refuses_nobody() {
    let (bench, policies) = (narrow(), keyed("deny", "mode: shadow,"));
    assert_eq!(statuses(&bench, &policies, &["/?k=a"]), [200]);
    let passed = send(&bench, &policies, "/?k=b");
    assert_eq!(passed.status, 200);
    assert_eq!(passed.facts.decisions[0].reason, COUNTERS_FULL);
}

#[test]
fn requests_without_a_counter_are_no_loop() {
    let block = "loop_detection: { enabled: true, window_seconds: 60, threshold_identical_requests: 2 },";
    for (on_full, statuses_then) in [("shared_bucket", [200, 200, 200, 429]), ("deny", [200, 503, 503, 429])] {
        let policies = bundle(&[policy("p", &format!("{block} on_full: {on_full},"), &[])], "");
        let bench = narrow();
        assert_eq!(
            statuses(&bench, &policies, &["/a", "/b", "/b", "/a"]),
            statuses_then,
            "{on_full}"
        );
    }
}

#[test]
fn breakers_without_room_share_one_or_refuse() {
    let breakers = Breakers::default();
    let spending = |number: u32, own_only| {
        let mut hasher = KeyHasher::new(&[0; 16], &["p"]).within(&Scope::gateway());
        hasher.add(Some(&number.to_string()));
        Spending {
            policy: "p".into(),
            key: hasher.finish(),
            terms: Terms {
                threshold: 3_000_000,
                reset_ns: None,
            },
            cost: Cost::ONE,
            alert: false,
            shadow: false,
            own_only,
        }
    };
    // More than there is room for, in every shard.
    for number in 0..90_000 {
        let answer = breakers.spend(&spending(number, true), 0);
        assert!(matches!(answer, Answer::Spent | Answer::NoRoom));
    }
    let refused = breakers.refused_total();
    assert!(refused > 20_000, "{refused}");
    let mut answers = (0..90_000).map(|number| breakers.spend(&spending(number, false), 0));
    assert!(
        answers.any(|answer| answer == Answer::Opened(None)),
        "three that share one open it"
    );
    assert_eq!(breakers.refused_total(), refused);
    let policies = bundle(
        &[policy(
            "p",
            "on_full: deny, circuit_breaker: { enabled: true, spend_rate_threshold_per_minute: 9 },",
            &[],
        )],
        "",
    );
    let bench = bench();
    assert_eq!(send(&bench, &policies, "/").status, 200, "one for all has room");
}
