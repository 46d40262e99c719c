//! The outcome of a replay: counts by policy and rule, and a few examples of each.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use portcullis_bundles::timestamp::Timestamp;

use super::subject::{Recorded, Recording};

/// Most examples of a policy's rule.
const EXAMPLES: usize = 5;
/// Most groups that are told by themselves.
const GROUPS: usize = 1_000;

/// What another bundle would have changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Requests that were tried.
    pub requests: u64,
    /// The first and the last, in milliseconds since 1970.
    pub span_ms: Option<(u64, u64)>,
    /// Requests that a key was not recorded of.
    pub unjudged: u64,
    /// Such keys, and of how many requests.
    pub missing_keys: Vec<(String, u64)>,
    /// Let through before, refused now.
    pub new_denies: Changes,
    /// Refused before, let through now.
    pub new_allows: Changes,
}

/// Changes one way.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// How many.
    pub total: u64,
    /// By the policy, the rule and the reason of the refusal, now or before.
    pub groups: BTreeMap<String, Change>,
}

/// Changes of one rule.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// How many.
    pub count: u64,
    /// Some of the requests.
    pub examples: Vec<String>,
}

impl Report {
    pub(super) fn of(recording: &Recording) -> Self {
        let requests = &recording.requests;
        let (first, last) = (requests.first(), requests.last());
        Self {
            requests: requests.len() as u64,
            span_ms: first.zip(last).map(|(first, last)| (first.at_ms, last.at_ms)),
            ..Self::default()
        }
    }

    /// The changes that count most, for a message: rules with counts, and an example.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        for (what, changes) in [("denied", &self.new_denies), ("allowed", &self.new_allows)] {
            if changes.total == 0 {
                continue;
            }
            let _ = write!(
                text,
                "{}{} newly {what}",
                if text.is_empty() { "" } else { "; " },
                changes.total
            );
            let mut groups: Vec<_> = changes.groups.iter().collect();
            groups.sort_by_key(|(_, change)| std::cmp::Reverse(change.count));
            for (name, change) in groups.into_iter().take(3) {
                let _ = write!(text, ", {} by {name}", change.count);
                if let Some(example) = change.examples.first() {
                    let _ = write!(text, " (such as {example})");
                }
            }
        }
        text
    }
}

impl Changes {
    pub(super) fn add(&mut self, reason: &str, by: Option<(&str, &str)>, request: &Recorded) {
        self.total += 1;
        let mut name = match by {
            Some((policy, "")) => format!("{policy} {reason}"),
            Some((policy, rule)) => format!("{policy}/{rule} {reason}"),
            None => reason.to_owned(),
        };
        if !self.groups.contains_key(&name) && self.groups.len() >= GROUPS {
            "others".clone_into(&mut name);
        }
        let change = self.groups.entry(name).or_default();
        change.count += 1;
        if change.examples.len() < EXAMPLES {
            change.examples.push(request.to_string());
        }
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.at_ms / 1000).unwrap_or(i64::MAX);
        write!(
            f,
            "{} {}{} at {}",
            self.method,
            self.host,
            self.path,
            Timestamp::from_unix(seconds)
        )
    }
}
