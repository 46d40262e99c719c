//! What a request that passes is told or made to wait for: the stages of budgets and loops. What comes of it is the filter's.

use std::sync::Arc;

use portcullis_bundles::algorithm::cost_based::{MAX_DELAY_MS, Stage, StageAction};
use portcullis_bundles::algorithm::loop_detection::LoopAction;

use super::charge::{Meaning, Part};
use crate::buckets::Taken;
use crate::record::{Action, Decision};
use crate::verdict::Reason;

/// The warning when a budget is nearly used up.
pub const BUDGET_WARN: Reason = Reason("budget_warn");
/// The warning when a request is held back for it.
pub const BUDGET_THROTTLE: Reason = Reason("budget_throttle");

/// The warning when a request came too often.
pub const LOOP_WARN: Reason = Reason("loop_warn");
/// The warning when a request is held back because it came too often.
pub const LOOP_THROTTLE: Reason = Reason("loop_throttle");

/// A stage that has begun, or a loop that was seen.
#[derive(Debug, Clone)]
pub(super) struct Signal {
    pub(super) reason: Reason,
    pub(super) policy: Arc<str>,
    pub(super) rule: Option<Arc<str>>,
    /// How long the request is held back.
    pub(super) delay_ms: u32,
    /// How often an identical request came, where that is what is said.
    pub(super) times: Option<u64>,
}

impl Signal {
    /// What a part that let the request through says beside that.
    pub(super) fn of(part: &Part<'_>, taken: &Taken) -> Option<Self> {
        let (reason, delay_ms) = match part.meaning {
            Meaning::Limit(stages) => stage(stages, taken.used_millionths)?,
            Meaning::Loop(_) if taken.allowed => return None,
            Meaning::Loop(LoopAction::Throttle) => (LOOP_THROTTLE, loop_delay_ms(taken.used_millionths)),
            Meaning::Loop(LoopAction::Warn | LoopAction::Reject) => (LOOP_WARN, 0),
        };
        Some(Self {
            reason,
            policy: Arc::clone(&part.policy.id),
            rule: part.rule.map(Arc::clone),
            delay_ms,
            times: part.times(taken),
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
        decision.rule.clone_from(&self.rule);
        decision
    }
}

/// The highest stage that has begun.
fn stage(stages: &[Stage], used_millionths: u64) -> Option<(Reason, u32)> {
    let begun = |stage: &&Stage| stage.from_millionths <= used_millionths;
    Some(match stages.iter().rev().find(begun)?.action {
        StageAction::Warn => (BUDGET_WARN, 0),
        StageAction::Throttle { delay_ms } => (BUDGET_THROTTLE, delay_ms),
    })
}

/// A tenth of a second for each time that the request came.
fn loop_delay_ms(used_millionths: u64) -> u32 {
    u32::try_from(used_millionths / 1_000_000 * 100).map_or(MAX_DELAY_MS, |delay| delay.min(MAX_DELAY_MS))
}

#[cfg(test)]
mod tests {
    use super::loop_delay_ms;

    #[test]
    fn a_loop_is_held_back_by_its_count_and_for_half_a_minute_at_most() {
        for (count, delay) in [
            (3, 300),
            (4, 400),
            (299, 29_900),
            (300, 30_000),
            (301, 30_000),
            (u64::MAX / 1_000_000, 30_000),
        ] {
            assert_eq!(loop_delay_ms(count * 1_000_000), delay, "{count}");
        }
    }
}
