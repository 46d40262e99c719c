//! The engine: order, all-or-nothing, shadow, missing keys, costs, reloads, and bundles' own tests.

mod budgets;
mod examiner;
mod full;
mod guards;
mod llm;
mod rules;
mod shadow;
mod trial;
mod when;

use std::sync::Arc;

use portcullis_bundles::policies::Policies;

use crate::limit_stats::LimitStats;
use crate::testing::{Answered, Bench, ENTROPY, RequestBuilder, START, after, try_bench};
use crate::zones::Zones;

/// A rule with a bucket, as it stands in a bundle.
fn rule(name: &str, keys: &str, rate: f64, burst: f64, more: &str) -> String {
    format!(
        "{{ name: {name}, limit_keys: [{keys}], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: {rate}, burst: \
         {burst} }}{more} }}"
    )
}

/// A policy on every path.
fn policy(id: &str, more: &str, rules: &[String]) -> String {
    format!(
        "  - {{ id: {id}, spec: {{ selector: {{ pathPrefix: / }}, {more} rules: [{}] }} }}\n",
        rules.join(", ")
    )
}

fn bundle(policies: &[String], more: &str) -> Arc<Policies> {
    Bench::policies(&format!("bundle_version: 1\npolicies:\n{}{more}", policies.concat()))
}

fn bench() -> Bench {
    Bench::new("filters: [{ policy: {} }]")
}

fn send(bench: &Bench, policies: &Arc<Policies>, target: &str) -> Answered {
    bench.send(&RequestBuilder::get(target).policies(Arc::clone(policies)))
}

fn statuses(bench: &Bench, policies: &Arc<Policies>, targets: &[&str]) -> Vec<u16> {
    targets
        .iter()
        .map(|target| send(bench, policies, target).status.as_u16())
        .collect()
}

fn who(answered: &Answered) -> (&str, &str) {
    let decision = answered.facts.decisions.last().unwrap();
    (
        decision.policy.as_deref().unwrap_or(""),
        decision.rule.as_deref().unwrap_or(""),
    )
}

#[test]
fn policies_come_by_priority_then_selector_then_id() {
    let one = |id: &str, more: &str| policy(id, more, &[rule("r", "", 0.001, 1.0, "")]);
    let bench = bench();
    let by_id = bundle(&[one("b", ""), one("a", "")], "");
    assert_eq!(send(&bench, &by_id, "/").status, 200);
    assert_eq!(who(&send(&bench, &by_id, "/")), ("a", "r"));
    let by_priority = bundle(&[one("a", ""), one("b", "priority: 5,")], "");
    assert_eq!(who(&send(&bench, &by_priority, "/")), ("b", "r"));
}

#[test]
fn a_request_that_is_refused_is_charged_to_none() {
    let policies = bundle(
        &[
            policy(
                "a",
                "",
                &[
                    rule("wide", "", 0.001, 10.0, ""),
                    rule("narrow", "query:k", 0.001, 1.0, ""),
                ],
            ),
            policy("b", "", &[rule("other", "", 0.001, 10.0, "")]),
        ],
        "",
    );
    let bench = bench();
    assert_eq!(
        statuses(&bench, &policies, &["/?k=1", "/?k=1", "/?k=1", "/?k=1"]),
        [200, 429, 429, 429]
    );
    let refused = send(&bench, &policies, "/?k=1");
    assert_eq!(who(&refused), ("a", "narrow"));
    let passed = send(&bench, &policies, "/?k=2");
    assert_eq!(
        passed.headers["ratelimit-remaining"], "0",
        "the tightest: `narrow` of this key"
    );
    let wide = bundle(&[policy("a", "", &[rule("wide", "", 0.001, 10.0, "")])], "");
    assert_eq!(
        send(&bench, &wide, "/").headers["ratelimit-remaining"],
        "7",
        "two passed before this one"
    );
}

#[test]
fn the_first_refusal_is_named_and_the_slowest_limit_told() {
    let policies = bundle(
        &[
            policy("a", "priority: 1,", &[rule("fast", "", 1.0, 1.0, "")]),
            policy("z", "", &[rule("slow", "", 0.01, 1.0, "")]),
        ],
        "",
    );
    let bench = bench();
    assert_eq!(send(&bench, &policies, "/").status, 200);
    let refused = send(&bench, &policies, "/");
    assert_eq!(who(&refused), ("a", "fast"));
    assert_eq!(
        (refused.reason.unwrap().0, refused.status.as_u16()),
        ("token_bucket_exceeded", 429)
    );
    assert_eq!(refused.headers["ratelimit"], "\"z\";r=0;t=100");
    let seconds: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((100..=150).contains(&seconds));
}

#[test]
fn counters_of_policies_and_rules_never_meet() {
    let policies = bundle(
        &[
            policy(
                "a",
                "",
                &[
                    rule("r", "query:k", 0.001, 1.0, ""),
                    rule("s", "query:k", 0.001, 1.0, ""),
                ],
            ),
            policy("b", "", &[rule("r", "query:k", 0.001, 1.0, "")]),
        ],
        "",
    );
    let bench = bench();
    assert_eq!(
        statuses(&bench, &policies, &["/?k=1", "/?k=2", "/?k=1"]),
        [200, 200, 429]
    );
    assert_eq!(send(&bench, &policies, "/?k=1").facts.decisions.len(), 1);
}

#[test]
fn no_policy_no_limit() {
    let policies = Bench::policies(
        "bundle_version: 1\npolicies:\n  - id: v1\n    spec:\n      selector: { pathPrefix: /v1, methods: [GET], hosts: [api.example.com] }\n      \
         rules: [{ name: r, limit_keys: [], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 1 } }]\n",
    );
    let bench = bench();
    let request = |method: &str, target: &str, host: &str| {
        let request = RequestBuilder::new(method, target)
            .host(host)
            .policies(Arc::clone(&policies));
        bench.send(&request).headers.contains_key("ratelimit")
    };
    assert!(request("GET", "/v1/x", "api.example.com") && request("GET", "/v1", "api.example.com"));
    assert!(!request("GET", "/v10", "api.example.com"));
    assert!(!request("POST", "/v1/x", "api.example.com"));
    assert!(!request("GET", "/v1/x", "www.example.com"));
}

#[test]
fn new_bundles_and_reloads_refill_nothing() {
    let of = |rate: f64, burst: f64| bundle(&[policy("p", "", &[rule("r", "", rate, burst, "")])], "");
    let bench = bench();
    let (first, other) = (of(0.001, 3.0), of(10.0, 100.0));
    assert_eq!(statuses(&bench, &first, &["/", "/", "/", "/"]), [200, 200, 200, 429]);
    let at = |policies: &Arc<Policies>, bench: &Bench, milliseconds: u64| {
        let request = RequestBuilder::get("/")
            .policies(Arc::clone(policies))
            .at(after(START, milliseconds));
        bench.send(&request).status.as_u16()
    };
    assert_eq!(at(&other, &bench, 60), 429, "a larger burst gives nothing at once");
    assert_eq!(at(&other, &bench, 170), 200, "and the new rate counts");
    let gone = Bench::reloaded(&bench.zones, "filters: []");
    let back = Bench::reloaded(&gone.zones, "filters: [{ policy: {} }]");
    assert_eq!(at(&first, &back, 180), 429);
    let without = bundle(&[policy("q", "", &[rule("r", "", 1.0, 1.0, "")])], "");
    assert_eq!(at(&without, &back, 190), 200);
    assert_eq!(
        at(&first, &back, 200),
        429,
        "a policy that comes back finds its counters"
    );
}

#[test]
fn without_a_bundle_nothing_passes_unseen() {
    let bench = bench();
    let answered = bench.send(&RequestBuilder::get("/"));
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "policy_unconfigured")
    );
    let open = Bench::new("filters: [{ policy: { on_error: allow } }]");
    assert_eq!(open.send(&RequestBuilder::get("/")).status, 200);
}

#[test]
fn all_links_share_the_counters_and_agree_on_their_room() {
    let policies = bundle(&[policy("p", "", &[rule("r", "", 0.001, 2.0, "")])], "");
    let first = bench();
    assert_eq!(send(&first, &policies, "/").status, 200);
    let twice = Bench::reloaded(&first.zones, "filters: [{ policy: { name: other } }]");
    assert_eq!(statuses(&twice, &policies, &["/", "/"]), [200, 429]);
    let error = |yaml: &str| try_bench(&Zones::new(ENTROPY), yaml).err().unwrap();
    let apart = error("filters: [{ policy: {} }, { policy: { name: b, max_keys: 10 } }]");
    assert!(
        apart.contains("conflicting-keys") && apart.contains("do not agree"),
        "{apart}"
    );
    assert!(error("filters: [{ policy: { max_keys: 0 } }]").contains("out-of-range"));
    assert!(error("filters: [{ policy: { max_prompt: 65MiB } }]").contains("out-of-range"));
    assert!(error("filters: [{ policy: { max_key: 5 } }]").contains("did you mean `max_keys`?"));
}

#[test]
fn the_room_for_counters_is_bounded() {
    let policies = bundle(&[policy("p", "", &[rule("r", "query:k", 0.001, 1.0, "")])], "");
    for (room, passing) in [(10, 10 + 1), (50, 50 + 1), (64, 60)] {
        let bench = Bench::new(&format!("filters: [{{ policy: {{ max_keys: {room} }} }}]"));
        let passed = (0..60)
            .filter(|number| send(&bench, &policies, &format!("/?k={number}")).status == 200)
            .count();
        assert_eq!(passed, passing, "{room} keys, and one counter for all others");
    }
}

#[test]
fn a_policy_link_without_a_policy_in_the_configuration_is_an_error() {
    use portcullis_config::{decode::decode, diagnostic::Diagnostics, document::Document, site::Link, span::SourceMap};
    let mut sources = SourceMap::default();
    let file = sources.add("x.yaml", "[{ policy: {} }]");
    let mut out = Diagnostics::default();
    let document = Document::parse_yaml_into(&sources, file, &mut out).unwrap();
    let links: Vec<Link> = decode(&document, document.root(), &[], &mut out).unwrap();
    let mut zones = crate::zones::ZonesBuilder::from(&Zones::new(ENTROPY));
    let issuers = std::collections::BTreeMap::new();
    let mut env = crate::zones::BuildEnv::new(&mut zones, &issuers, "r").with_policy(false);
    assert!(crate::chain::Chain::build(&links, &document, &mut env, &mut out).is_none());
    assert!(
        out.render_text(&sources)
            .contains("there is no bundle that this filter could enforce")
    );
}

/// The counters of what is neither yes nor no.
fn limit_stats(bench: &Bench) -> Arc<LimitStats> {
    bench.zones.get("test policy").unwrap()
}
