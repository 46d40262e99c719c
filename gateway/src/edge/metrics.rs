//! The families of metrics that Fairvisor Edge's dashboards ask for, under its names, beside our own: what is counted here, of
//! each request. Every label is bounded: a policy's id, a reason, the one route; never what a client sent.

mod state;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_config::site::Mode;
use portcullis_filters::facts::Facts;
use portcullis_filters::record::Action;
use portcullis_filters::verdict::Denial;

use crate::live::Live;
use crate::telemetry::exposition::{Buckets, Exposition};

/// Policies that are told apart; the rest is `other`.
const MOST_POLICIES: usize = 4096;
/// The one route.
const ROUTE: (&str, &str) = ("route", "edge");
/// What is said of requests that look like one another.
const LOOPS: [&str; 3] = ["loop_detected", "loop_warn", "loop_throttle"];
/// Upper bounds of the duration in seconds.
const BOUNDS: &[f64] = &[
    0.0001, 0.000_25, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 30.0,
];
/// Upper bounds of `Retry-After` in seconds, and what they are called.
const WAITS: [(u32, &str); 9] = [
    (1, "le_1"),
    (5, "le_5"),
    (10, "le_10"),
    (30, "le_30"),
    (60, "le_60"),
    (300, "le_300"),
    (900, "le_900"),
    (3600, "le_3600"),
    (u32::MAX, "gt_3600"),
];

/// The families' values.
#[derive(Debug, Default)]
pub struct Metrics(Mutex<Values>);

#[derive(Debug, Default)]
struct Values {
    /// By action, reason and policy.
    decisions: HashMap<(&'static str, &'static str, Arc<str>), u64>,
    policies: HashMap<Arc<str>, OfPolicy>,
    took: Option<Buckets>,
    waits: BTreeMap<&'static str, u64>,
    handled: u64,
    matched: u64,
    unmatched: u64,
    loops: u64,
    killed: bool,
    in_shadow: bool,
    global_shadow_decisions: u64,
    override_skips: u64,
}

#[derive(Debug, Default)]
struct OfPolicy {
    evaluations: u64,
    remaining: Option<u64>,
}

/// What the bundle says at this moment that holds for all requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Posture {
    /// Every policy only records.
    pub global_shadow: bool,
    /// The bundle's kill switches are suspended.
    pub kill_switch_override: bool,
}

impl Metrics {
    /// Counts a decision.
    pub fn observe(&self, facts: &Facts, denial: Option<&Denial>, took: Duration, posture: Posture) {
        let mut values = self.values();
        let values = &mut *values;
        values.handled += 1;
        values.observe_duration(took);
        let asked: &[Arc<str>] = facts.trace.as_ref().map(|trace| &*trace.policies).unwrap_or_default();
        if asked.is_empty() {
            values.unmatched += 1;
        } else {
            values.matched += 1;
        }
        values.killed = denial.is_some_and(|denial| denial.reason.0 == "kill_switch");
        values.in_shadow = facts.decisions.iter().any(|decision| decision.mode == Mode::Shadow);
        values.global_shadow_decisions += u64::from(posture.global_shadow);
        values.override_skips += u64::from(posture.kill_switch_override);
        values.loops += u64::from(facts.decisions.iter().any(|it| LOOPS.contains(&it.reason.0)));
        for policy in asked {
            values.of(policy).evaluations += 1;
        }
        if let Some(limit) = &facts.limit {
            values.of(&limit.name).remaining = Some(limit.remaining);
        }
        if let Some(seconds) = denial.and_then(|denial| denial.retry_after)
            && let Some((_, bucket)) = WAITS.iter().find(|(most, _)| seconds <= *most)
        {
            *values.waits.entry(bucket).or_default() += 1;
        }
        values.decide(facts, denial, asked.first());
    }

    fn values(&self) -> MutexGuard<'_, Values> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the samples.
    pub fn collect(&self, live: &Live, out: &mut Exposition) {
        let values = self.values();
        values.decisions(out);
        values.limits(out);
        values.requests(out);
        drop(values);
        state::collect(live, out);
    }
}

impl Values {
    fn of(&mut self, policy: &Arc<str>) -> &mut OfPolicy {
        let policy = self.known(policy);
        self.policies.entry(policy).or_default()
    }

    /// The policy, if it can still be told apart.
    fn known(&self, policy: &Arc<str>) -> Arc<str> {
        if self.policies.len() < MOST_POLICIES || self.policies.contains_key(policy) {
            return Arc::clone(policy);
        }
        "other".into()
    }

    fn observe_duration(&mut self, took: Duration) {
        let buckets = self.took.get_or_insert_with(no_durations);
        let seconds = took.as_secs_f64();
        let place = BOUNDS
            .iter()
            .position(|bound| seconds <= *bound)
            .unwrap_or(BOUNDS.len());
        if let Some(count) = buckets.counts.get_mut(place) {
            *count += 1;
        }
        buckets.sum += seconds;
    }

    fn decide(&mut self, facts: &Facts, denial: Option<&Denial>, first: Option<&Arc<str>>) {
        let refused = facts
            .decisions
            .iter()
            .rev()
            .find(|decision| decision.action == Action::Deny && decision.mode == Mode::Enforce);
        let (action, reason, policy) = match (denial, first) {
            (Some(denial), _) => (
                "reject",
                denial.reason.0,
                refused.and_then(|decision| decision.policy.as_ref()),
            ),
            (None, Some(policy)) => ("allow", "all_rules_passed", Some(policy)),
            (None, None) => ("allow", "no_matching_policy", None),
        };
        let policy = policy.map_or_else(|| "none".into(), |policy| self.known(policy));
        *self.decisions.entry((action, reason, policy)).or_default() += 1;
    }

    fn decisions(&self, out: &mut Exposition) {
        let (name, help) = ("fairvisor_decisions_total", "Decisions.");
        out.declare_counter(name, help);
        for ((action, reason, policy), count) in &self.decisions {
            let labels = [("action", *action), ("policy", &**policy), ("reason", *reason), ROUTE];
            out.counter(name, help, &labels, *count);
        }
        let took = self.took.clone().unwrap_or_else(no_durations);
        let help = "Time from a request's header to its decision and answer.";
        out.histogram("fairvisor_decision_duration_seconds", help, &[ROUTE], took);
        out.counter(
            "fairvisor_handler_invocations_total",
            "Requests that were judged.",
            &[],
            self.handled,
        );
        let help = "Requests that a policy is about, and others.";
        for (matched, count) in [("true", self.matched), ("false", self.unmatched)] {
            out.counter("fairvisor_route_matches_total", help, &[("matched", matched)], count);
        }
        let (name, help) = (
            "fairvisor_retry_after_bucket_total",
            "Refusals by the time that clients are to wait.",
        );
        out.declare_counter(name, help);
        for (bucket, count) in &self.waits {
            out.counter(name, help, &[("bucket", bucket)], *count);
        }
    }

    fn limits(&self, out: &mut Exposition) {
        let remaining = ("fairvisor_ratelimit_remaining", "What the limit told last has left.");
        let evaluated = (
            "fairvisor_policy_evaluations_total",
            "Requests that the policy is about.",
        );
        out.declare_gauge(remaining.0, remaining.1);
        out.declare_counter(evaluated.0, evaluated.1);
        for (policy, of) in &self.policies {
            if let Some(left) = of.remaining {
                let labels = [("policy", &**policy), ROUTE, ("window", "request")];
                out.gauge_u64(remaining.0, remaining.1, &labels, left);
            }
            out.counter(evaluated.0, evaluated.1, &[("policy_id", policy)], of.evaluations);
        }
    }

    fn requests(&self, out: &mut Exposition) {
        let scope = [("scope", "request")];
        let help = "1 when the last request met a kill switch.";
        out.gauge_bool("fairvisor_kill_switch_active", help, &scope, self.killed);
        let help = "1 when a policy in shadow would have refused the last request.";
        out.gauge_bool("fairvisor_shadow_mode_active", help, &scope, self.in_shadow);
        let help = "Requests that looked like one another.";
        out.counter("fairvisor_loop_detected_total", help, &[ROUTE], self.loops);
        let help = "Decisions under a global shadow.";
        let mode = [("mode", "runtime_override")];
        out.counter(
            "fairvisor_global_shadow_decisions_total",
            help,
            &mode,
            self.global_shadow_decisions,
        );
        let help = "Requests that were judged while the bundle's kill switches were suspended.";
        out.counter(
            "fairvisor_kill_switch_override_skips_total",
            help,
            &[],
            self.override_skips,
        );
    }
}

fn no_durations() -> Buckets {
    Buckets {
        bounds: BOUNDS,
        counts: vec![0; BOUNDS.len() + 1],
        sum: 0.0,
    }
}
