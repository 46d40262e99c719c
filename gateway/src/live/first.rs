//! The policy that a source begins with: what stands there now, else the last good bundle, else none; and beside it what
//! was on trial.

use std::sync::Arc;

use super::bundle::{BundleRefused, Candidate, PolicySource};
use super::record::Ring;
use crate::compile::fits;
use crate::rollout::{Rollout, Tally};
use crate::snapshot::{BundleState, Gateway};

/// The policy that a source begins with.
pub(super) struct First {
    pub(super) bundle: BundleState,
    pub(super) rollout: Option<Arc<Rollout>>,
    /// The last bundle that was refused on the way, unless a later one was accepted.
    pub(super) refused: Option<BundleRefused>,
}

impl First {
    pub(super) fn of(
        source: Option<&mut PolicySource>,
        gateway: &Gateway,
        ring: Option<&Ring>,
        totals: &Arc<Tally>,
    ) -> Self {
        let mut first = Self {
            bundle: BundleState::Unconfigured,
            rollout: None,
            refused: None,
        };
        let Some(source) = source else { return first };
        first.bundle = BundleState::Missing("no_bundle_loaded");
        if let Some(last_good) = source.last_good() {
            let taken = last_good.and_then(|candidate| first.take(source, gateway, &candidate));
            first.refused = taken.err();
        }
        if let Some(left) = source.left_on_trial(&first.bundle) {
            let tried = left.and_then(|candidate| first.put_on_trial(source, gateway, candidate, totals));
            first.refused = tried.err();
        }
        if let Some(found) = source.look_at_file() {
            let entered = found.and_then(|candidate| first.enter(source, gateway, (ring, totals), candidate));
            first.refused = entered.err();
        }
        first
    }

    /// What a file has.
    fn enter(
        &mut self,
        source: &mut PolicySource,
        gateway: &Gateway,
        by: (Option<&Ring>, &Arc<Tally>),
        candidate: Candidate,
    ) -> Result<(), BundleRefused> {
        let (ring, totals) = by;
        if source.is_on_trial(candidate.digest()) {
            return Ok(());
        }
        source.try_out(ring.map(|ring| &*ring.recorder), &self.bundle, &candidate)?;
        if source.tries(&self.bundle) && self.bundle.digest() != Some(candidate.digest()) {
            return self.put_on_trial(source, gateway, candidate, totals);
        }
        self.take(source, gateway, &candidate)
    }

    fn put_on_trial(
        &mut self,
        source: &mut PolicySource,
        gateway: &Gateway,
        candidate: Candidate,
        totals: &Arc<Tally>,
    ) -> Result<(), BundleRefused> {
        fits(gateway, &candidate.state())?;
        self.rollout = Some(source.begin_trial(candidate, totals)?);
        Ok(())
    }

    fn take(
        &mut self,
        source: &mut PolicySource,
        gateway: &Gateway,
        candidate: &Candidate,
    ) -> Result<(), BundleRefused> {
        fits(gateway, &candidate.state())?;
        source.commit(candidate)?;
        self.bundle = candidate.state();
        Ok(())
    }
}
