//! A bundle's own tests: its sample requests, evaluated as real ones are, on counters that nobody else sees and at a moment
//! that does not pass.

use portcullis_bundles::examine::{self, Decision, Examiner, Failure};
use portcullis_bundles::format::Outcome;
use portcullis_bundles::policies::Policies;
use portcullis_bundles::sample::{Sample, Test};
use portcullis_bundles::switches::Phase;

use super::breakers::Breakers;
use super::engine::{ALL_PASSED, Engine, Evaluation, NO_POLICY};
use crate::buckets::BucketTable;
use crate::client::Now;
use crate::gate::KILL_SWITCH;
use crate::limit_stats::LimitStats;
use crate::verdict::Reason;

/// Evaluates the sample requests of bundles.
#[derive(Debug, Clone, Copy, Default)]
pub struct PolicyExaminer;

impl Examiner for PolicyExaminer {
    fn examine(&self, policies: &Policies, request: &Sample, repeat: u32, now: i64) -> Result<Decision, String> {
        if let Some(killed) = killed(policies, request, now) {
            return Ok(killed);
        }
        let table = BucketTable::new(policies.all().iter().map(|policy| policy.rules.len() + 2).sum());
        let (stats, breakers) = (LimitStats::default(), Breakers::default());
        let engine = Engine {
            policies,
            beside: None,
            table: &table,
            breakers: &breakers,
            stats: &stats,
            // Nobody outside can choose which of these few keys meet.
            secret: &[0; 16],
            now: Now {
                monotonic_ns: 0,
                unix_ms: u64::try_from(now).unwrap_or(0).saturating_mul(1000),
            },
            shadow: false,
        };
        let mut last = Evaluation::default();
        for _ in 0..repeat.max(1) {
            last = engine.evaluate(request).map_err(|error| error.to_string())?;
        }
        Ok(decision(&last))
    }
}

/// Runs the tests that a bundle brought along; gives those that failed. Counts nothing and touches nothing in use.
pub fn selftest(policies: &Policies, tests: &[Test], now: i64) -> Result<(), Vec<Failure>> {
    let failures = examine::run(&PolicyExaminer, policies, tests, now);
    if failures.is_empty() { Ok(()) } else { Err(failures) }
}

/// The bundle's kill switches come before its policies.
fn killed(policies: &Policies, request: &Sample, now: i64) -> Option<Decision> {
    let switches = policies.switches();
    let find = |phase| switches.find(request, phase, now);
    let switch = find(Phase::BeforeIdentity).or_else(|| find(Phase::AfterIdentity))?;
    Some(reject(KILL_SWITCH, None, Some(switch.key.to_string())))
}

fn decision(evaluation: &Evaluation) -> Decision {
    if let Some(refusal) = &evaluation.refusal {
        let rule = refusal.rule.as_deref().map(str::to_owned);
        return reject(refusal.reason, Some(refusal.policy.as_ref().into()), rule);
    }
    let passed = if evaluation.matched { ALL_PASSED } else { NO_POLICY };
    let reason = evaluation.loudest().map_or(passed, |signal| signal.reason);
    Decision {
        outcome: Outcome::Allow,
        reason: reason.0.to_owned(),
        policy: None,
        rule: None,
    }
}

fn reject(reason: Reason, policy: Option<String>, rule: Option<String>) -> Decision {
    Decision {
        outcome: Outcome::Reject,
        reason: reason.0.to_owned(),
        policy,
        rule,
    }
}
