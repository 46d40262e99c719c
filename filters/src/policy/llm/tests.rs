//! The readers, alone: vectors of each shape, and properties over bodies that come in any pieces.

mod prompts;
mod streams;

use super::meter::{Form, Meter};
use super::scan::Scan;
use super::usage::Usage;

fn usage(prompt: u64, completion: u64, total: u64) -> Usage {
    Usage {
        prompt: Some(prompt),
        completion: Some(completion),
        total: Some(total),
    }
}

#[test]
fn usage_of_each_shape_is_read() {
    let openai =
        br#"{"prompt_tokens":11,"completion_tokens":22,"total_tokens":33,"prompt_tokens_details":{"cached_tokens":9}}"#;
    assert_eq!(Usage::read(openai), Some(usage(11, 22, 33)));
    let anthropic =
        br#"{"input_tokens":5,"cache_creation_input_tokens":3,"cache_read_input_tokens":null,"output_tokens":7}"#;
    assert_eq!(Usage::read(anthropic).and_then(|usage| usage.all()), Some(15));
    let embedding = br#"{"prompt_tokens":8,"total_tokens":8}"#;
    assert_eq!(Usage::read(embedding).and_then(|usage| usage.all()), Some(8));
}

#[test]
fn numbers_that_cannot_be_are_no_usage() {
    for json in [
        r#"{"prompt_tokens":-4,"completion_tokens":1e300}"#,
        r#"{"total_tokens":2000000000}"#,
        r#"{"total_tokens":{"total_tokens":3}}"#,
        "{}",
        r#"{"total_tokens":1"#,
        "7",
    ] {
        assert_eq!(Usage::read(json.as_bytes()), None, "{json}");
    }
}

#[test]
fn a_sum_that_contradicts_the_total_counts_as_the_larger() {
    assert_eq!(usage(10, 20, 1).all(), Some(30));
    assert_eq!(usage(1, 2, 30).all(), Some(30));
    let half = Usage {
        completion: Some(5),
        ..Usage::default()
    };
    assert_eq!(half.all(), None, "without the prompt it is not all");
}

const DOCUMENTS: [(&str, Option<u64>); 9] = [
    (
        r#"{"id":"x","choices":[{"message":{"content":"a \"usage\":{\"total_tokens\":9} b"}}],"usage":{"total_tokens":7}}"#,
        Some(7),
    ),
    (
        r#"{"usage":{"input_tokens":2,"output_tokens":3},"content":[{"usage":{"total_tokens":99}}]}"#,
        Some(5),
    ),
    (
        r#"{"type":"message_start","message":{"id":"m","usage":{"input_tokens":4,"output_tokens":1}}}"#,
        Some(5),
    ),
    (
        r#"{ "response" : { "output":[{"usage":{"total_tokens":9}}], "usage" : { "total_tokens" : 12 } } }"#,
        Some(12),
    ),
    (r#"{"choices":[{"usage":{"total_tokens":9}}]}"#, None),
    (r#"[{"usage":{"total_tokens":9}}]"#, None),
    (r#"{"other":{"usage":{"total_tokens":9}}}"#, None),
    (r#"{"message":[{"usage":{"total_tokens":9}}]}"#, None),
    (r#"{"usage":null,"note":"}{][\\"}"#, None),
];

#[test]
fn usage_is_found_in_a_document_that_comes_in_pieces() {
    for (document, all) in DOCUMENTS {
        for size in [1, 2, 3, 7, 1000] {
            let mut scan = Scan::default();
            for piece in document.as_bytes().chunks(size) {
                scan.push(piece);
            }
            assert_eq!(scan.usage().and_then(|usage| usage.all()), all, "{document} by {size}");
        }
    }
}

#[test]
fn a_usage_without_end_is_not_kept() {
    let mut scan = Scan::default();
    scan.push(br#"{"usage":{"total_tokens":9,"x":""#);
    for _ in 0..100 {
        scan.push(&[b'a'; 1000]);
    }
    scan.push(br#""},"message":{"usage":{"total_tokens":4}}}"#);
    assert_eq!(scan.usage().and_then(|usage| usage.all()), Some(4));
}

#[test]
fn what_is_encoded_or_neither_json_nor_events_cannot_be_read() {
    let form = |kind: &str, encoding: Option<&str>| Form::of(Some(kind.as_bytes()), encoding.map(str::as_bytes));
    assert_eq!(form("application/json; charset=utf-8", None), Form::Json);
    assert_eq!(form("application/problem+json", Some("identity")), Form::Json);
    assert_eq!(form("Text/Event-Stream", Some("")), Form::Events);
    assert_eq!(form("text/event-stream", Some("gzip")), Form::Opaque);
    assert_eq!(form("audio/mpeg", None), Form::Opaque);
    let mut meter = Meter::new(Form::Opaque, None);
    let mut chunk = Some(bytes::Bytes::from_static(br#"{"usage":{"total_tokens":4}}"#));
    assert!(!meter.push(&mut chunk, true));
    assert_eq!((meter.total().usage, meter.total().bytes), (None, 28));
}
