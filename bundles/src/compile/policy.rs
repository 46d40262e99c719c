//! Policies, their selectors and their rules.

use std::collections::HashMap;

use portcullis_config::matcher::HostPattern;

use super::{Compiler, scalars};
use crate::algorithm::{self, Check, CircuitBreaker, Cost, LoopDetection, circuit_breaker, loop_detection};
use crate::digest::Digest;
use crate::format;
use crate::index::Selector;
use crate::policies::{Condition, Policy, Rule};
use crate::problem::Place;
use crate::strict::{Text, UniqueMap};
use crate::when::When;

/// The name of a fallback that has none.
const FALLBACK: &str = "fallback_limit";

impl Compiler {
    /// Every policy with its selector, by id.
    pub(super) fn policies(&mut self, written: &[format::Policy]) -> Vec<(Policy, Selector)> {
        let list = Place::ROOT.field("policies");
        self.at_most(written.len(), scalars::MAX_POLICIES, &list, "policies");
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(written.len());
        let mut compiled = Vec::with_capacity(written.len());
        for (index, policy) in written.iter().enumerate() {
            let place = list.item(index);
            match known.get(policy.id.as_str()) {
                Some(first) if !policy.id.is_empty() => {
                    let message = format!("policy id `{}` is taken by /policies/{first}", policy.id);
                    self.problems.add("duplicate-policy", &place.field("id"), message);
                }
                _ => {
                    known.insert(&policy.id, index);
                }
            }
            compiled.extend(self.policy(policy, &place));
        }
        compiled.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        compiled
    }

    fn policy(&mut self, written: &format::Policy, place: &Place<'_>) -> Option<(Policy, Selector)> {
        let id = self.name(&written.id, &place.field("id"), "missing id");
        let place = place.field("spec");
        let spec = &written.spec;
        let selector = self.selector(&spec.selector, spec.priority, &place.field("selector"));
        let list = place.field("rules");
        self.at_most(spec.rules.len(), scalars::MAX_RULES, &list, "rules");
        let mut known: HashMap<&str, usize> = HashMap::with_capacity(spec.rules.len());
        let mut rules = Vec::with_capacity(spec.rules.len());
        for (index, rule) in spec.rules.iter().enumerate() {
            let place = list.item(index);
            let name = rule.name.as_deref().unwrap_or("");
            if let Some(first) = known.insert(name, index).filter(|_| !name.is_empty()) {
                let message = format!("rule name `{name}` is taken by rules/{first} of the same policy");
                self.problems.add("duplicate-rule", &place.field("name"), message);
            }
            rules.extend(self.rule(rule, &written.id, name, &place));
        }
        let fallback = spec.fallback_limit.as_ref().map(|rule| {
            let place = place.field("fallback_limit");
            let name = rule.name.as_deref().unwrap_or(FALLBACK);
            if !rule.matches.is_empty() {
                let message = "a fallback_limit is what remains when no match holds; it has no match of its own";
                self.problems.add("fallback-match", &place.field("match"), message);
            }
            if rule.when.is_some() {
                let message = "a fallback_limit is what remains when no rule applies; it has no condition of its own";
                self.problems.add("fallback-match", &place.field("when"), message);
            }
            if known.contains_key(name) {
                let message = format!("rule name `{name}` is taken by a rule of the same policy");
                self.problems.add("duplicate-rule", &place, message);
            }
            self.rule(rule, &written.id, name, &place)
        });
        let fallback = match fallback {
            Some(rule) => Some(Box::new(rule?)),
            None => None,
        };
        let when = self.when(spec.when.as_deref(), &place);
        let all = || rules.iter().chain(fallback.as_deref());
        let (loops, breaker) = self.guards(spec, all, &place);
        let id = id?;
        let policy = Policy {
            identity: identity(&id, ""),
            loops: loops.map(Box::new),
            breaker: breaker.map(Box::new),
            id,
            mode: spec.mode,
            priority: spec.priority,
            when,
            on_full: spec.on_full.unwrap_or_default(),
            rules: rules.into(),
            fallback,
        };
        Some((policy, selector?))
    }

    /// The blocks that are about the policy's requests as a whole.
    fn guards<'r, R: Iterator<Item = &'r Rule>>(
        &mut self,
        spec: &format::Spec,
        rules: impl Fn() -> R,
        place: &Place<'_>,
    ) -> (Option<LoopDetection>, Option<CircuitBreaker>) {
        let loops = spec.loop_detection.as_ref().and_then(|written| {
            let keys = rules().flat_map(|rule| rule.keys.iter().cloned()).collect();
            let place = place.field("loop_detection");
            loop_detection::compile(written, keys, &mut Check::at(&place, &mut self.problems))
        });
        let breaker = spec.circuit_breaker.as_ref().and_then(|written| {
            let key = rules().find_map(|rule| rule.keys.first()).cloned();
            let cost = rules().next().and_then(|rule| rule.limit.cost()).cloned();
            let place = place.field("circuit_breaker");
            let mut check = Check::at(&place, &mut self.problems);
            circuit_breaker::compile(written, key, cost.unwrap_or(Cost::Fixed(1.0)), &mut check)
        });
        (loops, breaker)
    }

    fn selector(&mut self, written: &format::Selector, priority: i32, place: &Place<'_>) -> Option<Selector> {
        let before = self.problems.count();
        let hosts = match &written.hosts {
            Some(hosts) => self.hosts(hosts, &place.field("hosts"), "selector.hosts"),
            None => Some(vec![HostPattern::Any]),
        };
        let path = |compiler: &mut Self, written: Option<&str>, field, what| {
            written.and_then(|written| compiler.path(written, &place.field(field), what))
        };
        let exact = path(self, written.path_exact.as_deref(), "pathExact", "selector.pathExact");
        let prefix = path(
            self,
            written.path_prefix.as_deref(),
            "pathPrefix",
            "selector.pathPrefix",
        );
        if written.path_exact.is_none() && written.path_prefix.is_none() {
            let message = "the selector has neither pathExact nor pathPrefix and would match nothing";
            self.problems.advise(
                "empty-selector",
                place,
                message,
                "`\"pathPrefix\": \"/\"` matches every path",
            );
        }
        let methods = written
            .methods
            .as_deref()
            .map(|methods| self.methods(methods, &place.field("methods")));
        let methods = methods.flatten();
        (before == self.problems.count()).then_some(())?;
        Some(Selector {
            hosts: hosts?,
            exact,
            prefix,
            methods,
            priority,
        })
    }

    fn rule(&mut self, written: &format::Rule, policy: &str, name: &str, place: &Place<'_>) -> Option<Rule> {
        let before = self.problems.count();
        let shared = self.name(name, &place.field("name"), "missing name");
        let list = place.field("limit_keys");
        self.at_most(written.limit_keys.len(), scalars::MAX_KEYS, &list, "limit keys");
        let mut keys = Vec::with_capacity(written.limit_keys.len());
        for (index, key) in written.limit_keys.iter().enumerate() {
            let Some(key) = self.key(key, &list.item(index), "limit_keys") else {
                continue;
            };
            if keys.contains(&key) {
                self.problems.add(
                    "repeated-key",
                    &list.item(index),
                    format!("limit key `{key}` is given twice"),
                );
            }
            keys.push(key);
        }
        let conditions = self.conditions(&written.matches, &place.field("match"));
        let when = self.when(written.when.as_deref(), place);
        let limit = algorithm::compile(&written.algorithm, &written.algorithm_config, place, &mut self.problems);
        (before == self.problems.count()).then_some(())?;
        let name = shared?;
        Some(Rule {
            identity: identity(policy, &name),
            name,
            keys: keys.into(),
            conditions: conditions.into(),
            when,
            on_missing: written.on_missing.unwrap_or_default(),
            limit: limit?,
        })
    }

    /// The condition of a rule or a policy. One that is wrong is a problem, and none.
    fn when(&mut self, written: Option<&str>, place: &Place<'_>) -> Option<When> {
        let (written, place) = (written?, place.field("when"));
        if let Some(known) = self.whens.get(written) {
            return Some(known.clone());
        }
        self.no_secret(written, &place);
        let compiled = When::compile(written).map_err(|error| {
            let message = error.to_string();
            self.problems.add_with("invalid-condition", &place, message, error.help);
        });
        let compiled = compiled.ok()?;
        self.whens.insert(written.into(), compiled.clone());
        if self.whens.len() == scalars::MAX_WHENS + 1 {
            let message = format!("there are more than {} different conditions", scalars::MAX_WHENS);
            self.problems.add("too-many", &place, message);
        }
        Some(compiled)
    }

    fn conditions(&mut self, written: &UniqueMap<Text>, place: &Place<'_>) -> Vec<Condition> {
        self.at_most(written.0.len(), scalars::MAX_KEYS, place, "conditions");
        let mut conditions: Vec<Condition> = Vec::with_capacity(written.0.len());
        for (key, value) in &written.0 {
            let place = place.field(key);
            let Some(key) = self.key(key, &place, "match") else {
                continue;
            };
            if conditions.iter().any(|known| known.key == key) {
                self.problems
                    .add("repeated-key", &place, format!("`{key}` is compared twice"));
            }
            let Some(value) = self.value(&key, &value.0, &place) else {
                continue;
            };
            conditions.push(Condition { key, value });
        }
        conditions
    }
}

/// See [`Rule::identity`].
fn identity(policy: &str, rule: &str) -> u128 {
    let mut text = Vec::with_capacity(32 + policy.len() + rule.len());
    text.extend_from_slice(b"portcullis rule\0");
    for part in [policy, rule] {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part.as_bytes());
    }
    Digest::of(&text).high()
}
