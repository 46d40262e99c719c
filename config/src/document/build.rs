//! Builds the arena of a document, within its bounds. Knows nothing of syntax.

use std::collections::HashMap;

use super::path::{self, Part};
use super::{Document, Format, Kind, MAX_DEPTH, Node, NodeId};
use crate::diagnostic::{Diagnostic, Diagnostics, codes};
use crate::span::Span;

/// Most nodes a document can number.
const ADDRESSABLE: usize = u32::MAX as usize;

/// A list or map that is not finished.
struct Frame {
    node: NodeId,
    /// For a map: the keys it has, the key whose value comes next, and whether that value is to be dropped.
    keys: Option<HashMap<Box<str>, Span>>,
    next_key: Option<(Box<str>, Span)>,
    drop_next: bool,
    /// Whether something was put into it, a dropped value included.
    used: bool,
}

/// Takes scalars, starts and ends in the order of the text. `None` means: a bound was broken, it is in `out`, stop.
pub(super) struct Builder<'o> {
    nodes: Vec<Node>,
    frames: Vec<Frame>,
    root: Option<NodeId>,
    max_nodes: usize,
    format: Format,
    pub(super) out: &'o mut Diagnostics,
}

impl<'o> Builder<'o> {
    pub(super) fn new(format: Format, max_nodes: usize, out: &'o mut Diagnostics) -> Self {
        let max_nodes = max_nodes.min(ADDRESSABLE);
        Self {
            nodes: Vec::new(),
            frames: Vec::new(),
            root: None,
            max_nodes,
            format,
            out,
        }
    }

    /// Whether the next scalar is a key.
    pub(super) fn wants_key(&self) -> bool {
        self.frames
            .last()
            .is_some_and(|frame| frame.keys.is_some() && frame.next_key.is_none())
    }

    /// The key of the value that comes next. A second one of the same name is reported, and its value is dropped.
    pub(super) fn key(&mut self, key: Box<str>, span: Span) {
        let Some(frame) = self.frames.last_mut() else { return };
        let Some(keys) = &mut frame.keys else { return };
        let first = keys.get(&key).copied();
        if let Some(first) = first {
            let (map, nodes, format) = (frame.node, &self.nodes, self.format);
            self.out.push_with(|| {
                let diagnostic = Diagnostic::new(codes::DUPLICATE_KEY, format!("the key `{key}` stands here twice"));
                let mut parts = path::parts(nodes, map);
                parts.push(Part::Key(&key));
                let place = path::write(&parts, format);
                diagnostic.at(span).path(place).related(first, "first written here")
            });
        } else {
            keys.insert(key.clone(), span);
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.drop_next = first.is_some();
            frame.next_key = Some((key, span));
        }
    }

    pub(super) fn scalar(&mut self, kind: Kind, span: Span) -> Option<NodeId> {
        let node = self.add(kind, span)?;
        self.attach(node);
        Some(node)
    }

    pub(super) fn start(&mut self, map: bool, span: Span) -> Option<NodeId> {
        if self.frames.len() >= MAX_DEPTH {
            return self.too_deep(span);
        }
        let kind = if map {
            Kind::Map(Vec::new())
        } else {
            Kind::List(Vec::new())
        };
        let node = self.add(kind, span)?;
        self.attach(node);
        self.frames.push(Frame {
            node,
            keys: map.then(HashMap::new),
            next_key: None,
            drop_next: false,
            used: false,
        });
        Some(node)
    }

    /// Ends the innermost list or map. Without `end`, it ends where its last child does.
    pub(super) fn end(&mut self, end: Option<u32>) {
        let Some(frame) = self.frames.pop() else { return };
        let last = match self.nodes.get(frame.node.0 as usize).map(|node| &node.kind) {
            Some(Kind::List(items)) => items.last().copied(),
            Some(Kind::Map(entries)) => entries.last().map(|(_, value)| *value),
            _ => None,
        };
        let child = last.and_then(|last| self.nodes.get(last.0 as usize)).map(|node| {
            let key_end = node.key_span.map_or(0, |key| key.end);
            node.span.end.max(key_end)
        });
        if let Some(node) = self.nodes.get_mut(frame.node.0 as usize) {
            node.span.end = end.or(child).unwrap_or(node.span.end).max(node.span.start);
        }
    }

    /// Whether the innermost open value is a map.
    pub(super) fn is_map(&self) -> bool {
        self.frames.last().is_some_and(|frame| frame.keys.is_some())
    }

    /// Whether the innermost open list or map has nothing in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.last().is_some_and(|frame| !frame.used)
    }

    /// How many lists and maps are open.
    pub(super) fn depth(&self) -> usize {
        self.frames.len()
    }

    /// Whether a node is still being built.
    pub(super) fn is_open(&self, node: NodeId) -> bool {
        self.frames.iter().any(|frame| frame.node == node)
    }

    /// Attaches a copy of a finished node. Gives the number of nodes it took.
    pub(super) fn copy(&mut self, original: NodeId, span: Span) -> Option<usize> {
        let before = self.nodes.len();
        let copy = self.copy_below(original, self.frames.len(), span)?;
        self.attach(copy);
        Some(self.nodes.len() - before)
    }

    fn copy_below(&mut self, original: NodeId, depth: usize, span: Span) -> Option<NodeId> {
        let Node { span: place, kind, .. } = self.nodes.get(original.0 as usize)?.clone();
        if depth >= MAX_DEPTH && matches!(kind, Kind::List(_) | Kind::Map(_)) {
            return self.too_deep(span);
        }
        let copy = self.add(Kind::Null, place)?;
        let kind = match kind {
            Kind::List(items) => {
                let mut copies = Vec::with_capacity(items.len());
                for item in items {
                    copies.push(self.copy_child(item, copy, depth, span)?);
                }
                Kind::List(copies)
            }
            Kind::Map(entries) => {
                let mut copies = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    copies.push((key, self.copy_child(value, copy, depth, span)?));
                }
                Kind::Map(copies)
            }
            scalar => scalar,
        };
        self.nodes.get_mut(copy.0 as usize)?.kind = kind;
        Some(copy)
    }

    fn copy_child(&mut self, original: NodeId, parent: NodeId, depth: usize, span: Span) -> Option<NodeId> {
        let key_span = self.nodes.get(original.0 as usize)?.key_span;
        let copy = self.copy_below(original, depth + 1, span)?;
        let node = self.nodes.get_mut(copy.0 as usize)?;
        node.parent = Some(parent);
        node.key_span = key_span;
        Some(copy)
    }

    fn add(&mut self, kind: Kind, span: Span) -> Option<NodeId> {
        if self.nodes.len() >= self.max_nodes {
            let message = format!("the document has more than {} values", self.max_nodes);
            self.out.push(Diagnostic::new(codes::TOO_LARGE, message).at(span));
            return None;
        }
        let id = NodeId(u32::try_from(self.nodes.len()).ok()?);
        self.nodes.push(Node {
            span,
            key_span: None,
            kind,
            parent: None,
        });
        Some(id)
    }

    fn attach(&mut self, child: NodeId) {
        let Some(frame) = self.frames.last_mut() else {
            self.root.get_or_insert(child);
            return;
        };
        let parent = frame.node;
        frame.used = true;
        let key = frame.next_key.take();
        let drop = std::mem::take(&mut frame.drop_next);
        if let Some(node) = self.nodes.get_mut(child.0 as usize) {
            node.parent = Some(parent);
            node.key_span = key.as_ref().map(|(_, span)| *span);
        }
        match (self.nodes.get_mut(parent.0 as usize).map(|node| &mut node.kind), key) {
            (Some(Kind::List(items)), _) => items.push(child),
            (Some(Kind::Map(entries)), Some((key, _))) if !drop => entries.push((key, child)),
            _ => {}
        }
    }

    fn too_deep<T>(&mut self, span: Span) -> Option<T> {
        let message = format!("lists and maps are nested deeper than {MAX_DEPTH}");
        self.out.push(Diagnostic::new(codes::TOO_LARGE, message).at(span));
        None
    }

    pub(super) fn finish(self, nothing: Span) -> Document {
        let mut nodes = self.nodes;
        let root = self.root.unwrap_or_else(|| {
            nodes.insert(
                0,
                Node {
                    span: nothing,
                    key_span: None,
                    kind: Kind::Null,
                    parent: None,
                },
            );
            NodeId(0)
        });
        Document {
            nodes,
            root,
            format: self.format,
        }
    }
}
