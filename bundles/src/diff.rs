//! What changed between two bundles, place by place. Policies, rules, tests and kill switches are told apart by their
//! names, so that an item that moved is no change. What a change means for requests is not known here.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::format::Bundle;

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What happened.
    pub op: Op,
    /// Where, in names: `policies/api/spec/rules/per-user/algorithm_config/burst`.
    pub path: String,
    /// What was there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<Value>,
    /// What is there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<Value>,
}

/// What happened to a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// It was not there.
    Add,
    /// It is not there any more.
    Remove,
    /// It says something else.
    Change,
}

/// Longest value that is shown to people.
const MAX_SHOWN: usize = 120;

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| {
            let text = value.as_ref().map(ToString::to_string).unwrap_or_default();
            match text.char_indices().nth(MAX_SHOWN) {
                Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
                None => text,
            }
        };
        match self.op {
            Op::Add => write!(f, "+ {}: {}", self.path, shown(&self.new)),
            Op::Remove => write!(f, "- {}: {}", self.path, shown(&self.old)),
            Op::Change => write!(f, "~ {}: {} -> {}", self.path, shown(&self.old), shown(&self.new)),
        }
    }
}

/// Every change from `old` to `new`, in the order of their places.
pub fn diff(old: &Bundle, new: &Bundle) -> Result<Vec<Change>, serde_json::Error> {
    let (old, new) = (serde_json::to_value(old)?, serde_json::to_value(new)?);
    let mut changes = Vec::new();
    compare("", Some(&old), Some(&new), &mut changes);
    Ok(changes)
}

fn compare(path: &str, old: Option<&Value>, new: Option<&Value>, out: &mut Vec<Change>) {
    match (old, new) {
        (None, None) => {}
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => maps(path, old, new, out),
        (Some(Value::Array(old)), Some(Value::Array(new))) if named(old) && named(new) => lists(path, old, new, out),
        // A list that was not there is one without items.
        (None, Some(Value::Array(new))) if named(new) => lists(path, &[], new, out),
        (Some(Value::Array(old)), None) if named(old) => lists(path, old, &[], out),
        (old, new) => out.push(Change {
            op: match (old, new) {
                (None, _) => Op::Add,
                (_, None) => Op::Remove,
                _ => Op::Change,
            },
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

fn maps(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, out: &mut Vec<Change>) {
    let keys: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        compare(&join(path, key), old.get(key), new.get(key), out);
    }
}

fn lists(path: &str, old: &[Value], new: &[Value], out: &mut Vec<Change>) {
    let (old, new) = (by_name(old), by_name(new));
    let names: std::collections::BTreeSet<&(String, usize)> = old.keys().chain(new.keys()).collect();
    for name in names {
        let shown = match name.1 {
            0 => name.0.clone(),
            again => format!("{}#{}", name.0, again + 1),
        };
        compare(&join(path, &shown), old.get(name).copied(), new.get(name).copied(), out);
    }
}

fn join(path: &str, step: &str) -> String {
    let step = step.replace('/', "~1");
    if path.is_empty() {
        step
    } else {
        format!("{path}/{step}")
    }
}

/// Items by name; the second of a name is another one.
fn by_name(list: &[Value]) -> BTreeMap<(String, usize), &Value> {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    let mut found = BTreeMap::new();
    for item in list {
        let Some(name) = name(item) else { continue };
        let again = known.entry(name.clone()).or_default();
        found.insert((name, *again), item);
        *again += 1;
    }
    found
}

/// Whether every item has a name to be known by.
fn named(list: &[Value]) -> bool {
    list.iter().all(|item| name(item).is_some())
}

/// What an item is known by: an id, a name, or what a kill switch or a requirement is about.
fn name(item: &Value) -> Option<String> {
    let text = |key: &str| item.get(key).and_then(Value::as_str);
    if let Some(name) = text("id").or_else(|| text("name")) {
        return Some(name.to_owned());
    }
    if let (Some(key), Some(value)) = (text("scope_key"), text("scope_value")) {
        let route = text("route").map(|route| format!(" at {route}")).unwrap_or_default();
        return Some(format!("{key} = {value}{route}"));
    }
    item.get("filters")?;
    let hosts = item.get("hosts").map_or_else(|| "*".to_owned(), hosts);
    Some(format!("{hosts}{}", text("path_prefix").unwrap_or("/")))
}

fn hosts(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    names.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changes(old: &Value, new: &Value) -> Vec<String> {
        let bundle = |value: &Value| Bundle::parse_unverified(value.to_string().as_bytes()).unwrap();
        diff(&bundle(old), &bundle(new))
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    fn policy(id: &str, burst: u32) -> Value {
        json!({ "id": id, "spec": { "selector": { "pathPrefix": "/" }, "rules": [
            { "name": "r", "limit_keys": [], "algorithm": "token_bucket", "algorithm_config": { "tokens_per_second": 1, "burst": burst } }] } })
    }

    #[test]
    fn items_are_known_by_their_names() {
        let old = json!({ "bundle_version": 1, "policies": [policy("a", 1), policy("b", 1)] });
        let moved = json!({ "bundle_version": 1, "policies": [policy("b", 1), policy("a", 1)] });
        assert!(changes(&old, &moved).is_empty(), "the order of policies is no matter");
        let new = json!({ "bundle_version": 2, "policies": [policy("b", 5)],
            "kill_switches": [{ "scope_key": "jwt:sub", "scope_value": "mallory" }] });
        let told = changes(&old, &new);
        assert_eq!(told.len(), 4, "{told:?}");
        assert_eq!(told[0], "~ bundle_version: 1 -> 2");
        assert!(told[1].starts_with("+ kill_switches/jwt:sub = mallory: {"), "{told:?}");
        assert!(told[2].starts_with("- policies/a: {"), "{told:?}");
        assert_eq!(told[3], "~ policies/b/spec/rules/r/algorithm_config/burst: 1 -> 5");
        assert!(told.iter().all(|line| line.len() < 300), "{told:?}");
    }

    #[test]
    fn two_of_one_name_are_two() {
        let list = |reasons: &[&str]| {
            let switch = |reason: &&str| json!({ "scope_key": "jwt:sub", "scope_value": "m", "reason": reason });
            json!({ "bundle_version": 1, "policies": [], "kill_switches": reasons.iter().map(switch).collect::<Vec<_>>() })
        };
        assert_eq!(
            changes(&list(&["x", "y"]), &list(&["x", "z"])),
            ["~ kill_switches/jwt:sub = m#2/reason: \"y\" -> \"z\""]
        );
    }
}
