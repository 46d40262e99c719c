//! `token_bucket`: tokens come back at a steady rate up to a burst. Numbers only; the counting is the evaluator's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::cost::Cost;

/// Its name.
pub const NAME: &str = "token_bucket";

/// A compiled token bucket. All numbers are finite and positive, and no cost is above the burst.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenBucket {
    /// Tokens that come back in a second.
    pub tokens_per_second: f64,
    /// Tokens in a full bucket, at least `tokens_per_second`.
    pub burst: f64,
    /// What a request costs.
    pub cost: Cost,
}

/// The numbers of `token_bucket` as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenBucketConfig {
    /// `token_bucket`, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// Tokens that come back in a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
    /// Another name for `tokens_per_second`, which wins when both are given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rps: Option<f64>,
    /// Tokens in a full bucket, at least `tokens_per_second`.
    pub burst: Option<f64>,
    /// `fixed` (default), `header:NAME` or `query:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_source: Option<String>,
    /// The cost when `cost_source` is `fixed`. 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_cost: Option<f64>,
    /// The cost when the request gives no usable number. 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_cost: Option<f64>,
}

/// As written to compiled. `None` when something was wrong.
pub(super) fn compile(written: &TokenBucketConfig, check: &mut Check<'_, '_>) -> Option<TokenBucket> {
    check.algorithm(written.algorithm.as_deref(), NAME);
    let rate = match (written.tokens_per_second, written.rps) {
        (Some(rate), _) => check.rate("tokens_per_second", rate),
        (None, Some(rate)) => check.rate("rps", rate),
        (None, None) => check.missing("tokens_per_second or rps is required"),
    };
    let burst = match written.burst {
        Some(burst) => check.tokens("burst", burst),
        None => check.missing("burst is required"),
    };
    if let (Some(rate), Some(burst)) = (rate, burst)
        && burst < rate
    {
        check.fail("burst", "burst must be >= tokens_per_second");
    }
    let fixed = check.cost("fixed_cost", written.fixed_cost, ("burst", burst));
    let default = check.cost("default_cost", written.default_cost, ("burst", burst));
    let cost = check.source("cost_source", written.cost_source.as_deref(), fixed, default);
    if !check.is_ok() {
        return None;
    }
    Some(TokenBucket {
        tokens_per_second: rate?,
        burst: burst?,
        cost: cost?,
    })
}
