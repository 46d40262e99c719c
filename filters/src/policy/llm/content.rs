//! Counts the text in a JSON value without building it: what a model reads in a request, or what it wrote in an event.
//! Which fields of a document hold such values is the caller's to know.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{MEDIA_TOKENS, tokens_of};

/// What was found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Content {
    /// Bytes of text.
    pub bytes: u64,
    /// Tokens that were given as such, and those of images, sounds and files.
    pub tokens: u64,
}

impl Content {
    /// All of it in tokens.
    pub const fn total(self) -> u64 {
        self.tokens.saturating_add(tokens_of(self.bytes))
    }

    const fn add_bytes(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    const fn add_number(&mut self, reading: Reading) {
        if !matches!(reading, Reading::Answer) {
            self.add_tokens(1);
        }
    }

    const fn add_tokens(&mut self, tokens: u64) {
        self.tokens = self.tokens.saturating_add(tokens);
    }
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Messages: texts count, names of fields do not. A number is a token's id.
    Text,
    /// Schemas of tools: all of it goes to the model, so names count too.
    Schema,
    /// What a model wrote: texts only.
    Answer,
}

/// Adds the text of a value to `content`.
pub struct Count<'c> {
    /// What was found so far.
    pub content: &'c mut Content,
    /// How the value is read.
    pub reading: Reading,
}

/// What the name of a field says about its value.
enum Name {
    /// The value is no text for a model or of one.
    Silent,
    /// The value may be an image, a sound or a file.
    Media,
    /// The value counts.
    Counts,
}

impl Name {
    fn of(name: &str) -> Self {
        match name {
            "role" | "type" | "id" | "index" | "status" | "detail" | "format" | "signature" | "encrypted_content"
            | "finish_reason" | "stop_reason" | "stop_sequence" | "tool_call_id" | "tool_use_id" | "call_id"
            | "item_id" | "cache_control" | "obfuscation" | "logprobs" => Self::Silent,
            "image_url" | "image" | "input_audio" | "audio" | "video_url" | "file" | "file_data" | "source"
            | "document_url" | "inline_data" => Self::Media,
            _ => Self::Counts,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Count<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Count<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.content.add_number(self.reading);
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.content.add_number(self.reading);
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.content.add_number(self.reading);
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.content.add_bytes(text.len());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let reading = self.reading;
        while seq
            .next_element_seed(Count {
                content: &mut *self.content,
                reading,
            })?
            .is_some()
        {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.reading;
        while let Some((name, bytes)) = map.next_key_seed(Read(|name: &str| (Name::of(name), name.len())))? {
            match (name, reading) {
                // What a model draws or says is not counted by its bytes.
                (Name::Silent, Reading::Text | Reading::Answer) | (Name::Media, Reading::Answer) => {
                    _ = map.next_value::<IgnoredAny>()?;
                }
                (Name::Media, Reading::Text) => {
                    let mut media = Media::default();
                    map.next_value_seed(&mut media)?;
                    media.add_to(self.content);
                }
                (_, _) => {
                    if reading == Reading::Schema {
                        self.content.add_bytes(bytes);
                    }
                    map.next_value_seed(Count {
                        content: &mut *self.content,
                        reading,
                    })?;
                }
            }
        }
        Ok(())
    }
}

/// An image, a sound or a file: so many tokens whatever its size, unless it says that it is text.
#[derive(Debug, Default)]
struct Media {
    text: Content,
    is_text: bool,
}

impl Media {
    const fn add_to(self, content: &mut Content) {
        if self.is_text {
            content.bytes = content.bytes.saturating_add(self.text.bytes);
            content.add_tokens(self.text.tokens);
        } else {
            content.add_tokens(MEDIA_TOKENS);
        }
    }
}

impl<'de> DeserializeSeed<'de> for &mut Media {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for &mut Media {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.text.add_bytes(text.len());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(&mut *self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(kind) =
            map.next_key_seed(Read(|name: &str| matches!(name, "type" | "media_type" | "mime_type")))?
        {
            if kind {
                let text = |kind: &str| matches!(kind, "text" | "content") || kind.starts_with("text/");
                self.is_text |= map.next_value_seed(Read(text))?;
            } else {
                map.next_value_seed(&mut *self)?;
            }
        }
        Ok(())
    }
}

/// Reads a text without keeping it; what is no text reads as the empty one.
pub struct Read<F>(pub F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Read<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for Read<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        Ok((self.0)(""))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<T, E> {
        Ok((self.0)(""))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        Ok((self.0)(""))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<T, E> {
        Ok((self.0)(""))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        Ok((self.0)(""))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<T, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok((self.0)(""))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<T, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok((self.0)(""))
    }
}
