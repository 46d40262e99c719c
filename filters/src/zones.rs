//! Zones: named state that outlives a configuration, handed from snapshot to snapshot. And [`BuildEnv`], through which
//! a filter that is being built reaches them.
//!
//! A build changes nothing that is in use: what it opens anew lives in the [`ZonesBuilder`] until a snapshot takes it.
//! What a zone holds is its owner's matter.

mod build;
#[cfg(test)]
mod tests;
mod transfer;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::jwt::KeySet;

pub use build::{BuildEnv, ZoneError, ZonesBuilder};
pub use transfer::{ImportError, Imported};

/// Most zones of a kind that no link uses and that are kept all the same.
pub const MAX_UNUSED: usize = 1024;

/// Random bytes that the state of an instance hangs on. They come from outside and never change while it lives.
#[derive(Clone, PartialEq, Eq)]
pub struct Entropy {
    /// Hashes the keys of buckets.
    pub hash_key: [u8; 16],
    /// Spreads `Retry-After`.
    pub jitter_salt: [u8; 16],
}

impl fmt::Debug for Entropy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entropy(..)")
    }
}

/// State that can live in a zone.
pub trait ZoneState: Send + Sync + 'static {
    /// What kind of state it is. Names are unique within a kind.
    const KIND: &'static str;
    /// What must be the same for the state to be handed over.
    type Shape: Clone + PartialEq + fmt::Display + Send + Sync + 'static;

    /// State that holds nothing yet. Touches nothing outside.
    fn open(shape: &Self::Shape, entropy: &Entropy) -> Self;

    /// The same state in another shape. Only asked of state that came from another process and that no configuration of
    /// this one has used: after a restart, an operator may choose anew.
    fn reshaped(&self, _shape: &Self::Shape) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }
}

/// The shape of state that comes in one shape only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OneShape;

impl fmt::Display for OneShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("always the same")
    }
}

/// The zones of a snapshot.
#[derive(Debug, Clone)]
pub struct Zones {
    entropy: Entropy,
    generation: u64,
    by_id: BTreeMap<Id, Zone>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Id {
    kind: &'static str,
    name: Arc<str>,
}

#[derive(Debug, Clone)]
struct Zone {
    state: Arc<dyn Any + Send + Sync>,
    shape: Arc<dyn Any + Send + Sync>,
    /// The generation that used it last; 0 when it was imported and not used since.
    used: u64,
}

impl Zones {
    /// Without any state: how an instance starts.
    pub fn new(entropy: Entropy) -> Self {
        Self {
            entropy,
            generation: 0,
            by_id: BTreeMap::new(),
        }
    }

    /// The instance's random bytes.
    pub fn entropy(&self) -> &Entropy {
        &self.entropy
    }

    /// The state of a zone.
    pub fn get<S: ZoneState>(&self, name: &str) -> Option<Arc<S>> {
        let id = Id {
            kind: S::KIND,
            name: name.into(),
        };
        Arc::clone(&self.by_id.get(&id)?.state).downcast().ok()
    }

    /// Every zone of a kind that this snapshot uses, by name.
    pub fn each<S: ZoneState>(&self) -> impl Iterator<Item = (&Arc<str>, Arc<S>)> {
        self.of_kind::<S>()
            .filter(|(_, zone)| zone.used == self.generation)
            .filter_map(open)
    }

    /// As [`Self::each`], with those that are only kept.
    pub fn each_kept<S: ZoneState>(&self) -> impl Iterator<Item = (&Arc<str>, Arc<S>)> {
        self.of_kind::<S>().filter_map(open)
    }

    /// The key sets that this snapshot uses, for those who keep them fresh.
    pub fn key_sets(&self) -> impl Iterator<Item = (&Arc<str>, Arc<KeySet>)> {
        self.each()
    }

    fn of_kind<S: ZoneState>(&self) -> impl Iterator<Item = (&Arc<str>, &Zone)> {
        self.by_id
            .iter()
            .filter(|(id, _)| id.kind == S::KIND)
            .map(|(id, zone)| (&id.name, zone))
    }
}

fn open<'z, S: ZoneState>((name, zone): (&'z Arc<str>, &Zone)) -> Option<(&'z Arc<str>, Arc<S>)> {
    Some((name, Arc::clone(&zone.state).downcast().ok()?))
}
