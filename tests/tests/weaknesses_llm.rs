//! Limits of a model's tokens, against a model that knows the truth: what is reserved, settled, refunded, owed and cut off,
//! and that the model gets what the client sent or nothing. Named after the weaknesses of other gateways where there is one.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use bytes::Bytes;
use portcullis_e2e::chat::{ANTHROPIC, OPENAI, Setup, chat};
use portcullis_e2e::gateway::PATIENCE;
use portcullis_e2e::h1::{Connection, request};
use portcullis_e2e::llm::TOKEN;
use serde_json::{Value, json};

const WIDE: &str = "tokens_per_minute: 1, burst_tokens: 100000";
/// Of a token each, so that nothing else is rounded.
const STEP: &str = "streaming: { buffer_tokens: 1 }";

fn setup(config: &str) -> Setup {
    Setup::of(config)
}

fn setup_with(config: &str, mode: &str, filter: &str) -> Setup {
    Setup::with(config, mode, filter, "")
}

fn within_one(charged: u64, truth: u64) {
    assert!(charged.abs_diff(truth) <= 1, "{charged} charged, {truth} used");
}

#[test]
fn w_02_a_limit_of_tokens_limits_and_does_not_break() {
    let setup = setup("tokens_per_minute: 60, burst_tokens: 300, tokens_per_day: 2000000");
    let body = chat(10, &json!({ "max_tokens": 200 }));
    let first = setup.ask(OPENAI, &[("X-Model-Tokens", "200"), ("X-Model-Prompt", "10")], &body);
    assert_eq!(first.status, 200, "{}", first.text());
    assert_eq!(first.header("ratelimit-remaining"), Some("90"), "{:?}", first.headers);
    let refused = setup.ask(OPENAI, &[], &body);
    assert_eq!(
        (refused.status, refused.header("content-type")),
        (429, Some("application/json"))
    );
    let error = &refused.json()["error"];
    assert_eq!(error["message"], "Rate limit exceeded: tpm_exceeded");
    assert_eq!(
        (&error["type"], &error["code"]),
        (&json!("rate_limit_error"), &json!("rate_limit_exceeded"))
    );
    assert!(refused.header("retry-after").is_some());
    let anthropic = setup.ask(ANTHROPIC, &[("Anthropic-Version", "2023-06-01")], &body);
    assert_eq!(
        (anthropic.status, &anthropic.json()["error"]["type"]),
        (429, &json!("rate_limit_error"))
    );
    assert_eq!(anthropic.json()["type"], "error");
    let other = request(setup.gateway.public, "POST", "a", OPENAI, &[("X-Key", "other")], &body);
    assert_eq!(other.status, 200, "each key has a bucket of its own");
    assert_eq!(setup.model.asked(), 2, "what is refused does not reach the model");
}

#[test]
fn w_12_what_a_model_says_it_used_is_what_is_charged() {
    for (path, stream) in [(OPENAI, false), (ANTHROPIC, false), (OPENAI, true), (ANTHROPIC, true)] {
        let setup = setup(WIDE);
        let body = chat(30, &json!({ "max_tokens": 500, "stream": stream }));
        let answer = setup.ask(path, &[("X-Model-Tokens", "37"), ("X-Model-Prompt", "41")], &body);
        assert_eq!(answer.status, 200);
        let truth = setup.truth();
        assert!(!truth.aborted && truth.completion == 37);
        assert_eq!(setup.charged(1), 78, "{path} stream: {stream}");
        assert_eq!(
            (setup.tokens("reserved"), setup.tokens("unused"), setup.settled("usage")),
            (530, 452, 1)
        );
    }
}

#[test]
fn w_12_a_stream_without_usage_is_counted_however_its_lines_end() {
    for lines in ["lf", "crlf", "cr"] {
        for path in [OPENAI, ANTHROPIC] {
            let setup = setup(WIDE);
            let body = chat(30, &json!({ "stream": true }));
            let headers = [
                ("X-Model-Usage", "no"),
                ("X-Model-Prompt", "30"),
                ("X-Model-Lines", lines),
            ];
            let answer = setup.ask(path, &headers, &body);
            assert!(answer.text().contains(": a comment"), "comments pass");
            let truth = setup.truth();
            within_one(setup.charged(1), truth.prompt + truth.completion);
            assert_eq!(setup.settled("counted"), 1);
        }
    }
}

#[test]
fn w_12_what_was_used_beyond_the_reservation_is_owed() {
    let setup = setup("tokens_per_minute: 1, burst_tokens: 1000");
    let body = chat(10, &json!({ "max_tokens": 10 }));
    let headers = [("X-Model-Tokens", "1500"), ("X-Model-Prompt", "10")];
    assert_eq!(setup.ask(OPENAI, &headers, &body).status, 200);
    assert_eq!((setup.charged(1), setup.tokens("overrun")), (1510, 1490));
    let refused = setup.ask(OPENAI, &[], &chat(1, &json!({ "max_tokens": 1 })));
    let wait: u32 = refused
        .header("retry-after")
        .and_then(|wait| wait.parse().ok())
        .expect("seconds");
    // 510 tokens are owed, at one a minute.
    assert!(refused.status == 429 && wait > 510 * 60, "{wait}");
}

#[test]
fn w_12_a_failure_of_the_model_costs_nothing() {
    let setup = setup(WIDE);
    let body = chat(10, &json!({ "max_tokens": 400 }));
    assert_eq!(setup.ask(OPENAI, &[("X-Model-Status", "500")], &body).status, 500);
    assert_eq!(setup.ask(OPENAI, &[("X-Model-Status", "429")], &body).status, 429);
    assert_eq!(
        setup.ask(OPENAI, &[("X-Model-Dies-After", "0")], &body).status,
        502,
        "before the first byte"
    );
    assert_eq!(setup.charged(3), 0);
    assert_eq!(
        (
            setup.settled("nothing"),
            setup.tokens("unused"),
            setup.tokens("reserved")
        ),
        (3, 1230, 1230)
    );
    let next = setup.ask(OPENAI, &[], &chat(1, &json!({ "max_tokens": 1 })));
    assert_eq!(next.header("ratelimit-remaining"), Some("99998"));
}

#[test]
fn w_12_a_stream_is_cut_off_at_its_limit_and_the_model_is_let_go() {
    let setup = setup(&format!("{WIDE}, max_completion_tokens: 25, {STEP}"));
    let body = chat(10, &json!({ "stream": true, "max_tokens": 100_000 }));
    let headers = [
        ("X-Model-Tokens", "100000"),
        ("X-Model-Pause-Ms", "5"),
        ("X-Model-Prompt", "10"),
    ];
    let answer = setup.ask(OPENAI, &headers, &body);
    let text = answer.text();
    assert_eq!(
        (answer.status, text.matches(TOKEN).count()),
        (200, 25),
        "what came before the limit is kept"
    );
    assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
    let (_, last) = text
        .trim_end_matches("data: [DONE]\n\n")
        .trim_end()
        .rsplit_once("data: ")
        .expect("an event");
    let last: Value = serde_json::from_str(last).expect("JSON");
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    assert_eq!(
        last["usage"],
        json!({ "prompt_tokens": 10, "completion_tokens": 25, "total_tokens": 35 })
    );
    let truth = setup.truth();
    assert!(truth.aborted && truth.completion < 100_000, "nobody listened any more");
    within_one(setup.charged(1), 10 + 26);
    assert_eq!(setup.counter("portcullis_llm_streams_cut_total{policy=\"chat\"}"), 1);
    let line = &setup.gateway.access_log(1)[0];
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&json!(200), &json!("completion_tokens_exceeded"))
    );
}

#[test]
fn w_12_a_cut_can_be_an_error_and_speaks_the_streams_dialect() {
    let streaming = "streaming: { buffer_tokens: 1, on_limit_exceeded: error_chunk, include_partial_usage: false }";
    let setup = setup(&format!("{WIDE}, max_completion_tokens: 5, {streaming}"));
    let body = chat(10, &json!({ "stream": true }));
    let headers = [("X-Model-Tokens", "1000"), ("X-Model-Pause-Ms", "2")];
    let openai = setup.ask(OPENAI, &headers, &body).text();
    assert!(
        openai.contains("\"code\":\"completion_tokens_exceeded\"") && openai.ends_with("data: [DONE]\n\n"),
        "{openai}"
    );
    let anthropic = setup.ask(ANTHROPIC, &headers, &body).text();
    assert!(
        anthropic.contains("event: error\ndata: {\"type\":\"error\""),
        "{anthropic}"
    );
    assert_eq!(
        (openai.matches(TOKEN).count(), anthropic.matches(TOKEN).count()),
        (5, 5)
    );
}

#[test]
fn w_12_a_client_that_leaves_pays_for_what_was_made_until_then() {
    let setup = setup(WIDE);
    let body = chat(10, &json!({ "stream": true, "max_tokens": 5000 }));
    let mut client = Connection::open(setup.gateway.public);
    client.send(format!(
        "POST {OPENAI} HTTP/1.1\r\nHost: a\r\nX-Key: k\r\nX-Model-Tokens: 100000\r\nX-Model-Pause-Ms: 5\r\nX-Model-Prompt: 10\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    client.send(&body);
    let mut seen = Vec::new();
    while String::from_utf8_lossy(&seen).matches(TOKEN).count() < 10 {
        seen.extend(client.next_bytes().expect("more of the stream"));
    }
    drop(client);
    let truth = setup.truth();
    assert!(truth.aborted, "the model is let go");
    let charged = setup.charged(1);
    let made = truth.prompt + truth.completion;
    assert!((20..=made + 1).contains(&charged), "{charged} charged, {made} made");
}

#[test]
fn an_answer_is_asked_for_that_can_be_read_and_costs_the_reservation_if_it_cannot() {
    let setup = setup(WIDE);
    let body = chat(10, &json!({ "max_tokens": 90 }));
    setup.ask(
        OPENAI,
        &[("Accept-Encoding", "gzip, br"), ("X-Model-Encoding", "gzip")],
        &body,
    );
    assert_eq!(setup.truth().asked.all("accept-encoding"), ["identity"]);
    assert_eq!((setup.charged(1), setup.settled("unread")), (100, 1));
}

#[test]
fn a_shadow_counts_and_changes_neither_question_nor_answer() {
    let config =
        format!("tokens_per_minute: 1, burst_tokens: 50, default_max_completion: 10, max_completion_tokens: 5, {STEP}");
    let setup = setup_with(&config, "shadow", "max_prompt: 2KiB");
    let body = chat(10, &json!({ "stream": true }));
    for _ in 0..3 {
        let answer = setup.ask(OPENAI, &[("Accept-Encoding", "gzip")], &body);
        assert_eq!((answer.status, answer.text().matches(TOKEN).count()), (200, 20));
        assert!(answer.header("ratelimit").is_none() && answer.header("retry-after").is_none());
    }
    let large = chat(100_000, &json!({}));
    assert_eq!(setup.ask(OPENAI, &[], &large).status, 200, "also what it cannot see");
    let truths = setup.model.truths(4);
    assert_eq!(truths[0].asked.all("accept-encoding"), ["gzip"]);
    assert!(
        truths[3].asked.body == large,
        "a body that is too large to be held goes up whole"
    );
    let lines = setup.gateway.access_log(3);
    assert_eq!(lines[0]["fields"]["llm_would_truncate"], "chat/tokens", "{}", lines[0]);
    let last = lines[2].to_string();
    assert!(last.contains("tpm_exceeded") && last.contains("shadow"), "{last}");
}

#[test]
fn w_23_a_clients_own_estimate_counts_for_nothing() {
    let setup = setup(&format!("{WIDE}, token_source: {{ estimator: header_hint }}"));
    for hint in ["-100000", "nan", "0", "1e-9"] {
        let answer = setup.ask(
            OPENAI,
            &[("X-Token-Estimate", hint)],
            &chat(100, &json!({ "max_tokens": 1 })),
        );
        assert_eq!(answer.status, 200);
    }
    assert_eq!(setup.tokens("reserved"), 404);
}

#[test]
fn a_body_that_is_held_back_goes_up_as_it_came() {
    let setup = setup("tokens_per_minute: 1, burst_tokens: 10000000");
    // Below and above what the proxy framework keeps of a body by itself, and around its edge.
    let sizes = [0, 10, 65_000, 65_536, 65_537, 70_000, 131_073, 900_000];
    for (count, size) in (1..).zip(sizes) {
        let body = vec![b'x'; size];
        assert_eq!(setup.ask(OPENAI, &[], &body).status, 200, "{size}");
        assert!(setup.model.truths(count)[count - 1].asked.body == body, "{size}");
    }
}

#[test]
fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let setup = setup(WIDE);
    let body = chat(10, &json!({ "max_tokens": 5 }));
    let mut client = Connection::open(setup.gateway.public);
    client.send(format!(
        "POST {OPENAI} HTTP/1.1\r\nHost: a\r\nX-Key: k\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    assert_eq!(client.read_head().map(|head| head.status), Some(100));
    client.send(&body);
    assert_eq!(client.read(false).map(|answer| answer.status), Some(200));
    assert!(setup.truth().asked.body == body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_http2_is_held_back_too() {
    let setup = tokio::task::spawn_blocking(|| setup("tokens_per_minute: 1, burst_tokens: 2000000"))
        .await
        .expect("a gateway");
    let stream = tokio::net::TcpStream::connect(setup.gateway.public)
        .await
        .expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
    tokio::spawn(connection);
    let mut client = client.ready().await.expect("ready");
    for (count, (size, length)) in (1..).zip([
        (10, false),
        (70_000, false),
        (70_000, true),
        (500_000, true),
        (2_000_000, false),
    ]) {
        let body = Bytes::from(vec![b'z'; size]);
        let mut request = http::Request::post(format!("http://a{OPENAI}")).header("x-key", "k");
        if length {
            request = request.header("content-length", size);
        }
        let (answer, mut up) = client
            .send_request(request.body(()).expect("a request"), false)
            .expect("sent");
        let sending = body.clone();
        tokio::spawn(async move {
            for piece in sending.chunks(9000) {
                up.reserve_capacity(piece.len());
                while up.capacity() < piece.len() {
                    if std::future::poll_fn(|context| up.poll_capacity(context))
                        .await
                        .is_none()
                    {
                        return;
                    }
                }
                if up.send_data(Bytes::copy_from_slice(piece), false).is_err() {
                    return;
                }
            }
            let _ = up.send_data(Bytes::new(), true);
        });
        let answer = tokio::time::timeout(PATIENCE, answer)
            .await
            .expect("in time")
            .expect("an answer");
        let expected = if size > 1 << 20 { 413 } else { 200 };
        assert_eq!(answer.status().as_u16(), expected, "{size}, with its length: {length}");
        if expected == 200 {
            assert!(setup.model.truths(count)[count - 1].asked.body == body, "{size}");
        }
    }
}

#[test]
fn max_prompt_of_policy() {
    let body = chat(1000, &json!({}));
    for (most, expected) in [("2KiB", 413), ("100KiB", 200)] {
        let setup = setup_with(WIDE, "enforce", &format!("max_prompt: {most}"));
        assert_eq!(setup.ask(OPENAI, &[], &body).status, expected);
        assert_eq!(setup.model.asked(), usize::from(expected == 200));
    }
}
