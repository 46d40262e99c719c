//! Changes of kill switches, told to those who must be able to say afterwards who was stopped when: a log line and a
//! counter for each. Values are not logged: they are identities.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portcullis_bundles::switches::{Switch, Switches};

use super::Live;
use crate::telemetry::exposition::Exposition;

/// Lines for one change of a document or a bundle. The rest is counted.
const MOST_LINES: usize = 50;

/// Changes since the start.
#[derive(Debug, Default)]
pub(super) struct Changes {
    runtime: Change,
    document: Change,
    bundle: Change,
}

#[derive(Debug, Default)]
struct Change {
    set: AtomicU64,
    cleared: AtomicU64,
}

impl Changes {
    fn of(&self, source: &str) -> &Change {
        match source {
            "runtime" => &self.runtime,
            "document" => &self.document,
            _ => &self.bundle,
        }
    }

    /// Counts.
    pub(super) fn add(&self, source: &str, set: u64, cleared: u64) {
        let change = self.of(source);
        change.set.fetch_add(set, Relaxed);
        change.cleared.fetch_add(cleared, Relaxed);
    }

    pub(super) fn collect(&self, out: &mut Exposition) {
        let help = "Kill switches that were set and cleared, by where they come from.";
        for source in ["bundle", "document", "runtime"] {
            let change = self.of(source);
            for (action, count) in [("cleared", &change.cleared), ("set", &change.set)] {
                let labels = [("action", action), ("origin", source)];
                out.counter(
                    "portcullis_kill_switch_changes_total",
                    help,
                    &labels,
                    count.load(Relaxed),
                );
            }
        }
    }
}

/// What a switch is known by: the requests that it refuses.
type Subject<'a> = (&'a portcullis_config::key::Key, &'a str, Option<&'a str>);

fn subjects(switches: &Switches) -> HashMap<Subject<'_>, &Switch> {
    let subject = |switch| (subject(switch), switch);
    switches.as_slice().iter().map(subject).collect()
}

fn subject(switch: &Switch) -> Subject<'_> {
    (&switch.key, &switch.value, switch.route.as_deref())
}

impl Live {
    /// Tells what changed between two lists of one source.
    pub(super) fn audit(&self, source: &'static str, before: &Switches, after: &Switches) {
        let (old, new) = (subjects(before), subjects(after));
        let set = after
            .as_slice()
            .iter()
            .filter(|switch| !old.contains_key(&subject(switch)));
        let cleared = before
            .as_slice()
            .iter()
            .filter(|switch| !new.contains_key(&subject(switch)));
        let (set, cleared): (Vec<_>, Vec<_>) = (set.collect(), cleared.collect());
        if set.is_empty() && cleared.is_empty() {
            return;
        }
        let changes = set.iter().map(|switch| ("set", switch));
        let changes = changes.chain(cleared.iter().map(|switch| ("cleared", switch)));
        for (action, switch) in changes.take(MOST_LINES) {
            tracing::warn!(
                source,
                action,
                key = %switch.key,
                route = switch.route.as_deref(),
                reason = switch.reason.as_deref(),
                "kill switch changed"
            );
        }
        tracing::warn!(
            source,
            set = set.len(),
            cleared = cleared.len(),
            "kill switches changed"
        );
        self.kill_changes.add(source, set.len() as u64, cleared.len() as u64);
    }
}
