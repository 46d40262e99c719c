//! What a request that passes is told or made to wait for: the stages of budgets. What comes of it is the filter's.

use std::sync::Arc;

use portcullis_bundles::algorithm::cost_based::StageAction;

use super::charge::Part;
use crate::buckets::Taken;
use crate::record::{Action, Decision};
use crate::verdict::Reason;

/// The warning when a budget is nearly used up.
pub const BUDGET_WARN: Reason = Reason("budget_warn");
/// The warning when a request is held back for it.
pub const BUDGET_THROTTLE: Reason = Reason("budget_throttle");

/// A stage that has begun.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    pub(super) reason: Reason,
    pub(super) policy: Arc<str>,
    pub(super) rule: Arc<str>,
    /// How long the request is held back.
    pub(super) delay_ms: u32,
}

impl Signal {
    /// The highest stage that a part has come to.
    pub(super) fn of(part: &Part<'_>, taken: &Taken) -> Option<Self> {
        let begun = part.stages.iter().rev();
        let stage = begun
            .into_iter()
            .find(|stage| stage.from_millionths <= taken.used_millionths)?;
        let (reason, delay_ms) = match stage.action {
            StageAction::Warn => (BUDGET_WARN, 0),
            StageAction::Throttle { delay_ms } => (BUDGET_THROTTLE, delay_ms),
        };
        Some(Self {
            reason,
            policy: Arc::clone(&part.policy.id),
            rule: Arc::clone(part.rule),
            delay_ms,
        })
    }

    /// Whether this one is told rather than `other`: who is held back is told so.
    pub(super) fn outranks(&self, other: &Self) -> bool {
        self.delay_ms > other.delay_ms
    }

    /// For the log.
    pub(super) fn decision(&self) -> Decision {
        let mut decision = Decision::new(Action::Allow, self.reason);
        decision.policy = Some(Arc::clone(&self.policy));
        decision.rule = Some(Arc::clone(&self.rule));
        decision
    }
}
