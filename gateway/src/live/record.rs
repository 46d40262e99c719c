//! The ring of recorded requests, and what a new bundle would have changed about them: a bundle that changes more than
//! `policy.activation` allows is refused before it is in force.

use std::sync::Arc;
use std::time::Duration;

use portcullis_bundles::policies::Policies;
use portcullis_config::activation::{Activation, Record};
use portcullis_config::policy::Policy as Written;
use portcullis_filters::policy::{Report, replay};

use super::bundle::{BundleRefused, Candidate};
use super::load::Cold;
use super::{Live, aside};
use crate::recorder::Recorder;
use crate::snapshot::{BundleState, Snapshot};
use crate::state::StateFolder;

/// How often the ring is written to the state folder.
const FLUSH: Duration = Duration::from_secs(10);

/// The ring that a configuration asks for; the one that is there, where it asks for the same.
#[derive(Clone)]
pub struct Ring {
    asked: Record,
    folder: Option<Arc<StateFolder>>,
    pub(super) recorder: Arc<Recorder>,
}

impl Ring {
    pub(super) fn recorder(&self) -> Arc<Recorder> {
        Arc::clone(&self.recorder)
    }

    pub(super) fn open(
        written: Option<&Written>,
        folder: Option<&Arc<StateFolder>>,
        before: Option<&Self>,
    ) -> std::io::Result<Option<Self>> {
        let Some(record) = written.and_then(|policy| policy.record.as_ref()) else {
            return Ok(None);
        };
        if let Some(before) = before.filter(|ring| ring.asked == *record && ring.folder.as_ref() == folder) {
            return Ok(Some(before.clone()));
        }
        Ok(Some(Self {
            asked: record.clone(),
            folder: folder.cloned(),
            recorder: Arc::new(Recorder::open(record, folder)?),
        }))
    }
}

/// Whether a bundle changes no more about the recorded requests than it may. `reason`: why whoever signed it says that it
/// may change anything.
pub(super) fn within_budget(
    recorder: Option<&Recorder>,
    activation: Option<Activation>,
    old: &BundleState,
    new: &Policies,
    reason: Option<&str>,
) -> Result<(), BundleRefused> {
    let (Some(recorder), Some(activation), BundleState::Loaded(old)) = (recorder, activation, old) else {
        return Ok(());
    };
    if old.digest() == new.digest() {
        return Ok(());
    }
    let recording = recorder.recording(&[old, new]).map_err(|error| BundleRefused {
        reason: "activation_broken",
        detail: format!("the recorded requests cannot be read: {error}"),
    })?;
    let report = replay(&recording, Some(old), new);
    let told = over_budget(&report, &activation);
    let (requests, changes) = (report.requests, report.summary());
    match (told, reason) {
        (None, _) => {
            tracing::info!(
                version = new.version(),
                requests,
                changes,
                "bundle tried on recorded requests"
            );
            Ok(())
        }
        (Some(detail), Some(reason)) => {
            tracing::warn!(
                version = new.version(),
                reason,
                detail,
                "bundle over its activation budget, overridden by its signature"
            );
            Ok(())
        }
        (Some(detail), None) => Err(BundleRefused {
            reason: "activation_budget",
            detail,
        }),
    }
}

/// What is over the budget, for people: counts, rules, examples.
pub(crate) fn over_budget(report: &Report, activation: &Activation) -> Option<String> {
    let Report { requests, unjudged, .. } = report;
    let Activation {
        max_new_denies,
        max_new_allows,
    } = activation;
    if *unjudged > 0 && !max_new_denies.allows(*unjudged, *requests) {
        let keys: Vec<String> = report.missing_keys.iter().map(|(key, _)| format!("`{key}`")).collect();
        return Some(format!(
            "{unjudged} of {requests} recorded requests cannot be judged, since {} was not recorded (record.keys adds it)",
            if keys.is_empty() {
                "what a rule needs".to_owned()
            } else {
                keys.join(", ")
            }
        ));
    }
    let denies = !max_new_denies.allows(report.new_denies.total, *requests);
    let allows = !max_new_allows.allows(report.new_allows.total, *requests);
    (denies || allows).then(|| {
        format!(
            "of {requests} recorded requests {}; max_new_denies is {max_new_denies}, max_new_allows {max_new_allows}",
            report.summary()
        )
    })
}

impl Live {
    /// A bundle that changes no more about the recorded requests than it may.
    pub(super) fn tried_out(
        &self,
        cold: &Cold,
        before: &Snapshot,
        found: Result<Option<Candidate>, BundleRefused>,
    ) -> Result<Option<Candidate>, BundleRefused> {
        let (Some(candidate), Some(source)) = (found?, &cold.policy) else {
            return Ok(None);
        };
        let recorder = self.recorder();
        aside(|| source.try_out(recorder.as_deref(), &before.policy.bundle, &candidate))?;
        Ok(Some(candidate))
    }

    /// Where requests are recorded.
    pub fn recorder(&self) -> Option<Arc<Recorder>> {
        self.recorder.load_full()
    }

    /// Uses the ring that the configuration in force asks for, with the keys of the bundle in force.
    pub(super) fn begin_record(&self, ring: Option<&Ring>) {
        self.recorder.store(ring.map(Ring::recorder));
        self.keep_keys();
    }

    /// What is kept of requests follows the bundle.
    pub(super) fn keep_keys(&self) {
        if let Some(recorder) = self.recorder() {
            match &self.snapshot().policy.bundle {
                BundleState::Loaded(policies) => recorder.keep_for(Some(policies)),
                BundleState::Unconfigured | BundleState::Missing(_) => recorder.keep_for(None),
            }
        }
    }

    /// Writes the ring to the state folder from time to time.
    pub(super) async fn flush_record(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FLUSH).await;
            aside(|| self.write_record());
        }
    }

    /// Writes the ring to the state folder.
    pub(super) fn write_record(&self) {
        if let Some(Err(error)) = self.recorder().map(|recorder| recorder.flush()) {
            tracing::warn!(%error, "the recorded requests could not be written");
        }
    }
}
