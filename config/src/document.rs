//! The tree of a parsed document: an arena of nodes that know their places.

/// A node of a [`crate::document::Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NodeId(pub u32);
