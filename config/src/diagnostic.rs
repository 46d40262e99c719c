//! Diagnostics: what is wrong with a document, where, and what to do about it. They are collected, never thrown one by one;
//! how they are shown is in [`render`].

pub mod render;

use crate::document::{Document, NodeId};
use crate::span::{SourceMap, Span};

pub use crate::codes::{self, CODES};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// A stable code of [`CODES`].
    pub code: &'static str,
    /// One sentence without a full stop. Never holds a secret.
    pub message: String,
    /// Where.
    pub span: Option<Span>,
    /// The place in the tree: `sites[0].routes[2].filters[1]`, or a JSON pointer for JSON documents.
    pub path: String,
    /// What to do about it.
    pub help: Option<Box<str>>,
    /// Other places that matter, each with a few words.
    pub related: Vec<(Span, String)>,
}

impl Diagnostic {
    /// A diagnostic without a place.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            span: None,
            path: String::new(),
            help: None,
            related: Vec::new(),
        }
    }

    /// Sets the place in the text.
    #[must_use]
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// Sets place and path to a node's value.
    #[must_use]
    pub fn on(self, document: &Document, node: NodeId) -> Self {
        self.at(document.span(node)).path(document.place(node))
    }

    /// Sets place and path to a node's key, or to its value where it has no key.
    #[must_use]
    pub fn on_key(self, document: &Document, node: NodeId) -> Self {
        self.at(document.key_span(node)).path(document.place(node))
    }

    /// Sets place and path by a path as [`Document::path`] writes it. Where nothing is written at the path, the place is the
    /// nearest value around it.
    #[must_use]
    pub fn at_path(self, document: &Document, path: &str) -> Self {
        let mut written = path;
        let node = loop {
            match (document.at(written), written.rfind(['.', '['])) {
                (Some(node), _) => break node,
                (None, Some(end)) => written = written.get(..end).unwrap_or(""),
                (None, None) => break document.root(),
            }
        };
        let span = if written == path {
            document.span(node)
        } else {
            document.key_span(node)
        };
        self.at(span).path(path)
    }

    /// Sets the place in the tree.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into().into_boxed_str());
        self
    }

    /// Adds another place that matters.
    #[must_use]
    pub fn related(mut self, span: Span, note: impl Into<String>) -> Self {
        self.related.push((span, note.into()));
        self
    }
}

/// Diagnostics, in the order they were found. Bounded: the first [`Diagnostics::MOST`] are kept, the rest is counted.
#[derive(Debug, Clone, Default)]
pub struct Diagnostics {
    list: Vec<Diagnostic>,
    dropped: usize,
    secrets: Vec<Span>,
}

impl Diagnostics {
    /// How many are kept.
    pub const MOST: usize = 200;

    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if self.is_full() {
            self.dropped += 1;
        } else {
            self.list.push(diagnostic);
        }
    }

    /// Adds one that is made only when there is room for it.
    pub fn push_with(&mut self, diagnostic: impl FnOnce() -> Diagnostic) {
        if self.is_full() {
            self.drop_one();
        } else {
            self.list.push(diagnostic());
        }
    }

    /// Counts one that is not kept.
    pub(crate) fn drop_one(&mut self) {
        self.dropped += 1;
    }

    /// Adds all of another collection.
    pub fn append(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.secrets.extend(other.secrets);
        for diagnostic in other.list {
            self.push(diagnostic);
        }
    }

    /// Keeps those that a condition holds for.
    pub(crate) fn retain(&mut self, condition: impl FnMut(&Diagnostic) -> bool) {
        self.list.retain(condition);
    }

    /// Marks text that excerpts must not show.
    pub fn hide(&mut self, secret: Span) {
        self.secrets.push(secret);
    }

    /// Marks the text that another list's excerpts must not show.
    pub fn hide_as(&mut self, other: &Self) {
        self.secrets.extend_from_slice(&other.secrets);
    }

    /// Puts them in the order of the text. Those without a place come first.
    pub fn sort(&mut self) {
        self.list.sort_by_key(|diagnostic| diagnostic.span);
    }

    /// Whether further ones would only be counted.
    pub fn is_full(&self) -> bool {
        self.list.len() >= Self::MOST
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are, the dropped ones included.
    pub fn len(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// How many were not kept.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// Those kept.
    pub fn iter(&self) -> std::slice::Iter<'_, Diagnostic> {
        self.list.iter()
    }

    /// As text for people, with excerpts.
    pub fn render_text(&self, sources: &SourceMap) -> String {
        render::text(self, sources)
    }

    /// As JSON for tools: `{"errors": [...], "more": 0}`.
    pub fn render_json(&self, sources: &SourceMap) -> serde_json::Value {
        render::json(self, sources)
    }
}

impl From<Diagnostic> for Diagnostics {
    fn from(diagnostic: Diagnostic) -> Self {
        let mut all = Self::default();
        all.push(diagnostic);
        all
    }
}

impl<'a> IntoIterator for &'a Diagnostics {
    type Item = &'a Diagnostic;
    type IntoIter = std::slice::Iter<'a, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Extend<Diagnostic> for Diagnostics {
    fn extend<I: IntoIterator<Item = Diagnostic>>(&mut self, diagnostics: I) {
        for diagnostic in diagnostics {
            self.push(diagnostic);
        }
    }
}

/// The candidate that `word` was most likely meant to be.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase().replace('-', "_");
    let length = word.chars().count();
    let allowed = if length < 3 { 0 } else { (length / 3).max(1) };
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let plain = candidate.to_ascii_lowercase().replace('-', "_");
        let distance = strsim::damerau_levenshtein(&word, &plain);
        let near = distance <= allowed || (plain.len() >= 3 && word.len() >= 3 && has_prefix(&word, &plain));
        if near && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

fn has_prefix(a: &str, b: &str) -> bool {
    a.starts_with(b) || b.starts_with(a)
}

/// Help for a word that is not known: "did you mean `x`?", or the words that are.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str> + Clone) -> String {
    const SHOWN: usize = 24;
    if let Some(near) = closest(word, candidates.clone()) {
        return format!("did you mean `{near}`?");
    }
    let mut names: Vec<_> = candidates.into_iter().map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match (names.len(), more) {
        (0, _) => "none is defined".to_owned(),
        (_, 0) => format!("known here: {}", names.join(", ")),
        _ => format!("known here: {} and {more} more", names.join(", ")),
    }
}
