//! Kill switches, compiled: a request looks each distinct key up once, however many switches there are.
//!
//! Those of the bundle and those set at run time are one list. Setting and keeping them is not done here.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis_config::key::Key;

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

    fn covers(&self, path: &str) -> bool {
        self.route.as_deref().is_none_or(|route| route == path)
    }
}

/// When kill switches are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// First of all, on every request: every key that needs no identity.
    BeforeIdentity,
    /// Once claims are verified: `jwt:` keys.
    AfterIdentity,
}

/// Kill switches, ready to be looked up.
#[derive(Debug, Default)]
pub struct Switches {
    before: Vec<Group>,
    after: Vec<Group>,
    entries: Vec<Switch>,
}

/// The switches of one key, by value; places in [`Switches::entries`] in written order.
#[derive(Debug)]
struct Group {
    key: Key,
    by_value: HashMap<Arc<str>, Vec<u32>>,
}

impl Switches {
    /// Groups `entries`, whose order decides which one is reported when several match.
    pub fn new(entries: Vec<Switch>) -> Self {
        let mut switches = Self {
            before: Vec::new(),
            after: Vec::new(),
            entries,
        };
        let mut places: HashMap<Key, usize> = HashMap::new();
        for (index, switch) in (0u32..).zip(&switches.entries) {
            let phase = if matches!(switch.key, Key::Jwt(_)) {
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
            if let Some(group) = phase.get_mut(place) {
                group.by_value.entry(switch.value.clone()).or_default().push(index);
            }
        }
        switches
    }

    /// Those set at run time and those of the bundle, as one. The operators' come first.
    #[must_use]
    pub fn merge(runtime: &Self, bundle: &Self) -> Self {
        Self::new(runtime.entries.iter().chain(&bundle.entries).cloned().collect())
    }

    /// The first switch, in written order, that matches the request and is in force at `now` (seconds since 1970).
    ///
    /// `AfterIdentity` finds nothing when no identity was verified: such a request has no claims.
    pub fn find(&self, request: &dyn Attributes, phase: Phase, now: i64) -> Option<&Switch> {
        let groups = match phase {
            Phase::BeforeIdentity => &self.before,
            Phase::AfterIdentity if request.claims_known() => &self.after,
            Phase::AfterIdentity => return None,
        };
        let path = request.path();
        let mut first: Option<u32> = None;
        for group in groups {
            let Some(value) = request.get(&group.key) else { continue };
            let Some(indexes) = group.by_value.get(value.as_ref()) else {
                continue;
            };
            for &index in indexes {
                if first.is_some_and(|known| known < index) {
                    break;
                }
                if self
                    .entry(index)
                    .is_some_and(|switch| switch.is_active(now) && switch.covers(path))
                {
                    first = Some(index);
                    break;
                }
            }
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

    /// All of them, in written order.
    pub fn as_slice(&self) -> &[Switch] {
        &self.entries
    }

    fn entry(&self, index: u32) -> Option<&Switch> {
        self.entries.get(usize::try_from(index).ok()?)
    }
}
