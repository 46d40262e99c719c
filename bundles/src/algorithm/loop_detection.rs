//! `spec.loop_detection`: the same request again and again. Numbers only; what "the same" is, is the evaluator's.

use portcullis_config::key::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;

/// The longest window: a week.
const MAX_WINDOW: u64 = 604_800;
/// The largest threshold.
const MAX_THRESHOLD: u64 = 1_000_000_000;

/// Compiled; there is none when it is not enabled.
#[derive(Debug, Clone, PartialEq)]
pub struct LoopDetection {
    /// How long requests are counted for, from the first of them on.
    pub window_seconds: u32,
    /// The request that makes it a loop, at least the second.
    pub threshold: u32,
    /// What becomes of it.
    pub action: LoopAction,
    /// The keys of the policy's rules, which tell requests apart beside method, path and query. Sorted.
    pub keys: Box<[Key]>,
}

/// What becomes of a request that is part of a loop.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoopAction {
    /// It is refused.
    #[default]
    Reject,
    /// It is held back: a tenth of a second for each time it came, at most 30 seconds.
    Throttle,
    /// It passes, with a warning.
    Warn,
}

/// As written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LoopDetectionConfig {
    /// Whether it is on.
    pub enabled: bool,
    /// How long requests are counted for, from the first of them on. Required when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_seconds: Option<u64>,
    /// The request that makes it a loop, at least the second. Required when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_identical_requests: Option<u64>,
    /// What becomes of a request that is part of a loop. `reject` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<LoopAction>,
    /// Only `exact`: same method, path, query and values of the policy's limit keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub similarity: Option<Similarity>,
}

/// When two requests are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Similarity {
    /// When nothing of what is compared differs.
    Exact,
}

/// As written to compiled. `None` when it is not enabled, or something was wrong.
pub(crate) fn compile(
    written: &LoopDetectionConfig,
    mut keys: Vec<Key>,
    check: &mut Check<'_, '_>,
) -> Option<LoopDetection> {
    keys.sort_by_cached_key(ToString::to_string);
    keys.dedup();
    let window = written.window_seconds;
    if window.is_some_and(|seconds| !(1..=MAX_WINDOW).contains(&seconds)) {
        check.fail(
            "window_seconds",
            "window_seconds must be a positive integer, at most 604800",
        );
    }
    let threshold = written.threshold_identical_requests;
    if threshold.is_some_and(|count| !(2..=MAX_THRESHOLD).contains(&count)) {
        let message = "threshold_identical_requests must be >= 2, and at most 1000000000";
        check.fail("threshold_identical_requests", message);
    }
    if !written.enabled {
        return None;
    }
    if window.is_none() {
        check.missing::<()>("when enabled is true, window_seconds is required");
    }
    if threshold.is_none() {
        check.missing::<()>("when enabled is true, threshold_identical_requests is required");
    }
    Some(LoopDetection {
        window_seconds: u32::try_from(window?).ok()?,
        threshold: u32::try_from(threshold?).ok()?,
        action: written.action.unwrap_or_default(),
        keys: keys.into(),
    })
}
