//! What a request asks of a model, read from its body: the prompt, how much it may answer, whether it streams. The
//! shapes are those of OpenAI (chat, completions, responses, embeddings), Azure, Mistral and Anthropic.
//!
//! A body is read once and nothing of it is kept. Nesting is bounded by the JSON reader, size by whoever held it back.

use std::fmt;

use serde::de::{Deserializer as _, Error, IgnoredAny, MapAccess, Visitor};

use super::content::{Content, Count, Read, Reading};
use super::usage::Number;
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
        while let Some(field) = map.next_key_seed(Read(Field::of))? {
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
                map.next_value_seed(Count {
                    content: &mut self.content,
                    reading: Reading::Text,
                })
            }
            Field::Schema => map.next_value_seed(Count {
                content: &mut self.content,
                reading: Reading::Schema,
            }),
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
                let Flag(streams) = map.next_value()?;
                self.streams |= streams;
                Ok(())
            }
            Field::Other => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }
}

/// `true`, or anything else.
struct Flag(bool);

impl<'de> serde::Deserialize<'de> for Flag {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_unit<E: Error>(self) -> Result<Flag, E> {
                Ok(Flag(false))
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<Flag, E> {
                Ok(Flag(value != 0))
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<Flag, E> {
                Ok(Flag(value != 0.0))
            }

            /// Some servers take `"true"`.
            fn visit_str<E: Error>(self, value: &str) -> Result<Flag, E> {
                Ok(Flag(value.eq_ignore_ascii_case("true")))
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Flag, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Flag(false))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Flag, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Flag(false))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
