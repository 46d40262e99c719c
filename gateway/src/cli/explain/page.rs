//! How an explanation is shown: for people, line by line in the order in which it was decided, and for tools.

use std::fmt::Write as _;

use portcullis_bundles::format::{Mode as PolicyMode, OnMissing};
use portcullis_config::site::{Mode, OnError};
use portcullis_filters::policy::{Counter, PolicyStep, RuleOutcome, RuleStep, WhenStep};
use portcullis_filters::record::Decision;
use serde_json::{Value, json};

use super::trace::{LinkOutcome, LinkStep, RouteTold, Told};
use crate::cli::format::Page;

/// For people.
pub(super) fn text(told: &Told) -> String {
    let mut page = Page::default();
    let target = told.target.as_ref();
    let host = target.map_or("", |target| &target.host);
    let path = target.map_or("", |target| &target.path);
    let query = target.and_then(|target| target.query.as_deref());
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    page.line("request", format_args!("{} {host} {path}{query}", told.method));
    let through = if told.client.address == told.client.peer {
        String::new()
    } else {
        format!(", through {}, which is trusted", told.client.peer)
    };
    page.line(
        "client",
        format_args!("{}{through}, on listener {}", told.client.address, told.listener),
    );
    page.line("config", &told.config);
    match &told.bundle {
        Some((version, digest)) => {
            let digest = digest.get(..12).unwrap_or_default();
            page.line("bundle", format_args!("version {version}, sha256 {digest}"));
        }
        None => page.line("bundle", "none"),
    }
    page.line("route", route(&told.route));
    if !told.links.is_empty() {
        page.text("\nlinks, in order\n");
    }
    for link in &told.links {
        page.text(&link_lines(link));
    }
    if !told.policies.is_empty() {
        page.text("\npolicies, in order of evaluation, before this request was charged\n");
    }
    for policy in &told.policies {
        page.text(&policy_lines(policy));
    }
    page.text("\n");
    page.line("verdict", verdict(told));
    page.into_string()
}

fn route(route: &RouteTold) -> String {
    match route {
        RouteTold::Route { name, path, exact } => {
            let how = if *exact { "is" } else { "begins with" };
            format!("{name}: the path {how} {path}")
        }
        RouteTold::MethodNotAllowed(methods) => format!("none for this method; there are {methods}"),
        RouteTold::None => "none".to_owned(),
    }
}

fn link_lines(link: &LinkStep) -> String {
    let outcome = match link.outcome {
        LinkOutcome::Passed => "passed",
        LinkOutcome::Stopped => "STOPPED",
        LinkOutcome::NotReached => "not reached",
    };
    let mut how = String::new();
    if link.mode == Mode::Shadow {
        how.push_str(", in shadow");
    }
    if link.on_error == OnError::Allow {
        how.push_str(", open when it breaks");
    }
    let mut lines = format!(
        "  {:<2} {:<12} {:<16} {outcome}{how}\n",
        link.place, link.kind, link.name
    );
    for decision in &link.decisions {
        let _ = writeln!(lines, "     {}", self::decision(decision));
    }
    lines
}

fn decision(decision: &Decision) -> String {
    let mut line = format!("{} {}", decision.action.as_str(), decision.reason.0);
    if let (Some(policy), Some(rule)) = (&decision.policy, &decision.rule) {
        let _ = write!(line, " by {policy}/{rule}");
    }
    if decision.mode == Mode::Shadow {
        line.push_str(", in shadow: it changes nothing");
    }
    if let Some(detail) = &decision.detail {
        let _ = write!(line, " ({detail})");
    }
    line
}

fn policy_lines(policy: &PolicyStep) -> String {
    let mode = match policy.mode {
        PolicyMode::Enforce => "enforced",
        PolicyMode::Shadow => "in shadow",
    };
    let mut lines = format!("  {}: {mode}, priority {}\n", policy.id, policy.priority);
    if let Some(when) = &policy.when {
        let _ = writeln!(lines, "    {}", self::when(when, "the policy is"));
    }
    for block in &policy.blocks {
        let _ = writeln!(lines, "    {}: {}", block.name, rule(block));
    }
    for rule in &policy.rules {
        let when = rule.when.as_ref().filter(|when| when.unknown.is_some());
        let when = when.map(|when| format!("{}; ", self::when(when, "it is")));
        let when = when.unwrap_or_default();
        let _ = writeln!(
            lines,
            "    {} ({}): {when}{}",
            rule.name,
            rule.algorithm,
            self::rule(rule)
        );
    }
    lines
}

/// A condition; `about` is what it is the condition of.
fn when(when: &WhenStep, about: &str) -> String {
    let WhenStep { text, holds, unknown } = when;
    match unknown {
        Some(why) => format!("`{text}` cannot be told ({why}): {about} evaluated all the same"),
        None if *holds => format!("`{text}` holds"),
        None => format!("`{text}` does not hold: {about} not about this request"),
    }
}

fn when_json(when: &WhenStep) -> Value {
    json!({ "text": when.text, "holds": when.holds, "unknown": when.unknown })
}

fn rule(rule: &RuleStep) -> String {
    match &rule.outcome {
        RuleOutcome::Unmatched { key, wanted, found } => {
            let found = found
                .as_ref()
                .map_or_else(|| "missing".to_owned(), |found| format!("`{found}`"));
            format!("does not apply: {key} is {found}, not `{wanted}`")
        }
        RuleOutcome::NotNow => {
            let text = rule.when.as_ref().map_or("", |when| &when.text);
            format!("does not apply: `{text}` does not hold")
        }
        RuleOutcome::KeyMissing { key, then } => {
            let then = match then {
                OnMissing::Skip => "the rule is left out",
                OnMissing::Anonymous => "all such requests share a counter",
                OnMissing::Deny => "the request is refused",
            };
            format!("{key} is missing: {then}")
        }
        RuleOutcome::Broken(error) => format!("cannot be evaluated: {error}"),
        RuleOutcome::Counts(counters) => {
            let counters: Vec<String> = counters.iter().map(counter).collect();
            counters.join("; ")
        }
    }
}

fn counter(counter: &Counter) -> String {
    let Counter {
        reason,
        limit,
        remaining,
        allowed,
        retry_after,
    } = counter;
    if *allowed {
        format!("enough, {remaining} of {limit} left after it")
    } else {
        let again = match retry_after {
            0 => "and waiting does not help".to_owned(),
            seconds => format!("again in {seconds} s"),
        };
        format!("NOT ENOUGH of {limit}: {reason}, {again}")
    }
}

fn verdict(told: &Told) -> String {
    let Some(refusal) = &told.refusal else {
        return "let through".to_owned();
    };
    let retry = refusal.retry_after.map(|seconds| format!(", Retry-After {seconds}"));
    format!(
        "refused: {} {} by {}{}",
        refusal.status,
        refusal.reason,
        refusal.by,
        retry.unwrap_or_default()
    )
}

/// For tools.
pub(super) fn json(told: &Told) -> Value {
    let target = told.target.as_ref();
    let route = match &told.route {
        RouteTold::Route { name, .. } => json!({ "name": name }),
        RouteTold::MethodNotAllowed(methods) => json!({ "name": null, "methods": methods }),
        RouteTold::None => Value::Null,
    };
    let refusal = told.refusal.as_ref().map(|refusal| {
        json!({ "status": refusal.status, "reason": refusal.reason, "by": refusal.by, "retry_after": refusal.retry_after })
    });
    json!({
        "request": {
            "method": told.method, "host": target.map(|target| &target.host), "path": target.map(|target| &target.path),
            "client": told.client.address, "listener": told.listener,
        },
        "config": told.config,
        "bundle": told.bundle.as_ref().map(|(version, digest)| json!({ "version": version, "sha256": digest })),
        "route": route,
        "links": told.links.iter().map(link_json).collect::<Vec<_>>(),
        "policies": told.policies.iter().map(policy_json).collect::<Vec<_>>(),
        "allowed": told.refusal.is_none(),
        "refusal": refusal,
    })
}

fn link_json(link: &LinkStep) -> Value {
    let outcome = match link.outcome {
        LinkOutcome::Passed => "passed",
        LinkOutcome::Stopped => "stopped",
        LinkOutcome::NotReached => "not_reached",
    };
    json!({
        "place": link.place, "kind": link.kind, "name": link.name, "shadow": link.mode == Mode::Shadow, "outcome": outcome,
        "decisions": link.decisions.iter().map(decision).collect::<Vec<_>>(),
    })
}

fn policy_json(policy: &PolicyStep) -> Value {
    let one = |rule: &RuleStep| {
        let (outcome, counters) = match &rule.outcome {
            RuleOutcome::Unmatched { .. } => ("unmatched", Vec::new()),
            RuleOutcome::NotNow => ("not_now", Vec::new()),
            RuleOutcome::KeyMissing { .. } => ("key_missing", Vec::new()),
            RuleOutcome::Broken(_) => ("broken", Vec::new()),
            RuleOutcome::Counts(counters) => ("counts", counters.iter().map(counter_json).collect()),
        };
        json!({
            "name": rule.name, "algorithm": rule.algorithm, "outcome": outcome, "why": self::rule(rule), "counters": counters,
            "when": rule.when.as_ref().map(when_json),
        })
    };
    json!({
        "id": policy.id, "shadow": policy.mode == PolicyMode::Shadow, "priority": policy.priority,
        "blocks": policy.blocks.iter().map(one).collect::<Vec<_>>(),
        "when": policy.when.as_ref().map(when_json),
        "rules": policy.rules.iter().map(one).collect::<Vec<_>>(),
    })
}

fn counter_json(counter: &Counter) -> Value {
    json!({
        "reason": counter.reason, "limit": counter.limit, "remaining": counter.remaining, "allowed": counter.allowed,
        "retry_after": counter.retry_after,
    })
}
