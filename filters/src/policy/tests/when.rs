//! Conditions of policies and rules: what they look at, what follows when they do not hold, and when they cannot be told.

use portcullis_bundles::author::{self, Format};
use serde_json::json;

use super::*;
use crate::buckets::BucketTable;
use crate::policy::{Breakers, Counting, RuleOutcome, explain, selftest};

fn when(text: &str) -> String {
    format!(", when: {}", json!(text))
}

fn one(text: &str) -> Arc<Policies> {
    bundle(&[policy("p", "", &[rule("r", "", 0.001, 1.0, &when(text))])], "")
}

fn request(policies: &Arc<Policies>, target: &str) -> RequestBuilder {
    RequestBuilder::get(target).policies(Arc::clone(policies))
}

fn untold(bench: &Bench) -> u64 {
    let stats = bench.zones.each::<LimitStats>();
    stats.map(|(_, stats)| stats.untold_conditions()).sum()
}

#[test]
fn a_rule_counts_only_where_its_condition_holds() {
    let free = json!({ "plan": "free", "level": 2, "roles": ["dev"] });
    let staff = json!({ "plan": "paid", "level": 9, "roles": ["dev", "staff"] });
    for text in [
        "jwt.claims.plan == 'free'",
        "jwt.claims.level < 3 && request.method == 'GET'",
        "!('staff' in jwt.claims.roles)",
    ] {
        let (bench, policies) = (bench(), one(text));
        let send = |claims: &serde_json::Value| {
            bench
                .send(&request(&policies, "/").claims(claims.clone()))
                .status
                .as_u16()
        };
        assert_eq!(
            [send(&staff), send(&free), send(&staff), send(&free)],
            [200, 200, 200, 429],
            "{text}"
        );
        assert_eq!(untold(&bench), 0);
    }
}

#[test]
fn requests_are_looked_at_from_all_sides() {
    for (text, hit, miss) in [
        ("request.path.startsWith('/v1/')", "/v1/a", "/v2/a"),
        (
            "request.query['format'] in ['csv', 'xml']",
            "/?format=csv",
            "/?format=json",
        ),
        ("has(request.query.debug)", "/?debug=1", "/?x=1"),
        (
            "request.path.matches('^/v[0-9]+/export$')",
            "/v12/export",
            "/v12/exports",
        ),
    ] {
        let (bench, policies) = (bench(), one(text));
        assert_eq!(
            statuses(&bench, &policies, &[miss, hit, miss, hit]),
            [200, 200, 200, 429],
            "{text}"
        );
    }
    let policies = one("request.headers['X-Plan'] != 'internal' && ip.address.startsWith('192.0.2.')");
    let bench = bench();
    let send = |plan: &str, address: &str| {
        let request = request(&policies, "/").header("x-plan", plan).ip(address);
        bench.send(&request).status.as_u16()
    };
    assert_eq!([send("a", "192.0.2.1"), send("internal", "192.0.2.1")], [200, 200]);
    assert_eq!([send("a", "198.51.100.1"), send("a", "192.0.2.2")], [200, 429]);
}

#[test]
fn what_cannot_be_told_rids_nobody_of_a_limit() {
    let long = format!("/?x={}", "a".repeat(10_000));
    for (text, target) in [
        ("request.headers['x-plan'] == 'free'", "/"),
        ("jwt.claims.plan == 'free'", "/"),
        ("request.query.x > jwt.claims.x", "/"),
        (&["request.query.x.matches('(a|b)*c')"; 30].join(" || "), &long),
    ] {
        let (bench, policies) = (bench(), one(text));
        assert_eq!(statuses(&bench, &policies, &[target, target]), [200, 429], "{text}");
        assert_eq!(untold(&bench), 2);
    }
}

#[test]
fn a_fallback_is_for_requests_that_no_rule_is_about() {
    let rules = [rule("r", "", 0.001, 9.0, &when("request.method == 'POST'"))];
    let fallback = "fallback_limit: { limit_keys: [], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 1 } },";
    let policies = bundle(&[policy("p", fallback, &rules)], "");
    let bench = bench();
    let post = || {
        bench
            .send(&RequestBuilder::new("POST", "/").policies(Arc::clone(&policies)))
            .status
            .as_u16()
    };
    assert_eq!(statuses(&bench, &policies, &["/", "/"]), [200, 429]);
    assert_eq!([post(), post()], [200, 200]);
}

#[test]
fn a_policy_with_a_condition_is_about_no_other_requests() {
    let loops = "loop_detection: { enabled: true, window_seconds: 60, threshold_identical_requests: 2 },";
    let spec = format!("{loops} when: \"request.host != 'internal.example'\",");
    let policies = bundle(&[policy("p", &spec, &[rule("r", "", 0.001, 9.0, "")])], "");
    let bench = bench();
    let send = |host: &str| bench.send(&request(&policies, "/").host(host));
    let passed = [send("internal.example"), send("internal.example")];
    assert!(
        passed
            .iter()
            .all(|answered| answered.status == 200 && !answered.headers.contains_key("ratelimit"))
    );
    assert_eq!(
        [send("a.example").status.as_u16(), send("a.example").status.as_u16()],
        [200, 429]
    );
}

#[test]
fn tests_of_bundles_know_conditions() {
    let tests = "tests:
  - { name: free, request: { path: /, claims: { plan: free } }, repeat: 2, expect: { decision: reject, policy: p, rule: r } }
  - { name: paid, request: { path: /, claims: { plan: paid } }, repeat: 2, expect: { decision: allow, reason: all_rules_passed } }
  - { name: nobody, request: { path: / }, repeat: 2, expect: { decision: reject } }
";
    let rules = [rule("r", "", 0.001, 1.0, &when("jwt.claims.plan == 'free'"))];
    let yaml = format!("bundle_version: 1\npolicies:\n{}{tests}", policy("p", "", &rules));
    let compiled = author::read("b.yaml", &yaml, Format::Yaml).unwrap().compiled;
    assert_eq!(selftest(&compiled.policies, &compiled.tests, 0), Ok(()));
}

#[test]
fn explanations_tell_conditions() {
    let rules = [
        rule("not", "", 0.001, 1.0, &when("request.method == 'POST'")),
        rule("unknown", "", 0.001, 1.0, &when("jwt.claims.plan == 'free'")),
    ];
    let spec = "when: \"request.path == '/a'\",";
    let policies = bundle(&[policy("p", spec, &rules)], "");
    let explained = |target: &str| {
        let (table, breakers) = (BucketTable::new(10), Breakers::default());
        let built = request(&policies, target);
        let mut facts = built.facts();
        built.with(&mut facts, |request| {
            let counting = Counting {
                table: &table,
                breakers: &breakers,
                secret: &[0; 16],
            };
            explain(&policies, request, counting, false)
        })
    };
    let [step] = &explained("/a")[..] else {
        panic!("one policy")
    };
    assert!(step.when.as_ref().is_some_and(|when| when.holds));
    assert_eq!(step.rules[0].outcome, RuleOutcome::NotNow);
    assert!(matches!(step.rules[1].outcome, RuleOutcome::Counts(_)));
    let unknown = step.rules[1].when.as_ref().and_then(|when| when.unknown.clone());
    assert_eq!(unknown.as_deref(), Some("`jwt:plan` is missing"));
    let [other] = &explained("/b")[..] else {
        panic!("one policy")
    };
    assert!(other.rules.is_empty() && other.when.as_ref().is_some_and(|when| !when.holds));
}
