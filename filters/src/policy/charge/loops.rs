//! `loop_detection`: a window that begins with the first of several identical requests.
//!
//! Two requests are identical when their fingerprints are: a keyed hash over method, path, the query's parameters in any
//! order, and the values of the policy's limit keys, each behind its length. Nobody without the key can make two meet.

use portcullis_bundles::algorithm::LoopDetection;
use portcullis_bundles::algorithm::loop_detection::LoopAction;
use portcullis_bundles::policies::Policy;

use super::{Meaning, Part, RuleError, no_room};
use crate::buckets::{Charge, Cost, NoRoom, Params, ScopedHasher, Window};
use crate::client::Now;
use crate::policy::llm::account::Role;
use crate::policy::subject::Subject;
use crate::verdict::{Reason, Shape};

/// The reason when a request is part of a loop.
pub const LOOP_DETECTED: Reason = Reason("loop_detected");

/// The name of what it is in errors.
const BLOCK: &str = "loop_detection";

/// What the detector of a policy counts for a request.
pub(in crate::policy) fn part<'p>(
    policy: &'p Policy,
    loops: &LoopDetection,
    subject: &impl Subject,
    mut hasher: ScopedHasher,
    now: Now,
) -> Result<Part<'p>, RuleError> {
    hasher.add(Some(subject.method()));
    hasher.add(Some(subject.path()));
    hasher.add_unordered(subject.parameters());
    for key in &loops.keys {
        let there = subject.count_by(key, &mut hasher);
        if !there.map_err(|error| RuleError::of_block(policy, BLOCK, error))? {
            hasher.add(None);
        }
    }
    // The request that reaches the threshold is the first that is one too many.
    let free = f64::from(loops.threshold.saturating_sub(1));
    let params = Params::window(Window::from_first(loops.window_seconds, now), free);
    let params = params.ok_or_else(|| RuleError::numbers_of_block(policy, BLOCK))?;
    let charge = Charge::new(hasher.finish_part(super::LOOP_PART), params, Cost::ONE);
    let charge = match (loops.action, no_room(policy)) {
        (LoopAction::Reject, NoRoom::Refuse) => charge.without_room(NoRoom::Refuse),
        // Requests that share a counter are not the same one again and again.
        (LoopAction::Reject, _) => charge.without_room(NoRoom::Pass),
        (LoopAction::Throttle | LoopAction::Warn, _) => charge.soft().without_room(NoRoom::Pass),
    };
    Ok(Part {
        policy,
        rule: None,
        algorithm: None,
        charge,
        reason: LOOP_DETECTED,
        meaning: Meaning::Loop(loops.action),
        shape: Shape::Problem,
        role: Role::Plain,
    })
}
