//! Another bundle tried on requests that were recorded: what would be refused that was let through, and the other way
//! round. Recording itself and where the lines are kept is the gateway's.

mod record;
mod report;
mod subject;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use portcullis_bundles::policies::Policies;
use portcullis_bundles::switches::Phase;

use super::breakers::Breakers;
use super::engine::{ALL_PASSED, Engine, NO_POLICY};
use crate::buckets::BucketTable;
use crate::client::Now;
use crate::gate::KILL_SWITCH;
use crate::limit_stats::LimitStats;

pub use record::{Keep, Outcome};
pub use report::{Changes, Report};
pub use subject::{BrokenLine, Recording};

use subject::Recorded;

/// Counters of a replay have room for at most so many keys.
const MOST_COUNTERS: usize = 1 << 20;

/// The judgement of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) allowed: bool,
    pub(super) reason: &'static str,
    /// Policy and rule.
    pub(super) by: Option<(std::sync::Arc<str>, std::sync::Arc<str>)>,
}

/// A bundle with counters that nobody else has.
struct Judge<'j> {
    policies: &'j Policies,
    table: BucketTable,
    breakers: Breakers,
    stats: LimitStats,
}

impl<'j> Judge<'j> {
    fn new(policies: &'j Policies, requests: usize) -> Self {
        let rules: usize = policies.all().iter().map(|policy| policy.rules.len() + 1).sum();
        Self {
            policies,
            table: BucketTable::new(requests.saturating_mul(rules.max(1)).clamp(1, MOST_COUNTERS)),
            breakers: Breakers::default(),
            stats: LimitStats::default(),
        }
    }

    /// `None`: it needs a key that was not recorded, or a rule that cannot be evaluated.
    fn judge(&self, request: &Recorded, recording: &Recording) -> Option<Verdict> {
        let subject = subject::Replayed::new(request, recording);
        let unix = i64::try_from(request.at_ms / 1000).unwrap_or(i64::MAX);
        let switches = self.policies.switches();
        let find = |phase| switches.find(&subject, phase, unix);
        if find(Phase::BeforeIdentity)
            .or_else(|| find(Phase::AfterIdentity))
            .is_some()
        {
            return Some(Verdict {
                allowed: false,
                reason: KILL_SWITCH.0,
                by: None,
            });
        }
        let engine = Engine {
            policies: self.policies,
            beside: None,
            table: &self.table,
            breakers: &self.breakers,
            stats: &self.stats,
            // Nobody outside can choose which of these keys meet.
            secret: &[0; 16],
            now: Now {
                monotonic_ns: request.at_ms.saturating_mul(1_000_000),
                unix_ms: request.at_ms,
            },
            shadow: false,
        };
        let evaluation = engine.evaluate(&subject).ok()?;
        if subject.is_short_of_keys() {
            return None;
        }
        Some(match evaluation.refusal {
            Some(refusal) => Verdict {
                allowed: false,
                reason: refusal.reason.0,
                // A policy may refuse without a rule: its breaker does.
                by: Some((refusal.policy, refusal.rule.unwrap_or_default())),
            },
            None => Verdict {
                allowed: true,
                reason: if evaluation.matched { ALL_PASSED.0 } else { NO_POLICY.0 },
                by: None,
            },
        })
    }
}

/// Tries `new` on what was recorded, in the order of time, from full counters. What it is compared with: `old` on the same
/// requests from full counters, or without it what became of them when they were recorded.
pub fn replay(recording: &Recording, old: Option<&Policies>, new: &Policies) -> Report {
    let mut report = Report::of(recording);
    let requests = recording.requests.len();
    let old = old.map(|policies| Judge::new(policies, requests));
    let new = Judge::new(new, requests);
    let mut missing: HashMap<String, u64> = HashMap::new();
    for request in &recording.requests {
        let before = match &old {
            Some(old) => old.judge(request, recording).map(|verdict| Before::of(&verdict)),
            None => Some(Before {
                allowed: request.allowed,
                reason: request.reason.clone(),
                by: request.by.clone(),
            }),
        };
        let after = new.judge(request, recording);
        let (Some(before), Some(after)) = (before, after) else {
            report.unjudged += 1;
            for key in subject::short_keys(new.policies, request, recording) {
                *missing.entry(key).or_default() += 1;
            }
            continue;
        };
        match (before.allowed, after.allowed) {
            (true, false) => report.new_denies.add(after.reason, after.named(), request),
            (false, true) => report.new_allows.add(&before.reason, before.named(), request),
            (true, true) | (false, false) => {}
        }
    }
    report.missing_keys = missing.into_iter().collect();
    report.missing_keys.sort();
    report
}

/// What became of a request before.
struct Before {
    allowed: bool,
    reason: Box<str>,
    by: Option<(Box<str>, Box<str>)>,
}

impl Before {
    fn of(verdict: &Verdict) -> Self {
        let by = verdict.by.as_ref();
        Self {
            allowed: verdict.allowed,
            reason: verdict.reason.into(),
            by: by.map(|(policy, rule)| (policy.as_ref().into(), rule.as_ref().into())),
        }
    }

    fn named(&self) -> Option<(&str, &str)> {
        self.by.as_ref().map(|(policy, rule)| (&**policy, &**rule))
    }
}

impl Verdict {
    fn named(&self) -> Option<(&str, &str)> {
        self.by.as_ref().map(|(policy, rule)| (&**policy, &**rule))
    }
}
