//! The last events of a stream that was cut off, in the shape of the stream.

use std::io::Write;

use bytes::{BufMut, BytesMut};

use super::delta::Dialect;

/// The most choices that are told that they ended.
const MOST_CHOICES: u64 = 16;
const TEXT: &str = "max completion tokens exceeded";
const CODE: &str = "completion_tokens_exceeded";

/// What a client is told when its stream is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// As if the model had come to its limit.
    Graceful,
    /// An error.
    Error,
}

/// The last events of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Farewell {
    /// Whose shape they have.
    pub dialect: Dialect,
    /// What the client is told.
    pub finish: Finish,
    /// The largest index of a choice or a block so far.
    pub index: u64,
    /// Tokens of the prompt and of the answer, when they are told.
    pub usage: Option<(u64, u64)>,
}

impl Farewell {
    /// Writes them.
    pub fn write(&self, out: &mut BytesMut) {
        match self.dialect {
            Dialect::Chat => self.chat(out),
            Dialect::Responses => self.responses(out),
            Dialect::Anthropic => self.anthropic(out),
        }
    }

    fn chat(&self, out: &mut BytesMut) {
        let data = match self.finish {
            Finish::Graceful => {
                let ends = (0..=self.index.min(MOST_CHOICES - 1))
                    .map(|index| format!(r#"{{"index":{index},"delta":{{}},"finish_reason":"length"}}"#));
                let ends = ends.collect::<Vec<_>>().join(",");
                format!(r#"{{"object":"chat.completion.chunk","choices":[{ends}]"#)
            }
            Finish::Error => {
                format!(r#"{{"error":{{"message":"{TEXT}","type":"rate_limit_error","code":"{CODE}"}}"#)
            }
        };
        let usage = self.usage.map(|(prompt, completion)| {
            let total = prompt + completion;
            format!(r#","usage":{{"prompt_tokens":{prompt},"completion_tokens":{completion},"total_tokens":{total}}}"#)
        });
        event(out, None, &[&data, usage.as_deref().unwrap_or_default(), "}"].concat());
        event(out, None, "[DONE]");
    }

    fn responses(&self, out: &mut BytesMut) {
        if self.finish == Finish::Error {
            let data = format!(r#"{{"type":"error","code":"{CODE}","message":"{TEXT}"}}"#);
            return event(out, Some("error"), &data);
        }
        let usage = self.usage.map(|(input, output)| {
            let total = input + output;
            format!(r#","usage":{{"input_tokens":{input},"output_tokens":{output},"total_tokens":{total}}}"#)
        });
        let data = format!(
            r#"{{"type":"response.incomplete","response":{{"object":"response","status":"incomplete","incomplete_details":{{"reason":"max_output_tokens"}}{}}}}}"#,
            usage.unwrap_or_default()
        );
        event(out, Some("response.incomplete"), &data);
    }

    fn anthropic(&self, out: &mut BytesMut) {
        if self.finish == Finish::Error {
            let data = format!(r#"{{"type":"error","error":{{"type":"rate_limit_error","message":"{TEXT}"}}}}"#);
            return event(out, Some("error"), &data);
        }
        let stop = format!(r#"{{"type":"content_block_stop","index":{}}}"#, self.index);
        event(out, Some("content_block_stop"), &stop);
        let usage = self
            .usage
            .map(|(_, output)| format!(r#","usage":{{"output_tokens":{output}}}"#));
        let data = format!(
            r#"{{"type":"message_delta","delta":{{"stop_reason":"max_tokens","stop_sequence":null}}{}}}"#,
            usage.unwrap_or_default()
        );
        event(out, Some("message_delta"), &data);
        event(out, Some("message_stop"), r#"{"type":"message_stop"}"#);
    }
}

fn event(out: &mut BytesMut, name: Option<&str>, data: &str) {
    let mut writer = out.writer();
    // Writing to memory cannot fail.
    if let Some(name) = name {
        let _ = writeln!(writer, "event: {name}");
    }
    let _ = write!(writer, "data: {data}\n\n");
}
