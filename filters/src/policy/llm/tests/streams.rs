//! Streams: where events end, what they say, and how a stream is cut off, in whatever pieces it comes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::policy::llm::delta::{Delta, Dialect};
use crate::policy::llm::events::{Framer, LARGEST, Piece, data};
use crate::policy::llm::farewell::Finish;
use crate::policy::llm::meter::{Form, Limit, Meter, Total};
use crate::policy::llm::usage::Usage;

/// Sends a stream through a meter in pieces of these sizes, round and round.
fn run(meter: &mut Meter, stream: &[u8], sizes: &[usize]) -> (Vec<u8>, bool) {
    let (mut out, mut over, mut rest) = (Vec::new(), false, stream);
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at(rest.len().min((*size).max(1)));
        rest = behind;
        let mut chunk = Some(Bytes::copy_from_slice(piece));
        over |= meter.push(&mut chunk, rest.is_empty());
        out.extend_from_slice(chunk.as_deref().unwrap_or_default());
        if rest.is_empty() {
            return (out, over);
        }
    }
    unreachable!("sizes are never empty")
}

fn limit(tokens: u64) -> Limit {
    Limit {
        tokens,
        step: 1,
        finish: Finish::Graceful,
        tells_usage: true,
        prompt: 10,
    }
}

fn chat(text: &str) -> String {
    let event =
        json!({ "choices": [{ "index": 0, "delta": { "content": text }, "finish_reason": null }], "usage": null });
    format!("data: {event}\n\n")
}

fn of(stream: &str) -> Total {
    let mut meter = Meter::new(Form::Events, None);
    let (out, over) = run(&mut meter, stream.as_bytes(), &[5, 1, 90]);
    assert_eq!(
        (out.as_slice(), over),
        (stream.as_bytes(), false),
        "what is only counted passes unchanged"
    );
    meter.total()
}

#[test]
fn a_chat_is_counted_by_all_its_choices_and_calls() {
    let event = json!({ "choices": [
        { "index": 0, "delta": { "role": "assistant", "content": "abcd" } },
        { "index": 3, "delta": { "tool_calls": [{ "index": 0, "id": "call", "type": "function", "function": { "name": "look", "arguments": "{\"a\":" } }] } },
    ]});
    let delta = Delta::read(event.to_string().as_bytes()).unwrap();
    assert_eq!(
        (delta.content.bytes, delta.content.total(), delta.index),
        (12 + 1, 4, Some(3))
    );
    let total = of(&format!("data: {event}\n\n{}: ping\n\ndata: [DONE]\n\n", chat("efgh")));
    assert_eq!((total.counted, total.usage, total.streamed), (5, None, true));
}

#[test]
fn usage_at_the_end_of_a_chat_is_read() {
    let end = r#"{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}"#;
    let total = of(&format!("{}data: {end}\n\ndata: [DONE]\n\n", chat("abcd")));
    assert_eq!(total.usage.and_then(|usage| usage.all()), Some(7));
}

const ANTHROPIC: &str = concat!(
    "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n",
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
    "event: ping\ndata: {\"type\": \"ping\"}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hell\"}}\n\n",
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\": 1}\"}}\n\n",
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":15}}\n\n",
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
);

#[test]
fn anthropics_usage_is_put_together() {
    let total = of(ANTHROPIC);
    assert_eq!(
        (total.usage.and_then(|usage| usage.all()), total.counted),
        (Some(40), 1 + 2)
    );
}

#[test]
fn responses_are_counted_by_their_deltas() {
    let stream = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"usage\":null}}\n\n",
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"abcd\",\"obfuscation\":\"xxxxxxxx\"}\n\n",
        "event: response.output_text.done\ndata: {\"type\":\"response.output_text.done\",\"text\":\"abcd\"}\n\n",
        "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"output\":[{\"content\":[{\"text\":\"abcd\"}]}],\"usage\":{\"input_tokens\":2,\"output_tokens\":1,\"total_tokens\":3}}}\n\n",
    );
    let total = of(stream);
    assert_eq!((total.counted, total.usage.and_then(|usage| usage.all())), (1, Some(3)));
    assert_eq!(
        Delta::read(br#"{"type":"response.created"}"#).unwrap().dialect,
        Some(Dialect::Responses)
    );
}

#[test]
fn an_event_too_large_to_hold_passes_and_its_usage_counts() {
    let text = "x".repeat(3 * LARGEST);
    let end = json!({ "type": "response.completed", "response": { "output": text, "usage": { "input_tokens": 2, "output_tokens": 1 } } });
    let stream = format!("{}event: e\ndata: {end}\n\n{}", chat("abcd"), chat("efgh"));
    let mut meter = Meter::new(Form::Events, Some(limit(u64::MAX)));
    let (out, _) = run(&mut meter, stream.as_bytes(), &[16 * 1024]);
    assert_eq!(out, stream.as_bytes());
    assert_eq!(meter.total().usage.and_then(|usage| usage.all()), Some(3));
    let mut framer = Framer::default();
    for piece in stream.as_bytes().chunks(1000) {
        framer.push(piece);
        while framer.next_piece().is_some() {}
        assert!(framer.held() <= LARGEST + 1000, "bounded");
    }
}

#[test]
fn a_stream_is_cut_off_before_the_event_that_is_too_much() {
    let good = format!(": hello\n\n{}event: ping\ndata: {{}}\n\n{}", chat("abcd"), chat("efgh"));
    let stream = format!("{good}{}{}data: [DONE]\n\n", chat("ijkl"), chat("mnop"));
    for sizes in [&[10_000][..], &[1], &[7, 300]] {
        let mut meter = Meter::new(Form::Events, Some(limit(2)));
        let (out, over) = run(&mut meter, stream.as_bytes(), sizes);
        let end = String::from_utf8(out).unwrap();
        let end = end.strip_prefix(&good).expect("all good events are kept");
        assert_eq!(
            end,
            "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}],\
             \"usage\":{\"prompt_tokens\":10,\"completion_tokens\":2,\"total_tokens\":12}}\n\ndata: [DONE]\n\n"
        );
        assert!(over && meter.total().cut && meter.total().counted == 3);
    }
}

#[test]
fn the_limit_is_looked_at_in_steps() {
    let stream = chat("abcd").repeat(20);
    let mut meter = Meter::new(Form::Events, Some(Limit { step: 5, ..limit(6) }));
    let (out, over) = run(&mut meter, stream.as_bytes(), &[10_000]);
    assert!(over && String::from_utf8(out).unwrap().starts_with(&chat("abcd").repeat(9)));
    assert_eq!(meter.total().counted, 10);
}

#[test]
fn an_error_can_be_told_instead() {
    let error = Limit {
        finish: Finish::Error,
        tells_usage: false,
        ..limit(0)
    };
    let mut meter = Meter::new(Form::Events, Some(error));
    let (out, _) = run(&mut meter, chat("abcd").as_bytes(), &[10_000]);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "data: {\"error\":{\"message\":\"max completion tokens exceeded\",\"type\":\"rate_limit_error\",\"code\":\"completion_tokens_exceeded\"}}\n\n\
         data: [DONE]\n\n"
    );
    let mut meter = Meter::new(Form::Events, Some(error));
    let (out, _) = run(&mut meter, ANTHROPIC.as_bytes(), &[64]);
    assert!(String::from_utf8(out).unwrap().ends_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"max completion tokens exceeded\"}}\n\n"));
}

#[test]
fn each_dialect_gets_its_own_end_as_json() {
    let responses = "data: {\"type\":\"response.output_text.delta\",\"delta\":\"abcdefgh\"}\n\n";
    for (stream, last) in [(ANTHROPIC, "message_stop"), (responses, "response.incomplete")] {
        let mut meter = Meter::new(Form::Events, Some(limit(0)));
        let (out, over) = run(&mut meter, stream.as_bytes(), &[10]);
        assert!(over);
        let end = String::from_utf8(out).unwrap();
        let (_, data) = end.trim_end().rsplit_once("data: ").unwrap();
        let event: Value = serde_json::from_str(data).unwrap();
        assert_eq!(event["type"], last);
    }
}

#[test]
fn usage_counts_as_final_only_behind_all_text() {
    assert!(of(ANTHROPIC).final_usage);
    let (start, _) = ANTHROPIC.split_once("event: message_delta").unwrap();
    let total = of(start);
    assert!(
        total.usage.is_some() && !total.final_usage,
        "the start of a message knows no end"
    );
    let both = json!({ "choices": [{ "delta": { "content": "abcd" } }], "usage": { "total_tokens": 9 } });
    assert!(of(&format!("data: {both}\n\n")).final_usage);
}

#[test]
fn data_is_read_as_the_standard_says() {
    for (event, expected) in [
        ("data: a\n\n", Some("a")),
        ("data:a\r\n\r\n", Some("a")),
        ("data:  a\r\r", Some(" a")),
        ("data\n\n", Some("")),
        (": data: a\n\n", None),
        ("database: a\n\n", None),
        ("event: x\ndata: a\nid: 3\ndata: b\n\n", Some("a\nb")),
        ("\u{feff}data: a\n\n", Some("a")),
        ("\n", None),
    ] {
        let found = data(event.as_bytes()).map(|data| String::from_utf8(data.into_owned()).unwrap());
        assert_eq!(found.as_deref(), expected, "{event:?}");
    }
}

/// Events with lines that end in `end`.
fn events(bodies: &[String], end: &str) -> Vec<u8> {
    let events = bodies.iter().map(|body| format!("event: x{end}data: {body}{end}{end}"));
    events.collect::<Vec<_>>().concat().into_bytes()
}

proptest! {
    #[test]
    fn events_are_found_in_any_pieces(
        bodies in prop::collection::vec("[a-z ]{0,20}", 0..6),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        sizes in prop::collection::vec(1_usize..9, 1..6),
    ) {
        let stream = events(&bodies, end);
        let (mut framer, mut found, mut out, mut rest) = (Framer::default(), Vec::new(), Vec::new(), stream.as_slice());
        for size in sizes.iter().cycle() {
            let (piece, behind) = rest.split_at(rest.len().min(*size));
            rest = behind;
            framer.push(piece);
            while let Some(piece) = framer.next_piece() {
                let (Piece::Event(bytes) | Piece::Part(bytes)) = piece;
                out.extend_from_slice(&bytes);
                found.extend(data(&bytes).map(|data| String::from_utf8(data.into_owned()).unwrap()));
            }
            if rest.is_empty() { break; }
        }
        out.extend_from_slice(&framer.rest());
        prop_assert_eq!(found, bodies);
        prop_assert_eq!(out, stream);
    }

    #[test]
    fn a_stream_of_any_bytes_passes_unchanged(
        stream in prop::collection::vec(prop::sample::select(b"data: {}\"\n\r:x[]".to_vec()), 0..200),
        sizes in prop::collection::vec(1_usize..50, 1..5),
        held in any::<bool>(),
    ) {
        let mut meter = Meter::new(Form::Events, held.then(|| limit(u64::MAX)));
        let (out, over) = run(&mut meter, &stream, &sizes);
        prop_assert_eq!(out, stream);
        prop_assert!(!over);
    }

    #[test]
    fn pieces_do_not_change_what_is_counted_or_delivered(
        texts in prop::collection::vec("[a-z]{0,12}", 0..12),
        sizes in prop::collection::vec(1_usize..80, 1..5),
        most in 0_u64..20,
        step in 1_u64..6,
    ) {
        let stream: String = texts.iter().map(|text| chat(text)).collect();
        let limit = Limit { step, ..limit(most) };
        let (mut whole, mut pieces) = (Meter::new(Form::Events, Some(limit)), Meter::new(Form::Events, Some(limit)));
        let expected = run(&mut whole, stream.as_bytes(), &[100_000]);
        let got = run(&mut pieces, stream.as_bytes(), &sizes);
        prop_assert_eq!(&got, &expected);
        let (whole, pieces) = (whole.total(), pieces.total());
        prop_assert_eq!((whole.counted, whole.cut, whole.usage), (pieces.counted, pieces.cut, pieces.usage));
        let truth: u64 = texts.iter().map(|text| (text.len() as u64).div_ceil(4)).sum();
        if !expected.1 {
            prop_assert_eq!(whole.counted, truth);
            prop_assert!(truth <= most || truth / step == 0 || truth < most + step + 3);
        }
    }

    #[test]
    fn usage_in_a_stream_is_never_lost(first in 0_u64..1000, second in 0_u64..1000, sizes in prop::collection::vec(1_usize..60, 1..4)) {
        let event = |completion: u64| json!({ "choices": [], "usage": { "prompt_tokens": 1, "completion_tokens": completion } });
        let stream = format!("data: {}\r\n\r\ndata: {}\r\n\r\n", event(first), event(second));
        let mut meter = Meter::new(Form::Events, None);
        run(&mut meter, stream.as_bytes(), &sizes);
        let expected = Usage { prompt: Some(1), completion: Some(first.max(second)), total: None };
        prop_assert_eq!(meter.total().usage, Some(expected));
    }
}
