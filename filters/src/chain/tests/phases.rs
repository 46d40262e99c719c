//! Bodies, responses, the log, and the limit's header fields.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{bench, joined, send, stats};
use crate::filter::Phases;
use crate::response::Response;
use crate::testing::{Bench, RequestBuilder};
use crate::verdict::Stop;

#[test]
fn bodies_pass_through_every_link_and_states_last_from_hook_to_hook() {
    let bench = bench("filters: [{ counting: { name: a } }, { counting: { name: b } }]");
    let request = RequestBuilder::get("/");
    let mut state = bench.chain.start();
    let mut facts = request.facts();
    request.with(&mut facts, |request| drop(bench.chain.on_request(&mut state, request)));
    let mut chunk = None;
    bench.chain.on_request_body(&mut state, &mut chunk, false).unwrap();
    assert_eq!(chunk.as_deref(), Some(&b"2 by b"[..]));
    bench.chain.on_response_body(&mut state, &mut chunk, true).unwrap();
    assert_eq!(chunk.as_deref(), Some(&b"3 by a"[..]), "backward");
    assert!(state.late_decisions().is_empty());
}

#[test]
fn a_body_can_be_refused() {
    let bench = bench(
        "filters: [{ probe: { act: deny, at: request_body } }, { probe: { name: b, act: deny, at: response_body } }]",
    );
    let mut state = bench.chain.start();
    let mut chunk = Some(Bytes::from_static(b"x"));
    let Err(Stop::Deny(denial)) = bench.chain.on_request_body(&mut state, &mut chunk, false) else {
        panic!("passed")
    };
    assert_eq!(denial.status, StatusCode::FORBIDDEN);
    assert!(bench.chain.on_response_body(&mut state, &mut chunk, false).is_err());
    assert_eq!(state.late_decisions().len(), 2);
    let broken = self::bench("filters: [{ probe: { act: wait, at: request_body } }]");
    let Err(Stop::Deny(denial)) = broken
        .chain
        .on_request_body(&mut broken.chain.start(), &mut chunk, true)
    else {
        panic!("only requests wait")
    };
    assert_eq!(denial.reason.0, "filter_waits");
}

#[test]
fn a_response_that_is_refused_passes_all_links_again_as_the_refusal() {
    let bench = bench(
        "filters: [{ probe: { name: a } }, { probe: { name: b, act: deny, at: response } }, { probe: { name: c } }]",
    );
    let answered = send(&bench);
    assert_eq!(
        (answered.status.as_u16(), answered.reason.unwrap().0),
        (403, "denied_by_probe")
    );
    assert_eq!(
        joined(&answered.headers, "x-back"),
        "c a",
        "what they did to the response is forgotten"
    );
    assert_eq!(
        joined(&answered.headers, "x-answer"),
        "a b c",
        "what was said before the response is not"
    );
    assert!(answered.upstream.is_some());
    assert_eq!(stats(&bench, 2), [1, 1, 0, 0, 0, 0]);
}

#[test]
fn a_second_answer_begins_anew() {
    let bench = bench("filters: [{ probe: { name: a } }]");
    let request = RequestBuilder::get("/");
    let mut state = bench.chain.start();
    let mut facts = request.facts();
    let headers = HeaderMap::new();
    for status in [StatusCode::OK, StatusCode::BAD_GATEWAY] {
        request.with_head(|head| {
            let mut response = Response {
                head,
                status,
                headers: &headers,
                facts: &mut facts,
            };
            bench.chain.on_response(&mut state, &mut response).unwrap();
        });
    }
    let mut seen = HeaderMap::new();
    facts.response_headers.apply(&mut seen);
    assert_eq!(joined(&seen, "x-back"), "a", "not twice");
}

#[test]
fn log_fields_of_a_link_that_breaks_are_left_out() {
    let bench = bench("filters: [{ counting: { name: a } }, { counting: { name: b, at: log } }]");
    let answered = send(&bench);
    let fields: Vec<_> = answered
        .log
        .fields
        .iter()
        .map(|(name, value)| (*name, value.as_ref()))
        .collect();
    assert_eq!(fields, [("calls", "2")]);
    assert_eq!(stats(&bench, 2)[4], 1);
}

#[test]
fn phases_are_known() {
    let bench = bench("filters: [{ quiet: {} }]");
    assert!(
        bench.chain.has(Phases::RESPONSE.and(Phases::REQUEST)),
        "the gate has a request hook"
    );
    assert!(!bench.chain.has(Phases::REQUEST_BODY));
    assert!(!Bench::bare().chain.has(Phases::RESPONSE));
}

#[test]
fn limits_are_told_on_every_answer_the_tightest_only() {
    let bench = Bench::new(
        "filters: [{ rate_limit: { name: wide, key: ip:address, rate: 1/s, burst: 9 } }, { rate_limit: { name: tight, key: \
         query:k, rate: 1/m, burst: 2 } }]",
    );
    let request = RequestBuilder::get("/?k=1");
    let first = bench.send(&request).headers;
    assert_eq!(first["ratelimit"], "\"tight\";r=1;t=60");
    assert_eq!(first["ratelimit-policy"], "\"tight\";q=2;w=120");
    assert_eq!(
        (
            &first["ratelimit-limit"],
            &first["ratelimit-remaining"],
            &first["ratelimit-reset"]
        ),
        (&"2".parse().unwrap(), &"1".parse().unwrap(), &"60".parse().unwrap())
    );
    bench.send(&request);
    let refused = bench.send(&request);
    assert_eq!(refused.status, 429);
    assert_eq!(refused.headers["ratelimit"], "\"tight\";r=0;t=60");
    let retry_after: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((60..=90).contains(&retry_after), "{retry_after}");
    let other = bench.send(&RequestBuilder::get("/?k=2").ip("192.0.2.7"));
    assert_eq!(other.headers["ratelimit-remaining"], "1");
}
