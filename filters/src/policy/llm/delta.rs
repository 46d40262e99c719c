//! What one event of a stream says: text of the answer, `usage`, and whose shape it has. The shapes are those of OpenAI
//! (chat, completions, responses), Azure, Mistral and Anthropic.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::content::{Content, Reading, count, read};
use super::usage::{Number, Usage, Written};

/// Whose shape the events of a stream have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dialect {
    /// `chat.completion.chunk` and what is like it.
    #[default]
    Chat,
    /// `response.created`, `response.output_text.delta`.
    Responses,
    /// `message_start`, `content_block_delta`.
    Anthropic,
}

/// What one event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Text of the answer.
    pub content: Content,
    /// Tokens so far, when the event tells them.
    pub usage: Option<Usage>,
    /// Whose shape it has, when that is certain.
    pub dialect: Option<Dialect>,
    /// The largest index of a choice or a block in it.
    pub index: Option<u64>,
}

impl Delta {
    /// Reads the data of an event. `None`: it is no JSON object.
    pub fn read(data: &[u8]) -> Option<Self> {
        let mut delta = Self::default();
        let mut reader = serde_json::Deserializer::from_slice(data);
        Event(&mut delta).deserialize(&mut reader).ok()?;
        reader.end().ok()?;
        Some(delta)
    }

    fn tell(&mut self, usage: Option<Usage>) {
        self.usage = match (self.usage, usage) {
            (Some(known), Some(usage)) => Some(known.and(usage)),
            (known, usage) => known.or(usage),
        };
    }
}

enum Field {
    Choices,
    Text,
    Usage,
    Wrapper,
    Type,
    Index,
    Other,
}

impl Field {
    fn of(name: &str) -> Self {
        match name {
            "choices" => Self::Choices,
            "delta" | "content_block" => Self::Text,
            "usage" => Self::Usage,
            "message" | "response" => Self::Wrapper,
            "type" => Self::Type,
            "index" => Self::Index,
            _ => Self::Other,
        }
    }

    /// The fields of one choice.
    fn of_choice(name: &str) -> Self {
        match name {
            "delta" | "text" => Self::Text,
            "index" => Self::Index,
            _ => Self::Other,
        }
    }

    /// The fields of a message or a response within an event.
    fn of_wrapped(name: &str) -> Self {
        if name == "usage" { Self::Usage } else { Self::Other }
    }
}

fn dialect(kind: &str) -> Option<Dialect> {
    match kind {
        "message_start" | "content_block_start" | "content_block_delta" | "message_delta" => Some(Dialect::Anthropic),
        kind if kind.starts_with("response.") => Some(Dialect::Responses),
        _ => None,
    }
}

impl Delta {
    fn field<'de, A: MapAccess<'de>>(&mut self, field: &Field, map: &mut A) -> Result<(), A::Error> {
        match field {
            Field::Choices => map.next_value_seed(Each(self)),
            Field::Text => map.next_value_seed(count(&mut self.content, Reading::Answer)),
            Field::Usage => {
                let written: Option<Written> = map.next_value()?;
                self.tell(written.and_then(|written| written.usage()));
                Ok(())
            }
            Field::Wrapper => map.next_value_seed(Object(self, Field::of_wrapped)),
            Field::Type => {
                let dialect = map.next_value_seed(read(dialect))?;
                self.dialect = self.dialect.or(dialect);
                Ok(())
            }
            Field::Index => {
                let Number(index) = map.next_value()?;
                self.index = self.index.max(index);
                Ok(())
            }
            Field::Other => map.next_value::<IgnoredAny>().map(|_| ()),
        }
    }
}

/// An event.
struct Event<'d>(&'d mut Delta);

impl<'de> DeserializeSeed<'de> for Event<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(Object(self.0, Field::of))
    }
}

/// An object with these fields.
struct Object<'d>(&'d mut Delta, fn(&str) -> Field);

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(field) = map.next_key_seed(read(self.1))? {
            self.0.field(&field, &mut map)?;
        }
        Ok(())
    }
}

/// Each choice.
struct Each<'d>(&'d mut Delta);

impl<'de> DeserializeSeed<'de> for Each<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Each<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of choices")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Object(self.0, Field::of_choice))?.is_some() {}
        Ok(())
    }
}
