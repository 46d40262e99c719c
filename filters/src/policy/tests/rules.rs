//! Conditions, fallbacks, missing keys, costs.

use std::sync::Arc;

use serde_json::json;

use super::{bench, bundle, limit_stats, policy, rule, send, statuses, who};
use crate::testing::RequestBuilder;

#[test]
fn conditions_look_at_every_key_and_the_fallback_takes_the_rest() {
    let matching = |value: &str| format!(", match: {{ query:plan: {value}, header:x-beta: 'on' }}");
    let fallback = format!("fallback_limit: {},", rule("rest", "", 0.001, 2.0, ""));
    let policies = bundle(
        &[policy(
            "p",
            &fallback,
            &[
                rule("free", "", 0.001, 1.0, &matching("free")),
                rule("pro", "", 0.001, 3.0, &matching("pro")),
            ],
        )],
        "",
    );
    let bench = bench();
    let limit = |target: &str, beta: bool| {
        let mut request = RequestBuilder::get(target).policies(Arc::clone(&policies));
        if beta {
            request = request.header("X-Beta", "on");
        }
        bench.send(&request).headers["ratelimit-limit"].clone()
    };
    assert_eq!(limit("/?plan=free", true), "1", "none of these keys is a limit key");
    assert_eq!(limit("/?plan=pro", true), "3");
    assert_eq!(limit("/?plan=pro", false), "2", "all conditions must hold");
    assert_eq!(limit("/?plan=PRO", true), "2", "with regard to case");
    assert_eq!(limit("/", true), "2");
}

#[test]
fn without_rules_there_is_no_fallback_and_no_limit() {
    let policies = bundle(&[policy("p", "", &[])], "");
    let answered = send(&bench(), &policies, "/");
    assert!(answered.status == 200 && !answered.headers.contains_key("ratelimit"));
}

#[test]
fn missing_keys_are_skipped_shared_or_refused() {
    let of = |on_missing: &str| {
        let more = if on_missing.is_empty() {
            String::new()
        } else {
            format!(", on_missing: {on_missing}")
        };
        bundle(&[policy("p", "", &[rule("r", "query:k", 0.001, 1.0, &more)])], "")
    };
    let bench = bench();
    assert_eq!(statuses(&bench, &of("skip"), &["/", "/", "/?k="]), [200, 200, 200]);
    assert_eq!(
        statuses(&bench, &of(""), &["/", "/", "/?k=", "/?k"]),
        [200, 429, 429, 200]
    );
    let denied = send(&bench, &of("deny"), "/");
    assert_eq!(
        (denied.status.as_u16(), denied.reason.unwrap().0),
        (403, "limit_key_missing")
    );
    assert_eq!(who(&denied), ("p", "r"));
    assert!(!denied.headers.contains_key("ratelimit") && !denied.headers.contains_key("retry-after"));
    let stats = limit_stats(&bench);
    assert_eq!(
        (
            stats.missing_skipped(),
            stats.missing_anonymous(),
            stats.missing_denied()
        ),
        (3, 3, 1)
    );
}

#[test]
fn a_refusal_for_a_missing_key_charges_nobody() {
    let deny = rule("strict", "query:k", 0.001, 9.0, ", on_missing: deny");
    let policies = bundle(&[policy("p", "", &[rule("all", "", 0.001, 2.0, ""), deny])], "");
    let bench = bench();
    assert_eq!(
        statuses(&bench, &policies, &["/", "/", "/", "/?k=1", "/?k=1", "/?k=1"]),
        [403, 403, 403, 200, 200, 429]
    );
}

#[test]
fn claims_that_are_lists_break_the_rule_and_the_posture_decides() {
    let policies = bundle(
        &[policy(
            "p",
            "",
            &[rule("r", "jwt:sub", 0.001, 1.0, ", on_missing: skip")],
        )],
        "",
    );
    let request = RequestBuilder::get("/")
        .policies(policies)
        .claims(json!({ "sub": { "a": 1 } }));
    let answered = bench().send(&request);
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "rule_error")
    );
    let detail = answered.facts.decisions[0].detail.as_deref().unwrap();
    assert!(
        detail.contains("policy p, rule r") && detail.contains("array or an object"),
        "{detail}"
    );
}

#[test]
fn costs_that_are_no_usable_numbers_are_the_default() {
    let config =
        ", algorithm_config: { tokens_per_second: 0.001, burst: 10, cost_source: 'header:X-Cost', default_cost: 2 }";
    let rule = format!("{{ name: r, limit_keys: [query:k], algorithm: token_bucket{config} }}");
    let policies = bundle(&[policy("p", "", &[rule])], "");
    let bench = bench();
    let left = |cost: Option<&str>, key: &str| {
        let mut request = RequestBuilder::get(&format!("/?k={key}")).policies(Arc::clone(&policies));
        if let Some(cost) = cost {
            request = request.header("x-cost", cost);
        }
        bench.send(&request).headers["ratelimit-remaining"]
            .to_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(left(None, "none"), "8");
    assert_eq!(limit_stats(&bench).bad_costs(), 0, "none is no bad one");
    for (place, cost) in [
        "nan", "inf", "-inf", "-1", "1e309", "11", "10.5", "0x5", "1,5", "abc", "-100000",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(left(Some(cost), &place.to_string()), "8", "{cost}");
    }
    assert_eq!(limit_stats(&bench).bad_costs(), 11);
    for (cost, expected) in [
        ("4", "6"),
        (" 2.5 ", "7"),
        ("10", "0"),
        ("0", "10"),
        ("1e1", "0"),
        ("1e-9", "9"),
    ] {
        assert_eq!(
            left(Some(cost), &format!("good {cost}").replace(' ', "")),
            expected,
            "{cost}"
        );
    }
}

#[test]
fn costs_come_from_parameters_too() {
    let config = ", algorithm_config: { tokens_per_second: 1, burst: 10, cost_source: 'query:n', default_cost: 1 }";
    let rule = format!("{{ name: r, limit_keys: [], algorithm: token_bucket{config} }}");
    let policies = bundle(&[policy("p", "", &[rule])], "");
    let bench = bench();
    assert_eq!(send(&bench, &policies, "/?n=4").headers["ratelimit-remaining"], "6");
    assert_eq!(send(&bench, &policies, "/?n=%2B3").headers["ratelimit-remaining"], "3");
    let fixed = ", algorithm_config: { tokens_per_second: 10, burst: 100, fixed_cost: 40 }";
    let rule = format!("{{ name: f, limit_keys: [], algorithm: token_bucket{fixed} }}");
    let policies = bundle(&[policy("p", "", &[rule])], "");
    assert_eq!(statuses(&bench, &policies, &["/", "/", "/"]), [200, 200, 429]);
}

#[test]
fn a_retry_after_is_the_time_that_is_missing() {
    let config = ", algorithm_config: { tokens_per_second: 50, burst: 50, cost_source: 'query:n' }";
    let rule = format!("{{ name: r, limit_keys: [], algorithm: token_bucket{config} }}");
    let policies = bundle(&[policy("p", "", &[rule])], "");
    let bench = bench();
    assert_eq!(send(&bench, &policies, "/?n=47").headers["ratelimit-remaining"], "3");
    let refused = send(&bench, &policies, "/?n=10");
    assert_eq!(refused.headers["ratelimit-reset"], "1");
}
