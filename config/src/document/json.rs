//! JSON text to tree: RFC 8259 to the letter, and duplicate names refused.

use super::build::Builder;
use super::{Document, Format, Kind, Number, NumberValue, scalar};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::span::{FileId, SourceMap, Span};

pub(super) fn parse(sources: &SourceMap, file: FileId, max_nodes: usize, out: &mut Diagnostics) -> Option<Document> {
    let text = sources.text(file);
    let builder = Builder::new(Format::Json, max_nodes, out);
    let mut reader = Reader {
        text,
        file,
        offset: 0,
        builder,
    };
    if text.starts_with('\u{feff}') {
        return reader.wrong("the text begins with a byte order mark");
    }
    reader.space();
    reader.value()?;
    // Lists and maps are read in one loop instead of by recursion: `builder` keeps those that are open.
    while reader.builder.depth() > 0 {
        reader.step()?;
    }
    reader.space();
    if reader.offset < text.len() {
        return reader.wrong("something follows the value");
    }
    Some(reader.builder.finish(Span::new(file, 0, 0)))
}

struct Reader<'t, 'o> {
    text: &'t str,
    file: FileId,
    offset: usize,
    builder: Builder<'o>,
}

impl Reader<'_, '_> {
    /// Goes on within the innermost list or map: after its opening, or after one of its values.
    fn step(&mut self) -> Option<()> {
        self.space();
        let map = self.builder.is_map();
        let close = if map { b'}' } else { b']' };
        let empty = self.builder.is_empty();
        match self.peek() {
            Some(byte) if byte == close => {
                self.offset += 1;
                self.builder.end(u32::try_from(self.offset).ok());
                return Some(());
            }
            Some(b',') if !empty => {
                self.offset += 1;
                self.space();
                if self.peek() == Some(close) {
                    return self.wrong("a comma stands before the closing bracket");
                }
            }
            _ if empty => {}
            _ if map => return self.wrong("expected `,` or `}`"),
            _ => return self.wrong("expected `,` or `]`"),
        }
        if map {
            self.name()?;
        }
        self.value()
    }

    fn name(&mut self) -> Option<()> {
        if self.peek() != Some(b'"') {
            return self.wrong("expected a name in double quotes");
        }
        let start = self.offset;
        let name = self.string()?;
        self.builder.key(name, Span::new(self.file, start, self.offset));
        self.space();
        if self.peek() != Some(b':') {
            return self.wrong("expected `:`");
        }
        self.offset += 1;
        self.space();
        Some(())
    }

    fn value(&mut self) -> Option<()> {
        let start = self.offset;
        let kind = match self.peek() {
            Some(open @ (b'{' | b'[')) => {
                self.offset += 1;
                return self
                    .builder
                    .start(open == b'{', Span::new(self.file, start, self.offset))
                    .map(|_| ());
            }
            Some(b'"') => Kind::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'a'..=b'z') => self.word()?,
            Some(_) => return self.wrong("expected a value"),
            None => return self.wrong("the text ends where a value is expected"),
        };
        self.builder
            .scalar(kind, Span::new(self.file, start, self.offset))
            .map(|_| ())
    }

    fn word(&mut self) -> Option<Kind> {
        let words = [
            ("true", Kind::Bool(true)),
            ("false", Kind::Bool(false)),
            ("null", Kind::Null),
        ];
        let rest = self.rest();
        let length = rest.bytes().take_while(u8::is_ascii_alphanumeric).count();
        match words.into_iter().find(|(word, _)| rest.get(..length) == Some(*word)) {
            Some((word, kind)) => {
                self.offset += word.len();
                Some(kind)
            }
            None => self.wrong("expected a value; the only words are `true`, `false` and `null`"),
        }
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.offset;
        self.skip(|byte| byte == b'-', 1);
        if self.peek() == Some(b'0') {
            self.offset += 1;
        } else if self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0 {
            return self.wrong("expected a digit");
        }
        let mut float = false;
        if self.skip(|byte| byte == b'.', 1) == 1 {
            float = true;
            if self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0 {
                return self.wrong("expected a digit after the point");
            }
        }
        if self.skip(|byte| matches!(byte, b'e' | b'E'), 1) == 1 {
            float = true;
            self.skip(|byte| matches!(byte, b'+' | b'-'), 1);
            if self.skip(|byte| byte.is_ascii_digit(), usize::MAX) == 0 {
                return self.wrong("expected a digit of the exponent");
            }
        }
        if self
            .peek()
            .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
        {
            return self.wrong("expected the number to end");
        }
        let text = self.text.get(start..self.offset)?;
        let value = if float {
            NumberValue::Float(text.parse().ok()?)
        } else {
            scalar::whole(text)
        };
        if matches!(value, NumberValue::Float(float) if !float.is_finite()) {
            self.offset = start;
            return self.wrong("the number is too large");
        }
        Some(Kind::Number(Number {
            text: text.into(),
            value,
        }))
    }

    /// A string. Its end is found here; what stands in it is checked and unescaped by `serde_json`.
    fn string(&mut self) -> Option<Box<str>> {
        let start = self.offset;
        let mut escaped = false;
        let inner = self.text.as_bytes().get(start + 1..)?;
        let length = inner.iter().position(|byte| {
            let ends = *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let Some(length) = length else {
            return self.wrong("the string has no closing quote");
        };
        let end = start + length + 2;
        match serde_json::from_str::<Box<str>>(self.text.get(start..end)?) {
            Ok(text) => {
                self.offset = end;
                Some(text)
            }
            Err(error) => {
                let message = error.to_string();
                let reason = message.split(" at line ").next().unwrap_or("bad string").to_owned();
                self.offset += error.column().saturating_sub(1).min(length);
                while !self.text.is_char_boundary(self.offset) {
                    self.offset -= 1;
                }
                self.wrong(&reason)
            }
        }
    }

    fn skip(&mut self, wanted: impl Fn(u8) -> bool, most: usize) -> usize {
        let count = self.rest().bytes().take(most).take_while(|byte| wanted(*byte)).count();
        self.offset += count;
        count
    }

    fn space(&mut self) {
        self.skip(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'), usize::MAX);
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn rest(&self) -> &str {
        self.text.get(self.offset..).unwrap_or("")
    }

    fn wrong<T>(&mut self, message: &str) -> Option<T> {
        let width = self.rest().chars().next().map_or(0, char::len_utf8);
        let span = Span::new(self.file, self.offset, self.offset + width);
        self.builder
            .out
            .push(Diagnostic::new(codes::JSON_SYNTAX, message).at(span));
        None
    }
}
