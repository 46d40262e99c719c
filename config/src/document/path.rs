//! Names for places in a tree: `sites[0].routes[2].filters[1]`, and JSON pointers (RFC 6901).

use std::fmt::Write as _;

use super::{Document, Format, Kind, Node, NodeId};

/// A step from a list or map to what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps from the root to a node.
pub(super) fn parts(nodes: &[Node], node: NodeId) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut child = node;
    while let Some(parent) = nodes.get(child.0 as usize).and_then(|node| node.parent) {
        let part = match nodes.get(parent.0 as usize).map(|node| &node.kind) {
            Some(Kind::List(items)) => items.iter().position(|item| *item == child).map(Part::Index),
            Some(Kind::Map(entries)) => entries
                .iter()
                .find(|(_, value)| *value == child)
                .map(|(key, _)| Part::Key(key)),
            _ => None,
        };
        parts.extend(part);
        child = parent;
    }
    parts.reverse();
    parts
}

/// Steps as text.
pub(super) fn write(parts: &[Part<'_>], format: Format) -> String {
    let mut out = String::new();
    for part in parts {
        match (format, part) {
            (Format::Yaml, Part::Key(key)) if is_word(key) => {
                out.push_str(if out.is_empty() { "" } else { "." });
                out.push_str(key);
            }
            (Format::Yaml, Part::Key(key)) => {
                let _ = write!(out, "[{key:?}]");
            }
            (Format::Yaml, Part::Index(index)) => {
                let _ = write!(out, "[{index}]");
            }
            (Format::Json, Part::Key(key)) => {
                let _ = write!(out, "/{}", key.replace('~', "~0").replace('/', "~1"));
            }
            (Format::Json, Part::Index(index)) => {
                let _ = write!(out, "/{index}");
            }
        }
    }
    out
}

fn is_word(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

impl Document {
    /// A node's path, such as `sites[0].routes[2].filters[1]`; empty for the root. Keys that are no plain words stand in
    /// brackets: `headers["x.y"]`.
    pub fn path(&self, node: NodeId) -> String {
        write(&parts(&self.nodes, node), Format::Yaml)
    }

    /// A node's JSON pointer (RFC 6901).
    pub fn pointer(&self, node: NodeId) -> String {
        write(&parts(&self.nodes, node), Format::Json)
    }

    /// A node's path or JSON pointer, as fits the document's syntax.
    pub fn place(&self, node: NodeId) -> String {
        write(&parts(&self.nodes, node), self.format)
    }

    /// The place that a key would have in a map.
    pub fn place_of_key(&self, map: NodeId, key: &str) -> String {
        let mut parts = parts(&self.nodes, map);
        parts.push(Part::Key(key));
        write(&parts, self.format)
    }

    /// The node at a path as [`Document::path`] writes it.
    pub fn at(&self, path: &str) -> Option<NodeId> {
        let mut node = self.root();
        let mut rest = path;
        while !rest.is_empty() {
            let (next, after) = if let Some(inner) = rest.strip_prefix("[\"") {
                let end = closing_quote(inner)?;
                let key: String = serde_json::from_str(&format!("\"{}\"", inner.get(..end)?)).ok()?;
                (self.get(node, &key)?, inner.get(end..)?.strip_prefix("\"]")?)
            } else if let Some(inner) = rest.strip_prefix('[') {
                let (index, after) = inner.split_once(']')?;
                (self.item(node, index.parse().ok()?)?, after)
            } else {
                let word = rest.strip_prefix('.').unwrap_or(rest);
                let end = word.find(['.', '[']).unwrap_or(word.len());
                (self.get(node, word.get(..end)?)?, word.get(end..)?)
            };
            node = next;
            rest = after;
        }
        Some(node)
    }
}

/// Where a quoted key ends: at the first quote that is not escaped.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(offset, c)| {
        let ends = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        ends.then_some(offset)
    })
}
