//! The families that say how things are at this moment, or were counted elsewhere: limits, tokens of models, the control plane, the
//! bundle. Read when somebody scrapes.

use std::collections::BTreeMap;

use portcullis_filters::limit_stats::{ALGORITHMS, LimitStats};
use portcullis_filters::policy::Breakers;
use portcullis_filters::policy::llm::stats::{LlmStats, Span};

use super::{MOST_POLICIES, ROUTE};
use crate::control_plane::Call;
use crate::live::metrics::ESTIMATORS;
use crate::live::{Live, now};
use crate::snapshot::{BundleState, Snapshot};
use crate::telemetry::exposition::Exposition;

/// Adds the samples.
pub(super) fn collect(live: &Live, out: &mut Exposition) {
    let snapshot = live.snapshot();
    of_limits(&snapshot, out);
    of_circuits(&snapshot, out);
    of_tokens(&snapshot, out);
    of_control_plane(live, out);
    of_bundle(&snapshot, out);
}

/// Series come with the first request that a rule is about.
fn of_limits(snapshot: &Snapshot, out: &mut Exposition) {
    let result = ("fairvisor_limiter_result_total", "What limiters said.");
    let missing = (
        "fairvisor_descriptor_missing_total",
        "Keys that rules count by and requests did not have.",
    );
    let errors = (
        "fairvisor_evaluate_errors_total",
        "Requests that could not be evaluated.",
    );
    out.declare_counter(result.0, result.1);
    out.declare_counter(missing.0, missing.1);
    out.declare_counter(errors.0, errors.1);
    // Policies are compiled with the index that finds them: there is none to miss.
    let help = "Policies that a route names and that are not there.";
    out.declare_counter("fairvisor_policy_lookup_miss_total", help);
    let zones: Vec<_> = snapshot.gateway.zones.each::<LimitStats>().collect();
    for algorithm in ALGORITHMS {
        for (text, allowed) in [("true", true), ("false", false)] {
            let count: u64 = zones.iter().map(|(_, stats)| stats.results(algorithm, allowed)).sum();
            if count > 0 {
                let labels = [("algorithm", algorithm), ("allowed", text)];
                out.counter(result.0, result.1, &labels, count);
            }
        }
    }
    let mut keys: BTreeMap<String, u64> = BTreeMap::new();
    for (key, count) in zones.iter().flat_map(|(_, stats)| stats.missing_keys()) {
        *keys.entry(key).or_default() += count;
    }
    for (key, count) in &keys {
        out.counter(missing.0, missing.1, &[("key", key)], *count);
    }
    let failed = zones.iter().map(|(_, stats)| stats.errors()).sum();
    out.counter(errors.0, errors.1, &[("reason", "rule_error")], failed);
}

/// Of every policy that has a breaker.
fn of_circuits(snapshot: &Snapshot, out: &mut Exposition) {
    let (name, help) = (
        "fairvisor_circuit_state",
        "1 while a circuit breaker of the policy is open.",
    );
    out.declare_gauge(name, help);
    let BundleState::Loaded(policies) = &snapshot.policy.bundle else {
        return;
    };
    let zones = snapshot.gateway.zones.each::<Breakers>();
    let open: Vec<_> = zones.flat_map(|(_, breakers)| breakers.open()).collect();
    let guarded = policies.all().iter().filter(|policy| policy.breaker.is_some());
    for policy in guarded.take(MOST_POLICIES) {
        let is_open = open.iter().any(|(id, _)| *id == policy.id);
        out.gauge_bool(name, help, &[("target", &policy.id)], is_open);
    }
}

/// Series come with the first request that is counted in tokens.
fn of_tokens(snapshot: &Snapshot, out: &mut Exposition) {
    let consumed = (
        "fairvisor_tokens_consumed_total",
        "Tokens of language models, reserved and actual.",
    );
    let remaining = (
        "fairvisor_tokens_remaining",
        "Tokens that the key that was counted last has left.",
    );
    let accuracy = (
        "fairvisor_token_estimation_accuracy_ratio",
        "Actual tokens over estimated ones.",
    );
    let unused = (
        "fairvisor_token_reservation_unused_total",
        "Tokens that were reserved and not used.",
    );
    out.declare_counter(consumed.0, consumed.1);
    out.declare_gauge(remaining.0, remaining.1);
    out.declare_gauge(accuracy.0, accuracy.1);
    out.declare_counter(unused.0, unused.1);
    for (_, stats) in snapshot.gateway.zones.each::<LlmStats>() {
        let mut given_back = None;
        for (policy, tokens) in stats.each() {
            for (kind, count) in [("actual", tokens.actual()), ("reserved", tokens.reserved())] {
                let labels = [("policy", &*policy), ROUTE, ("type", kind)];
                out.counter(consumed.0, consumed.1, &labels, count);
            }
            for (span, window) in [(Span::Minute, "tpm"), (Span::Day, "tpd")] {
                if let Some(left) = tokens.left(span) {
                    let labels = [("policy", &*policy), ROUTE, ("window", window)];
                    out.gauge_u64(remaining.0, remaining.1, &labels, left);
                }
            }
            *given_back.get_or_insert(0) += tokens.unused();
        }
        if let Some(count) = given_back {
            out.counter(unused.0, unused.1, &[ROUTE], count);
        }
        for (estimator, name) in ESTIMATORS {
            if let Some(ratio) = stats.accuracy(estimator) {
                out.gauge(accuracy.0, accuracy.1, &[("estimator", name), ROUTE], ratio);
            }
        }
    }
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

fn of_bundle(snapshot: &Snapshot, out: &mut Exposition) {
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
    if let BundleState::Loaded(policies) = &snapshot.policy.bundle {
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
