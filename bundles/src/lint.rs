//! Hints: what is allowed in a bundle and most likely not meant. They refuse nothing; whatever must be refused is an
//! error of [`crate::compile`].

use std::collections::HashMap;

use crate::format::{Bundle, OnMissing, Policy};
use crate::problem::{Place, Problem, Problems};
use crate::when::When;

/// Hints about a bundle at the moment `now` (seconds since 1970), in the order of the bundle.
pub fn hints(bundle: &Bundle, now: i64) -> Vec<Problem> {
    let mut hints = Problems::default();
    let root = Place::ROOT;
    if bundle.expires_at.is_none() {
        let help = "an old bundle that is replayed to a new gateway then never expires";
        hints.advise("no-expiry", &root, "the bundle has no expires_at", help);
    }
    switches(bundle, now, &mut hints);
    let list = root.field("policies");
    let mut selectors = HashMap::new();
    for (index, policy) in bundle.policies.iter().enumerate() {
        let place = list.item(index);
        self::policy(policy, &place, &mut hints);
        let key = (&policy.spec.selector, policy.spec.priority);
        if let Some(first) = selectors.insert(key, index) {
            let message = format!("the selector is that of /policies/{first}: both policies apply to each request");
            hints.add("duplicate-selector", &place.field("spec").field("selector"), message);
        }
    }
    hints.into_vec()
}

fn switches(bundle: &Bundle, now: i64, hints: &mut Problems) {
    let list = Place::ROOT.field("kill_switches");
    let mut known = HashMap::new();
    for (index, switch) in bundle.kill_switches.iter().enumerate() {
        let place = list.item(index);
        if let Some(until) = switch.expires_at.filter(|until| until.unix() < now) {
            hints.advise(
                "expired-switch",
                &place,
                format!("the kill switch expired at {until}"),
                "remove it",
            );
        }
        if let Some(first) = known.insert((&switch.scope_key, &switch.scope_value, &switch.route), index) {
            let message = format!("the kill switch refuses the same requests as /kill_switches/{first}");
            hints.add("duplicate-switch", &place, message);
        }
    }
}

fn policy(policy: &Policy, place: &Place<'_>, hints: &mut Problems) {
    let spec = place.field("spec");
    if policy.spec.rules.is_empty() {
        hints.add(
            "no-rules",
            &spec.field("rules"),
            format!("policy `{}` has no rules and limits nothing", policy.id),
        );
        if policy.spec.fallback_limit.is_some() {
            let message = "a fallback_limit without rules is never evaluated";
            hints.add("idle-fallback", &spec.field("fallback_limit"), message);
        }
    }
    let methods = policy.spec.selector.methods.as_deref().unwrap_or_default();
    let has = |method: &str| methods.iter().any(|known| known == method);
    if has("GET") && !has("HEAD") {
        let message = "GET is listed and HEAD is not: the same resources can be asked for past the policy";
        hints.advise(
            "head-not-covered",
            &spec.field("selector").field("methods"),
            message,
            "add `HEAD`",
        );
    }
    constant(policy.spec.when.as_deref(), &spec, hints);
    let rules = spec.field("rules");
    for (index, rule) in policy.spec.rules.iter().enumerate() {
        let place = rules.item(index);
        constant(rule.when.as_deref(), &place, hints);
        if rule.on_missing == Some(OnMissing::Skip) && !rule.limit_keys.is_empty() {
            let message = "a request without the limit key is not limited at all";
            let help = "`anonymous` gives such requests one shared counter, `deny` refuses them";
            hints.advise("missing-key-skips", &place.field("on_missing"), message, help);
        }
        if rule.limit_keys.is_empty() {
            hints.add(
                "one-counter-for-all",
                &place.field("limit_keys"),
                "without limit keys all clients share one counter",
            );
        }
    }
}

/// A condition that asks for nothing of the request.
fn constant(when: Option<&str>, place: &Place<'_>, hints: &mut Problems) {
    if when.is_some_and(|when| When::compile(when).is_ok_and(|when| when.is_constant())) {
        let message = "the condition is the same for every request";
        hints.add("constant-condition", &place.field("when"), message);
    }
}
