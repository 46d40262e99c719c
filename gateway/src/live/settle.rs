//! What becomes of a configuration and a bundle that are good by themselves: they are held against each other, and what
//! fits is put into force, or on trial. Reading and compiling them is [`super::load`]'s.

use std::sync::Arc;

use super::Live;
use super::bundle::{BundleRefused, Candidate, PolicySource};
use super::first::First;
use super::kill_state::KillState;
use super::load::{Cold, NewConfig, PolicyChange, edge_policy};
use super::record::Ring;
use super::rollout::Step;
use crate::admin::control::Refused;
use crate::compile::{Misfit, fits};
use crate::rollout::Rollout;
use crate::snapshot::{BundleState, Gateway, InForce, KillView, Snapshot};

/// How a bundle came in.
enum Entered {
    /// In force, in the place of the one before.
    InForce(BundleState),
    /// On trial, beside the one in force.
    OnTrial(Arc<Rollout>),
}

impl Entered {
    fn beside(self, before: &InForce) -> InForce {
        let kill = before.kill.clone();
        match self {
            Self::InForce(bundle) => InForce::new(bundle, None, kill),
            Self::OnTrial(rollout) => InForce::new(before.bundle.clone(), Some(rollout), kill),
        }
    }
}

impl Live {
    /// Puts into force what can be: both where they fit each other, else one of them, else none.
    pub(super) fn settle(
        &self,
        cold: &mut Cold,
        before: &Snapshot,
        config: Option<NewConfig>,
        bundle: Option<Candidate>,
    ) -> Result<(), Late> {
        let Some(mut config) = config else {
            let Some(bundle) = bundle else { return Ok(()) };
            fits(&before.gateway, &bundle.state()).map_err(Late::bundle)?;
            return self.adopt_bundle(cold, before, bundle);
        };
        match std::mem::replace(&mut config.policy, PolicyChange::None) {
            PolicyChange::None => {}
            PolicyChange::Gone => return self.adopt_source(cold, config, None),
            PolicyChange::Another(opened) => return self.adopt_source(cold, config, Some(*opened)),
        }
        let Some(bundle) = bundle else {
            fits_all(&config.gateway, &before.policy).map_err(|misfit| Late::config(&misfit.detail))?;
            self.publish(config, None);
            return Ok(());
        };
        self.settle_both(cold, before, config, bundle)
    }

    fn settle_both(
        &self,
        cold: &mut Cold,
        before: &Snapshot,
        config: NewConfig,
        bundle: Candidate,
    ) -> Result<(), Late> {
        let in_force = &before.policy.bundle;
        // While the new bundle is on trial the one in force goes on judging.
        let tries = cold.policy.as_ref().is_some_and(|source| source.tries(in_force));
        let stays = if tries { fits(&config.gateway, in_force) } else { Ok(()) };
        if let Err(together) = stays.and_then(|()| fits(&config.gateway, &bundle.state())) {
            if fits_all(&config.gateway, &before.policy).is_ok() {
                self.publish(config, None);
                return Err(Late::bundle(together));
            }
            fits(&before.gateway, &bundle.state()).map_err(|alone| Late::both(&together, alone))?;
            self.adopt_bundle(cold, before, bundle)?;
            return Err(Late::config(&together.detail));
        }
        // One swap for both: between them the new configuration might lack what the old bundle requires.
        let entered = self.take_in(cold, before, bundle).map_err(Late::stored)?;
        self.publish(config, Some(entered));
        Ok(())
    }

    /// Puts a bundle into force that came by itself.
    pub(super) fn settle_bundle(
        &self,
        cold: &mut Cold,
        before: &Snapshot,
        bundle: Option<Candidate>,
    ) -> Result<(), BundleRefused> {
        let settled = self.settle(cold, before, None, bundle);
        settled.map_err(|late| {
            late.bundle.unwrap_or_else(|| BundleRefused {
                reason: "unmet_requirement",
                detail: late.config.map(|refused| refused.detail).unwrap_or_default(),
            })
        })
    }

    /// Puts a configuration into force whose policy comes from elsewhere, or from nowhere any more.
    fn adopt_source(
        &self,
        cold: &mut Cold,
        config: NewConfig,
        opened: Option<(PolicySource, KillState)>,
    ) -> Result<(), Late> {
        let (mut source, kill): (Option<_>, Option<_>) = opened.unzip();
        let written = config.loaded.config.policy.as_ref();
        let ring = Ring::open(written, config.state.as_ref(), cold.ring.as_ref())
            .map_err(|error| Late::config(&format!("policy.record: {error}")))?;
        let first = First::of(source.as_mut(), &config.gateway, ring.as_ref(), self.rollouts.totals());
        let First {
            bundle,
            rollout,
            refused,
        } = first;
        if let (BundleState::Missing(reason), Some(refused)) = (&bundle, refused) {
            let detail = format!("its policy yields no bundle: {reason}: {}", refused.detail);
            return Err(Late::config(&detail));
        }
        cold.policy = source;
        // Whoever changes switches waits until the snapshot has those of the new state folder.
        let mut held = self.kill();
        let before = std::mem::replace(&mut *held, kill);
        if let (Some(now), Some(before)) = (held.as_mut(), before) {
            now.inherit(before);
        }
        let view = held.as_ref().map(KillState::view).unwrap_or_default();
        self.publish_with(config, |_| InForce::new(bundle, rollout, view));
        drop(held);
        self.note_begun(&self.snapshot());
        cold.ring = ring;
        self.begin_record(cold.ring.as_ref());
        self.begin_kill_document();
        Ok(())
    }

    /// Puts a bundle into force or on trial.
    fn adopt_bundle(&self, cold: &mut Cold, before: &Snapshot, bundle: Candidate) -> Result<(), Late> {
        let entered = self.take_in(cold, before, bundle).map_err(|refused| Late {
            config: None,
            bundle: Some(refused),
        })?;
        let gateway = Arc::clone(&before.gateway);
        self.put(|before| Snapshot::new(gateway, Arc::new(entered.beside(&before.policy))));
        Ok(())
    }

    /// Makes a bundle the floor, or puts it on trial; either way durably. What then is in force.
    fn take_in(&self, cold: &mut Cold, before: &Snapshot, bundle: Candidate) -> Result<Entered, BundleRefused> {
        let gone = || BundleRefused {
            reason: "source_unreadable",
            detail: "the policy has no source any more".to_owned(),
        };
        let source = cold.policy.as_mut().ok_or_else(gone)?;
        if source.tries(&before.policy.bundle) {
            let rollout = source.begin_trial(bundle, self.rollouts.totals())?;
            let replaced = before.policy.rollout.as_ref();
            self.rollouts.took(Step::Began, &rollout, "");
            if let Some(replaced) = replaced {
                self.rollouts.took(Step::Replaced, replaced, "a later version came");
            }
            return Ok(Entered::OnTrial(rollout));
        }
        source.commit(&bundle)?;
        Ok(Entered::InForce(bundle.state()))
    }

    /// Puts a configuration into force, with a bundle if there is another one.
    fn publish(&self, config: NewConfig, bundle: Option<Entered>) {
        self.publish_with(config, |before| match bundle {
            Some(entered) => entered.beside(before),
            None => before.clone(),
        });
    }

    fn publish_with(&self, config: NewConfig, policy: impl FnOnce(&InForce) -> InForce) {
        let NewConfig {
            loaded,
            gateway,
            listeners,
            access_log,
            secrets,
            policy: _,
            state,
            api_keys,
        } = config;
        secrets.commit();
        self.identity.apply(&gateway.zones, &loaded.config);
        self.state.store(state);
        self.sessions.apply(&gateway.zones);
        self.api_keys.store(api_keys);
        self.put(|before| Snapshot::new(gateway, Arc::new(policy(&before.policy))));
        self.edge.policy.store(Arc::new(edge_policy(&loaded)));
        self.edge.overload.apply(&loaded.config);
        listeners.commit();
        // Who tends what listeners serve hears of it only now.
        self.published.send_replace(());
        self.observers.commit(&loaded.config, access_log);
    }

    /// Puts kill switches beside the bundle into force.
    pub(super) fn publish_switches(&self, kill: &KillState) {
        self.put_policy(|before| before.with_kill(kill.view()));
    }

    /// Puts another policy into force, under the same configuration.
    pub(super) fn put_policy(&self, make: impl FnOnce(&InForce) -> InForce) {
        self.put(|before| Snapshot::new(Arc::clone(&before.gateway), Arc::new(make(&before.policy))));
    }
}

impl InForce {
    /// The same with other kill switches beside it.
    fn with_kill(&self, kill: KillView) -> Self {
        Self::new(self.bundle.clone(), self.rollout.clone(), kill)
    }
}

/// What was refused although each was good by itself.
pub(super) struct Late {
    pub(super) config: Option<Refused>,
    pub(super) bundle: Option<BundleRefused>,
}

impl Late {
    pub(super) fn refused(detail: &str) -> Refused {
        Refused {
            reason: "config_unmet_requirement",
            detail: detail.to_owned(),
            diagnostics: None,
        }
    }

    fn config(detail: &str) -> Self {
        Self {
            config: Some(Self::refused(detail)),
            bundle: None,
        }
    }

    fn bundle(misfit: Misfit) -> Self {
        Self {
            config: None,
            bundle: Some(misfit.into()),
        }
    }

    /// The bundle could not be stored; the configuration that came with it was not tried alone.
    fn stored(refused: BundleRefused) -> Self {
        let detail = format!("the bundle that came with it could not be stored: {}", refused.detail);
        Self {
            config: Self::config(&detail).config,
            bundle: Some(refused),
        }
    }

    fn both(config: &Misfit, bundle: Misfit) -> Self {
        Self {
            config: Self::config(&config.detail).config,
            bundle: Self::bundle(bundle).bundle,
        }
    }
}

/// Whether a configuration and the bundles in force and on trial fit each other.
fn fits_all(gateway: &Gateway, policy: &InForce) -> Result<(), Misfit> {
    fits(gateway, &policy.bundle)?;
    let Some(rollout) = &policy.rollout else { return Ok(()) };
    let on_trial = BundleState::Loaded(Arc::clone(rollout.policies()));
    fits(gateway, &on_trial).map_err(|misfit| Misfit {
        detail: format!("the bundle on trial: {}", misfit.detail),
        ..misfit
    })
}
