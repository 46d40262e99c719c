//! The algorithms of limits: their numbers as written and as compiled. This version enforces `token_bucket`; what it
//! does not enforce it refuses, by name. How a bucket is filled and charged is not decided here.

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{Place, Problems};
use crate::strict::Json;

/// A compiled limit.
#[derive(Debug, Clone, PartialEq)]
pub enum Limit {
    /// Tokens come back at a steady rate up to a burst.
    TokenBucket(TokenBucket),
}

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

/// What a request costs.
#[derive(Debug, Clone, PartialEq)]
pub enum Cost {
    /// Always the same.
    Fixed(f64),
    /// The number in a header field; `default` when it is absent, not a number, not finite or not positive.
    Header {
        /// The field.
        name: HeaderName,
        /// The cost without a usable number.
        default: f64,
    },
    /// The number in a query parameter, likewise.
    Query {
        /// The parameter.
        name: Box<str>,
        /// The cost without a usable number.
        default: f64,
    },
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

/// The name of the algorithm this version enforces.
pub const TOKEN_BUCKET: &str = "token_bucket";

/// Algorithms of the format that this version does not enforce.
pub const NOT_ENFORCED: [&str; 4] = ["cost_based", "token_bucket_llm", "loop_detection", "circuit_breaker"];

/// The largest number of tokens: every sum of two is exact to a millionth.
pub const MAX_TOKENS: f64 = 1e9;

/// The smallest rate: one token in about eleven days.
pub const MIN_RATE: f64 = 1e-6;

/// The limit that `algorithm` and `config` describe. `None` when something was added to `problems`.
///
/// `rule` is the place of the rule that holds both.
pub(crate) fn compile(algorithm: &str, config: &Json, rule: &Place<'_>, problems: &mut Problems) -> Option<Limit> {
    if algorithm != TOKEN_BUCKET {
        refuse_algorithm(algorithm, rule, problems);
        return None;
    }
    let place = rule.field("algorithm_config");
    let written = match crate::json::from_value::<TokenBucketConfig>(&config.0) {
        Ok(written) => written,
        Err(error) => {
            problems.add("invalid-algorithm-config", &place, error.to_string());
            return None;
        }
    };
    token_bucket(&written, &place, problems).map(Limit::TokenBucket)
}

fn refuse_algorithm(algorithm: &str, rule: &Place<'_>, problems: &mut Problems) {
    let place = rule.field("algorithm");
    if NOT_ENFORCED.contains(&algorithm) {
        problems.advise(
            "unsupported-algorithm",
            &place,
            format!("this version does not enforce `{algorithm}` yet"),
            format!("a limit that is not enforced is refused rather than ignored; use `{TOKEN_BUCKET}`"),
        );
    } else {
        problems.advise(
            "unsupported-algorithm",
            &place,
            format!("unsupported algorithm `{algorithm}`"),
            format!("this version enforces `{TOKEN_BUCKET}`"),
        );
    }
}

fn token_bucket(written: &TokenBucketConfig, place: &Place<'_>, problems: &mut Problems) -> Option<TokenBucket> {
    let mut check = Check {
        place,
        problems,
        ok: true,
    };
    if written.algorithm.as_deref().is_some_and(|name| name != TOKEN_BUCKET) {
        check.fail("algorithm", "algorithm must be token_bucket");
    }
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
    let fixed = check.cost("fixed_cost", written.fixed_cost, burst);
    let default = check.cost("default_cost", written.default_cost, burst);
    let cost = check.cost_source(
        written.cost_source.as_deref().unwrap_or("fixed"),
        fixed.or(default),
        default,
    );
    if !check.ok {
        return None;
    }
    Some(TokenBucket {
        tokens_per_second: rate?,
        burst: burst?,
        cost: cost?,
    })
}

struct Check<'a, 'p> {
    place: &'a Place<'a>,
    problems: &'p mut Problems,
    ok: bool,
}

impl Check<'_, '_> {
    fn fail(&mut self, field: &str, message: &str) {
        self.ok = false;
        self.problems
            .add("invalid-algorithm-config", &self.place.field(field), message);
    }

    fn missing(&mut self, message: &str) -> Option<f64> {
        self.ok = false;
        self.problems.add("invalid-algorithm-config", self.place, message);
        None
    }

    fn tokens(&mut self, field: &str, value: f64) -> Option<f64> {
        if !value.is_finite() || value <= 0.0 {
            self.fail(field, &format!("{field} must be a positive number"));
            return None;
        }
        if value > MAX_TOKENS {
            self.fail(field, &format!("{field} must be at most {MAX_TOKENS}"));
            return None;
        }
        Some(value)
    }

    fn rate(&mut self, field: &str, value: f64) -> Option<f64> {
        let rate = self.tokens(field, value)?;
        if rate < MIN_RATE {
            self.fail(field, &format!("{field} must be at least {MIN_RATE}"));
            return None;
        }
        Some(rate)
    }

    fn cost(&mut self, field: &str, value: Option<f64>, burst: Option<f64>) -> Option<f64> {
        let cost = self.tokens(field, value?)?;
        if burst.is_some_and(|burst| cost > burst) {
            self.fail(
                field,
                &format!("{field} must be <= burst: a bucket never holds so much"),
            );
        }
        Some(cost)
    }

    fn cost_source(&mut self, source: &str, fixed: Option<f64>, default: Option<f64>) -> Option<Cost> {
        const TEXT: &str = "cost_source must be fixed, header:<name>, or query:<name>";
        let default = default.unwrap_or(1.0);
        if source == "fixed" {
            return Some(Cost::Fixed(fixed.unwrap_or(1.0)));
        }
        let cost = match source.split_once(':') {
            Some(("header", name)) if is_name(name) => HeaderName::from_bytes(name.as_bytes())
                .ok()
                .map(|name| Cost::Header { name, default }),
            Some(("query", name)) if is_name(name) => Some(Cost::Query {
                name: name.into(),
                default,
            }),
            _ => None,
        };
        if cost.is_none() {
            self.fail("cost_source", TEXT);
        }
        cost
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
