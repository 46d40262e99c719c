//! `spec.circuit_breaker`: when what is spent in a minute is too much, nothing passes for a while. Numbers only; the
//! counting is the evaluator's.

use portcullis_config::key::Key;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::cost::Cost;

/// The longest time until a breaker resets itself: a year.
const MAX_RESET_MINUTES: f64 = 525_600.0;

/// Compiled; there is none when it is not enabled.
#[derive(Debug, Clone, PartialEq)]
pub struct CircuitBreaker {
    /// What may be spent in a minute: it opens when that much is.
    pub threshold_per_minute: f64,
    /// After how many milliseconds it lets a little through to see. `None`: never.
    pub reset_after_ms: Option<u64>,
    /// Whether its opening is counted as an alert.
    pub alert: bool,
    /// Which requests share it: the first limit key of the first rule that has one.
    pub key: Option<Key>,
    /// What a request spends: the cost of the first rule, or 1.
    pub cost: Cost,
}

/// As written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CircuitBreakerConfig {
    /// Whether it is on.
    pub enabled: bool,
    /// What may be spent in a minute: it opens when that much is. Required when it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spend_rate_threshold_per_minute: Option<f64>,
    /// Only `reject`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<BreakerAction>,
    /// After how long it lets a little through to see. 0, the default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auto_reset_after_minutes: Option<f64>,
    /// Whether its opening is counted as an alert.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<bool>,
}

/// What becomes of a request that meets an open breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerAction {
    /// It is refused.
    Reject,
}

/// As written to compiled. `None` when it is not enabled, or something was wrong.
pub(crate) fn compile(
    written: &CircuitBreakerConfig,
    key: Option<Key>,
    cost: Cost,
    check: &mut Check<'_, '_>,
) -> Option<CircuitBreaker> {
    const THRESHOLD: &str = "spend_rate_threshold_per_minute";
    let threshold = written
        .spend_rate_threshold_per_minute
        .and_then(|threshold| check.tokens(THRESHOLD, threshold));
    let minutes = written.auto_reset_after_minutes.unwrap_or(0.0);
    if !(0.0..=MAX_RESET_MINUTES).contains(&minutes) {
        let message = "auto_reset_after_minutes must be a non-negative number, at most 525600";
        check.fail("auto_reset_after_minutes", message);
        return None;
    }
    if !written.enabled {
        return None;
    }
    if written.spend_rate_threshold_per_minute.is_none() {
        check.missing::<()>("when enabled is true, spend_rate_threshold_per_minute is required");
    }
    // In range, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let reset = (minutes * 60_000.0).ceil() as u64;
    Some(CircuitBreaker {
        threshold_per_minute: threshold?,
        reset_after_ms: (reset > 0).then_some(reset),
        alert: written.alert.unwrap_or(false),
        key,
        cost,
    })
}
