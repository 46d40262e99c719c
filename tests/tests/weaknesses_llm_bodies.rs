//! Limits of a model's tokens, and what they need for it: prompts of any size and framing are held back and go up as they came,
//! within bounds; and a model whose stream was cut off is let go at once. What tokens cost is shown in `weaknesses_llm.rs`.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::chat::{ANTHROPIC, OPENAI, Setup, chat};
use portcullis_e2e::h1::Connection;
use portcullis_e2e::llm::TOKEN;
use serde_json::json;

const WIDE: &str = "tokens_per_minute: 1, burst_tokens: 10000000";

/// A request with a chunked body, without the end of the body.
fn chunked(key: &str, body: &[u8], chunk: usize) -> Vec<u8> {
    let mut bytes =
        format!("POST {OPENAI} HTTP/1.1\r\nHost: a\r\nX-Key: {key}\r\nTransfer-Encoding: chunked\r\n\r\n").into_bytes();
    for piece in body.chunks(chunk) {
        bytes.extend(format!("{:x}\r\n", piece.len()).bytes());
        bytes.extend_from_slice(piece);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Bytes that show where they belong.
fn body(size: usize) -> Vec<u8> {
    (0..size)
        .map(|place| b'a' + u8::try_from(place % 23).expect("a letter"))
        .collect()
}

#[test]
fn w_12_a_prompt_in_chunks_goes_up_as_it_came() {
    let setup = Setup::of(WIDE);
    // On one connection, one behind the other: below and above what the proxy framework keeps, in chunks of all sizes.
    let cases = [
        (0, 1),
        (10, 1),
        (60_000, 5_000),
        (65_536, 65_536),
        (65_537, 65_537),
        (70_000, 70_000),
        (200_000, 17),
        (300_000, 4_096),
        (1_000_000, 400_000),
        (1 << 20, 1 << 20),
    ];
    let mut client = Connection::open(setup.gateway.public);
    for (count, (size, chunk)) in (1..).zip(cases) {
        let body = body(size);
        let mut request = chunked("k", &body, chunk);
        request.extend(b"0\r\n\r\n");
        let status = client.ask(request).map(|answer| answer.status);
        assert_eq!(status, Some(200), "{size} in chunks of {chunk}");
        let asked = setup.model.truths(count).remove(count - 1).asked;
        assert!(asked.body == body, "{size} in chunks of {chunk}");
    }
}

#[test]
fn w_12_the_end_of_a_prompt_in_chunks_may_come_late_and_in_pieces() {
    let setup = Setup::of(WIDE);
    let body = body(150_000);
    let mut client = Connection::open(setup.gateway.public);
    let mut request = chunked("k", &body, 9_999);
    // The last piece is one byte of data, and then one byte of the end at a time; behind it is the next request.
    request.extend(b"1\r\n!");
    client.send(&request);
    for byte in b"\r\n0\r\nX-Trailer: t\r\n\r" {
        std::thread::sleep(std::time::Duration::from_millis(5));
        client.send([*byte]);
    }
    let mut rest = b"\n".to_vec();
    rest.extend(chunked("k", b"second", 3));
    rest.extend(b"0\r\n\r\n");
    client.send(&rest);
    for _ in 0..2 {
        assert_eq!(client.read(false).map(|answer| answer.status), Some(200));
    }
    let truths = setup.model.truths(2);
    assert!(truths[0].asked.body.strip_suffix(b"!") == Some(&*body));
    assert_eq!(truths[1].asked.body, b"second");
}

#[test]
fn w_12_a_prompt_in_chunks_that_is_too_large_or_broken_reaches_no_model() {
    let setup = Setup::of(WIDE);
    let mut request = chunked("k", &body((1 << 20) + 1), 50_000);
    request.extend(b"0\r\n\r\n");
    let large = Connection::open(setup.gateway.public).ask(&request).expect("an answer");
    assert_eq!(
        (large.status, &large.json()["error"]["code"]),
        (413, &json!("prompt_too_large"))
    );
    for (end, reason) in [("0\r\n\r\r", "trailer_malformed"), ("z\r\n", "chunk_malformed")] {
        let mut request = chunked("k", &body(100_000), 50_000);
        request.extend(end.bytes());
        let broken = Connection::open(setup.gateway.public).ask(&request).expect("an answer");
        assert_eq!((broken.status, broken.reason().as_str()), (400, reason));
    }
    assert_eq!(setup.model.asked(), 0);
}

#[test]
fn a_refusal_after_a_prompt_in_chunks_keeps_the_connection() {
    let setup = Setup::of("tokens_per_minute: 1, burst_tokens: 10");
    let mut client = Connection::open(setup.gateway.public);
    for _ in 0..3 {
        let mut request = chunked("k", &body(100_000), 30_000);
        request.extend(b"0\r\n\r\n");
        assert_eq!(client.ask(request).map(|answer| answer.status), Some(429));
    }
    assert_eq!(setup.model.asked(), 0);
}

/// The model writes as many tokens as are let through and one more, and then nothing: only its connection's end tells it.
#[test]
fn w_12_a_model_whose_stream_is_cut_off_is_let_go_at_once() {
    let config = format!("{WIDE}, max_completion_tokens: 5, streaming: {{ buffer_tokens: 1 }}");
    let setup = Setup::of(&config);
    let asked = chat(10, &json!({ "stream": true, "max_tokens": 100_000 }));
    let headers = [
        ("X-Model-Tokens", "1000"),
        ("X-Model-Waits-After", "6"),
        ("X-Model-Pause-Ms", "3"),
    ];
    for (count, path) in (1..).zip([OPENAI, ANTHROPIC, OPENAI]) {
        let answer = setup.ask(path, &headers, &asked);
        assert_eq!((answer.status, answer.text().matches(TOKEN).count()), (200, 5));
        let truth = setup.model.truths(count).remove(count - 1);
        assert!(truth.aborted && truth.completion == 6);
    }
    let failures = "portcullis_upstream_server_failures_total{kind=\"reset\",server=";
    let metrics = setup.gateway.admin("GET", "/metrics", "").1;
    let resets: Vec<_> = metrics.lines().filter(|line| line.starts_with(failures)).collect();
    assert!(
        resets.len() == 1 && resets[0].ends_with(" 0"),
        "it is not the model's fault: {resets:?}"
    );
}
