//! Merging trees: how the parts of a configuration that stand in several files become one document.

use super::{Document, Kind, Node, NodeId};

impl Document {
    /// Takes over the nodes of another document. Gives its root, which nothing refers to yet.
    pub(crate) fn adopt(&mut self, other: &Self) -> NodeId {
        let offset = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let moved = |id: NodeId| NodeId(id.0.saturating_add(offset));
        self.nodes.extend(other.nodes.iter().map(|node| {
            let kind = match &node.kind {
                Kind::List(items) => Kind::List(items.iter().copied().map(moved).collect()),
                Kind::Map(entries) => Kind::Map(entries.iter().map(|(key, id)| (key.clone(), moved(*id))).collect()),
                scalar => scalar.clone(),
            };
            Node {
                span: node.span,
                key_span: node.key_span,
                kind,
                parent: node.parent.map(moved),
            }
        }));
        moved(other.root)
    }

    /// Adds an entry to a map.
    pub(crate) fn insert(&mut self, map: NodeId, key: Box<str>, value: NodeId) {
        if let Some(Kind::Map(entries)) = self.kind_mut(map) {
            entries.push((key, value));
            self.set_parent(value, map);
        }
    }

    /// Moves the items of a list to the end of another.
    pub(crate) fn append(&mut self, list: NodeId, more: NodeId) {
        let added = self.items(more).to_vec();
        if let Some(Kind::List(items)) = self.kind_mut(list) {
            items.extend(&added);
            for item in added {
                self.set_parent(item, list);
            }
        }
    }

    /// Puts a value in the place of another.
    pub(crate) fn replace(&mut self, old: NodeId, new: NodeId) {
        let Some(parent) = self.parent(old) else { return };
        if let Some(Kind::Map(entries)) = self.kind_mut(parent) {
            for (_, value) in entries.iter_mut().filter(|(_, value)| *value == old) {
                *value = new;
            }
            self.set_parent(new, parent);
        }
    }

    /// Takes a value out of the list or map that holds it.
    pub(crate) fn remove(&mut self, node: NodeId) {
        let Some(parent) = self.parent(node) else { return };
        match self.kind_mut(parent) {
            Some(Kind::List(items)) => items.retain(|item| *item != node),
            Some(Kind::Map(entries)) => entries.retain(|(_, value)| *value != node),
            _ => {}
        }
    }

    fn kind_mut(&mut self, node: NodeId) -> Option<&mut Kind> {
        self.nodes.get_mut(node.0 as usize).map(|node| &mut node.kind)
    }

    fn set_parent(&mut self, node: NodeId, parent: NodeId) {
        if let Some(node) = self.nodes.get_mut(node.0 as usize) {
            node.parent = Some(parent);
        }
    }
}
