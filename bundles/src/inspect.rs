//! A summary of a bundle for people and tools. It holds no values that are compared and no reasons beyond the overrides'.

use std::fmt;

use serde::Serialize;

use crate::algorithm::{Limit, Period};
use crate::format::{Mode, OnMissing};
use crate::policies::{Policies, Policy, Rule, Suspension};
use crate::timestamp::Timestamp;

/// A summary.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Its version.
    pub bundle_version: u64,
    /// SHA-256 of its text.
    pub sha256: String,
    /// Keys that vouch for it. Empty: unsigned.
    pub signed_by: Vec<String>,
    /// When it was made.
    pub issued_at: Option<Timestamp>,
    /// Refused before.
    pub not_before: Option<Timestamp>,
    /// Refused from then on.
    pub expires_at: Option<Timestamp>,
    /// Names of the gateways that it is for. `None`: every gateway.
    pub audience: Option<Vec<String>>,
    /// How many policies it has.
    pub policy_count: usize,
    /// How many rules all of them have.
    pub rule_count: usize,
    /// How many kill switches.
    pub kill_switch_count: usize,
    /// How many requirements.
    pub requirement_count: usize,
    /// `global_shadow`, if it is on.
    pub global_shadow: Option<OverrideSummary>,
    /// `kill_switch_override`, if it is on.
    pub kill_switch_override: Option<OverrideSummary>,
    /// Its policies, by id; the first [`Summary::MAX_POLICIES`].
    pub policies: Vec<PolicySummary>,
}

/// An override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OverrideSummary {
    /// Why.
    pub reason: String,
    /// Until when.
    pub until: Timestamp,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicySummary {
    /// Its id.
    pub id: String,
    /// Whether it refuses or only records.
    pub mode: Mode,
    /// Higher is evaluated first.
    pub priority: i32,
    /// Its rules, the fallback last.
    pub rules: Vec<RuleSummary>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleSummary {
    /// Its name.
    pub name: String,
    /// What requests are counted by.
    pub limit_keys: Vec<String>,
    /// What happens when one is missing.
    pub on_missing: OnMissing,
    /// Its numbers.
    #[serde(flatten)]
    pub limit: LimitSummary,
}

/// The numbers of a limit.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "algorithm", rename_all = "snake_case")]
pub enum LimitSummary {
    /// A token bucket.
    TokenBucket {
        /// Tokens a second.
        tokens_per_second: f64,
        /// Tokens in a full bucket.
        burst: f64,
    },
    /// A budget.
    CostBased {
        /// What may be used in a period.
        most: f64,
        /// The period.
        period: Period,
    },
    /// A model's tokens.
    TokenBucketLlm {
        /// Tokens a minute.
        tokens_per_minute: f64,
        /// Tokens in a full bucket.
        burst_tokens: f64,
        /// Tokens a day.
        #[serde(skip_serializing_if = "Option::is_none")]
        tokens_per_day: Option<f64>,
        /// Most tokens of one request.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_tokens_per_request: Option<u64>,
    },
}

impl fmt::Display for LimitSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TokenBucket {
                tokens_per_second,
                burst,
            } => write!(f, "{tokens_per_second} a second, {burst} at once"),
            Self::CostBased { most, period } => write!(f, "{most} in {}", period.as_str()),
            Self::TokenBucketLlm {
                tokens_per_minute,
                burst_tokens,
                tokens_per_day,
                max_tokens_per_request,
            } => {
                write!(f, "{tokens_per_minute} tokens a minute, {burst_tokens} at once")?;
                if let Some(day) = tokens_per_day {
                    write!(f, ", {day} a day")?;
                }
                if let Some(most) = max_tokens_per_request {
                    write!(f, ", {most} a request")?;
                }
                Ok(())
            }
        }
    }
}

impl Summary {
    /// Most policies listed.
    pub const MAX_POLICIES: usize = 1_000;

    /// The summary of a compiled bundle.
    pub fn of(policies: &Policies) -> Self {
        let origin = policies.provenance();
        let rules = |policy: &Policy| policy.rules.len() + usize::from(policy.fallback.is_some());
        Self {
            bundle_version: origin.version,
            sha256: origin.digest.to_string(),
            signed_by: origin.signed_by.iter().map(ToString::to_string).collect(),
            issued_at: policies.issued_at(),
            not_before: policies.not_before(),
            expires_at: policies.expires_at(),
            audience: policies
                .audience()
                .map(|names| names.iter().map(ToString::to_string).collect()),
            policy_count: policies.all().len(),
            rule_count: policies.all().iter().map(rules).sum(),
            kill_switch_count: policies.switches().as_slice().len(),
            requirement_count: policies.requirements().len(),
            global_shadow: policies.global_shadow.as_ref().map(OverrideSummary::of),
            kill_switch_override: policies.kill_switch_override.as_ref().map(OverrideSummary::of),
            policies: policies
                .all()
                .iter()
                .take(Self::MAX_POLICIES)
                .map(PolicySummary::of)
                .collect(),
        }
    }
}

impl OverrideSummary {
    fn of(suspension: &Suspension) -> Self {
        Self {
            reason: suspension.reason.to_string(),
            until: suspension.until,
        }
    }
}

impl PolicySummary {
    fn of(policy: &Policy) -> Self {
        let rules = policy.rules.iter().chain(policy.fallback.as_deref());
        Self {
            id: policy.id.to_string(),
            mode: policy.mode,
            priority: policy.priority,
            rules: rules.map(RuleSummary::of).collect(),
        }
    }
}

impl RuleSummary {
    fn of(rule: &Rule) -> Self {
        Self {
            name: rule.name.to_string(),
            limit_keys: rule.keys.iter().map(ToString::to_string).collect(),
            on_missing: rule.on_missing,
            limit: LimitSummary::of(&rule.limit),
        }
    }
}

impl LimitSummary {
    fn of(limit: &Limit) -> Self {
        match limit {
            Limit::TokenBucket(bucket) => Self::TokenBucket {
                tokens_per_second: bucket.tokens_per_second,
                burst: bucket.burst,
            },
            Limit::CostBased(budget) => Self::CostBased {
                most: budget.most,
                period: budget.period,
            },
            Limit::TokenBucketLlm(llm) => Self::TokenBucketLlm {
                tokens_per_minute: llm.tokens_per_minute,
                burst_tokens: llm.burst_tokens,
                tokens_per_day: llm.tokens_per_day,
                max_tokens_per_request: llm.max_tokens_per_request,
            },
        }
    }
}
