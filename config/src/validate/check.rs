//! What every check needs: the configuration, the way from a value to its place, and the bounds that many settings share.

use std::collections::HashMap;
use std::fmt::Display;
use std::hash::Hash;
use std::ops::RangeInclusive;
use std::path::Path;

use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::document::{Document, NodeId};
use crate::gateway::Config;
use crate::units::Duration;

/// Longest time that a setting takes, unless it says otherwise.
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) struct Check<'a> {
    pub(super) config: &'a Config,
    /// What `config` was decoded from.
    pub(super) document: &'a Document,
    /// The whole document: the same, unless parts with errors were left out.
    pub(super) original: &'a Document,
    pub(super) out: &'a mut Diagnostics,
}

impl<'a> Check<'a> {
    /// The value of a key, when it is written.
    pub(super) fn written(&self, map: NodeId, key: &str) -> Option<NodeId> {
        self.document.get(map, key)
    }

    /// The value of a key, or the map where the key is not written.
    pub(super) fn at(&self, map: NodeId, key: &str) -> NodeId {
        self.document.get(map, key).unwrap_or(map)
    }

    /// An item of a list, or the list.
    pub(super) fn item(&self, list: NodeId, index: usize) -> NodeId {
        self.document.item(list, index).unwrap_or(list)
    }

    /// The entries of the map at a key, by name.
    pub(super) fn entries(&self, map: NodeId, key: &str) -> &'a [(Box<str>, NodeId)] {
        self.document
            .get(map, key)
            .map_or(&[], |map| self.document.entries(map))
    }

    /// Whether nothing was left out of the list or map at a key. What is missing from one that is not whole may be there.
    pub(super) fn is_whole(&self, map: NodeId, key: &str) -> bool {
        let children = |document: &Document| {
            let node = document.get(map, key);
            node.map(|node| document.items(node).len() + document.entries(node).len())
        };
        children(self.document) == children(self.original)
    }

    /// Whether the names at a top-level key are all known: nothing at the top level that could be it was left out.
    fn has_all_names(&self, key: &str) -> bool {
        let root = self.document.root();
        let written = self.original.get(root, key).is_some();
        written || self.document.entries(root).len() == self.original.entries(root).len()
    }

    /// The names of the upstreams, those with errors included.
    pub(super) fn upstream_names(&self) -> Option<Vec<&'a str>> {
        let map = self.original.get(self.original.root(), "upstreams");
        let entries = map.map(|map| self.original.entries(map)).unwrap_or_default();
        self.has_all_names("upstreams")
            .then(|| entries.iter().map(|(name, _)| name.as_ref()).collect())
    }

    /// The names of the listeners, those with errors included; `None` when one of them has lost its name.
    pub(super) fn listener_names(&self) -> Option<Vec<&'a str>> {
        let list = self.original.get(self.original.root(), "listeners")?;
        let name = |item: &NodeId| self.original.string(self.original.get(*item, "name")?);
        self.original.items(list).iter().map(name).collect()
    }

    /// Reports a value.
    pub(super) fn report(&mut self, code: &'static str, node: NodeId, message: impl Into<String>) {
        self.out
            .push_with(|| Diagnostic::new(code, message).on(self.original, node));
    }

    /// Reports a value, and says what to do.
    pub(super) fn report_with(
        &mut self,
        code: &'static str,
        node: NodeId,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.out
            .push_with(|| Diagnostic::new(code, message).on(self.original, node).help(help));
    }

    /// Reports a key, or the map it would be in.
    pub(super) fn report_key(
        &mut self,
        code: &'static str,
        node: NodeId,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.out
            .push_with(|| Diagnostic::new(code, message).on_key(self.original, node).help(help));
    }

    /// A value that is written must lie in a range. Defaults always do.
    pub(super) fn within<T: Copy + PartialOrd + Display>(
        &mut self,
        map: NodeId,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        let Some(node) = self.written(map, key) else { return };
        if !range.contains(&value) {
            let message = format!("`{key}` must be {} to {}", range.start(), range.end());
            self.report(codes::OUT_OF_RANGE, node, message);
        }
    }

    /// A time that is more than none and at most a day.
    pub(super) fn timeout(&mut self, map: NodeId, key: &str, value: Duration) {
        self.within(map, key, value, Duration::from_millis(1)..=DAY);
    }

    /// A list that must hold something.
    pub(super) fn not_empty<T>(&mut self, map: NodeId, key: &str, list: &[T], help: &str) {
        if list.is_empty() && self.is_whole(map, key) {
            self.report_key(
                codes::OUT_OF_RANGE,
                self.at(map, key),
                format!("`{key}` is empty"),
                help,
            );
        }
    }

    /// A text that must not be empty.
    pub(super) fn text(&mut self, map: NodeId, key: &str, text: &str) {
        if text.trim().is_empty() {
            self.report(codes::INVALID_VALUE, self.at(map, key), format!("`{key}` is empty"));
        }
    }

    /// A file or folder that must have a name.
    pub(super) fn file(&mut self, map: NodeId, key: &str, path: Option<&Path>) {
        if path.is_some_and(|path| path.as_os_str().is_empty() || path.to_string_lossy().contains('\0')) {
            self.report(
                codes::INVALID_VALUE,
                self.at(map, key),
                format!("`{key}` names no file"),
            );
        }
    }

    /// Values that must differ from each other, with what they are: `key id`.
    pub(super) fn distinct<T: Eq + Hash + Display>(
        &mut self,
        what: &str,
        values: impl IntoIterator<Item = (T, NodeId)>,
    ) {
        let mut first: HashMap<T, NodeId> = HashMap::new();
        for (value, node) in values {
            if let Some(earlier) = first.get(&value) {
                self.out.push_with(|| {
                    let message = format!("the {what} `{value}` is given twice");
                    let diagnostic = Diagnostic::new(codes::DUPLICATE_NAME, message).on(self.original, node);
                    diagnostic.related(self.document.span(*earlier), "first given here")
                });
            } else {
                first.insert(value, node);
            }
        }
    }

    /// Both or neither of two keys.
    pub(super) fn together(&mut self, map: NodeId, one: (&str, bool), other: (&str, bool)) {
        let (present, absent) = match (one.1, other.1) {
            (true, false) => (one.0, other.0),
            (false, true) => (other.0, one.0),
            _ => return,
        };
        let message = format!("`{present}` needs `{absent}`");
        self.report_key(
            codes::CONFLICTING_KEYS,
            self.at(map, present),
            message,
            format!("add `{absent}`, or remove `{present}`"),
        );
    }
}
