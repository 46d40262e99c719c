//! What limits met that is neither yes nor no, counted: missing keys and costs that are no numbers. In a zone, so that the
//! counters outlive reloads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use portcullis_bundles::format::OnMissing;

use crate::zones::{Entropy, OneShape, ZoneState};

/// Counters of one link's limits.
#[derive(Debug, Default)]
pub struct LimitStats {
    missing_skipped: AtomicU64,
    missing_anonymous: AtomicU64,
    missing_denied: AtomicU64,
    bad_costs: AtomicU64,
}

impl LimitStats {
    pub(crate) fn missing(&self, then: OnMissing) {
        let counter = match then {
            OnMissing::Skip => &self.missing_skipped,
            OnMissing::Anonymous => &self.missing_anonymous,
            OnMissing::Deny => &self.missing_denied,
        };
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn bad_cost(&self) {
        self.bad_costs.fetch_add(1, Relaxed);
    }

    /// A key was missing and the limit was not applied.
    pub fn missing_skipped(&self) -> u64 {
        self.missing_skipped.load(Relaxed)
    }

    /// A key was missing and the request counted with all others that lack it.
    pub fn missing_anonymous(&self) -> u64 {
        self.missing_anonymous.load(Relaxed)
    }

    /// A key was missing and the request was refused.
    pub fn missing_denied(&self) -> u64 {
        self.missing_denied.load(Relaxed)
    }

    /// A request gave a cost that cannot be one, and was charged the default.
    pub fn bad_costs(&self) -> u64 {
        self.bad_costs.load(Relaxed)
    }
}

impl ZoneState for LimitStats {
    const KIND: &'static str = "limit stats";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
