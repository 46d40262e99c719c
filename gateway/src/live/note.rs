//! How loads went, told to operators: the report behind `/readyz`, counters, log lines. Nothing is loaded here.

use std::sync::Arc;

use portcullis_bundles::policies::Policies;
use portcullis_bundles::switches::Switches;

use super::Live;
use super::bundle::BundleRefused;
use crate::admin::control::Refused;
use crate::admin::wire::Reloaded;
use crate::snapshot::{BundleState, Snapshot};
use crate::telemetry::stamp::Stamp;

impl Live {
    /// How the load of the configuration went.
    pub(super) fn note_config(&self, before: &Snapshot, refused: Option<&Refused>) {
        let after = self.snapshot();
        let loads = &self.observers.metrics.config_loads;
        let mut report = self.report();
        if let Some(Refused { reason, detail, .. }) = refused {
            tracing::error!(reason, detail, "configuration refused; the one in force stays");
            report.config_refused(reason, detail);
            loads.refused(reason);
        } else {
            report.config_loaded(before.gateway.digest != after.gateway.digest);
            loads.accepted(Stamp::now());
        }
        report.needs_restart = self.needs_restart(&after);
    }

    /// How the load of the bundle went.
    pub(super) fn note_bundle(&self, before: &Snapshot, refused: Option<&BundleRefused>) {
        let after = self.snapshot();
        if before.digest != after.digest {
            tracing::info!(snapshot = &*after.digest, "in force");
        }
        self.keep_keys();
        self.audit("bundle", &switches(before), &switches(&after));
        if after.gateway.config.policy.is_none() {
            return;
        }
        self.report_bundle(before, &after, refused.map(|refused| refused.reason));
        let loads = &self.observers.metrics.bundle_loads;
        let mut report = self.report();
        if let Some(BundleRefused { reason, detail }) = refused {
            tracing::error!(reason, detail, "bundle refused; the one in force stays");
            report.bundle_refused(reason, detail);
            loads.refused(reason);
        } else if matches!(after.policy.bundle, BundleState::Loaded(_)) {
            report.bundle_loaded(before.policy.bundle.digest() != after.policy.bundle.digest());
            loads.accepted(Stamp::now());
        }
    }

    /// Settings of the configuration in force that only the start of a process reads.
    fn needs_restart(&self, snapshot: &Snapshot) -> Vec<String> {
        let (started, now) = (&self.startup, &snapshot.gateway.config);
        let mut changed = Vec::new();
        if started.admin != now.admin {
            changed.push("admin".to_owned());
        }
        if started.runtime != now.runtime {
            changed.push("runtime".to_owned());
        }
        if self
            .state_folder()
            .is_some_and(|folder| folder.needs_restart(&now.state))
        {
            changed.push("state".to_owned());
        }
        changed
    }

    /// The answer to a reload that was accepted.
    pub(super) fn reloaded(&self, before: &Snapshot) -> Reloaded {
        let after = self.snapshot();
        let report = self.report();
        Reloaded {
            changed: before.digest != after.digest,
            snapshot: after.digest.to_string(),
            config: report.config(&after),
            bundle: report.bundle(&after),
            needs_restart: report.needs_restart.clone(),
        }
    }
}

/// The kill switches of the bundle in force and of the one on trial.
fn switches(snapshot: &Snapshot) -> Arc<Switches> {
    let of = |policies: &Arc<Policies>| Arc::clone(policies.switches());
    let own = snapshot.policy.bundle.policies().map(of).unwrap_or_default();
    match &snapshot.policy.rollout {
        None => own,
        Some(rollout) => {
            let both = own.as_slice().iter().chain(rollout.policies().switches().as_slice());
            Arc::new(Switches::new(both.cloned().collect()))
        }
    }
}
