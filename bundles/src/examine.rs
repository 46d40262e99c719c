//! The tests that a bundle brings along: each must come out as it says, or the bundle is refused. Evaluation itself is
//! the examiner's, who lives where the limits do.

use std::fmt;

use crate::format::{Expectation, Outcome};
use crate::policies::Policies;
use crate::sample::{Sample, Test};

/// Evaluates requests as the gateway would.
pub trait Examiner: Send + Sync {
    /// Sends `request` `repeat` times at the moment `now` (seconds since 1970) to `policies` with fresh counters, and
    /// gives the last decision. `Err`: the evaluation itself failed.
    fn examine(&self, policies: &Policies, request: &Sample, repeat: u32, now: i64) -> Result<Decision, String>;
}

/// What came of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Let through or refused.
    pub outcome: Outcome,
    /// The reason code.
    pub reason: String,
    /// The policy that decided, if one did.
    pub policy: Option<String>,
    /// Its rule.
    pub rule: Option<String>,
}

/// A test that did not come out as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its place in the list, counted from 0.
    pub index: usize,
    /// Its name.
    pub name: Box<str>,
    /// What was expected and what came.
    pub detail: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "test `{}`: {}", self.name, self.detail)
    }
}

/// Runs all tests; gives those that failed.
pub fn run(examiner: &dyn Examiner, policies: &Policies, tests: &[Test], now: i64) -> Vec<Failure> {
    let judge = |(index, test): (usize, &Test)| {
        let detail = match examiner.examine(policies, &test.request, test.repeat, now) {
            Ok(decision) => difference(&test.expect, &decision)?,
            Err(error) => format!("could not be evaluated: {error}"),
        };
        Some(Failure {
            index,
            name: test.name.clone(),
            detail,
        })
    };
    tests.iter().enumerate().filter_map(judge).collect()
}

fn difference(expected: &Expectation, came: &Decision) -> Option<String> {
    let mut differences = Vec::new();
    let mut compare = |what: &str, expected: Option<&str>, came: Option<&str>| {
        if let Some(expected) = expected
            && Some(expected) != came
        {
            differences.push(format!(
                "expected {what} `{expected}`, got `{}`",
                came.unwrap_or("none")
            ));
        }
    };
    compare(
        "decision",
        Some(expected.decision.as_str()),
        Some(came.outcome.as_str()),
    );
    compare("reason", expected.reason.as_deref(), Some(&came.reason));
    compare("policy", expected.policy.as_deref(), came.policy.as_deref());
    compare("rule", expected.rule.as_deref(), came.rule.as_deref());
    if differences.is_empty() {
        return None;
    }
    if expected.reason.is_none() && expected.decision != came.outcome {
        differences.push(format!("reason was `{}`", came.reason));
    }
    Some(differences.join("; "))
}
