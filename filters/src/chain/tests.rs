//! Order, receipts, shadow, posture, panics: with a filter that does what it is told.

mod build;
mod gate;
mod phases;
mod probe;
mod shadow;

use portcullis_config::site::Mode;

use crate::record::Action;
use crate::testing::{Answered, Bench, ENTROPY, RequestBuilder, try_bench_of};
use crate::zones::Zones;

fn bench(yaml: &str) -> Bench {
    reload(&Zones::new(ENTROPY), yaml)
}

fn reload(zones: &Zones, yaml: &str) -> Bench {
    try_bench_of(probe::FILTERS, zones, yaml).unwrap_or_else(|error| panic!("{error}"))
}

fn wrong(yaml: &str) -> String {
    match try_bench_of(probe::FILTERS, &Zones::new(ENTROPY), yaml) {
        Ok(_) => panic!("accepted: {yaml}"),
        Err(error) => error,
    }
}

fn send(bench: &Bench) -> Answered {
    bench.send(&RequestBuilder::get("/"))
}

/// Values of a header field, joined.
fn joined(headers: &http::HeaderMap, name: &str) -> String {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect::<Vec<_>>()
        .join(" ")
}

/// The counters of the link at a place: allowed, denied, shadow_denied, errors_denied, errors_allowed, replied.
fn stats(bench: &Bench, place: usize) -> [u64; 6] {
    let stats = &bench.chain.links().nth(place).unwrap().stats;
    [
        stats.allowed(),
        stats.denied(),
        stats.shadow_denied(),
        stats.errors_denied(),
        stats.errors_allowed(),
        stats.replied(),
    ]
}

#[test]
fn requests_forward_responses_backward() {
    let bench =
        bench("filters: [{ probe: { name: a } }, { probe: { name: b } }, { quiet: {} }, { probe: { name: c } }]");
    let answered = send(&bench);
    assert_eq!(answered.status, 200);
    assert_eq!(joined(&answered.upstream.unwrap(), "x-trace"), "a b c");
    assert_eq!(joined(&answered.headers, "x-back"), "c b a");
    assert_eq!(
        answered.receipt.to_string(),
        "17",
        "gate, a, b, c; `quiet` has no request hook"
    );
    assert_eq!(stats(&bench, 1), [1, 0, 0, 0, 0, 0], "several hooks count one exchange");
    assert_eq!(stats(&bench, 3), [1, 0, 0, 0, 0, 0]);
    let names: Vec<_> = bench
        .chain
        .links()
        .map(|link| (link.kind, link.name.to_string(), link.place))
        .collect();
    assert_eq!(names[0], ("gate", "gate".to_owned(), 0));
    assert_eq!(names[3], ("quiet", "quiet".to_owned(), 3));
}

#[test]
fn a_denial_ends_the_request_and_every_link_sees_the_answer() {
    let bench = bench("filters: [{ probe: { name: a } }, { probe: { name: no, act: deny } }, { probe: { name: c } }]");
    let answered = send(&bench);
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (403, "denied_by_probe")
    );
    assert!(answered.upstream.is_none());
    assert_eq!(joined(&answered.headers, "x-denied"), "yes");
    assert_eq!(joined(&answered.headers, "x-back"), "c no a");
    assert_eq!(answered.receipt.to_string(), "3", "gate and a");
    let decision = &answered.facts.decisions[0];
    assert_eq!(
        (&*decision.link, decision.action, decision.mode),
        ("no", Action::Deny, Mode::Enforce)
    );
    assert_eq!(answered.facts.decisions.len(), 1);
    assert_eq!((stats(&bench, 1)[0], stats(&bench, 2)), (1, [0, 1, 0, 0, 0, 0]));
    assert_eq!(stats(&bench, 3)[0], 0, "`c` took part in the answer only");
}

#[test]
fn a_reply_ends_the_request() {
    let bench = bench("filters: [{ probe: { act: reply } }]");
    let answered = send(&bench);
    assert!(answered.status == 204 && answered.reason.is_none() && answered.upstream.is_none());
    assert_eq!(answered.facts.decisions[0].action, Action::Reply);
    assert_eq!(stats(&bench, 1), [0, 0, 0, 0, 0, 1]);
}

#[test]
fn a_filter_names_policy_and_rule_and_the_chain_the_link() {
    let bench = bench("filters: [{ probe: { name: x, act: deny_by_rule } }]");
    let answered = send(&bench);
    assert_eq!(answered.facts.decisions.len(), 1, "told once");
    let decision = &answered.facts.decisions[0];
    assert_eq!(
        (&*decision.link, decision.policy.as_deref(), decision.rule.as_deref()),
        ("x", Some("p"), Some("r"))
    );
}

#[test]
fn a_broken_filter_is_refused_or_passed_over_by_its_posture() {
    for (act, status, reason) in [("break", 503, "probe_broke"), ("panic", 500, "filter_panicked")] {
        let closed = bench(&format!(
            "filters: [{{ probe: {{ act: {act} }} }}, {{ probe: {{ name: b }} }}]"
        ));
        let answered = send(&closed);
        assert_eq!((answered.status.as_u16(), answered.reason.unwrap().0), (status, reason));
        assert!(answered.upstream.is_none());
        assert_eq!(answered.facts.decisions[0].detail.as_deref(), Some("on purpose"));
        assert_eq!(stats(&closed, 1), [0, 0, 0, 1, 0, 0]);

        let open = bench(&format!(
            "filters: [{{ probe: {{ name: a, act: {act}, on_error: allow }} }}, {{ probe: {{ name: b }} }}]"
        ));
        let answered = send(&open);
        assert_eq!(answered.status, 200);
        assert_eq!(
            joined(&answered.upstream.unwrap(), "x-trace"),
            "b",
            "nothing of what it did before it broke"
        );
        assert_eq!(joined(&answered.headers, "x-answer"), "b");
        assert_eq!(
            (answered.facts.decisions[0].action, answered.facts.decisions[0].reason.0),
            (Action::Error, reason)
        );
        assert_eq!(answered.receipt.to_string(), "7");
        assert_eq!(stats(&open, 1)[3..], [0, 1, 0]);
    }
}

#[test]
fn a_wait_goes_on_at_the_same_link_and_has_an_end() {
    let bench = bench("filters: [{ probe: { name: a } }, { counting: { act: wait_twice } }, { probe: { name: c } }]");
    let answered = send(&bench);
    assert_eq!(answered.status, 200);
    // The link is asked three times, the ones around it once.
    assert_eq!(
        joined(&answered.upstream.unwrap(), "x-trace"),
        "a counting counting counting c"
    );
    assert_eq!(answered.receipt.to_string(), "f");

    let endless = self::bench("filters: [{ probe: { act: wait } }]");
    let answered = send(&endless);
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (503, "filter_waits")
    );
    let open = self::bench("filters: [{ probe: { act: wait, on_error: allow } }]");
    assert_eq!(send(&open).status, 200);
}

#[test]
fn missing_receipts_are_told() {
    let bench = bench(
        "filters: [{ probe: {} }, { probe: { name: open, on_error: allow } }, { probe: { name: shadow, mode: shadow } }]",
    );
    let state = bench.chain.start();
    assert_eq!(
        bench.chain.missing(&state).to_string(),
        "7",
        "gate and both that enforce"
    );
    let other = self::bench("filters: [{ probe: {} }, { probe: { name: other } }]");
    let request = RequestBuilder::get("/");
    let mut passed = other.chain.start();
    request.with(&mut request.facts(), |request| {
        assert!(matches!(
            other.chain.on_request(&mut passed, request),
            super::Progress::Done
        ));
    });
    assert!(other.chain.missing(&passed).is_empty());
    assert_eq!(
        bench.chain.missing(&passed).to_string(),
        "7",
        "the receipt of another chain proves nothing"
    );
    request.with(&mut request.facts(), |request| {
        let super::Progress::Stop(_, info) = bench.chain.on_request(&mut passed, request) else {
            panic!("passed")
        };
        assert_eq!(info.reason.0, "chain_state");
    });
}

#[test]
fn an_exchange_that_was_stopped_stays_stopped() {
    let bench = bench("filters: [{ probe: { act: deny } }, { probe: { name: b } }]");
    let request = RequestBuilder::get("/");
    let mut state = bench.chain.start();
    for _ in 0..3 {
        let progress = request.with(&mut request.facts(), |request| {
            bench.chain.on_request(&mut state, request)
        });
        assert!(matches!(progress, super::Progress::Stop(..)));
    }
    assert_eq!(bench.chain.missing(&state).to_string(), "6");
}
