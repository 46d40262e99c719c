//! Places: which bytes of which file. Holds the text of every file read, so that errors can show the line they speak of.
//! It does not read files.

use std::sync::Arc;

/// A file of a [`SourceMap`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId(u32);

/// A range of bytes of a file. `start` is in it, `end` is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The range `start..end` of a file. Offsets beyond 4 GiB saturate.
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            file,
            start: narrow(start),
            end: narrow(end.max(start)),
        }
    }

    /// Whether the two share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.file.0 == other.file.0 && self.start < other.end && other.start < self.end
    }

    /// The place that stands for "nowhere": the start of the first file.
    pub(crate) const NOWHERE: Self = Self {
        file: FileId(0),
        start: 0,
        end: 0,
    };
}

/// A place as people say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// The file's name as given to [`SourceMap::add`].
    pub file: String,
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

/// The files that were read, in order. A clone shares their texts.
#[derive(Debug, Clone, Default)]
pub struct SourceMap {
    files: Vec<Arc<Source>>,
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    /// Byte offset at which each line begins.
    lines: Vec<u32>,
}

impl SourceMap {
    /// Adds a file.
    pub fn add(&mut self, name: impl Into<String>, text: impl Into<String>) -> FileId {
        let text = text.into();
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = breaks.map(|(offset, _)| u32::try_from(offset + 1).unwrap_or(u32::MAX));
        let lines = std::iter::once(0).chain(starts).collect();
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(Arc::new(Source {
            name: name.into(),
            text,
            lines,
        }));
        id
    }

    /// Name and text of every file, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files
            .iter()
            .map(|source| (source.name.as_str(), source.text.as_str()))
    }

    /// The text of a file; empty when there is no such file.
    pub fn text(&self, file: FileId) -> &str {
        self.source(file).map_or("", |source| &source.text)
    }

    /// The name of a file.
    pub fn name(&self, file: FileId) -> &str {
        self.source(file).map_or("", |source| &source.name)
    }

    /// Line and column of a span's start.
    pub fn locate(&self, span: Span) -> Location {
        self.locate_offset(span.file, span.start)
    }

    /// Line and column of a span's end.
    pub fn locate_end(&self, span: Span) -> Location {
        self.locate_offset(span.file, span.end)
    }

    fn locate_offset(&self, file: FileId, offset: u32) -> Location {
        let Some(source) = self.source(file) else {
            return Location {
                file: String::new(),
                line: 1,
                column: 1,
            };
        };
        let line = source.lines.partition_point(|start| *start <= offset).max(1);
        let start = source.lines.get(line - 1).copied().unwrap_or(0);
        let before = source
            .text
            .as_bytes()
            .get(start as usize..offset as usize)
            .unwrap_or_default();
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Location {
            file: source.name.clone(),
            line: narrow(line),
            column: narrow(characters(before) + 1),
        }
    }

    /// The line in which a span starts, without its line break, and the span of that line.
    pub(crate) fn line(&self, span: Span) -> (&str, Span) {
        let Some(source) = self.source(span.file) else {
            return ("", span);
        };
        let index = source.lines.partition_point(|start| *start <= span.start).max(1);
        let start = source.lines.get(index - 1).copied().unwrap_or(0) as usize;
        let end = source
            .lines
            .get(index)
            .map_or(source.text.len(), |next| (*next as usize).saturating_sub(1));
        let text = source.text.get(start..end).unwrap_or("");
        let text = text.strip_suffix('\r').unwrap_or(text);
        (text, Span::new(span.file, start, start + text.len()))
    }

    fn source(&self, file: FileId) -> Option<&Source> {
        self.files.get(file.0 as usize).map(AsRef::as_ref)
    }
}

/// Characters that begin in these bytes of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte & 0xC0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_end_without_their_breaks() {
        let mut sources = SourceMap::default();
        let file = sources.add("a.yaml", "one\r\nzwölf: x\n");
        let span = Span::new(file, 13, 14);
        assert_eq!(
            sources.locate(span),
            Location {
                file: "a.yaml".into(),
                line: 2,
                column: 8
            }
        );
        assert_eq!(sources.line(span).0, "zwölf: x");
        assert_eq!(sources.line(Span::new(file, 0, 3)).0, "one");
        assert_eq!(sources.locate(Span::new(file, 15, 15)).line, 3);
        assert_eq!(sources.line(Span::new(file, 900, 900)).0, "");
    }
}
