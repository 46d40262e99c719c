//! YAML text to tree: the events of `granit-parser`, with everything refused that configuration does without.

use std::borrow::Cow;
use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, StructureStyle, Tag, options};

use super::build::Builder;
use super::{Document, Format, Kind, MAX_ALIASED, MAX_NODES, MAX_YAML_BYTES, NodeId, scalar};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::span::{FileId, SourceMap, Span};

pub(super) fn parse(sources: &SourceMap, file: FileId, out: &mut Diagnostics) -> Option<Document> {
    let text = sources.text(file);
    if text.len() > MAX_YAML_BYTES {
        let message = format!("the file has {} bytes; at most {MAX_YAML_BYTES} are read", text.len());
        out.push(Diagnostic::new(codes::TOO_LARGE, message).at(Span::new(file, 0, 0)));
        return None;
    }
    let builder = Builder::new(Format::Yaml, MAX_NODES, out);
    let mut reader = Reader {
        file,
        builder,
        anchors: HashMap::new(),
        flows: Vec::new(),
        documents: 0,
        aliased: 0,
    };
    let options = options! { emit_comments: false, disallow_directives: true };
    for event in Parser::new_from_str_with_options(text, options) {
        match event {
            Ok((event, span)) => reader.event(event, &span)?,
            Err(error) => {
                reader.syntax(&error, text);
                return None;
            }
        }
    }
    Some(reader.builder.finish(Span::new(file, 0, 0)))
}

struct Reader<'o> {
    file: FileId,
    builder: Builder<'o>,
    anchors: HashMap<usize, NodeId>,
    /// For each open list or map: whether it is written in flow style (`[]`, `{}`).
    flows: Vec<bool>,
    documents: usize,
    aliased: usize,
}

impl Reader<'_> {
    fn event(&mut self, event: Event<'_>, place: &granit_parser::Span) -> Option<()> {
        let span = self.span(place);
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.refuse(
                        span,
                        "a second document (`---`) begins here",
                        "write one document a file",
                    );
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.no_tag(tag.as_deref(), place)?;
                self.scalar(text, style, anchor, span)?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.no_tag(tag.as_deref(), place)?;
                self.start(false, style, anchor, span)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                self.no_tag(tag.as_deref(), place)?;
                self.start(true, style, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let flow = self.flows.pop().unwrap_or(false);
                self.builder.end(flow.then_some(span.end));
            }
            Event::Alias(anchor) => self.alias(anchor, span)?,
            _ => {}
        }
        Some(())
    }

    fn scalar(&mut self, text: Cow<'_, str>, style: ScalarStyle, anchor: usize, span: Span) -> Option<()> {
        let plain = style == ScalarStyle::Plain;
        if self.builder.wants_key() {
            if plain && text == "<<" {
                return self.refuse(span, "merge keys (`<<`) are not supported", "write the keys out");
            }
            if plain && matches!(scalar::resolve(&text), Kind::Null) {
                return self.refuse(
                    span,
                    "a map has an empty key",
                    "give the key a name, or put it in quotes",
                );
            }
            self.builder.key(text.into_owned().into_boxed_str(), span);
            return Some(());
        }
        let kind = if plain {
            scalar::resolve(&text)
        } else {
            Kind::String(text.into_owned().into_boxed_str())
        };
        let node = self.builder.scalar(kind, span)?;
        self.remember(anchor, node);
        Some(())
    }

    fn start(&mut self, map: bool, style: StructureStyle, anchor: usize, span: Span) -> Option<()> {
        if self.builder.wants_key() {
            let help = "keys are words; quote the key if it begins with `{`, `[` or `?`";
            return self.refuse(span, "a list or map cannot be a key", help);
        }
        let node = self.builder.start(map, span)?;
        self.flows.push(style == StructureStyle::Flow);
        self.remember(anchor, node);
        Some(())
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Option<()> {
        if self.builder.wants_key() {
            return self.refuse(span, "an alias cannot be a key", "write the key out");
        }
        let original = *self.anchors.get(&anchor)?;
        if self.builder.is_open(original) {
            return self.refuse(
                span,
                "an alias refers to the value that it is part of",
                "write the value out",
            );
        }
        self.aliased += self.builder.copy(original, span)?;
        if self.aliased > MAX_ALIASED {
            let message = format!("aliases add more than {MAX_ALIASED} values to the document");
            self.builder
                .out
                .push(Diagnostic::new(codes::TOO_LARGE, message).at(span));
            return None;
        }
        Some(())
    }

    fn remember(&mut self, anchor: usize, node: NodeId) {
        if anchor > 0 {
            self.anchors.insert(anchor, node);
        }
    }

    fn no_tag(&mut self, tag: Option<&Tag>, place: &granit_parser::Span) -> Option<()> {
        if tag.is_none() {
            return Some(());
        }
        let span = self.span(&place.tag_span().unwrap_or(*place));
        self.refuse(
            span,
            "tags are not supported",
            "remove the tag; put a value in quotes to make it a string",
        )
    }

    fn refuse(&mut self, span: Span, message: &str, help: &str) -> Option<()> {
        self.builder
            .out
            .push(Diagnostic::new(codes::YAML_FEATURE, message).at(span).help(help));
        None
    }

    fn syntax(&mut self, error: &ScanError, text: &str) {
        let offset = error.marker().byte_offset().unwrap_or(0);
        let width = text
            .get(offset..)
            .and_then(|rest| rest.chars().next())
            .map_or(0, char::len_utf8);
        let span = Span::new(self.file, offset, offset + width);
        let mut diagnostic = Diagnostic::new(codes::YAML_SYNTAX, error.info()).at(span);
        let tab = ErrorKind::TabNotAllowed == *error.kind() || ErrorKind::TabInBlockIndentation == *error.kind();
        if tab || ErrorKind::TabInIndentation == *error.kind() {
            diagnostic = diagnostic.help("indent with spaces");
        }
        self.builder.out.push(diagnostic);
    }

    fn span(&self, place: &granit_parser::Span) -> Span {
        let start = place.start.byte_offset().unwrap_or(0);
        Span::new(self.file, start, place.end.byte_offset().unwrap_or(start))
    }
}
