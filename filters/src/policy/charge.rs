//! From a rule and a subject to what is charged: one part for each counter. How much each algorithm charges to which
//! counter stands in its own file; the engine charges the parts of all rules together.

mod cost;
mod cost_based;
mod llm;
mod loops;
mod token_bucket;

use std::sync::Arc;

use http::StatusCode;
use portcullis_bundles::algorithm::Limit;
use portcullis_bundles::algorithm::cost_based::Stage;
use portcullis_bundles::algorithm::loop_detection::LoopAction;
use portcullis_bundles::format::{OnFull, OnMissing};
use portcullis_bundles::policies::{Policy, Rule};
use smallvec::SmallVec;

use super::llm::account::Role;
use super::subject::Subject;
use crate::attributes::KeyError;
use crate::buckets::{Charge, NoRoom, Params, ScopedHasher, Taken};
use crate::client::Now;
use crate::facts;
use crate::limit_stats::LimitStats;
use crate::verdict::{Reason, Shape};

pub(super) use cost::told;
pub use cost_based::BUDGET_EXCEEDED;
pub use loops::LOOP_DETECTED;
pub(super) use loops::part as loop_part;
pub use token_bucket::EXCEEDED;

/// What is charged to one counter, and what it means when there is not enough.
pub(super) struct Part<'p> {
    pub(super) policy: &'p Policy,
    /// The rule's name; none of a part that is the policy's.
    pub(super) rule: Option<&'p Arc<str>>,
    /// The name of its algorithm; none of a part that is the policy's.
    pub(super) algorithm: Option<&'static str>,
    pub(super) charge: Charge,
    /// Why it refuses.
    pub(super) reason: Reason,
    pub(super) meaning: Meaning<'p>,
    /// How its refusal is written.
    pub(super) shape: Shape,
    /// What it is for.
    pub(super) role: Role,
}

/// What kind of counter it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Meaning<'p> {
    /// A limit, of which clients are told; with what happens before it refuses, by rising thresholds.
    Limit(&'p [Stage]),
    /// A count of identical requests.
    Loop(LoopAction),
}

/// The number of the counter of identical requests among those of a policy.
const LOOP_PART: u8 = 16;

/// What a request is charged: all of it or nothing.
pub(super) type Parts<'p> = SmallVec<[Part<'p>; 8]>;

impl Part<'_> {
    /// The limit, as clients are told of it.
    pub(super) fn limit(&self, taken: &Taken) -> Option<facts::Limit> {
        matches!(self.meaning, Meaning::Limit(_)).then(|| facts::Limit::of(&self.policy.id, taken, &self.charge.params))
    }

    /// How often an identical request was counted, by a part that counts those.
    pub(super) fn times(&self, taken: &Taken) -> Option<u64> {
        matches!(self.meaning, Meaning::Loop(_)).then_some(taken.used_millionths / 1_000_000)
    }

    /// Whether this answer refuses the request.
    pub(super) fn refuses(&self, taken: &Taken) -> bool {
        !taken.allowed && !self.charge.soft
    }
}

/// Counts what limits answered: once for each rule, whose counters all had enough or not.
pub(super) fn count(parts: &Parts<'_>, answers: &[Taken], stats: &LimitStats) {
    let mut rest = parts.iter().zip(answers).peekable();
    while let Some((part, taken)) = rest.next() {
        let mut allowed = taken.allowed;
        while let Some((_, day)) = rest.next_if(|(next, _)| matches!(next.role, Role::Day)) {
            allowed &= day.allowed;
        }
        if let Some(algorithm) = part.algorithm {
            stats.result(algorithm, allowed);
        }
    }
}

/// What becomes of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Its parts were added.
    Added,
    /// A key is missing and the rule is left out.
    Skip,
    /// It refuses, whatever its counters say.
    Refuse(Refused),
}

/// How a rule refuses a request that it does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) reason: Reason,
    pub(super) shape: Shape,
    /// Seconds after which waiting helps.
    pub(super) retry_after: Option<u32>,
}

/// A key is missing, and the rule says `on_missing: deny`.
const MISSING: Refused = Refused {
    status: StatusCode::FORBIDDEN,
    reason: super::engine::KEY_MISSING,
    shape: Shape::Problem,
    retry_after: None,
};

/// Why a rule could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RuleError {
    #[error("policy {policy}, rule {rule}: {error}")]
    Key {
        policy: Box<str>,
        rule: Box<str>,
        error: KeyError,
    },
    #[error("policy {policy}, rule {rule}: its numbers are out of range")]
    Numbers { policy: Box<str>, rule: Box<str> },
}

impl RuleError {
    pub(super) fn key(policy: &Policy, rule: &Rule, error: KeyError) -> Self {
        Self::Key {
            policy: policy.id.as_ref().into(),
            rule: rule.name.as_ref().into(),
            error,
        }
    }

    /// A key of one of the policy's blocks.
    pub(super) fn of_block(policy: &Policy, block: &'static str, error: KeyError) -> Self {
        Self::Key {
            policy: policy.id.as_ref().into(),
            rule: block.into(),
            error,
        }
    }

    /// The numbers of one of the policy's blocks.
    pub(super) fn numbers_of_block(policy: &Policy, block: &'static str) -> Self {
        Self::Numbers {
            policy: policy.id.as_ref().into(),
            rule: block.into(),
        }
    }

    fn numbers(policy: &Policy, rule: &Rule) -> Self {
        Self::Numbers {
            policy: policy.id.as_ref().into(),
            rule: rule.name.as_ref().into(),
        }
    }
}

/// A rule that applies, on its way to its parts.
struct Applying<'p, 's, S> {
    policy: &'p Policy,
    rule: &'p Rule,
    subject: &'s S,
    stats: &'s LimitStats,
    /// Has the rule and the values of its keys in it.
    hasher: ScopedHasher,
    now: Now,
}

/// The longest time in which a bucket of this rule fills steadily.
pub(super) fn fill_ns(rule: &Rule) -> u64 {
    match &rule.limit {
        Limit::TokenBucket(bucket) => token_bucket::params(bucket).as_ref().map_or(0, Params::fill_ns),
        Limit::TokenBucketLlm(limit) => llm::params(limit).as_ref().map_or(0, Params::fill_ns),
        // Windows know their own end.
        Limit::CostBased(_) => 0,
    }
}

/// Adds what a rule that applies charges.
pub(super) fn due<'p>(
    policy: &'p Policy,
    rule: &'p Rule,
    subject: &impl Subject,
    mut hasher: ScopedHasher,
    by: (&LimitStats, Now),
    parts: &mut Parts<'p>,
) -> Result<Due, RuleError> {
    let (stats, now) = by;
    for key in &rule.keys {
        let there = subject
            .count_by(key, &mut hasher)
            .map_err(|error| RuleError::key(policy, rule, error))?;
        if there {
            continue;
        }
        stats.missing(rule.on_missing);
        stats.missing_key(key);
        match rule.on_missing {
            OnMissing::Skip => return Ok(Due::Skip),
            OnMissing::Anonymous => hasher.add(None),
            OnMissing::Deny => return Ok(Due::Refuse(MISSING)),
        }
    }
    let applying = Applying {
        policy,
        rule,
        subject,
        stats,
        hasher,
        now,
    };
    match &rule.limit {
        Limit::TokenBucket(bucket) => token_bucket::add(bucket, &applying, parts)?,
        Limit::CostBased(budget) => cost_based::add(budget, &applying, parts)?,
        Limit::TokenBucketLlm(limit) => return llm::add(limit, &applying, parts),
    }
    Ok(Due::Added)
}

/// What becomes of a limit of this policy when there is no room for another counter.
fn no_room(policy: &Policy) -> NoRoom {
    match policy.on_full {
        OnFull::SharedBucket => NoRoom::Share,
        OnFull::Deny => NoRoom::Refuse,
    }
}

impl<'p, S: Subject> Applying<'p, '_, S> {
    fn part(&self, charge: Charge, reason: Reason) -> Part<'p> {
        Part {
            policy: self.policy,
            rule: Some(&self.rule.name),
            algorithm: Some(self.rule.limit.algorithm()),
            charge: charge.without_room(no_room(self.policy)),
            reason,
            meaning: Meaning::Limit(&[]),
            shape: Shape::Problem,
            role: Role::Plain,
        }
    }

    fn numbers(&self) -> RuleError {
        RuleError::numbers(self.policy, self.rule)
    }
}
