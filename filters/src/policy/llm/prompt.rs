//! What a request asks of a model, read from its body: the prompt, how much it may answer, whether it streams. The
//! shapes are those of OpenAI (chat, completions, responses, embeddings), Azure, Mistral and Anthropic.
//!
//! A body is read once and nothing of it is kept. Nesting is bounded by the JSON reader, size by whoever held it back.

use std::fmt;

use serde::de::{Deserializer as _, IgnoredAny, MapAccess, Visitor};

use super::content::{Content, Reading, count, read};
use super::usage::Number;
use super::value::{Value, by};
use super::{MAX_TOKENS, tokens_of};

/// What a request asks of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ask {
    /// Tokens of the prompt, estimated.
    pub prompt: u64,
    /// Most tokens of one answer, when the request says so.
    pub most: Option<u64>,
    /// How many answers it wants.
    pub answers: u64,
    /// Whether it wants a stream.
    pub streams: bool,
}

impl Ask {
    /// Reads a body. One that is not of a known shape is a prompt as a whole.
    pub fn read(body: &[u8]) -> Self {
        let mut reader = serde_json::Deserializer::from_slice(body);
        let read = reader.deserialize_any(Shape).and_then(|fields| {
            reader.end()?;
            Ok(fields)
        });
        match read {
            Ok(fields) if fields.has_prompt => fields.ask(fields.content.total()),
            Ok(fields) => fields.ask(tokens_of(body.len() as u64)),
            Err(_) => Fields::default().ask(tokens_of(body.len() as u64)),
        }
    }

    /// Most tokens of all answers together; `default` for one that says nothing.
    pub fn completion(&self, default: u64) -> u64 {
        let one = self.most.unwrap_or(default);
        one.saturating_mul(self.answers).min(MAX_TOKENS)
    }
}

/// The fields of a body that count. A field that is there twice counts twice, or the larger of the two.
#[derive(Debug, Default)]
struct Fields {
    content: Content,
    has_prompt: bool,
    most: Option<u64>,
    answers: u64,
    streams: bool,
}

impl Fields {
    fn ask(&self, prompt: u64) -> Ask {
        Ask {
            prompt: prompt.min(MAX_TOKENS),
            most: self.most,
            answers: self.answers.max(1),
            streams: self.streams,
        }
    }
}

enum Field {
    Prompt,
    Schema,
    Most,
    Answers,
    Stream,
    Other,
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "messages" | "prompt" | "input" | "system" | "instructions" | "suffix" | "prediction" | "documents"
            | "contents" => Self::Prompt,
            "tools" | "functions" | "response_format" | "text" | "output_config" => Self::Schema,
            "max_tokens" | "max_completion_tokens" | "max_output_tokens" => Self::Most,
            "n" | "best_of" => Self::Answers,
            "stream" => Self::Stream,
            _ => Self::Other,
        }
    }
}

struct Shape;

impl<'de> Visitor<'de> for Shape {
    type Value = Fields;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(field) = map.next_key_seed(read(Field::of))? {
            fields.read(&field, &mut map)?;
        }
        Ok(fields)
    }
}

impl Fields {
    fn read<'de, A: MapAccess<'de>>(&mut self, field: &Field, map: &mut A) -> Result<(), A::Error> {
        match field {
            Field::Prompt => {
                self.has_prompt = true;
                map.next_value_seed(count(&mut self.content, Reading::Text))
            }
            Field::Schema => map.next_value_seed(count(&mut self.content, Reading::Schema)),
            Field::Most => {
                let Number(most) = map.next_value()?;
                self.most = self
                    .most
                    .max(most.filter(|most| *most > 0).map(|most| most.min(MAX_TOKENS)));
                Ok(())
            }
            Field::Answers => {
                let Number(answers) = map.next_value()?;
                self.answers = self.answers.max(answers.unwrap_or(1));
                Ok(())
            }
            Field::Stream => {
                self.streams |= map.next_value_seed(by(Flag))?;
                Ok(())
            }
            Field::Other => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }
}

/// Whether it is true; numbers other than 0 are, and some servers take `"true"`.
struct Flag;

impl Value<'_> for Flag {
    type Out = bool;

    fn nothing(self) -> bool {
        false
    }

    fn flag(self, value: bool) -> bool {
        value
    }

    fn number(self, value: f64) -> bool {
        value != 0.0
    }

    fn text(self, value: &str) -> bool {
        value.eq_ignore_ascii_case("true")
    }
}
