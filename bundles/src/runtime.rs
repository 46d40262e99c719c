//! Kill switches that operators set at run time: a list with ids, checked as a bundle's are. Keeping it is
//! [`crate::store`]'s, and asking for it the admin listener's.

use std::collections::HashSet;
use std::sync::Arc;

use portcullis_config::key::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::compile::{MAX_SWITCH_KEYS, runtime_switch};
use crate::format::KillSwitch;
use crate::problem::Problem;
use crate::switches::{Switch, Switches};
use crate::timestamp::Timestamp;

/// A kill switch set at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuntimeSwitch {
    /// By which it is cleared.
    pub id: String,
    /// What it refuses.
    pub switch: KillSwitch,
    /// When it was set.
    pub set_at: Timestamp,
    /// Who set it, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_by: Option<String>,
}

/// All kill switches set at run time, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuntimeSwitches {
    list: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    written: RuntimeSwitch,
    compiled: Switch,
}

/// Why a kill switch is not set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The id is empty, too long or not plain.
    #[error("the id of a kill switch has 1 to {max} letters, digits, `_`, `-` and `.`", max = RuntimeSwitches::MAX_ID)]
    Id,
    /// There are too many.
    #[error("there are {max} kill switches already; clear some, or put them into the bundle", max = RuntimeSwitches::MAX)]
    TooMany,
    /// They look at too many different keys.
    #[error("kill switches look at {MAX_SWITCH_KEYS} different keys already, and each is looked up on every request")]
    TooManyKeys,
    /// It has expired already.
    #[error("it would expire before it is set ({0})")]
    Expired(Timestamp),
    /// Two have one id.
    #[error("two kill switches have the id `{0}`")]
    Duplicate(String),
    /// Something in it is wrong.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),
}

fn list(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl RuntimeSwitches {
    /// Most kill switches set at run time.
    pub const MAX: usize = 1_000;
    /// Most bytes of an id.
    pub const MAX_ID: usize = 128;

    /// A list that was kept.
    pub fn from_list(written: Vec<RuntimeSwitch>) -> Result<Self, RuntimeError> {
        let mut all = Self::default();
        for one in written {
            if all.get(&one.id).is_some() {
                return Err(RuntimeError::Duplicate(one.id));
            }
            all.put(one)?;
        }
        Ok(all)
    }

    /// Sets one at `set_at`, in place of the one with its id.
    pub fn set(&mut self, switch: RuntimeSwitch) -> Result<(), RuntimeError> {
        if let Some(until) = switch.switch.expires_at.filter(|until| *until < switch.set_at) {
            return Err(RuntimeError::Expired(until));
        }
        self.put(switch)
    }

    fn put(&mut self, switch: RuntimeSwitch) -> Result<(), RuntimeError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if switch.id.is_empty() || switch.id.len() > Self::MAX_ID || !switch.id.bytes().all(plain) {
            return Err(RuntimeError::Id);
        }
        let compiled = runtime_switch(&switch.switch, Arc::from(switch.id.as_str())).map_err(RuntimeError::Invalid)?;
        let keys: HashSet<&Key> = self.list.iter().map(|entry| &entry.compiled.key).collect();
        if !keys.contains(&compiled.key) && keys.len() >= MAX_SWITCH_KEYS {
            return Err(RuntimeError::TooManyKeys);
        }
        let entry = Entry {
            written: switch,
            compiled,
        };
        if let Some(known) = self.list.iter_mut().find(|known| known.written.id == entry.written.id) {
            *known = entry;
            return Ok(());
        }
        if self.list.len() >= Self::MAX {
            return Err(RuntimeError::TooMany);
        }
        self.list.push(entry);
        Ok(())
    }

    /// Clears one; gives it.
    pub fn clear(&mut self, id: &str) -> Option<RuntimeSwitch> {
        let place = self.list.iter().position(|entry| entry.written.id == id)?;
        Some(self.list.remove(place).written)
    }

    /// Drops those that have expired at `now` (seconds since 1970); says whether there were any.
    pub fn drop_expired(&mut self, now: i64) -> bool {
        let before = self.list.len();
        self.list
            .retain(|entry| entry.compiled.expires_at.is_none_or(|until| until.unix() >= now));
        self.list.len() < before
    }

    /// The one with this id.
    pub fn get(&self, id: &str) -> Option<&RuntimeSwitch> {
        self.iter().find(|switch| switch.id == id)
    }

    /// All of them, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &RuntimeSwitch> {
        self.list.iter().map(|entry| &entry.written)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Compiled.
    pub fn compile(&self) -> Switches {
        Switches::new(self.list.iter().map(|entry| entry.compiled.clone()).collect())
    }
}
