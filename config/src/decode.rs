//! Tree to typed values. Any type that implements `Deserialize` can be decoded, and *all* that is wrong is collected.
//!
//! Serde stops at the first error. So a value that fails is reported, hidden, and the whole is decoded again with a
//! stand-in at its place, until nothing new is found. Keys are checked against the names that a struct asks for, so a
//! misspelt key is found in every struct, with or without `deny_unknown_fields`.
//!
//! The text of a custom error may have a second line: it becomes the diagnostic's help.

mod access;
mod dream;
mod error;
mod tree;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use serde::de::DeserializeOwned;

use crate::diagnostic::{Diagnostics, closest};
use crate::document::{Document, Kind, NodeId};

use error::{Error, Reason};
use tree::Tree;

/// What to allow while decoding.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules<'a> {
    /// Keys of the outermost map that are not for the type. With such keys, `null` is an empty map.
    pub ignore: &'a [&'a str],
    /// `null` means absent for every key of every struct, not only for optional ones.
    pub null_is_absent: bool,
}

/// Decodes a node. What is wrong is added to `out`; the value is given only when nothing was.
///
/// `ignore` names keys of the outermost map that are not for the type. With such keys the map may also be left out: a filter
/// without settings is written `policy:`.
pub fn decode<T: DeserializeOwned>(
    document: &Document,
    node: NodeId,
    ignore: &[&str],
    out: &mut Diagnostics,
) -> Option<T> {
    decode_with(
        document,
        node,
        Rules {
            ignore,
            null_is_absent: false,
        },
        out,
    )
}

/// As [`decode`], under the given rules.
pub fn decode_with<T: DeserializeOwned>(
    document: &Document,
    node: NodeId,
    rules: Rules<'_>,
    out: &mut Diagnostics,
) -> Option<T> {
    decode_or_trouble(document, node, rules, out).ok()
}

/// As [`decode_with`]. In place of a value, it gives the nodes that something is wrong with.
pub(crate) fn decode_or_trouble<T: DeserializeOwned>(
    document: &Document,
    node: NodeId,
    rules: Rules<'_>,
    out: &mut Diagnostics,
) -> Result<T, Vec<NodeId>> {
    /// Every round hides one more place, and no more than [`Diagnostics::MOST`] are reported.
    const ROUNDS: usize = 4 * Diagnostics::MOST;
    let run = Run {
        document,
        rules,
        root: node,
        state: RefCell::default(),
    };
    for _ in 0..ROUNDS {
        let result = T::deserialize(Tree::new(&run, node));
        let mut state = run.state.borrow_mut();
        state.move_to(out);
        let error = match result {
            Ok(value) if !state.failed => return Ok(value),
            Ok(_) => break,
            Err(error) => error,
        };
        state.failed = true;
        let progress = state.learn(&run, &error, out);
        if !progress || out.is_full() {
            break;
        }
    }
    Err(run.state.into_inner().trouble())
}

/// One decoding with all its rounds.
struct Run<'d> {
    document: &'d Document,
    rules: Rules<'d>,
    root: NodeId,
    state: RefCell<State>,
}

impl Run<'_> {
    /// Whether a value of a struct counts as not written.
    fn is_absent(&self, value: NodeId) -> bool {
        self.rules.null_is_absent && matches!(self.document.kind(value), Kind::Null)
    }
}

/// What earlier rounds have taught.
#[derive(Default)]
struct State {
    /// Something was wrong.
    failed: bool,
    /// Values that a stand-in replaces.
    hidden: HashSet<NodeId>,
    /// Items that later rounds need not look into again, because nothing more is wrong with them.
    passed: HashSet<NodeId>,
    /// Missing keys that a stand-in provides, by map.
    provided: HashMap<NodeId, Vec<String>>,
    /// Unknown keys that were reported.
    unknown: HashSet<NodeId>,
    /// Keys that unknown ones were likely meant to be, by map: that they are missing need not be said as well.
    misspelt: HashSet<(NodeId, &'static str)>,
    /// Found during the current round.
    found: Diagnostics,
}

impl State {
    fn move_to(&mut self, out: &mut Diagnostics) {
        self.failed |= !self.found.is_empty();
        out.append(std::mem::take(&mut self.found));
    }

    fn trouble(self) -> Vec<NodeId> {
        self.hidden
            .into_iter()
            .chain(self.provided.into_keys())
            .chain(self.unknown)
            .collect()
    }

    /// Reports an error unless it only follows from an earlier one, and hides its cause. False: nothing is left to hide.
    fn learn(&mut self, run: &Run<'_>, error: &Error, out: &mut Diagnostics) -> bool {
        let node = error.node().unwrap_or(run.root);
        if let Reason::MissingKey(key) = error.reason() {
            let provided = self.provided.entry(node).or_default();
            let written = run.document.get(node, key).filter(|value| !run.is_absent(*value));
            let first = !provided.iter().any(|name| name == key) && written.is_none();
            if first && !error.follows() {
                if !self.misspelt.contains(&(node, *key)) {
                    out.push(error.diagnostic(run.document, node));
                }
                provided.push((*key).to_owned());
                return true;
            }
            return self.hide(run, node);
        }
        if let (Reason::UnknownKey { key, known }, Some(map)) = (error.reason(), run.document.parent(node)) {
            self.misspelt
                .extend(closest(key, known.iter().copied()).map(|meant| (map, meant)));
        }
        if !error.follows() && !self.has_stand_in(run, node) {
            out.push(error.diagnostic(run.document, node));
        }
        self.hide(run, node)
    }

    /// Hides a node, or, when it is hidden already, what holds it.
    fn hide(&mut self, run: &Run<'_>, node: NodeId) -> bool {
        let mut node = node;
        while node != run.root {
            if self.hidden.insert(node) {
                return true;
            }
            match run.document.parent(node) {
                Some(parent) => node = parent,
                None => return false,
            }
        }
        false
    }

    /// Whether something directly below a node is a stand-in: then what the node complains of may follow from that.
    fn has_stand_in(&self, run: &Run<'_>, node: NodeId) -> bool {
        let document = run.document;
        self.provided.contains_key(&node)
            || document
                .entries(node)
                .iter()
                .any(|(_, child)| self.hidden.contains(child))
            || document
                .items(node)
                .iter()
                .any(|child| self.hidden.contains(child) || self.passed.contains(child))
    }
}
