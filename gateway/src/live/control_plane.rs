//! Where the running gateway and the control plane's client meet: the client is started and ended by the configuration in
//! force, and what it pulled is judged and put into force like every other bundle.

use std::sync::Arc;
use std::time::Duration;

use portcullis_bundles::digest::Digest;
use tokio::task::JoinSet;

use super::Live;
use super::bundle::BundleRefused;
use crate::control_plane::events::Reporter;
use crate::control_plane::{Client, Settings};
use crate::snapshot::{BundleState, Snapshot};
use crate::telemetry::stamp::Stamp;

impl Live {
    /// Keeps a client for the control plane of the configuration in force.
    pub(super) async fn tend_control_plane(self: Arc<Self>) {
        let mut published = self.published.subscribe();
        let mut tended: Option<(Settings, JoinSet<()>)> = None;
        loop {
            let wanted = self.control_plane_settings();
            if tended.as_ref().map(|(known, _)| known) != wanted.as_ref() {
                // The one before ends first: there is never more than one.
                drop(tended.take());
                self.control_plane.clear();
                tended = wanted.map(|settings| {
                    let client = Client::new(Arc::clone(&self), Arc::clone(&self.control_plane), settings.clone());
                    let mut task = JoinSet::new();
                    task.spawn(client.run());
                    (settings, task)
                });
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    fn control_plane_settings(&self) -> Option<Settings> {
        let snapshot = self.snapshot();
        let config = &snapshot.gateway.config;
        let (written, policy) = (config.control_plane.as_ref()?, config.policy.as_ref()?);
        Some(Settings {
            written: written.clone(),
            pulls: policy.bundle.control_plane,
            max_bundle: policy.max_bytes.get(),
            state: self.state_folder()?,
        })
    }

    /// Judges a bundle that the control plane has sent, and puts it into force if it may be.
    pub(crate) async fn offer_bundle(&self, bytes: &[u8]) -> Result<(), BundleRefused> {
        let mut cold = self.cold.lock().await;
        let before = self.snapshot();
        let in_force = before.policy.bundle.digest();
        let offered = match cold.policy.as_mut() {
            Some(source) => source.offered(bytes, in_force),
            None => Ok(None),
        };
        let refused = match self.tried_out(&cold, &before, offered) {
            Ok(bundle) => self.settle_bundle(&mut cold, &before, bundle).err(),
            Err(refused) => Some(refused),
        };
        self.note_bundle(&before, refused.as_ref());
        refused.map_or(Ok(()), Err)
    }

    /// The newest bundle that came and was not refused: the one on trial, else the one in force.
    pub(crate) fn newest_bundle(&self) -> Option<Digest> {
        let policy = &self.snapshot().policy;
        let on_trial = policy.rollout.as_ref().map(|rollout| *rollout.policies().digest());
        on_trial.or_else(|| policy.bundle.digest().copied())
    }

    /// What the control plane is told of.
    pub fn reporter(&self) -> &Reporter {
        self.control_plane.events()
    }

    /// How the load of a bundle went, for the control plane.
    pub(super) fn report_bundle(&self, before: &Snapshot, after: &Snapshot, refused: Option<&'static str>) {
        let (old, new) = (before.policy.bundle.digest(), after.policy.bundle.digest());
        if refused.is_none() && old == new {
            return;
        }
        let version = match &after.policy.bundle {
            BundleState::Loaded(policies) => Some(policies.version()),
            BundleState::Unconfigured | BundleState::Missing(_) => None,
        };
        let hash = new.map(|digest| format!("sha256:{digest}"));
        self.reporter().bundle(version, hash, refused);
    }

    /// How long this process has been running.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_millis(Stamp::now().0.saturating_sub(self.started.0))
    }
}
