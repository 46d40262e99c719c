//! The header fields that tell a debug session how its request was decided, under our names or Fairvisor Edge's.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use portcullis_filters::facts::Facts;
use portcullis_filters::record::{Action, Decision};
use portcullis_filters::trace::Trace;
use portcullis_filters::verdict::Denial;

/// Descriptors that are told.
const MOST_DESCRIPTORS: usize = 16;
/// Bytes of a descriptor's value that are told.
const MOST_VALUE: usize = 256;

/// What the names begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prefix {
    /// `X-Portcullis-`.
    Portcullis,
    /// `X-Fairvisor-`.
    Fairvisor,
}

impl Prefix {
    /// A name with this prefix.
    pub fn name(self, rest: &str) -> Option<HeaderName> {
        let prefix = match self {
            Self::Portcullis => "x-portcullis-",
            Self::Fairvisor => "x-fairvisor-",
        };
        HeaderName::try_from(format!("{prefix}{rest}")).ok()
    }
}

/// Adds the fields to the answer. `version`: that of the bundle that decided.
pub fn add(facts: &mut Facts, denial: Option<&Denial>, took: Duration, version: Option<u64>, prefix: Prefix) {
    let trace = facts.trace.take().unwrap_or_default();
    let mut say = |rest: &str, value: &str| {
        let name = prefix.name(rest);
        let value = HeaderValue::from_bytes(value.as_bytes())
            .ok()
            .filter(|value| !value.is_empty());
        if let (Some(name), Some(value)) = (name, value) {
            facts.response_headers.set(name, value);
        }
    };
    let told = told(&facts.decisions, denial, &trace);
    let latency = took.as_micros().to_string();
    for (plain, value) in [
        ("decision", told.decision),
        ("mode", told.mode),
        ("latency-us", &latency),
    ] {
        say(plain, value);
        say(&format!("debug-{plain}"), value);
    }
    if let Some(denial) = denial {
        say("reason", denial.reason.0);
    }
    if let Some(version) = version {
        say("debug-bundle-version", &version.to_string());
    }
    say("debug-reason", told.reason);
    say("debug-policy", told.policy);
    say("debug-rule", told.rule);
    say("debug-matched-policies", &trace.policies.len().to_string());
    for (place, (key, value)) in trace.descriptors.iter().take(MOST_DESCRIPTORS).enumerate() {
        let end = value
            .char_indices()
            .map(|(at, _)| at)
            .take_while(|at| *at <= MOST_VALUE)
            .last();
        let value = if value.len() <= MOST_VALUE {
            value
        } else {
            value.get(..end.unwrap_or(0)).unwrap_or_default()
        };
        say(&format!("debug-descriptor-{}-key", place + 1), key);
        say(&format!("debug-descriptor-{}-value", place + 1), value);
    }
    facts.trace = Some(trace);
}

struct Told<'d> {
    decision: &'static str,
    mode: &'static str,
    reason: &'d str,
    policy: &'d str,
    rule: &'d str,
}

/// The decision that counts: what refused, else what a shadow would have refused, else the first policy that was asked.
fn told<'d>(decisions: &'d [Decision], denial: Option<&'d Denial>, trace: &'d Trace) -> Told<'d> {
    let refusing = |decision: &&Decision| matches!(decision.action, Action::Deny | Action::Error);
    let named = decisions.iter().filter(refusing);
    let decision = named
        .clone()
        .rev()
        .find(|decision| denial.is_some_and(|denial| denial.reason == decision.reason))
        .or_else(|| named.clone().find(|decision| decision.policy.is_some()));
    let shadow = decision.is_some_and(|decision| decision.mode == portcullis_config::site::Mode::Shadow);
    Told {
        decision: if denial.is_some() { "reject" } else { "allow" },
        mode: if shadow { "shadow" } else { "enforce" },
        reason: match (denial, trace.policies.is_empty()) {
            (Some(denial), _) => denial.reason.0,
            (None, true) => "no_matching_policy",
            (None, false) => "all_rules_passed",
        },
        policy: decision
            .and_then(|decision| decision.policy.as_deref())
            .or_else(|| trace.policies.first().map(|policy| &**policy))
            .unwrap_or_default(),
        rule: decision
            .and_then(|decision| decision.rule.as_deref())
            .unwrap_or_default(),
    }
}
