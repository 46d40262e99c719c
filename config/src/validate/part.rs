//! What is left of a document without its parts that have errors of shape, so that the rest can be checked in the same run.

use crate::decode::decode;
use crate::diagnostic::Diagnostics;
use crate::document::{Document, Kind, NodeId};
use crate::gateway::Config;

/// Lists of plain values whose items can be left out without changing what the others mean.
const LISTS: [&str; 2] = ["hosts", "trusted_proxies"];
/// Maps of named things.
const COLLECTIONS: [&str; 2] = ["upstreams", "issuers"];

/// The document without the things that hold these nodes, and what it says.
pub(super) fn without(document: &Document, trouble: &[NodeId]) -> Option<(Config, Document)> {
    let mut rest = document.clone();
    for node in trouble {
        rest.remove(thing(document, *node)?);
    }
    let mut ignored = Diagnostics::default();
    let config = decode(&rest, rest.root(), &[], &mut ignored)?;
    Some((config, rest))
}

/// The smallest thing around a node that stands for itself: a route, a server, an upstream, else a section of the top level.
fn thing(document: &Document, node: NodeId) -> Option<NodeId> {
    let mut node = node;
    loop {
        let parent = document.parent(node)?;
        let grandparent = document.parent(parent);
        let named = |names: &[&str]| {
            names
                .iter()
                .any(|name| grandparent.and_then(|map| document.get(map, name)) == Some(parent))
        };
        let stands_alone = match document.kind(parent) {
            Kind::List(_) => matches!(document.kind(node), Kind::Map(_)) || named(&LISTS),
            Kind::Map(_) => grandparent.is_none() || named(&COLLECTIONS),
            _ => false,
        };
        if stands_alone {
            return Some(node);
        }
        node = parent;
    }
}
