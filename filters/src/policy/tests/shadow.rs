//! Policies in shadow, and all of them under `global_shadow`.

use std::sync::Arc;

use portcullis_config::site::Mode;
use serde_json::json;

use super::{bench, bundle, policy, rule, send, statuses};
use crate::record::Action;
use crate::testing::{Bench, RequestBuilder, START, after};

fn strict(name: &str) -> String {
    rule(name, "", 0.001, 1.0, "")
}

#[test]
fn a_policy_in_shadow_changes_nothing_and_stops_nothing() {
    let policies = bundle(
        &[
            policy("trial", "priority: 9, mode: shadow,", &[strict("a")]),
            policy("real", "", &[rule("b", "", 0.001, 3.0, "")]),
        ],
        "",
    );
    let bench = bench();
    assert_eq!(send(&bench, &policies, "/").facts.decisions.len(), 0);
    let second = send(&bench, &policies, "/");
    assert_eq!(
        second.headers["ratelimit"], "\"real\";r=1;t=2000",
        "only the real limit is told"
    );
    let told = &second.facts.decisions[0];
    assert_eq!(
        (told.action, told.mode, told.reason.0),
        (Action::Deny, Mode::Shadow, "token_bucket_exceeded")
    );
    assert_eq!(
        (told.policy.as_deref(), told.rule.as_deref(), &*told.link),
        (Some("trial"), Some("a"), "policy")
    );
    assert_eq!(
        statuses(&bench, &policies, &["/", "/"]),
        [200, 429],
        "the policies after it count"
    );
}

#[test]
fn shadow_counts_on_its_own_and_as_if_it_enforced() {
    let shadow = |mode: &str| bundle(&[policy("p", mode, &[rule("r", "", 0.001, 2.0, "")])], "");
    let bench = bench();
    assert_eq!(
        statuses(&bench, &shadow("mode: shadow,"), &["/", "/", "/", "/"]),
        [200; 4]
    );
    assert_eq!(
        statuses(&bench, &shadow(""), &["/", "/", "/"]),
        [200, 200, 429],
        "enforcing starts with full buckets"
    );

    // What an enforced rule refuses is not charged to the shadow either.
    let both = bundle(
        &[
            policy("e", "", &[rule("r", "query:k", 0.001, 1.0, "")]),
            policy("s", "mode: shadow,", &[rule("r", "", 0.001, 3.0, "")]),
        ],
        "",
    );
    assert_eq!(
        statuses(&bench, &both, &["/?k=1", "/?k=1", "/?k=1", "/?k=1", "/?k=2"]),
        [200, 429, 429, 429, 200]
    );
    let third = send(&bench, &both, "/?k=3");
    assert!(third.status == 200 && third.facts.decisions.is_empty());
    assert_eq!(
        send(&bench, &both, "/?k=4").facts.decisions.len(),
        1,
        "the fourth that passed"
    );
}

#[test]
fn several_policies_in_shadow_do_not_hide_each_other() {
    let one = |id: &str| policy(id, "mode: shadow,", &[strict("r")]);
    let policies = bundle(&[one("a"), one("b")], "");
    let bench = bench();
    send(&bench, &policies, "/");
    let second = send(&bench, &policies, "/");
    let told: Vec<_> = second
        .facts
        .decisions
        .iter()
        .map(|decision| decision.policy.as_deref().unwrap())
        .collect();
    assert_eq!(told, ["a", "b"]);
}

#[test]
fn errors_and_missing_keys_in_shadow_are_recorded_only() {
    let rules = [rule("k", "jwt:sub", 0.001, 1.0, ", on_missing: deny")];
    let policies = bundle(&[policy("s", "mode: shadow,", &rules)], "");
    let bench = bench();
    let answered = send(&bench, &policies, "/");
    assert_eq!(
        (answered.status.as_u16(), answered.facts.decisions[0].reason.0),
        (200, "limit_key_missing")
    );
    let odd = RequestBuilder::get("/").policies(policies).claims(json!({ "sub": [] }));
    let answered = bench.send(&odd);
    assert_eq!(
        (answered.status.as_u16(), answered.facts.decisions[0].action),
        (200, Action::Error)
    );
}

#[test]
fn global_shadow_is_for_a_while_and_for_all() {
    let policies = bundle(
        &[policy("p", "", &[strict("r")])],
        "global_shadow: { enabled: true, reason: drill, expires_at: '2026-01-01T00:00:10Z' }\nkill_switches: [{ scope_key: query:k, scope_value: v }]",
    );
    let bench = bench();
    let at = |target: &str, milliseconds: u64| {
        let request = RequestBuilder::get(target)
            .policies(Arc::clone(&policies))
            .at(after(START, milliseconds));
        bench.send(&request)
    };
    for time in [0, 1000, 9000] {
        assert_eq!(at("/", time).status, 200);
    }
    let shadowed = at("/", 9999);
    assert!(!shadowed.headers.contains_key("ratelimit") && !shadowed.headers.contains_key("retry-after"));
    assert_eq!(shadowed.facts.decisions[0].mode, Mode::Shadow);
    assert_eq!(at("/?k=v", 0).status, 429, "kill switches are not in shadow");
    assert_eq!(at("/", 10_000).status, 200, "its own bucket is still full");
    assert_eq!(at("/", 10_001).status, 429);
}

#[test]
fn the_whole_link_can_be_in_shadow() {
    let policies = bundle(&[policy("p", "", &[strict("r")])], "");
    let shadow = Bench::new("filters: [{ policy: { mode: shadow } }]");
    assert_eq!(statuses(&shadow, &policies, &["/", "/", "/"]), [200; 3]);
    let answered = send(&shadow, &policies, "/");
    assert!(!answered.headers.contains_key("ratelimit"));
    assert_eq!(
        (
            answered.facts.decisions[0].mode,
            answered.facts.decisions[0].policy.as_deref()
        ),
        (Mode::Shadow, Some("p"))
    );
    let enforced = Bench::reloaded(&shadow.zones, "filters: [{ policy: {} }]");
    assert_eq!(statuses(&enforced, &policies, &["/", "/"]), [200, 429]);
}
