//! Kill switches: first, everywhere, and again once there is an identity.

use portcullis_bundles::switches::Switches;

use super::{bench, send, stats};
use crate::record::Action;
use crate::testing::{Bench, RequestBuilder, START, after, filler};

fn bundle(switches: &str) -> RequestBuilder {
    let yaml = format!("bundle_version: 1\npolicies: []\n{switches}");
    RequestBuilder::get("/v1/x").policies(Bench::policies(&yaml))
}

#[test]
fn a_switch_refuses_before_any_filter_also_where_no_route_matches() {
    let request = bundle("kill_switches: [{ scope_key: header:x-tenant, scope_value: acme, reason: incident 7 }]");
    let chain = bench("filters: [{ probe: {} }]");
    for bench in [&chain, &Bench::bare()] {
        assert_eq!(bench.send(&request).status, 200);
        let killed = bench.send(&request.clone().header("X-Tenant", "acme"));
        assert_eq!((killed.status.as_u16(), killed.reason.unwrap().0), (429, "kill_switch"));
        assert!(killed.upstream.is_none() && killed.receipt.is_empty());
        let seconds: u32 = killed.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((3600..=5400).contains(&seconds), "{seconds}");
        assert!(!killed.headers.contains_key("ratelimit"));
        let decision = &killed.facts.decisions[0];
        assert_eq!(
            (&*decision.link, decision.action, decision.rule.as_deref()),
            ("gate", Action::Deny, Some("header:x-tenant"))
        );
        assert_eq!(
            decision.detail.as_deref(),
            Some("kill_switches[0] of the bundle: incident 7")
        );
        assert_eq!(
            bench.send(&request.clone().header("X-Tenant", "ACME")).status,
            200,
            "with regard to case"
        );
        assert_eq!(
            bench.send(&request.clone().header("x_tenant", "acme")).status,
            429,
            "`-` equals `_`"
        );
    }
    assert_eq!(stats(&chain, 0), [2, 2, 0, 0, 0, 0]);
    assert_eq!(stats(&chain, 1)[0], 2);
}

#[test]
fn routes_expiry_and_overrides_are_heeded_at_every_request() {
    let bench = bench("filters: []");
    let killed = |request: &RequestBuilder| bench.send(request).status == 429;
    let route = bundle("kill_switches: [{ scope_key: ip:address, scope_value: 192.0.2.1, route: /v1/x }]");
    assert!(killed(&route));
    let elsewhere = bundle("kill_switches: [{ scope_key: ip:address, scope_value: 192.0.2.1, route: /v1/y }]");
    assert!(!killed(&elsewhere));
    let expiring = bundle(
        "kill_switches: [{ scope_key: ip:address, scope_value: 192.0.2.1, expires_at: '2026-01-01T00:00:05Z' }]",
    );
    assert!(
        killed(&expiring.clone().at(after(START, 5_000))),
        "the very second still counts"
    );
    assert!(!killed(&expiring.at(after(START, 6_000))));
    let overridden = bundle(
        "kill_switches: [{ scope_key: ip:address, scope_value: 192.0.2.1 }]\nkill_switch_override: { enabled: true, reason: \
         drill, expires_at: '2026-01-01T00:00:05Z' }",
    );
    assert!(!killed(&overridden));
    assert!(killed(&overridden.at(after(START, 5_000))), "over");
}

#[test]
fn switches_on_claims_come_right_after_the_identity() {
    let request = bundle("kill_switches: [{ scope_key: jwt:sub, scope_value: mallory }]");
    let chain = |sub: &str| {
        format!("filters: [{{ probe: {{ name: id, act: identify, sub: {sub} }} }}, {{ probe: {{ name: after }} }}]")
    };
    assert_eq!(bench(&chain("alice")).send(&request).status, 200);
    let bench = bench(&chain("mallory"));
    let killed = bench.send(&request);
    assert_eq!((killed.status.as_u16(), killed.reason.unwrap().0), (429, "kill_switch"));
    assert_eq!(killed.receipt.to_string(), "3", "the link after it did not run");
    assert_eq!(&*killed.facts.decisions[0].link, "gate");
    let shadow = super::bench("filters: [{ probe: { act: identify, sub: mallory, mode: shadow } }]");
    assert_eq!(shadow.send(&request).status, 200, "an identity in shadow is none");
    assert_eq!(
        super::bench("filters: []").send(&request).status,
        200,
        "nothing to match"
    );
}

#[test]
fn a_key_that_is_neither_a_value_nor_none_is_an_error_and_not_a_way_around() {
    let many = filler(100);
    let query = bundle("kill_switches: [{ scope_key: query:k, scope_value: v }]");
    let bench = bench("filters: [{ probe: { act: identify_oddly } }]");
    let (switches, policies) = (
        query.clone(),
        "kill_switches: [{ scope_key: jwt:groups, scope_value: admins }]",
    );
    assert_eq!(bench.send(&switches).status, 200);
    let long = RequestBuilder::get(&format!("/?{many}k=v"));
    let yaml = "bundle_version: 1\npolicies: []\nkill_switches: [{ scope_key: query:k, scope_value: v }]";
    let answered = bench.send(&long.policies(Bench::policies(yaml)));
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "kill_switch_key")
    );
    assert_eq!(answered.facts.decisions[0].action, Action::Error);
    let answered = bench.send(&bundle(policies));
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (500, "kill_switch_key")
    );
    assert_eq!(answered.receipt.to_string(), "3");
}

#[test]
fn without_the_bundle_that_should_be_there_everything_is_refused() {
    let bench = bench("filters: [{ probe: {} }]");
    let missing = bench.send(&RequestBuilder::get("/").bundle_missing("bundle_expired"));
    assert_eq!(
        (missing.status.as_u16(), missing.reason.unwrap().0),
        (503, "bundle_expired")
    );
    assert_eq!(send(&bench).status, 200, "and where none is configured, nothing is");
}

#[test]
fn runtime_switches_count_without_a_bundle() {
    let bundle = Bench::policies(
        "bundle_version: 1\npolicies: []\nkill_switches: [{ scope_key: ua:bot_category, scope_value: ai_crawler }]",
    );
    let switches = Switches::new(bundle.switches().as_slice().to_vec());
    let request = RequestBuilder::get("/").switches(switches);
    let bench = bench("filters: []");
    assert_eq!(
        bench.send(&request.clone().header("user-agent", "GPTBot/1.2")).status,
        429
    );
    assert_eq!(bench.send(&request.header("user-agent", "curl/8.5")).status, 200);
}
