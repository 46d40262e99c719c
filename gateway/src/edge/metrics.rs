//! The families of metrics that Fairvisor Edge's dashboards ask for, under its names, beside our own. Every label is bounded: a
//! policy's id, a reason, the one route; never what a client sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_config::site::Mode;
use portcullis_filters::facts::Facts;
use portcullis_filters::record::Action;
use portcullis_filters::verdict::Denial;

use crate::control_plane::Call;
use crate::live::{Live, now};
use crate::snapshot::BundleState;
use crate::telemetry::exposition::{Buckets, Exposition};

/// Policies that are told apart; the rest is `other`.
const MOST_POLICIES: usize = 4096;
/// The one route.
const ROUTE: (&str, &str) = ("route", "edge");
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
}

#[derive(Debug, Default)]
struct OfPolicy {
    evaluations: u64,
    remaining: Option<u64>,
    /// Whether its circuit was open when it was last asked. `None`: it never was.
    is_open: Option<bool>,
}

impl Metrics {
    /// Counts a decision.
    pub fn observe(&self, facts: &Facts, denial: Option<&Denial>, took: Duration, global_shadow: bool) {
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
        values.global_shadow_decisions += u64::from(global_shadow);
        let open: Vec<_> = facts
            .decisions
            .iter()
            .filter(|it| it.reason.0 == "circuit_breaker_open")
            .collect();
        values.loops += u64::from(facts.decisions.iter().any(|it| it.reason.0 == "loop_detected"));
        for policy in asked {
            let is_open = open.iter().any(|decision| decision.policy.as_ref() == Some(policy));
            let of = values.of(policy);
            of.evaluations += 1;
            if is_open || of.is_open.is_some() {
                of.is_open = Some(is_open);
            }
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
        of_tokens(out);
        of_control_plane(live, out);
        of_bundle(live, out);
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
        let circuit = (
            "fairvisor_circuit_state",
            "1 while the policy's circuit breaker is open.",
        );
        let evaluated = (
            "fairvisor_policy_evaluations_total",
            "Requests that the policy is about.",
        );
        out.declare_gauge(remaining.0, remaining.1);
        out.declare_gauge(circuit.0, circuit.1);
        out.declare_counter(evaluated.0, evaluated.1);
        for (policy, of) in &self.policies {
            if let Some(left) = of.remaining {
                let labels = [("policy", &**policy), ROUTE, ("window", "request")];
                out.gauge_u64(remaining.0, remaining.1, &labels, left);
            }
            if let Some(is_open) = of.is_open {
                out.gauge_bool(circuit.0, circuit.1, &[("target", policy)], is_open);
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
    }
}

fn no_durations() -> Buckets {
    Buckets {
        bounds: BOUNDS,
        counts: vec![0; BOUNDS.len() + 1],
        sum: 0.0,
    }
}

/// Series come with the first request that is counted in tokens.
fn of_tokens(out: &mut Exposition) {
    out.declare_counter(
        "fairvisor_tokens_consumed_total",
        "Tokens of language models, reserved and actual.",
    );
    out.declare_gauge("fairvisor_tokens_remaining", "Tokens that are left.");
    let help = "Actual tokens over estimated ones.";
    out.declare_gauge("fairvisor_token_estimation_accuracy_ratio", help);
    let help = "Tokens that were reserved and not used.";
    out.declare_counter("fairvisor_token_reservation_unused_total", help);
}

/// Series come with a control plane.
fn of_control_plane(live: &Live, out: &mut Exposition) {
    let reachable = ("fairvisor_saas_reachable", "1 while the control plane answers.");
    let calls = ("fairvisor_saas_calls_total", "Calls of the control plane.");
    out.declare_gauge(reachable.0, reachable.1);
    out.declare_counter(calls.0, calls.1);
    let sent = ("fairvisor_events_sent_total", "Events sent to the control plane.");
    out.declare_counter(sent.0, sent.1);
    let Some(status) = live.control_plane().status() else {
        return;
    };
    out.gauge_bool(reachable.0, reachable.1, &[], status.reachable);
    let events = &status.events;
    for (status, count) in [("success", events.sent), ("error", events.refused)] {
        out.counter(sent.0, sent.1, &[("status", status)], count);
    }
    for call in Call::ALL {
        let (good, bad) = live.control_plane().calls(call);
        for (status, count) in [("success", good), ("error", bad)] {
            let labels = [("operation", call.as_str()), ("status", status)];
            out.counter(calls.0, calls.1, &labels, count);
        }
    }
}

fn of_bundle(live: &Live, out: &mut Exposition) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    out.gauge(
        "fairvisor_build_info",
        "The version of this process; the value is 1.",
        &version,
        1.0,
    );
    let info = ("fairvisor_config_info", "The bundle in force; the value is 1.");
    out.declare_gauge(info.0, info.1);
    let (mut shadow, mut suspended) = (false, false);
    if let BundleState::Loaded(policies) = &live.snapshot().policy.bundle {
        let (hash, version) = (policies.digest().to_string(), policies.version().to_string());
        out.gauge(info.0, info.1, &[("hash", &hash), ("version", &version)], 1.0);
        let now = now().unix();
        shadow = policies.global_shadow(now).is_some();
        suspended = policies.kill_switch_override(now).is_some();
    }
    let help = "1 while every policy only records.";
    out.gauge_bool("fairvisor_global_shadow_active", help, &[], shadow);
    let help = "1 while the bundle's kill switches are suspended.";
    out.gauge_bool("fairvisor_kill_switch_override_active", help, &[], suspended);
}
