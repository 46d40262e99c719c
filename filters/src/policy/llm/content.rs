//! Counts the text in a JSON value without building it: what a model reads in a request, or what it wrote in an event.
//! Which fields of a document hold such values is the caller's to know.

use serde::de::{IgnoredAny, MapAccess, SeqAccess};

use super::value::{By, Value, by};
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
pub(super) fn count<'de>(content: &mut Content, reading: Reading) -> By<'de, Count<'_>> {
    by(Count { content, reading })
}

/// Counts one value.
pub(super) struct Count<'c> {
    content: &'c mut Content,
    reading: Reading,
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

impl<'de> Value<'de> for Count<'_> {
    type Out = ();

    fn nothing(self) {}

    fn number(self, _: f64) {
        self.content.add_number(self.reading);
    }

    fn text(self, text: &str) {
        self.content.add_bytes(text.len());
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list
            .next_element_seed(count(&mut *self.content, self.reading))?
            .is_some()
        {}
        Ok(())
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.reading;
        while let Some((name, bytes)) = map.next_key_seed(read(|name: &str| (Name::of(name), name.len())))? {
            match (name, reading) {
                // What a model draws or says is not counted by its bytes.
                (Name::Silent, Reading::Text | Reading::Answer) | (Name::Media, Reading::Answer) => {
                    _ = map.next_value::<IgnoredAny>()?;
                }
                (Name::Media, Reading::Text) => {
                    let mut media = Media::default();
                    map.next_value_seed(by(&mut media))?;
                    media.add_to(self.content);
                }
                (_, _) => {
                    if reading == Reading::Schema {
                        self.content.add_bytes(bytes);
                    }
                    map.next_value_seed(count(&mut *self.content, reading))?;
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

impl<'de> Value<'de> for &mut Media {
    type Out = ();

    fn nothing(self) {}

    fn text(self, text: &str) {
        self.text.add_bytes(text.len());
    }

    fn list<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(by(&mut *self))?.is_some() {}
        Ok(())
    }

    fn object<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(kind) =
            map.next_key_seed(read(|name: &str| matches!(name, "type" | "media_type" | "mime_type")))?
        {
            if kind {
                let text = |kind: &str| matches!(kind, "text" | "content") || kind.starts_with("text/");
                self.is_text |= map.next_value_seed(read(text))?;
            } else {
                map.next_value_seed(by(&mut *self))?;
            }
        }
        Ok(())
    }
}

/// Reads a text without keeping it; what is no text reads as the empty one.
pub(super) fn read<'de, T, F: FnOnce(&str) -> T>(then: F) -> By<'de, Text<F>> {
    by(Text(then))
}

/// A text, and what is made of it.
pub(super) struct Text<F>(F);

impl<T, F: FnOnce(&str) -> T> Value<'_> for Text<F> {
    type Out = T;

    fn nothing(self) -> T {
        (self.0)("")
    }

    fn text(self, text: &str) -> T {
        (self.0)(text)
    }
}
