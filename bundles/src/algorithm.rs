//! The algorithms of limits: their numbers as written and as compiled, a file each. What is not enforced is refused, by
//! name. How anything is counted is not decided here.
//!
//! An algorithm is added with a file (its `NAME`, its `...Config` as written, its compiled type, `compile`), a variant of
//! [`Limit`], a line in [`NAMES`] and an arm in each `match` below; the compiler names what is forgotten.

mod check;
pub mod circuit_breaker;
mod cost;
pub mod cost_based;
pub mod llm;
pub mod loop_detection;
mod period;
pub mod token_bucket;

use portcullis_config::decode::decode;
use portcullis_config::diagnostic::Diagnostics;
use portcullis_config::document::{Document, NodeId};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::problem::{Place, Problems};
use crate::strict::Json;

pub(crate) use check::Check;

pub use circuit_breaker::CircuitBreaker;
pub use cost::Cost;
pub use cost_based::{CostBased, CostBasedConfig};
pub use llm::{TokenBucketLlm, TokenBucketLlmConfig};
pub use loop_detection::LoopDetection;
pub use period::Period;
pub use token_bucket::{TokenBucket, TokenBucketConfig};

/// A compiled limit.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// Tokens come back at a steady rate up to a burst.
    TokenBucket(TokenBucket),
    /// A budget for each period of UTC.
    CostBased(CostBased),
    /// A model's tokens, by the minute and by the day.
    TokenBucketLlm(TokenBucketLlm),
}

/// The numbers of an algorithm as written; which one's, the rule's `algorithm` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AlgorithmConfig {
    /// Of `token_bucket`.
    TokenBucket(TokenBucketConfig),
    /// Of `cost_based`.
    CostBased(CostBasedConfig),
    /// Of `token_bucket_llm`.
    TokenBucketLlm(TokenBucketLlmConfig),
}

/// The algorithms that are enforced.
pub const NAMES: [&str; 3] = [token_bucket::NAME, cost_based::NAME, llm::NAME];

/// Blocks of a policy, which some take for algorithms of a rule.
const BLOCKS: [&str; 2] = ["loop_detection", "circuit_breaker"];

/// The largest number of tokens: every sum of two is exact to a millionth.
pub const MAX_TOKENS: f64 = 1e9;

/// The smallest rate: one token in about eleven days.
pub const MIN_RATE: f64 = 1e-6;

impl Limit {
    /// What a request costs; `None` where the algorithm finds that out from the body.
    pub const fn cost(&self) -> Option<&Cost> {
        match self {
            Self::TokenBucket(bucket) => Some(&bucket.cost),
            Self::CostBased(budget) => Some(&budget.cost),
            Self::TokenBucketLlm(_) => None,
        }
    }

    /// The algorithm's name.
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::TokenBucket(_) => token_bucket::NAME,
            Self::CostBased(_) => cost_based::NAME,
            Self::TokenBucketLlm(_) => llm::NAME,
        }
    }
}

/// The limit that `algorithm` and `config` describe. `None` when something was added to `problems`.
///
/// `rule` is the place of the rule that holds both.
pub(crate) fn compile(algorithm: &str, config: &Json, rule: &Place<'_>, problems: &mut Problems) -> Option<Limit> {
    let place = rule.field("algorithm_config");
    match algorithm {
        token_bucket::NAME => {
            let written = read(config, &place, problems)?;
            token_bucket::compile(&written, &mut Check::at(&place, problems)).map(Limit::TokenBucket)
        }
        cost_based::NAME => {
            let written = read(config, &place, problems)?;
            cost_based::compile(&written, &mut Check::at(&place, problems)).map(Limit::CostBased)
        }
        llm::NAME => {
            let written = read(config, &place, problems)?;
            llm::compile(&written, &place, problems).map(Limit::TokenBucketLlm)
        }
        _ => {
            refuse(algorithm, rule, problems);
            None
        }
    }
}

/// Decodes the numbers of an algorithm for the sake of what it says in `out`. False: something is wrong with their shape.
pub(crate) fn is_shaped(algorithm: &str, document: &Document, config: NodeId, out: &mut Diagnostics) -> bool {
    match algorithm {
        token_bucket::NAME => decode::<TokenBucketConfig>(document, config, &[], out).is_some(),
        cost_based::NAME => decode::<CostBasedConfig>(document, config, &[], out).is_some(),
        llm::NAME => decode::<TokenBucketLlmConfig>(document, config, &[], out).is_some(),
        _ => true,
    }
}

/// Numbers of an algorithm that are right, to stand in for those that are not.
pub(crate) fn stand_in(algorithm: &str) -> Json {
    Json(match algorithm {
        token_bucket::NAME => serde_json::json!({ "tokens_per_second": 1, "burst": 1 }),
        cost_based::NAME => serde_json::json!({
            "budget": 1, "period": "1h", "staged_actions": [{ "threshold_percent": 100, "action": "reject" }]
        }),
        llm::NAME => serde_json::json!({ "tokens_per_minute": 1 }),
        _ => serde_json::Value::Null,
    })
}

fn read<T: DeserializeOwned>(config: &Json, place: &Place<'_>, problems: &mut Problems) -> Option<T> {
    crate::json::from_value(&config.0)
        .map_err(|error| problems.add("invalid-algorithm-config", place, error.to_string()))
        .ok()
}

fn refuse(algorithm: &str, rule: &Place<'_>, problems: &mut Problems) {
    let place = rule.field("algorithm");
    let enforced = NAMES.map(|name| format!("`{name}`")).join(", ");
    let (message, help) = if BLOCKS.contains(&algorithm) {
        let message = format!("`{algorithm}` is no algorithm of a rule");
        (message, format!("it is a block of the policy: `spec.{algorithm}`"))
    } else {
        let message = format!("unsupported algorithm `{algorithm}`");
        (message, format!("this version enforces {enforced}"))
    };
    problems.advise("unsupported-algorithm", &place, message, help);
}
