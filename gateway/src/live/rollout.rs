//! The steps of a rollout: a bundle on trial is promoted or rolled back, by the guard or by an operator. What is written to
//! the state folder comes first where it lets more through, and last where it lets less: a crash in between repeats a step,
//! and never skips one.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use portcullis_config::policy::Expired;
use portcullis_filters::facts::Side;

use super::bundle::rolled_back;
use super::{Live, aside, now};
use crate::admin::control::Refused;
use crate::admin::wire::{RolloutEnd, RolloutState, RolloutStatus};
use crate::rollout::{Rollout, Tally, Verdict};
use crate::snapshot::{BundleState, InForce, Snapshot};
use crate::telemetry::exposition::Exposition;
use crate::telemetry::stamp::Stamp;

/// How often the guard looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long a bundle waits for a state folder that cannot be written.
const TROUBLE: Duration = Duration::from_secs(5);

/// A step of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// On trial, or again after a restart or a change of the configuration.
    Began,
    /// In force, for all.
    Promoted,
    /// Gone, because of what it did.
    RolledBack,
    /// Gone, because a later one came.
    Replaced,
    /// Gone, because an operator said so.
    Aborted,
}

impl Step {
    const ALL: [Self; 5] = [
        Self::Aborted,
        Self::Began,
        Self::Promoted,
        Self::Replaced,
        Self::RolledBack,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Began => "began",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled_back",
            Self::Replaced => "replaced",
            Self::Aborted => "aborted",
        }
    }
}

/// The rollouts of a process.
#[derive(Debug, Default)]
pub(super) struct Rollouts {
    totals: Arc<Tally>,
    steps: [AtomicU64; Step::ALL.len()],
    /// How the last one ended.
    last: Mutex<Option<RolloutEnd>>,
}

impl Rollouts {
    /// What became of the requests of all rollouts.
    pub(super) fn totals(&self) -> &Arc<Tally> {
        &self.totals
    }

    fn count(&self, step: Step) -> Option<&AtomicU64> {
        Step::ALL
            .iter()
            .zip(&self.steps)
            .find(|(known, _)| **known == step)
            .map(|(_, count)| count)
    }

    fn last(&self) -> Option<RolloutEnd> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts and logs a step.
    pub(super) fn took(&self, step: Step, rollout: &Rollout, why: &str) {
        if let Some(count) = self.count(step) {
            count.fetch_add(1, Relaxed);
        }
        let (policies, settings) = (rollout.policies(), &rollout.settings);
        let (version, digest) = (policies.version(), policies.digest());
        let (on_trial, in_force) = (rollout.counts(Side::OnTrial), rollout.counts(Side::InForce));
        match step {
            Step::Began => {
                let (by, percent) = (settings.by.as_str(), settings.percent);
                let here = rollout.trial.share.takes_part();
                tracing::info!(version, %digest, by, percent, here, "rollout: a bundle is on trial");
                return;
            }
            Step::Promoted => {
                tracing::info!(version, %digest, why, ?on_trial, ?in_force, "rollout: the bundle comes into force");
            }
            Step::Replaced => tracing::warn!(version, %digest, why, "rollout: the bundle is not on trial any more"),
            Step::RolledBack | Step::Aborted => {
                let step = step.as_str();
                tracing::error!(version, %digest, step, why, ?on_trial, ?in_force, "rollout: the bundle is rolled back");
            }
        }
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(RolloutEnd {
            version,
            digest: digest.to_string(),
            outcome: step.as_str().to_owned(),
            at: Stamp::now(),
            detail: why.to_owned(),
        });
    }

    fn collect(&self, out: &mut Exposition) {
        for (step, count) in Step::ALL.iter().zip(&self.steps) {
            let help = "Steps of rollouts.";
            let labels = [("step", step.as_str())];
            out.counter("portcullis_rollout_steps_total", help, &labels, count.load(Relaxed));
        }
        for (bundle, side) in [("in_force", Side::InForce), ("on_trial", Side::OnTrial)] {
            let (counts, labels) = (self.totals.counts(side), [("bundle", bundle)]);
            let help = "Requests that were decided while two bundles were compared, by the bundle that decided.";
            out.counter("portcullis_rollout_requests_total", help, &labels, counts.requests);
            let help = "Those of them that policies refused.";
            out.counter("portcullis_rollout_rejected_total", help, &labels, counts.rejected);
            let help = "Those of them that were answered with 5xx.";
            out.counter("portcullis_rollout_failed_total", help, &labels, counts.failed);
        }
    }
}

impl Live {
    /// Looks after the bundle on trial, until another process takes over.
    pub(super) async fn tend_rollout(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            if *self.handed_over.borrow() {
                return;
            }
            let snapshot = self.snapshot();
            let Some(rollout) = &snapshot.policy.rollout else {
                continue;
            };
            match judge(&snapshot, rollout) {
                Verdict::Wait => {}
                Verdict::Promote => {
                    if self.promote(rollout, "the guard had nothing against it").await.is_err() {
                        tokio::time::sleep(TROUBLE).await;
                    }
                }
                Verdict::RollBack(why) => self.roll_back(rollout, Step::RolledBack, &why).await,
            }
        }
    }

    /// What stands in the snapshot with which something begins is told.
    pub(super) fn note_begun(&self, snapshot: &Snapshot) {
        if let Some(rollout) = &snapshot.policy.rollout {
            self.rollouts.took(Step::Began, rollout, "");
        }
    }

    /// The bundle comes into force for all: on the disk first.
    async fn promote(&self, rollout: &Arc<Rollout>, why: &str) -> Result<(), Refused> {
        let mut cold = self.cold.lock().await;
        let before = self.snapshot();
        let digest = rollout.policies().digest();
        let source = cold.policy.as_mut().filter(|source| source.is_on_trial(digest));
        let Some(source) = source.filter(|_| is_on_trial(&before.policy, rollout)) else {
            return Err(none_on_trial());
        };
        let policies = match aside(|| source.promote()) {
            Ok(policies) => policies,
            Err(refused) => {
                let (reason, detail) = (refused.reason, refused.detail);
                tracing::error!(reason, detail, "rollout: the bundle cannot come into force");
                let diagnostics = None;
                return Err(Refused {
                    reason,
                    detail,
                    diagnostics,
                });
            }
        };
        self.put_policy(|before| InForce::new(BundleState::Loaded(policies), None, before.kill.clone()));
        self.rollouts.took(Step::Promoted, rollout, why);
        self.note_bundle(&before, None);
        drop(cold);
        self.control_plane.pull_soon();
        Ok(())
    }

    /// The bundle judges nobody any more, from this moment on; then that is written, so that it is not tried again.
    async fn roll_back(&self, rollout: &Arc<Rollout>, step: Step, why: &str) {
        let before = self.snapshot();
        let mut ended = false;
        self.put_policy(|before| {
            ended = is_on_trial(before, rollout);
            let rollout = before.rollout.clone().filter(|_| !ended);
            InForce::new(before.bundle.clone(), rollout, before.kill.clone())
        });
        if !ended {
            return;
        }
        self.rollouts.took(step, rollout, why);
        let policies = rollout.policies();
        let mut cold = self.cold.lock().await;
        if let Some(source) = &mut cold.policy
            && let Err(error) = aside(|| source.roll_back(policies.digest()))
        {
            tracing::error!(%error, "rollout: not written: a restart tries the bundle again");
        }
        self.note_bundle(&before, Some(&rolled_back(policies.version(), why)));
        drop(cold);
        self.control_plane.pull_soon();
    }

    /// An operator lets the bundle on trial come into force now.
    pub(super) async fn promote_now(&self) -> Result<RolloutStatus, Refused> {
        let rollout = self.on_trial()?;
        self.promote(&rollout, "an operator promoted it").await?;
        Ok(self.rollout_now())
    }

    /// An operator ends the trial.
    pub(super) async fn abort_now(&self) -> Result<RolloutStatus, Refused> {
        let rollout = self.on_trial()?;
        self.roll_back(&rollout, Step::Aborted, "an operator ended it").await;
        Ok(self.rollout_now())
    }

    fn on_trial(&self) -> Result<Arc<Rollout>, Refused> {
        self.snapshot().policy.rollout.clone().ok_or_else(none_on_trial)
    }

    /// What is on trial, and how the last trial ended.
    pub(super) fn rollout_now(&self) -> RolloutStatus {
        RolloutStatus {
            rollout: state(&self.snapshot()),
            last: self.rollouts.last(),
        }
    }

    /// Adds what is known of rollouts, where the configuration wants any.
    pub(super) fn collect_rollouts(&self, snapshot: &Snapshot, out: &mut Exposition) {
        let policy = snapshot.gateway.config.policy.as_ref();
        if policy.is_none_or(|policy| policy.rollout.is_none()) {
            return;
        }
        self.rollouts.collect(out);
        let rollout = snapshot.policy.rollout.as_deref();
        let help = "1 while a bundle is on trial.";
        out.gauge_u64("portcullis_rollout_active", help, &[], u64::from(rollout.is_some()));
        if let Some(rollout) = rollout {
            let policies = rollout.policies();
            let (version, digest) = (policies.version().to_string(), policies.digest().to_string());
            let labels = [("digest", digest.as_str()), ("version", version.as_str())];
            out.gauge_u64("portcullis_rollout_info", "The bundle on trial.", &labels, 1);
        }
    }
}

/// What is on trial.
pub(super) fn state(snapshot: &Snapshot) -> Option<RolloutState> {
    let rollout = snapshot.policy.rollout.as_ref()?;
    let (policies, settings) = (rollout.policies(), &rollout.settings);
    Some(RolloutState {
        version: policies.version(),
        digest: policies.digest().to_string(),
        by: settings.by.as_str().to_owned(),
        percent: settings.percent,
        here: rollout.trial.share.takes_part(),
        began_at: rollout.began_at,
        elapsed_seconds: rollout.elapsed().as_secs(),
        window_seconds: settings.guard.window.get().as_secs(),
        min_requests: settings.guard.min_requests,
        on_trial: rollout.counts(Side::OnTrial),
        in_force: rollout.counts(Side::InForce),
    })
}

fn judge(snapshot: &Snapshot, rollout: &Rollout) -> Verdict {
    let now = now().unix();
    let is_expired = |policies: &portcullis_bundles::policies::Policies| policies.is_expired(now);
    if is_expired(rollout.policies()) {
        return Verdict::RollBack("it has expired".to_owned());
    }
    // Then the one in force lets nobody through, and there is nothing left to compare with.
    let refuses_all = snapshot.gateway.expired == Expired::Deny
        && snapshot
            .policy
            .bundle
            .policies()
            .is_some_and(|policies| is_expired(policies));
    if refuses_all {
        return Verdict::Promote;
    }
    rollout.verdict()
}

fn is_on_trial(policy: &InForce, rollout: &Arc<Rollout>) -> bool {
    policy.rollout.as_ref().is_some_and(|known| Arc::ptr_eq(known, rollout))
}

fn none_on_trial() -> Refused {
    Refused {
        reason: "rollout_none",
        detail: "no bundle is on trial".to_owned(),
        diagnostics: None,
    }
}
