//! What a request asks for, in each shape and in bad ones.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::policy::llm::MEDIA_TOKENS;
use crate::policy::llm::prompt::Ask;

fn ask(body: &Value) -> Ask {
    Ask::read(body.to_string().as_bytes())
}

#[test]
fn a_chat_is_its_contents_by_four() {
    let body =
        json!({ "model": "gpt-4", "messages": [{ "role": "user", "content": "a".repeat(4000) }], "max_tokens": 4000 });
    let read = ask(&body);
    assert_eq!((read.prompt, read.completion(1000)), (1000, 4000));
    assert!(!read.streams);
    let silent = ask(&json!({ "messages": [{ "role": "user", "content": "abcde" }], "stream": true }));
    assert_eq!(
        (silent.prompt, silent.completion(1000), silent.streams),
        (2, 1000, true)
    );
}

#[test]
fn every_shape_is_read() {
    let text = "x".repeat(400);
    for (shape, body) in [
        (
            "chat, parts",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": text }] }] }),
        ),
        ("completions", json!({ "prompt": text })),
        (
            "completions, several",
            json!({ "prompt": ["x".repeat(200), "x".repeat(200)] }),
        ),
        ("completions, token ids", json!({ "prompt": vec![7; 100] })),
        ("embeddings, token ids", json!({ "input": [vec![7; 60], vec![7; 40]] })),
        ("responses", json!({ "input": text })),
        (
            "responses, items",
            json!({ "input": [{ "role": "user", "content": [{ "type": "input_text", "text": text }] }] }),
        ),
        ("responses, instructions", json!({ "instructions": text, "input": "" })),
        (
            "anthropic, system",
            json!({ "system": [{ "type": "text", "text": text }], "messages": [] }),
        ),
        (
            "anthropic, result of a tool",
            json!({ "messages": [{ "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "t", "content": text }] }] }),
        ),
        (
            "anthropic, a document of text",
            json!({ "messages": [{ "content": [{ "type": "document", "source": { "data": text, "type": "text", "media_type": "text/plain" } }] }] }),
        ),
        (
            "mistral, prefix",
            json!({ "messages": [{ "role": "assistant", "content": text, "prefix": true }] }),
        ),
        (
            "a call of a tool",
            json!({ "messages": [{ "role": "assistant", "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "", "arguments": text } }] }] }),
        ),
    ] {
        assert_eq!(ask(&body).prompt, 100, "{shape}");
    }
}

#[test]
fn tools_count_with_their_names() {
    let body = json!({ "messages": [], "tools": [{ "type": "function", "function": { "name": "look", "description": "d".repeat(40) } }] });
    // type function function name look description and 40 bytes
    assert_eq!(ask(&body).prompt, (4 + 8 + 8 + 4 + 4 + 11 + 40_u64).div_ceil(4));
}

#[test]
fn an_image_does_not_count_by_its_bytes() {
    let url = format!("data:image/png;base64,{}", "A".repeat(100_000));
    let openai = json!({ "messages": [{ "content": [{ "type": "image_url", "image_url": { "url": url } }] }] });
    assert_eq!(ask(&openai).prompt, MEDIA_TOKENS);
    let anthropic = json!({ "messages": [{ "content": [{ "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": url } }] }] });
    assert_eq!(ask(&anthropic).prompt, MEDIA_TOKENS);
}

#[test]
fn the_largest_of_all_limits_counts_for_each_answer() {
    let body = br#"{"messages":[],"max_tokens":5,"max_completion_tokens":"40","max_tokens":9,"n":3,"best_of":2}"#;
    let read = Ask::read(body);
    assert_eq!((read.most, read.answers, read.completion(1)), (Some(40), 3, 120));
    for most in ["-5", "0", "null", "\"many\"", "{}", "[9]", "false"] {
        let read = Ask::read(format!(r#"{{"messages":[],"max_tokens":{most},"n":-3}}"#).as_bytes());
        assert_eq!((read.completion(1000), read.answers), (1000, 1), "{most}");
    }
    let huge = Ask::read(br#"{"messages":[],"max_tokens":1e300,"n":18446744073709551615}"#);
    assert_eq!(huge.completion(1), 1_000_000_000, "never less because it is too much");
}

#[test]
fn what_is_no_known_shape_counts_by_its_length() {
    for body in [
        "",
        "hello",
        "[1,2]",
        r#"{"question":"aaaa"}"#,
        r#"{"messages":[{"content":"aaaa"}"#,
        "\u{0}\u{1}",
    ] {
        let read = Ask::read(body.as_bytes());
        assert_eq!(
            (read.prompt, read.most),
            ((body.len() as u64).div_ceil(4), None),
            "{body}"
        );
    }
    let deep = format!(r#"{{"messages":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(Ask::read(deep.as_bytes()).prompt, (deep.len() as u64).div_ceil(4));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_count_more_than_one_token_a_byte(body in prop::collection::vec(any::<u8>(), 0..300)) {
        let read = Ask::read(&body);
        prop_assert!(read.prompt <= body.len() as u64 + MEDIA_TOKENS * 300 && read.answers >= 1);
    }

    #[test]
    fn text_counts_wherever_it_is_cut_into_parts(parts in prop::collection::vec("[a-z\u{e4}\"\\\\]{0,40}", 0..8)) {
        let whole: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let list: Vec<_> = parts.iter().map(|part| json!({ "type": "text", "text": part })).collect();
        let messages: Vec<_> = parts.iter().map(|part| json!({ "role": "user", "content": part })).collect();
        prop_assert_eq!(ask(&json!({ "messages": [{ "content": list }] })).prompt, whole.div_ceil(4));
        prop_assert_eq!(ask(&json!({ "messages": messages })).prompt, whole.div_ceil(4));
    }
}
