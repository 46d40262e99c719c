//! The bundle that a source tries beside the one in force, and the last that was rolled back: both are in the state folder
//! before anything follows from them, so that no crash promotes one, loses one or tries one again.

use std::path::Path;
use std::sync::Arc;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::loader::RefusedReason;
use portcullis_bundles::policies::Policies;
use portcullis_bundles::store::{LastGood, Rollout as Kept, StoreError};
use portcullis_bundles::version::{Floor, Seen};
use portcullis_config::control_plane::ControlPlane;
use portcullis_config::rollout::Rollout as Settings;

use super::{BundleRefused, Candidate, PolicySource};
use crate::live::now;
use crate::rollout::{Rollout, Tally};
use crate::snapshot::BundleState;

/// What is tried and what was.
pub(super) struct Tried {
    /// How new bundles are tried; `None`: they are not.
    settings: Option<Settings>,
    /// The name of this gateway.
    node: String,
    /// On trial.
    pub(super) candidate: Option<Candidate>,
    /// On trial when the process before ended; not verified again yet.
    left: Option<LastGood>,
    rolled_back: Option<Floor>,
}

impl Tried {
    pub(super) fn new(settings: Option<Settings>, control_plane: Option<&ControlPlane>, kept: Kept) -> Self {
        Self {
            settings,
            node: control_plane.map_or_else(host, |control_plane| control_plane.edge_id.clone()),
            candidate: None,
            left: kept.tried,
            rolled_back: kept.rolled_back,
        }
    }

    fn floor(&self) -> Option<Floor> {
        let candidate = self.candidate.as_ref().map(|candidate| candidate.floor);
        candidate.or_else(|| self.left.as_ref().map(|left| left.floor))
    }

    fn kept(&self) -> Kept {
        let tried = self.candidate.as_ref().map(|candidate| LastGood {
            floor: candidate.floor,
            bytes: candidate.bytes.clone(),
        });
        Kept {
            tried: tried.or_else(|| self.left.clone()),
            rolled_back: self.rolled_back,
        }
    }
}

/// The name of this machine.
fn host() -> String {
    let name = std::fs::read_to_string(Path::new("/proc/sys/kernel/hostname")).ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    name.trim().to_owned()
}

impl PolicySource {
    /// What was seen of versions.
    pub(super) fn seen(&self) -> Seen {
        Seen {
            accepted: self.floor,
            tried: self.tried.floor(),
            rolled_back: self.tried.rolled_back,
        }
    }

    /// Whether a new bundle is tried beside `in_force` before it comes into force.
    pub fn tries(&self, in_force: &BundleState) -> bool {
        self.tried.settings.is_some() && matches!(in_force, BundleState::Loaded(_))
    }

    /// Whether this is the bundle on trial.
    pub fn is_on_trial(&self, digest: &Digest) -> bool {
        let candidate = self.tried.candidate.as_ref();
        candidate.is_some_and(|candidate| candidate.policies.digest() == digest)
    }

    /// The bundle that was on trial when the process before ended, verified again. Asked once.
    pub fn left_on_trial(&mut self, in_force: &BundleState) -> Option<Result<Candidate, BundleRefused>> {
        if !self.tries(in_force) {
            return None;
        }
        let LastGood { floor, bytes } = self.tried.left.take()?;
        let restored = self.loader.restore(&bytes, floor, now().unix());
        Some(
            restored
                .map(|accepted| Candidate::new(accepted, bytes, None))
                .map_err(BundleRefused::from),
        )
    }

    /// Puts a bundle on trial, durably, in the place of the one that may be. Only then may it judge a request.
    pub fn begin_trial(&mut self, candidate: Candidate, totals: &Arc<Tally>) -> Result<Arc<Rollout>, BundleRefused> {
        let Some(settings) = self.tried.settings else {
            return Err(refused("invalid", "the configuration has no `policy.rollout` any more"));
        };
        let policies = Arc::clone(&candidate.policies);
        let (known, validator) = (candidate.known, candidate.validator.clone());
        let before = (self.tried.candidate.replace(candidate), self.tried.left.take());
        if let Err(error) = self.store.save_rollout(&self.tried.kept()) {
            (self.tried.candidate, self.tried.left) = before;
            return Err(refused("state_not_written", error));
        }
        self.known = Some(known);
        self.remember(validator);
        let totals = Arc::clone(totals);
        Ok(Arc::new(Rollout::new(policies, settings, &self.tried.node, totals)))
    }

    /// Makes the bundle on trial the floor, durably. Only then may it come into force.
    pub fn promote(&mut self) -> Result<Arc<Policies>, BundleRefused> {
        let gone = || refused("source_unreadable", "it is not on trial any more");
        let candidate = self.tried.candidate.take().ok_or_else(gone)?;
        if let Err(refused) = self.commit(&candidate) {
            self.tried.candidate = Some(candidate);
            return Err(refused);
        }
        // What is left of it counts for nothing: it is not above the floor.
        if let Err(error) = self.store.save_rollout(&self.tried.kept()) {
            tracing::warn!(%error, "what was on trial could not be removed from the state folder");
        }
        Ok(candidate.policies)
    }

    /// The bundle of this digest is not on trial any more, and never again.
    pub fn roll_back(&mut self, digest: &Digest) -> Result<(), StoreError> {
        if !self.is_on_trial(digest) {
            return Ok(());
        }
        self.tried.rolled_back = self.tried.candidate.take().map(|candidate| candidate.floor);
        // The next look is a whole one: it says that the source still has what was rolled back.
        self.remember(None);
        self.store.save_rollout(&self.tried.kept())
    }
}

fn refused(reason: &'static str, detail: impl std::fmt::Display) -> BundleRefused {
    BundleRefused {
        reason,
        detail: detail.to_string(),
    }
}

/// As it is told of a bundle that was just rolled back.
pub(in crate::live) fn rolled_back(version: u64, why: &str) -> BundleRefused {
    refused(
        RefusedReason::RolledBack.as_str(),
        format_args!("version {version} was tried and rolled back: {why}"),
    )
}
