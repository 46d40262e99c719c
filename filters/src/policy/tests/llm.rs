//! Limits of a model's tokens: what is reserved, and what becomes of it once the answer is known.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};
use portcullis_bundles::policies::Policies;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{bench, bundle, policy};
use crate::policy::llm::stats::{LlmStats, Settled};
use crate::testing::{Answered, Bench, RequestBuilder, START, Upstream, after};
use crate::verdict::Reason;

/// A policy with one rule of these numbers.
fn llm(id: &str, more: &str, config: &str) -> String {
    let rule = format!("{{ name: r, limit_keys: [], algorithm: token_bucket_llm, algorithm_config: {{ {config} }} }}");
    policy(id, more, &[rule])
}

fn only(config: &str) -> Arc<Policies> {
    bundle(&[llm("p", "", config)], "")
}

/// A chat with a prompt of so many tokens.
fn chat(tokens: usize, more: &Value) -> String {
    let mut body = json!({ "messages": [{ "role": "user", "content": "abcd".repeat(tokens) }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body.to_string()
}

fn request(policies: &Arc<Policies>, body: &str) -> RequestBuilder {
    RequestBuilder::new("POST", "/v1/chat/completions")
        .policies(Arc::clone(policies))
        .body(Bytes::copy_from_slice(body.as_bytes()))
}

fn upstream(kind: &'static str, body: &[&str]) -> Upstream {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(kind));
    Upstream {
        status: StatusCode::OK,
        headers,
        body: body
            .iter()
            .map(|piece| Bytes::copy_from_slice(piece.as_bytes()))
            .collect(),
        breaks_off: false,
    }
}

fn used(tokens: u64) -> Upstream {
    upstream(
        "application/json",
        &[&json!({ "usage": { "total_tokens": tokens } }).to_string()],
    )
}

/// What is left of the bucket, by asking for one token more.
fn left(bench: &Bench, policies: &Arc<Policies>) -> i64 {
    let probe = request(policies, "").at(START);
    let answered = bench.send_to(&probe, &Upstream::default());
    match answered.status.as_u16() {
        200 => remaining(&answered) + 1,
        _ => 0,
    }
}

fn remaining(answered: &Answered) -> i64 {
    answered.headers["ratelimit-remaining"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap()
}

fn reason(answered: &Answered) -> &'static str {
    answered.reason.map_or("", |reason| reason.0)
}

const WIDE: &str = "tokens_per_minute: 1, burst_tokens: 100000";

#[test]
fn prompt_and_completion_are_reserved() {
    let (bench, policies) = (bench(), only("tokens_per_minute: 6000"));
    let first = bench.send(&request(&policies, &chat(1000, &json!({ "max_tokens": 4000 }))));
    assert_eq!((first.status.as_u16(), remaining(&first)), (200, 1000));
    let policies = only("tokens_per_minute: 6000, default_max_completion: 300");
    let second = Bench::new("filters: [{ policy: {} }]").send(&request(&policies, &chat(100, &json!({}))));
    assert_eq!(remaining(&second), 5600);
}

#[test]
fn what_was_not_used_is_given_back_and_what_was_used_beyond_is_charged() {
    let (bench, policies) = (bench(), only(WIDE));
    let body = chat(100, &json!({ "max_tokens": 900 }));
    bench.send_to(&request(&policies, &body), &used(250));
    assert_eq!(left(&bench, &policies), 100_000 - 250);
    bench.send_to(&request(&policies, &body), &used(1500));
    assert_eq!(left(&bench, &policies), 100_000 - 1750);
}

#[test]
fn a_bucket_owes_what_was_used_beyond_it() {
    let (bench, policies) = (bench(), only("tokens_per_minute: 60, burst_tokens: 1000"));
    let body = chat(100, &json!({ "max_tokens": 100 }));
    bench.send_to(&request(&policies, &body), &used(1030));
    let refused = bench.send(&request(&policies, ""));
    assert_eq!((refused.status.as_u16(), reason(&refused)), (429, "tpm_exceeded"));
    // 30 tokens are owed and one is asked for, by one a second.
    let early = bench.send(&request(&policies, "").at(after(START, 30_900)));
    let later = bench.send(&request(&policies, "").at(after(START, 31_000)));
    assert_eq!((early.status.as_u16(), later.status.as_u16()), (429, 200));
}

#[test]
fn nothing_is_kept_for_what_no_model_answered() {
    let (bench, policies) = (bench(), only(WIDE));
    let body = chat(100, &json!({ "max_tokens": 900 }));
    for status in [302, 400, 429, 500, 503] {
        let failed = Upstream {
            status: StatusCode::from_u16(status).unwrap(),
            ..used(700)
        };
        bench.send_to(&request(&policies, &body), &failed);
        assert_eq!(left(&bench, &policies), 100_000, "{status}");
    }
    let silent = Upstream {
        body: Vec::new(),
        ..used(0)
    };
    bench.send_to(&request(&policies, &body), &silent);
    assert_eq!(left(&bench, &policies), 100_000, "it broke before its first byte");
    let later = Bench::new("filters: [{ policy: {} }, { ip_access: { deny: [192.0.2.0/24] } }]");
    assert_eq!(later.send(&request(&policies, &body)).status, 403);
    assert_eq!(later.zones.each::<LlmStats>().count(), 1);
    let tokens = stats(&later);
    assert_eq!(
        (tokens.reserved(), tokens.unused(), tokens.settled(Settled::Nothing)),
        (1000, 1000, 1)
    );
}

fn stats(bench: &Bench) -> Arc<crate::policy::llm::stats::PolicyTokens> {
    let (_, stats) = bench.zones.each::<LlmStats>().next().unwrap();
    let (_, tokens) = stats.each().into_iter().find(|(id, _)| &**id == "p").unwrap();
    tokens
}

#[test]
fn what_cannot_be_read_costs_what_was_reserved() {
    let (bench, policies) = (bench(), only(WIDE));
    let body = chat(100, &json!({ "max_tokens": 900 }));
    let mut zipped = used(5);
    zipped
        .headers
        .insert("content-encoding", HeaderValue::from_static("gzip"));
    bench.send_to(&request(&policies, &body), &zipped);
    bench.send_to(&request(&policies, &body), &upstream("application/json", &["{}"]));
    bench.send_to(&request(&policies, &body), &upstream("audio/mpeg", &["RIFF"]));
    assert_eq!(left(&bench, &policies), 100_000 - 3000);
    let tokens = stats(&bench);
    assert_eq!((tokens.settled(Settled::Unread), tokens.actual()), (3, 3000 + 1 - 1));
}

#[test]
fn an_answer_that_can_be_read_is_asked_for() {
    let policies = only(WIDE);
    let asked = bench().send(&request(&policies, "{}").header("accept-encoding", "gzip"));
    assert_eq!(asked.upstream.unwrap()["accept-encoding"], "identity");
    let shadow = bundle(&[llm("p", "mode: shadow,", WIDE)], "");
    let asked = bench().send(&request(&shadow, "{}").header("accept-encoding", "gzip"));
    assert_eq!(
        asked.upstream.unwrap()["accept-encoding"],
        "gzip",
        "a shadow changes nothing"
    );
}

#[test]
fn the_day_counts_beside_the_minute_and_is_settled_with_it() {
    let config = "tokens_per_minute: 1000000, tokens_per_day: 2000";
    let (bench, policies) = (bench(), only(config));
    let body = chat(100, &json!({ "max_tokens": 1400 }));
    assert_eq!(bench.send_to(&request(&policies, &body), &used(700)).status, 200);
    let refused = bench.send(&request(&policies, &body));
    assert_eq!((refused.status.as_u16(), reason(&refused)), (429, "tpd_exceeded"));
    assert_eq!(refused.headers["ratelimit-reset"], "86400", "midnight on UTC");
    let small = chat(100, &json!({ "max_tokens": 1200 }));
    assert_eq!(bench.send_to(&request(&policies, &small), &used(1300)).status, 200);
    let minute = bench.send(&request(&policies, "").at(after(START, 86_400_000)));
    assert_eq!(minute.status, 200, "another day");
    assert_eq!(remaining(&minute), 1999);
}

#[test]
fn what_is_given_back_belongs_to_the_day_that_it_was_taken_from() {
    let (bench, policies) = (bench(), only("tokens_per_minute: 1000000, tokens_per_day: 1000"));
    let body = chat(100, &json!({ "max_tokens": 900 }));
    let (today, tomorrow) = (
        request(&policies, &body),
        request(&policies, &body).at(after(START, 86_400_000)),
    );
    // The first request is still open when the second, of the next day, takes all.
    let mut open = Open::new(&bench, &today);
    assert_eq!(bench.send_to(&tomorrow, &used(1000)).status, 200);
    open.finish(&bench, &used(1));
    assert_eq!(
        bench.send(&tomorrow).status,
        429,
        "nothing of yesterday comes back today"
    );
}

/// An exchange between its request and its answer.
struct Open {
    state: crate::chain::ChainState,
    facts: crate::facts::Facts,
    request: RequestBuilder,
}

impl Open {
    fn new(bench: &Bench, request: &RequestBuilder) -> Self {
        use crate::chain::Progress;
        let (mut state, mut facts) = (bench.chain.start(), request.facts());
        let run = |state: &mut _, facts: &mut _| request.with(facts, |request| bench.chain.on_request(state, request));
        let Progress::Body(most) = run(&mut state, &mut facts) else {
            panic!("the body is asked for")
        };
        facts.body = Some(request.held(most));
        assert!(matches!(run(&mut state, &mut facts), Progress::Done));
        Self {
            state,
            facts,
            request: request.clone(),
        }
    }

    fn finish(&mut self, bench: &Bench, upstream: &Upstream) {
        let (state, facts) = (&mut self.state, &mut self.facts);
        let (status, headers) = (upstream.status, &upstream.headers);
        let answered = self.request.with_head(|head| {
            bench.chain.on_response(
                state,
                &mut crate::response::Response {
                    head,
                    status,
                    headers,
                    facts,
                },
            )
        });
        assert!(answered.is_ok());
        for piece in &upstream.body {
            assert!(
                bench
                    .chain
                    .on_response_body(state, &mut Some(piece.clone()), true)
                    .is_ok()
            );
        }
    }
}

#[test]
fn too_much_in_one_request_is_refused_whatever_is_left() {
    let config = format!("{WIDE}, max_prompt_tokens: 100, max_tokens_per_request: 500, max_completion_tokens: 450");
    let (bench, policies) = (bench(), only(&config));
    let of = |prompt, completion| {
        let body = chat(prompt, &json!({ "max_tokens": completion }));
        bench.send(&request(&policies, &body))
    };
    assert_eq!(of(100, 400).status, 200);
    for (prompt, completion, expected) in [
        (101, 1, "prompt_tokens_exceeded"),
        (60, 9000, "max_tokens_per_request_exceeded"),
    ] {
        let refused = of(prompt, completion);
        assert_eq!((refused.status.as_u16(), reason(&refused)), (429, expected));
        assert!(!refused.headers.contains_key("retry-after"), "waiting does not help");
    }
    assert_eq!(
        of(50, 9000).status,
        200,
        "no more than `max_completion_tokens` is reserved"
    );
}

#[test]
fn what_nobody_can_see_is_refused() {
    let policies = only(WIDE);
    let small = Bench::new("filters: [{ policy: { max_prompt: 100 } }]");
    let refused = small.send(&request(&policies, &chat(100, &json!({}))));
    assert_eq!((refused.status.as_u16(), reason(&refused)), (413, "prompt_too_large"));
    let zipped = bench().send(&request(&policies, "zzz").header("content-encoding", "gzip"));
    assert_eq!((zipped.status.as_u16(), reason(&zipped)), (415, "prompt_encoded"));
}

#[test]
fn w_23_a_hint_counts_only_from_those_who_are_trusted() {
    let policies = only(&format!(
        "{WIDE}, token_source: {{ estimator: header_hint }}, default_max_completion: 1"
    ));
    let hint = |value: &str, trusted: bool| {
        let request = request(&policies, &chat(100, &json!({}))).header("x-token-estimate", value);
        let request = if trusted { request.via("10.0.0.1") } else { request };
        100_000 - remaining(&Bench::new("filters: [{ policy: {} }]").send(&request))
    };
    assert_eq!(hint("7.5", true), 9);
    assert_eq!(hint("7", false), 101, "a client's word counts for nothing");
    for bad in ["-100000", "nan", "inf", "1e300", "many", ""] {
        assert_eq!(hint(bad, true), 101, "{bad:?}");
    }
}

fn event(text: &str) -> String {
    format!("data: {}\n\n", json!({ "choices": [{ "delta": { "content": text } }] }))
}

#[test]
fn a_stream_that_goes_over_its_limit_ends_there() {
    let config = format!("{WIDE}, max_completion_tokens: 3, streaming: {{ buffer_tokens: 1 }}");
    let (bench, policies) = (bench(), only(&config));
    let stream = event("abcd").repeat(9);
    let (start, rest) = stream.split_at(100);
    let mut upstream = upstream("text/event-stream", &[start, rest]);
    upstream
        .headers
        .insert("content-length", HeaderValue::from(stream.len()));
    let cut = bench.send_to(&request(&policies, &chat(10, &json!({ "stream": true }))), &upstream);
    assert_eq!(cut.ended, Some(Reason("completion_tokens_exceeded")));
    let body = String::from_utf8(cut.body).unwrap();
    assert!(
        body.starts_with(&event("abcd").repeat(3)) && body.ends_with("data: [DONE]\n\n"),
        "{body}"
    );
    assert!(!cut.headers.contains_key("content-length"));
    assert_eq!(
        left(&bench, &policies),
        100_000 - 10 - 4,
        "the one that was too much was made too"
    );
}

#[test]
fn a_stream_that_breaks_off_costs_what_it_gave() {
    let (bench, policies) = (bench(), only(WIDE));
    let broken = Upstream {
        breaks_off: true,
        ..upstream("text/event-stream", &[&event("abcd").repeat(5)])
    };
    bench.send_to(&request(&policies, &chat(10, &json!({ "stream": true }))), &broken);
    assert_eq!(left(&bench, &policies), 100_000 - 15);
}

#[test]
fn streams_are_not_read_where_the_rule_says_so() {
    let policies = only(&format!(
        "{WIDE}, default_max_completion: 90, streaming: {{ enabled: false }}"
    ));
    let bench = bench();
    let stream = upstream("text/event-stream", &[&event("abcd").repeat(5)]);
    bench.send_to(&request(&policies, &chat(10, &json!({}))), &stream);
    assert_eq!(left(&bench, &policies), 100_000 - 100);
}

#[test]
fn a_shadow_counts_apart_and_changes_nothing() {
    let config = "tokens_per_minute: 1, burst_tokens: 20, default_max_completion: 5, max_completion_tokens: 5, streaming: { buffer_tokens: 1 }";
    let policies = bundle(&[llm("p", "mode: shadow,", config)], "");
    let bench = bench();
    let stream = event("abcd").repeat(9);
    let upstream = upstream("text/event-stream", &[&stream]);
    let body = chat(10, &json!({}));
    let first = bench.send_to(&request(&policies, &body), &upstream);
    assert_eq!((first.body, first.ended), (stream.clone().into_bytes(), None));
    assert!(
        first
            .log
            .fields
            .iter()
            .any(|(name, value)| *name == "llm_would_truncate" && value == "p/r")
    );
    let second = bench.send_to(&request(&policies, &body), &upstream);
    assert_eq!((second.status.as_u16(), second.headers.get("ratelimit")), (200, None));
    let decision = second.facts.decisions.last().unwrap();
    assert_eq!(
        (decision.reason, decision.policy.as_deref()),
        (Reason("tpm_exceeded"), Some("p"))
    );
    let large = Bench::new("filters: [{ policy: { max_prompt: 10 } }]");
    assert_eq!(
        large.send(&request(&policies, &body)).status,
        200,
        "also what it cannot see"
    );
}

#[test]
fn several_rules_are_all_charged_or_none() {
    let narrow = "tokens_per_minute: 1, burst_tokens: 150";
    let policies = bundle(&[llm("p", "", WIDE), llm("q", "", narrow)], "");
    let bench = bench();
    let send = |most: u64| {
        let body = chat(50, &json!({ "max_tokens": most }));
        bench.send_to(&request(&policies, &body), &used(60)).status.as_u16()
    };
    assert_eq!(send(200), 429, "q has not so much");
    assert_eq!(send(100), 200);
    let tokens = stats(&bench);
    assert_eq!(
        (tokens.reserved(), tokens.actual()),
        (150, 60),
        "p was charged for the second alone"
    );
    assert_eq!((send(50), send(30)), (429, 200), "q has 90 left");
}

proptest! {
    /// Whatever is reserved and used, the bucket has lost what was used and nothing else.
    #[test]
    fn nothing_is_lost_or_minted(exchanges in prop::collection::vec((1_usize..50, 1_u64..200, 0_u64..400), 1..8)) {
        let (bench, policies) = (bench(), only(WIDE));
        let mut truth = 0;
        for (prompt, most, all) in exchanges {
            let body = chat(prompt, &json!({ "max_tokens": most }));
            bench.send_to(&request(&policies, &body), &used(all));
            truth += i64::try_from(all).unwrap();
        }
        prop_assert_eq!(left(&bench, &policies), 100_000 - truth);
    }
}
