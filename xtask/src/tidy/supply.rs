//! Where dependencies come from: the sources, bans and licences of `deny.toml`, held against `cargo metadata`. `cargo deny`
//! checks the same and more (advisories); this part needs no tool, so it never goes without being run.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use cargo_metadata::Package;
use toml::{Table, Value};

use super::dependencies;
use crate::tree::{Finding, Tree};

const POLICY: &str = "deny.toml";

/// The part of `deny.toml` that is enforced here.
#[derive(Debug, Default)]
struct Rules {
    licences: BTreeSet<String>,
    banned: BTreeSet<String>,
    registries: BTreeSet<String>,
}

/// Holds every package of the lock file against `deny.toml`.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let rules = rules(&tree.read(POLICY)?)?;
    let metadata = dependencies::metadata(tree)?;
    Ok(metadata
        .packages
        .iter()
        .flat_map(|package| judge(package, &rules))
        .collect())
}

fn rules(text: &str) -> Result<Rules> {
    let policy: Table = text.parse().context("deny.toml is not TOML")?;
    Ok(Rules {
        licences: strings(&policy, "licenses", "allow"),
        banned: strings(&policy, "bans", "deny"),
        registries: strings(&policy, "sources", "allow-registry"),
    })
}

/// A list of strings, or of maps with `crate` or `name`.
fn strings(policy: &Table, section: &str, key: &str) -> BTreeSet<String> {
    let list = policy
        .get(section)
        .and_then(|section| section.get(key))
        .and_then(Value::as_array);
    let name = |item: &Value| {
        let inside = item.get("crate").or_else(|| item.get("name")).and_then(Value::as_str);
        inside.or_else(|| item.as_str()).map(ToOwned::to_owned)
    };
    list.into_iter().flatten().filter_map(name).collect()
}

fn judge(package: &Package, rules: &Rules) -> Vec<Finding> {
    let who = format!("{} {}", package.name, package.version);
    let mut findings = Vec::new();
    if rules.banned.contains(package.name.as_str()) {
        findings.push(format!("{who} is banned"));
    }
    if let Some(source) = &package.source {
        let registry = source.repr.strip_prefix("registry+");
        if !registry.is_some_and(|registry| rules.registries.contains(registry)) {
            findings.push(format!("{who} comes from {source}, which is not an allowed registry"));
        }
    }
    match &package.license {
        None => findings.push(format!("{who} names no licence")),
        Some(licence) if !is_allowed(licence, &rules.licences) => {
            findings.push(format!("{who} is under {licence}, which is not allowed"));
        }
        Some(_) => {}
    }
    findings.into_iter().map(|text| Finding::file(POLICY, text)).collect()
}

/// Evaluates an SPDX expression. `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let (verdict, rest) = any_of(&words, allowed);
    verdict && rest.is_empty()
}

fn any_of<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    let (mut verdict, mut rest) = all_of(words, allowed);
    while let Some((&"OR", after)) = rest.split_first() {
        let (next, after) = all_of(after, allowed);
        verdict |= next;
        rest = after;
    }
    (verdict, rest)
}

fn all_of<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    let (mut verdict, mut rest) = one(words, allowed);
    while let Some((&"AND", after)) = rest.split_first() {
        let (next, after) = one(after, allowed);
        verdict &= next;
        rest = after;
    }
    (verdict, rest)
}

fn one<'a, 'w>(words: &'w [&'a str], allowed: &BTreeSet<String>) -> (bool, &'w [&'a str]) {
    match words {
        ["(", inside @ ..] => {
            let (verdict, rest) = any_of(inside, allowed);
            match rest.split_first() {
                Some((&")", after)) => (verdict, after),
                _ => (false, rest),
            }
        }
        [licence, "WITH", exception, rest @ ..] => (allowed.contains(&format!("{licence} WITH {exception}")), rest),
        [licence, rest @ ..] => (allowed.contains(*licence), rest),
        [] => (false, words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn licence_expressions_are_evaluated() {
        let allowed = BTreeSet::from([
            "MIT".to_owned(),
            "ISC".to_owned(),
            "Apache-2.0 WITH LLVM-exception".to_owned(),
        ]);
        for good in [
            "MIT",
            "GPL-3.0 OR MIT",
            "MIT/GPL-3.0",
            "(GPL-3.0 OR MIT) AND ISC",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert!(is_allowed(good, &allowed), "{good}");
        }
        for bad in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "GPL-3.0 OR MIT AND GPL-2.0",
            "Apache-2.0",
            "(MIT",
            "MIT)",
            "",
            "MIT ISC",
        ] {
            assert!(!is_allowed(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn a_banned_crate_and_a_foreign_licence_are_reported() {
        let manifest = "[package]\nname = \"openssl\"\nversion = \"1.0.0\"\nedition = \"2024\"\nlicense = \"GPL-3.0\"\n[workspace]\n";
        let policy = "[licenses]\nallow = [\"MIT\"]\n[bans]\ndeny = [{ crate = \"openssl\" }]\n";
        let (_folder, tree) = planted::tree(&[("Cargo.toml", manifest), ("src/lib.rs", ""), ("deny.toml", policy)]);
        assert_eq!(
            planted::lines(&check(&tree).unwrap()),
            [
                "deny.toml: openssl 1.0.0 is banned",
                "deny.toml: openssl 1.0.0 is under GPL-3.0, which is not allowed"
            ]
        );
    }

    #[test]
    fn a_foreign_source_is_reported() {
        let package = serde_json::json!({
            "name": "a", "version": "1.0.0", "id": "a", "source": "git+https://example.org/a", "license": "MIT",
            "dependencies": [], "targets": [], "features": {}, "manifest_path": "/a/Cargo.toml",
        });
        let package: Package = serde_json::from_value(package).unwrap();
        let rules =
            rules("[licenses]\nallow = [\"MIT\"]\n[sources]\nallow-registry = [\"https://example.org/index\"]\n")
                .unwrap();
        assert_eq!(judge(&package, &rules).len(), 1);
    }
}
