//! Kill switches, compiled: a request looks each distinct key up once, however many switches there are.
//!
//! Each source (operators, the kill-switch document, the bundle) has a table of its own, so that a change of one costs
//! nothing for the others. Setting and keeping them is not done here.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_config::key::Key;
use smallvec::SmallVec;

use crate::attributes::Attributes;
use crate::timestamp::Timestamp;

/// A compiled kill switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Switch {
    /// What of the request is compared.
    pub key: Key,
    /// The value, compared as text and with regard to case.
    pub value: Arc<str>,
    /// Only this normalised path.
    pub route: Option<Box<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// No longer in force after this moment.
    pub expires_at: Option<Timestamp>,
    /// Not in force before this moment: a bundle's `kill_switch_override`.
    pub suspended_until: Option<Timestamp>,
    /// Who set it.
    pub origin: Origin,
}

/// Who set a kill switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The bundle: its place in the list, counted from 0.
    Bundle(u32),
    /// An operator at run time: the switch's id.
    Runtime(Arc<str>),
    /// The kill-switch document: its place in the list, counted from 0.
    Document(u32),
}

impl Origin {
    /// The source, for lists, logs and metrics.
    pub const fn source(&self) -> &'static str {
        match self {
            Self::Bundle(_) => "bundle",
            Self::Runtime(_) => "runtime",
            Self::Document(_) => "document",
        }
    }
}

impl Switch {
    /// Whether it is in force: not expired (the very second still counts) and not suspended.
    pub fn is_active(&self, now: i64) -> bool {
        self.expires_at.is_none_or(|until| until.unix() >= now) && !self.is_suspended(now)
    }

    /// Whether the bundle's `kill_switch_override` suspends it.
    pub fn is_suspended(&self, now: i64) -> bool {
        self.suspended_until.is_some_and(|until| until.unix() > now)
    }

    /// Whether it holds at least as long as `other`.
    fn outlasts(&self, other: &Self) -> bool {
        match (self.expires_at, other.expires_at) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(others)) => own >= others,
        }
    }
}

/// When kill switches are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// First of all, on every request: every key that needs no identity.
    BeforeIdentity,
    /// Once claims are verified or a tenant is known: `jwt:` keys and `tenant:id`.
    AfterIdentity,
}

/// The kill switches of one source, ready to be looked up.
#[derive(Debug, Default)]
pub struct Switches {
    before: Vec<Group>,
    after: Vec<Group>,
    entries: Vec<Switch>,
}

/// The switches of one key, by value; places in [`Switches::entries`].
#[derive(Debug)]
struct Group {
    key: Key,
    by_value: HashMap<Arc<str>, Scope>,
}

/// The switches of one value: those for every path, and those for one.
#[derive(Debug, Default)]
struct Scope {
    everywhere: Places,
    by_route: HashMap<Box<str>, Places>,
}

/// Switches that refuse the same requests. Each holds longer than the one before it, so that the first that has not
/// expired is found without asking all of them.
#[derive(Debug, Default)]
struct Places(Vec<u32>);

impl Switches {
    /// Indexes `entries`. All must be suspended until the same moment, or not at all, as those of one source are.
    pub fn new(entries: Vec<Switch>) -> Self {
        let mut switches = Self {
            before: Vec::new(),
            after: Vec::new(),
            entries,
        };
        let mut places: HashMap<Key, usize> = HashMap::new();
        for (index, switch) in (0u32..).zip(&switches.entries) {
            let phase = if matches!(switch.key, Key::Jwt(_) | Key::Tenant) {
                &mut switches.after
            } else {
                &mut switches.before
            };
            let place = *places.entry(switch.key.clone()).or_insert_with(|| {
                phase.push(Group {
                    key: switch.key.clone(),
                    by_value: HashMap::new(),
                });
                phase.len() - 1
            });
            let Some(group) = phase.get_mut(place) else { continue };
            let scope = group.by_value.entry(switch.value.clone()).or_default();
            let alike = match &switch.route {
                None => &mut scope.everywhere,
                Some(route) => scope.by_route.entry(route.clone()).or_default(),
            };
            alike.add(index, &switches.entries);
        }
        switches
    }

    /// A switch that matches the request and is in force at `now` (seconds since 1970); of several, the one that was
    /// written first.
    ///
    /// Every value of a key counts: a field that is sent twice, a parameter that is given twice. `AfterIdentity` finds
    /// nothing when no identity was verified: such a request has neither claims nor a tenant.
    pub fn find(&self, request: &dyn Attributes, phase: Phase, now: i64) -> Option<&Switch> {
        let groups = match phase {
            Phase::BeforeIdentity => &self.before,
            Phase::AfterIdentity if request.claims_known() => &self.after,
            Phase::AfterIdentity => return None,
        };
        let path = request.path();
        let mut first: Option<u32> = None;
        for group in groups {
            request.each(&group.key, &mut |value| {
                let Some(scope) = group.by_value.get(value) else { return };
                let everywhere = scope.everywhere.active(&self.entries, now);
                let here = scope.by_route.get(path);
                let here = here.and_then(|places| places.active(&self.entries, now));
                first = [first, everywhere, here].into_iter().flatten().min();
            });
        }
        self.entry(first?)
    }

    /// Whether there are any for this phase, in force or not.
    pub fn has(&self, phase: Phase) -> bool {
        match phase {
            Phase::BeforeIdentity => !self.before.is_empty(),
            Phase::AfterIdentity => !self.after.is_empty(),
        }
    }

    /// The keys that are looked up, each once.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.before.iter().chain(&self.after).map(|group| &group.key)
    }

    /// All of them, in written order.
    pub fn as_slice(&self) -> &[Switch] {
        &self.entries
    }

    fn entry(&self, index: u32) -> Option<&Switch> {
        self.entries.get(usize::try_from(index).ok()?)
    }
}

impl Places {
    /// Adds a switch, unless it ends no later than one that is known.
    fn add(&mut self, index: u32, entries: &[Switch]) {
        let entry = |index: u32| entries.get(usize::try_from(index).ok()?);
        let known = self.0.last().and_then(|last| entry(*last));
        let redundant = match (known, entry(index)) {
            (Some(known), Some(new)) => known.outlasts(new),
            _ => false,
        };
        if !redundant {
            self.0.push(index);
        }
    }

    /// The first that is in force.
    fn active(&self, entries: &[Switch], now: i64) -> Option<u32> {
        let is_active = |index: u32| {
            let entry = usize::try_from(index).ok().and_then(|index| entries.get(index));
            entry.is_some_and(|switch| switch.is_active(now))
        };
        let first = self.0.partition_point(|index| !is_active(*index));
        self.0.get(first).copied()
    }
}

/// The kill switches of all sources, in the order in which they are asked: operators, the document, the bundle.
#[derive(Debug, Clone, Default)]
pub struct AllSwitches {
    tables: SmallVec<[Arc<Switches>; 3]>,
}

impl AllSwitches {
    /// Of these sources; those without a switch are left out.
    pub fn new(sources: impl IntoIterator<Item = Arc<Switches>>) -> Self {
        Self {
            tables: sources
                .into_iter()
                .filter(|source| !source.entries.is_empty())
                .collect(),
        }
    }

    /// See [`Switches::find`]; of the first source that has one.
    pub fn find(&self, request: &dyn Attributes, phase: Phase, now: i64) -> Option<&Switch> {
        self.tables.iter().find_map(|table| table.find(request, phase, now))
    }

    /// Whether there are any for this phase, in force or not.
    pub fn has(&self, phase: Phase) -> bool {
        self.tables.iter().any(|table| table.has(phase))
    }

    /// All of them, in the order in which they are asked.
    pub fn iter(&self) -> impl Iterator<Item = &Switch> {
        self.tables.iter().flat_map(|table| table.as_slice())
    }
}

#[cfg(test)]
mod tests;
