//! What a bundle has to say about a request, step by step: which policies are about it, which rules apply, what their
//! counters hold. Nothing is charged. The verdict itself is [`super::engine`]'s, who is asked the same questions.

use portcullis_bundles::format::{Mode, OnMissing};
use portcullis_bundles::policies::{Matches, Policies, Policy, Rule};

use super::charge::{Due, Parts, due};
use super::engine::KEY_MISSING;
use super::subject::Subject;
use crate::buckets::{BucketTable, KeyHasher};
use crate::limit_stats::LimitStats;
use crate::request::Request;

/// A policy that is about the request, in the order of evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyStep {
    /// Its id.
    pub id: String,
    /// Whether its verdicts count.
    pub mode: Mode,
    /// Higher is evaluated first.
    pub priority: i32,
    /// Its rules in written order; the fallback last, if it is the one that applies.
    pub rules: Vec<RuleStep>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStep {
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: &'static str,
    /// What becomes of it.
    pub outcome: RuleOutcome,
}

/// What becomes of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuleOutcome {
    /// A condition of its `match` does not hold.
    Unmatched {
        /// The key.
        key: String,
        /// The value that it must have.
        wanted: String,
        /// The value that it has.
        found: Option<String>,
    },
    /// A limit key is missing.
    KeyMissing {
        /// The first one.
        key: String,
        /// What the rule does then.
        then: OnMissing,
    },
    /// It counts.
    Counts(Vec<Counter>),
    /// It cannot be evaluated.
    Broken(String),
}

/// A counter of a rule before the request is charged to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// The reason if it refuses.
    pub reason: &'static str,
    /// The quota.
    pub limit: u64,
    /// What would be left.
    pub remaining: u64,
    /// Whether there is enough.
    pub allowed: bool,
    /// Seconds until there is, if there is not.
    pub retry_after: u32,
}

/// Explains the policies that are about a request, with the counters of `table`, which hash with `secret`.
pub fn explain(
    policies: &Policies,
    request: &Request<'_>,
    table: &BucketTable,
    secret: &[u8; 16],
    shadow: bool,
) -> Vec<PolicyStep> {
    let mut matches = Matches::new();
    policies.matching(
        request.head.host,
        request.head.path,
        request.head.method.as_str(),
        &mut matches,
    );
    let explainer = Explainer {
        request,
        table,
        secret,
        stats: LimitStats::default(),
    };
    let about = matches.iter().filter_map(|place| policies.get(*place));
    about
        .map(|policy| {
            let mode = policies.mode(policy, request.head.now.unix());
            let aside = shadow || mode == Mode::Shadow;
            PolicyStep {
                id: policy.id.to_string(),
                mode,
                priority: policy.priority,
                rules: explainer.rules(policy, aside),
            }
        })
        .collect()
}

struct Explainer<'e, 'r> {
    request: &'e Request<'r>,
    table: &'e BucketTable,
    secret: &'e [u8; 16],
    stats: LimitStats,
}

impl Explainer<'_, '_> {
    fn rules(&self, policy: &Policy, shadow: bool) -> Vec<RuleStep> {
        let mut steps: Vec<RuleStep> = policy
            .rules
            .iter()
            .map(|rule| self.rule(policy, rule, shadow))
            .collect();
        let unmatched = |step: &RuleStep| matches!(step.outcome, RuleOutcome::Unmatched { .. });
        if let Some(fallback) = &policy.fallback
            && !steps.is_empty()
            && steps.iter().all(unmatched)
        {
            steps.push(self.rule(policy, fallback, shadow));
        }
        steps
    }

    fn rule(&self, policy: &Policy, rule: &Rule, shadow: bool) -> RuleStep {
        RuleStep {
            name: rule.name.to_string(),
            algorithm: rule.limit.algorithm(),
            outcome: self.outcome(policy, rule, shadow),
        }
    }

    fn outcome(&self, policy: &Policy, rule: &Rule, shadow: bool) -> RuleOutcome {
        for condition in &rule.conditions {
            match Subject::text(self.request, &condition.key) {
                Err(error) => return RuleOutcome::Broken(error.to_string()),
                Ok(value) if value.as_deref() != Some(&*condition.value) => {
                    return RuleOutcome::Unmatched {
                        key: condition.key.to_string(),
                        wanted: condition.value.to_string(),
                        found: value.map(std::borrow::Cow::into_owned),
                    };
                }
                Ok(_) => {}
            }
        }
        let mut parts = Parts::new();
        let hasher = KeyHasher::of(self.secret, rule.identity, shadow);
        match due(
            policy,
            rule,
            self.request,
            hasher,
            (&self.stats, self.request.head.now),
            &mut parts,
        ) {
            Err(error) => RuleOutcome::Broken(error.to_string()),
            Ok(Due::Skip) => self.missing(rule, OnMissing::Skip),
            Ok(Due::Refuse(refused)) if refused.reason == KEY_MISSING => self.missing(rule, OnMissing::Deny),
            Ok(Due::Refuse(refused)) => RuleOutcome::Counts(vec![Counter {
                reason: refused.reason.0,
                limit: 0,
                remaining: 0,
                allowed: false,
                retry_after: 0,
            }]),
            Ok(Due::Added) => RuleOutcome::Counts(self.counters(&parts)),
        }
    }

    fn missing(&self, rule: &Rule, then: OnMissing) -> RuleOutcome {
        let missing = |key: &&portcullis_config::key::Key| matches!(Subject::text(self.request, key), Ok(None));
        let key = rule
            .keys
            .iter()
            .find(missing)
            .map(ToString::to_string)
            .unwrap_or_default();
        RuleOutcome::KeyMissing { key, then }
    }

    fn counters(&self, parts: &Parts<'_>) -> Vec<Counter> {
        parts
            .iter()
            .map(|part| {
                let taken = self.table.peek(&part.charge, self.request.head.now.monotonic_ns);
                Counter {
                    reason: part.reason.0,
                    limit: taken.limit,
                    remaining: taken.remaining,
                    allowed: taken.allowed,
                    retry_after: taken.retry_after,
                }
            })
            .collect()
    }
}
