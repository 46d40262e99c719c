//! `cargo xtask tidy`: one small module a rule, each with tests that plant a violation and see it reported. A rule reads
//! the tree and returns findings; it changes nothing. What the compiler or clippy can prove is not repeated here.

mod dependencies;
mod filters;
mod functions;
mod heads;
mod links;
mod manifests;
mod settings;
mod sizes;
mod supply;
mod syntax;
mod words;

use anyhow::{Context, Result};

use crate::tree::{Finding, Tree};

type Check = fn(&Tree) -> Result<Vec<Finding>>;

/// Every rule by its name.
const CHECKS: &[(&str, Check)] = &[
    ("dependencies", dependencies::check),
    ("filters", filters::check),
    ("functions", functions::check),
    ("heads", heads::check),
    ("links", links::check),
    ("manifests", manifests::check),
    ("settings", settings::check),
    ("sizes", sizes::check),
    ("supply", supply::check),
    ("words", words::check),
];

/// Runs every rule.
pub(crate) fn run(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (name, check) in CHECKS {
        let found = check(tree).with_context(|| format!("the check `{name}` could not run"))?;
        println!(
            "  {name:<13} {}",
            if found.is_empty() {
                "ok".to_owned()
            } else {
                format!("{} findings", found.len())
            }
        );
        findings.extend(found);
    }
    findings.sort();
    Ok(findings)
}
