//! Conditions of policies and rules, asked of what the engine judges. What cannot be told counts as holding, so that nobody
//! is rid of a limit by leaving something out or by sending nonsense; it is counted.

use std::borrow::Cow;

use portcullis_bundles::when::{Broken, Claim, Environment, When};
use portcullis_config::key::Key;

use super::subject::Subject;
use crate::attributes::KeyError;
use crate::limit_stats::LimitStats;

/// A subject that a condition is asked of.
pub(super) struct Asked<'s, S>(pub(super) &'s S);

impl<S: Subject> Environment for Asked<'_, S> {
    type Error = KeyError;

    fn method(&self) -> &str {
        self.0.method()
    }

    fn path(&self) -> &str {
        self.0.path()
    }

    fn host(&self) -> &str {
        self.0.host()
    }

    fn text(&self, key: &Key, whole: bool) -> Result<Option<Cow<'_, str>>, KeyError> {
        if whole {
            self.0.whole_text(key)
        } else {
            self.0.text(key)
        }
    }

    fn claim(&self, name: &str, whole: bool) -> Option<Claim<'_>> {
        self.0.claim(name, whole)
    }
}

/// What came of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// It holds, or there is none.
    Holds,
    /// It does not.
    Fails,
    /// It cannot be told, and counts as holding.
    Unknown(String),
}

/// Whether there is no condition, or it holds, or it cannot be told.
pub(super) fn holds(when: Option<&When>, subject: &impl Subject, stats: &LimitStats) -> bool {
    let Some(when) = when else { return true };
    when.holds(&Asked(subject)).unwrap_or_else(|_| {
        stats.untold_condition();
        true
    })
}

/// The same, with the reason why it cannot be told.
pub(super) fn told(when: Option<&When>, subject: &impl Subject) -> Told {
    let reason = |broken: Broken<'_, KeyError>| match broken {
        Broken::Key(key, error) => format!("`{key}`: {error}"),
        other => other.to_string(),
    };
    match when.map(|when| when.holds(&Asked(subject)).map_err(reason)) {
        None | Some(Ok(true)) => Told::Holds,
        Some(Ok(false)) => Told::Fails,
        Some(Err(why)) => Told::Unknown(why),
    }
}
