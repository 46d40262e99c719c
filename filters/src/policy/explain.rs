//! What a bundle has to say about a request, step by step: which policies are about it, which rules apply, what their
//! counters hold. Nothing is charged. The verdict itself is [`super::engine`]'s, who is asked the same questions.

use portcullis_bundles::format::{Mode, OnMissing};
use portcullis_bundles::policies::{Policies, Policy, Rule};
use portcullis_bundles::when::When;

use super::breaker::Answer;
use super::breakers::{Breakers, Spending};
use super::charge::{Due, Part, Parts, RuleError, due, loop_part};
use super::engine::KEY_MISSING;
use super::round::{CIRCUIT_OPEN, Round};
use super::subject::Subject;
use super::when::{self, Told};
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
    /// Its blocks, `loop_detection` and `circuit_breaker`, under their own names.
    pub blocks: Vec<RuleStep>,
    /// Its condition, if it has one: then it is about the request only when that holds.
    pub when: Option<WhenStep>,
    /// Its rules in written order; the fallback last, if it is the one that applies. None when the condition does not hold.
    pub rules: Vec<RuleStep>,
}

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhenStep {
    /// As it is written.
    pub text: String,
    /// Whether it counts as holding.
    pub holds: bool,
    /// Why it cannot be told, if it cannot.
    pub unknown: Option<String>,
}

/// A rule, or a block that counts as rules do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleStep {
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: &'static str,
    /// Its condition, if it has one.
    pub when: Option<WhenStep>,
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
    /// Its condition does not hold.
    NotNow,
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

/// What requests are counted in.
#[derive(Clone, Copy)]
pub struct Counting<'c> {
    /// The counters of limits and loops.
    pub table: &'c BucketTable,
    /// The circuit breakers.
    pub breakers: &'c Breakers,
    /// What keys are hashed with.
    pub secret: &'c [u8; 16],
}

/// Explains the policies that are about a request. `shadow`: the link that asks them only records.
pub fn explain(policies: &Policies, request: &Request<'_>, counting: Counting<'_>, shadow: bool) -> Vec<PolicyStep> {
    let matches = request.head.matches(policies);
    let explainer = Explainer {
        request,
        counting,
        stats: LimitStats::default(),
    };
    let about = matches.iter().filter_map(|place| policies.get(*place));
    about
        .map(|policy| {
            let mode = policies.mode(policy, request.head.now.unix());
            let aside = shadow || mode == Mode::Shadow;
            let when = step(policy.when.as_ref(), request);
            let applies = when.as_ref().is_none_or(|when| when.holds);
            PolicyStep {
                id: policy.id.to_string(),
                mode,
                priority: policy.priority,
                when,
                blocks: if applies {
                    explainer.blocks(policy, aside)
                } else {
                    Vec::new()
                },
                rules: if applies {
                    explainer.rules(policy, aside)
                } else {
                    Vec::new()
                },
            }
        })
        .collect()
}

/// A condition with what came of it.
fn step(when: Option<&When>, request: &Request<'_>) -> Option<WhenStep> {
    let told = when::told(when, request);
    Some(WhenStep {
        text: when?.text().to_string(),
        holds: told != Told::Fails,
        unknown: match told {
            Told::Unknown(why) => Some(why),
            Told::Holds | Told::Fails => None,
        },
    })
}

struct Explainer<'e, 'r> {
    request: &'e Request<'r>,
    counting: Counting<'e>,
    stats: LimitStats,
}

impl Explainer<'_, '_> {
    fn blocks(&self, policy: &Policy, shadow: bool) -> Vec<RuleStep> {
        let scope = Subject::scope(self.request);
        let own = || KeyHasher::of(self.counting.secret, policy.identity, shadow).within(&scope);
        let step = |name: &'static str, counts: Result<Vec<Counter>, RuleError>| RuleStep {
            name: name.to_owned(),
            algorithm: name,
            when: None,
            outcome: counts.map_or_else(|error| RuleOutcome::Broken(error.to_string()), RuleOutcome::Counts),
        };
        let now = self.request.head.now;
        let loops = policy.loops.as_deref().map(|loops| {
            let part = loop_part(policy, loops, self.request, own(), now);
            step("loop_detection", part.map(|part| vec![self.counter(&part)]))
        });
        let breaker = policy.breaker.as_deref().map(|breaker| {
            let mut round = Round::default();
            let added = round.add_breaker(policy, breaker, self.request, own(), shadow);
            let look = |spending| self.breaker(spending, now.monotonic_ns);
            let counters = added.map(|()| round.spending.iter().map(look).collect());
            step("circuit_breaker", counters)
        });
        loops.into_iter().chain(breaker).collect()
    }

    fn breaker(&self, spending: &Spending, now: u64) -> Counter {
        let (answer, left) = self.counting.breakers.look(spending, now);
        let wait = match answer {
            Answer::Spent | Answer::NoRoom => None,
            Answer::Open(wait) | Answer::Opened(wait) => Some(wait.map_or(0, |wait| wait.div_ceil(1_000_000_000))),
        };
        Counter {
            reason: CIRCUIT_OPEN.0,
            limit: spending.terms.threshold / 1_000_000,
            remaining: left / 1_000_000,
            allowed: wait.is_none(),
            retry_after: wait.map_or(0, |wait| u32::try_from(wait).unwrap_or(u32::MAX)),
        }
    }

    fn rules(&self, policy: &Policy, shadow: bool) -> Vec<RuleStep> {
        let mut steps: Vec<RuleStep> = policy
            .rules
            .iter()
            .map(|rule| self.rule(policy, rule, shadow))
            .collect();
        let unmatched = |step: &RuleStep| matches!(step.outcome, RuleOutcome::Unmatched { .. } | RuleOutcome::NotNow);
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
            when: step(rule.when.as_ref(), self.request),
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
        if when::told(rule.when.as_ref(), self.request) == Told::Fails {
            return RuleOutcome::NotNow;
        }
        let mut parts = Parts::new();
        let hasher = KeyHasher::of(self.counting.secret, rule.identity, shadow).within(&Subject::scope(self.request));
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
        parts.iter().map(|part| self.counter(part)).collect()
    }

    fn counter(&self, part: &Part<'_>) -> Counter {
        let now = self.request.head.now.monotonic_ns;
        let taken = self.counting.table.peek(&part.charge, now);
        Counter {
            reason: part.reason.0,
            limit: taken.limit,
            remaining: taken.remaining,
            allowed: taken.allowed,
            retry_after: taken.retry_after,
        }
    }
}
