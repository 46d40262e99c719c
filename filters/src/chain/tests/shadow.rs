//! A link in shadow changes nothing but logs and counters.

use portcullis_config::site::Mode;

use super::{bench, send, stats};
use crate::record::Action;
use crate::testing::RequestBuilder;

#[test]
fn whatever_it_does_the_answer_is_the_same() {
    let without = send(&bench("filters: [{ probe: { name: z } }]"));
    let upstream = without.upstream.as_ref().unwrap();
    for act in [
        "pass",
        "deny",
        "deny_by_rule",
        "reply",
        "break",
        "panic",
        "wait",
        "identify",
    ] {
        for at in ["request", "response", "request_body", "response_body"] {
            let bench = bench(&format!(
                "filters: [{{ probe: {{ name: s, act: {act}, at: {at}, mode: shadow }} }}, {{ probe: {{ name: z }} }}]"
            ));
            let answered = send(&bench);
            assert_eq!(answered.status, without.status, "{act} at {at}");
            assert_eq!(answered.headers, without.headers, "{act} at {at}");
            assert_eq!(answered.upstream.as_ref(), Some(upstream), "{act} at {at}");
            assert_eq!(answered.facts.limit, without.facts.limit, "{act} at {at}");
            assert!(answered.facts.claims.is_none());
            assert!(
                answered
                    .facts
                    .decisions
                    .iter()
                    .all(|decision| decision.mode == Mode::Shadow)
            );
        }
    }
}

#[test]
fn what_it_would_have_done_is_counted_and_recorded() {
    for (act, action, counted) in [
        ("deny", Action::Deny, [0, 0, 1, 0, 0, 0]),
        ("reply", Action::Reply, [0, 0, 1, 0, 0, 0]),
        ("break", Action::Error, [0, 0, 0, 0, 1, 0]),
        ("panic", Action::Error, [0, 0, 0, 0, 1, 0]),
        ("deny_by_rule", Action::Deny, [0, 0, 1, 0, 0, 0]),
    ] {
        let bench = bench(&format!(
            "filters: [{{ probe: {{ name: s, act: {act}, mode: shadow }} }}]"
        ));
        let answered = send(&bench);
        assert_eq!(answered.facts.decisions.len(), 1, "{act}");
        let decision = &answered.facts.decisions[0];
        assert_eq!(
            (&*decision.link, decision.action, decision.mode),
            ("s", action, Mode::Shadow),
            "{act}"
        );
        assert_eq!(decision.rule.as_deref(), (act == "deny_by_rule").then_some("r"));
        assert_eq!(stats(&bench, 1), counted, "{act}");
        assert_eq!(answered.receipt.to_string(), "3");
    }
}

#[test]
fn bodies_go_on_as_they_came() {
    let bench = bench(
        "filters: [{ probe: { name: s, mode: shadow, act: deny, at: request_body } }, { probe: { name: e, act: break, at: \
         request_body, on_error: allow } }]",
    );
    let mut state = bench.chain.start();
    let mut chunk = Some(bytes::Bytes::from_static(b"as it came"));
    bench.chain.on_request_body(&mut state, &mut chunk, true).unwrap();
    assert_eq!(chunk.as_deref(), Some(&b"as it came"[..]));
    let told: Vec<_> = state
        .late_decisions()
        .iter()
        .map(|decision| (&*decision.link, decision.action))
        .collect();
    assert_eq!(told, [("s", Action::Deny), ("e", Action::Error)]);
}

#[test]
fn claims_of_a_shadow_link_are_seen_by_shadow_links_only() {
    let identify = "probe: { act: identify, sub: x, mode: shadow }";
    let limit = "rate_limit: { key: jwt:sub, rate: 1/h, on_missing: deny";
    let trial = bench(&format!("filters: [{{ {identify} }}, {{ {limit}, mode: shadow }} }}]"));
    for would in [None, Some("rate_limit_exceeded")] {
        let answered = send(&trial);
        assert_eq!(answered.status, 200);
        assert!(answered.facts.claims.is_none());
        assert_eq!(
            answered.facts.decisions.first().map(|decision| decision.reason.0),
            would
        );
    }
    let enforced = bench(&format!("filters: [{{ {identify} }}, {{ {limit} }} }}]"));
    assert_eq!(send(&enforced).reason.unwrap().0, "limit_key_missing");
}

#[test]
fn a_shadow_limit_takes_nothing_from_the_zone_it_shares() {
    let limit = "rate_limit: { key: ip:address, rate: 1/h, zone: z";
    let bench = bench(&format!(
        "filters: [{{ {limit}, name: s, mode: shadow }} }}, {{ {limit} }} }}]"
    ));
    let first = bench.send(&RequestBuilder::get("/"));
    assert_eq!((first.status.as_u16(), first.facts.decisions.len()), (200, 0));
    let second = bench.send(&RequestBuilder::get("/"));
    let told: Vec<_> = second
        .facts
        .decisions
        .iter()
        .map(|decision| (&*decision.link, decision.mode))
        .collect();
    assert_eq!(told, [("s", Mode::Shadow), ("rate_limit", Mode::Enforce)]);
}
