//! The tree of a parsed document: an arena of nodes that know their places. YAML and JSON text become the same tree.
//! What the nodes mean is for [`crate::decode`].

mod build;
mod edit;
mod json;
mod path;
mod scalar;
mod yaml;

use std::fmt;

use serde::Deserialize;

use crate::diagnostic::Diagnostics;
use crate::span::{FileId, SourceMap, Span};

/// Deepest nesting of lists and maps.
pub const MAX_DEPTH: usize = 64;
/// Most nodes of a YAML document, copies made for aliases included.
pub const MAX_NODES: usize = 1_000_000;
/// Most nodes that the aliases of a YAML document may add.
pub const MAX_ALIASED: usize = 100_000;
/// Largest YAML document.
pub const MAX_YAML_BYTES: usize = 4 << 20;

/// A node of a [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u32);

/// A value and where it stands.
#[derive(Debug, Clone)]
pub struct Node {
    /// The value's text.
    pub span: Span,
    /// The text of the key that the value belongs to, when it is a value of a map.
    pub key_span: Option<Span>,
    /// The value.
    pub kind: Kind,
    parent: Option<NodeId>,
}

/// A value of a tree.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Nothing: `null`, `~` or no text at all.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string.
    String(Box<str>),
    /// A list.
    List(Vec<NodeId>),
    /// A map in the order of the text; its keys are distinct.
    Map(Vec<(Box<str>, NodeId)>),
}

/// A number with its text, because digits may matter more than the value.
#[derive(Debug, Clone)]
pub struct Number {
    /// As written.
    pub text: Box<str>,
    /// As a machine number.
    pub value: NumberValue,
}

/// The value of a [`Number`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum NumberValue {
    /// A whole number, zero or more.
    Unsigned(u64),
    /// A whole number below zero.
    Signed(i64),
    /// Any other.
    Float(f64),
}

/// Which syntax a document was written in. It decides how paths are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// YAML: `sites[0].hosts`.
    Yaml,
    /// JSON: `/sites/0/hosts`.
    Json,
}

static NOTHING: Node = Node {
    span: Span::NOWHERE,
    key_span: None,
    kind: Kind::Null,
    parent: None,
};

/// A parsed document.
#[derive(Debug, Clone)]
pub struct Document {
    nodes: Vec<Node>,
    root: NodeId,
    format: Format,
}

impl Document {
    /// Parses YAML 1.2 (core schema): one document of at most 4 MiB, without tags, merge keys and directives.
    pub fn parse_yaml(sources: &SourceMap, file: FileId) -> Result<Self, Diagnostics> {
        let mut out = Diagnostics::default();
        let document = Self::parse_yaml_into(sources, file, &mut out);
        document.filter(|_| out.is_empty()).ok_or(out)
    }

    /// As [`Document::parse_yaml`], but goes on after duplicate keys, so that further errors can be found.
    pub fn parse_yaml_into(sources: &SourceMap, file: FileId, out: &mut Diagnostics) -> Option<Self> {
        yaml::parse(sources, file, out)
    }

    /// Parses JSON (RFC 8259), strictly: no duplicate names, no comments, no byte order mark, nothing after the value,
    /// at most `max_nodes` values.
    pub fn parse_json(sources: &SourceMap, file: FileId, max_nodes: usize) -> Result<Self, Diagnostics> {
        let mut out = Diagnostics::default();
        let document = Self::parse_json_into(sources, file, max_nodes, &mut out);
        document.filter(|_| out.is_empty()).ok_or(out)
    }

    /// As [`Document::parse_json`], but goes on after duplicate names, so that further errors can be found.
    pub fn parse_json_into(sources: &SourceMap, file: FileId, max_nodes: usize, out: &mut Diagnostics) -> Option<Self> {
        json::parse(sources, file, max_nodes, out)
    }

    /// The outermost value.
    pub fn root(&self) -> NodeId {
        self.root
    }

    /// The syntax it was written in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// A node. One of another document gives an unspecified node or null.
    pub fn node(&self, node: NodeId) -> &Node {
        self.nodes.get(node.0 as usize).unwrap_or(&NOTHING)
    }

    /// A node's value.
    pub fn kind(&self, node: NodeId) -> &Kind {
        &self.node(node).kind
    }

    /// Where a node's value stands.
    pub fn span(&self, node: NodeId) -> Span {
        self.node(node).span
    }

    /// Where a node's key stands; for a node without a key, where its value stands.
    pub fn key_span(&self, node: NodeId) -> Span {
        let node = self.node(node);
        node.key_span.unwrap_or(node.span)
    }

    /// The map or list that holds a node.
    pub fn parent(&self, node: NodeId) -> Option<NodeId> {
        self.node(node).parent
    }

    /// The entries of a map; none when the node is no map.
    pub fn entries(&self, node: NodeId) -> &[(Box<str>, NodeId)] {
        match self.kind(node) {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none when the node is no list.
    pub fn items(&self, node: NodeId) -> &[NodeId] {
        match self.kind(node) {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// The value of a map's key.
    pub fn get(&self, node: NodeId, key: &str) -> Option<NodeId> {
        self.entries(node)
            .iter()
            .find(|(name, _)| name.as_ref() == key)
            .map(|(_, value)| *value)
    }

    /// An item of a list.
    pub fn item(&self, node: NodeId, index: usize) -> Option<NodeId> {
        self.items(node).get(index).copied()
    }

    /// The text of a string node.
    pub fn string(&self, node: NodeId) -> Option<&str> {
        match self.kind(node) {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    /// What a node is, in words: `a string`.
    pub fn describe(&self, node: NodeId) -> &'static str {
        match self.kind(node) {
            Kind::Null => "nothing (null)",
            Kind::Bool(_) => "a boolean",
            Kind::Number(Number {
                value: NumberValue::Float(_),
                ..
            }) => "a number with a fraction",
            Kind::Number(_) => "a number",
            Kind::String(_) => "a string",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }
}

/// Lets a type take hold of the node it is decoded from. Works with [`crate::decode`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawNode(pub NodeId);

impl RawNode {
    pub(crate) const MAGIC: &'static str = "$portcullis::RawNode";
}

impl<'de> Deserialize<'de> for RawNode {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RawNode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a node of a document")
            }

            fn visit_u32<E>(self, id: u32) -> Result<RawNode, E> {
                Ok(RawNode(NodeId(id)))
            }
        }
        deserializer.deserialize_newtype_struct(Self::MAGIC, Visitor)
    }
}
