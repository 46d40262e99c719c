//! Manifests: every package inherits the workspace's lints, and every version stands once, in the root. A package that does
//! not inherit the lints is a package in which `unsafe` compiles.

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::tree::{Finding, Tree};

const ROOT: &str = "Cargo.toml";

/// Reads the manifest of every member of the workspace.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let root: Table = tree.read(ROOT)?.parse().context("Cargo.toml is not TOML")?;
    let mut findings = Vec::new();
    let forbidden = lookup(&root, &["workspace", "lints", "rust", "unsafe_code"]).and_then(Value::as_str);
    if forbidden != Some("forbid") {
        findings.push(Finding::file(
            ROOT,
            "`unsafe_code = \"forbid\"` is missing from [workspace.lints.rust]",
        ));
    }
    for member in members(&root) {
        let path = format!("{member}/Cargo.toml");
        let manifest: Table = tree
            .read(&path)?
            .parse()
            .with_context(|| format!("{path} is not TOML"))?;
        if lookup(&manifest, &["lints", "workspace"]).and_then(Value::as_bool) != Some(true) {
            findings.push(Finding::file(
                &path,
                "does not inherit the lints: add `[lints] workspace = true`",
            ));
        }
        findings.extend(own_versions(&path, &manifest));
    }
    Ok(findings)
}

fn lookup<'a>(table: &'a Table, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let value = table.get(*first)?;
    if rest.is_empty() {
        Some(value)
    } else {
        lookup(value.as_table()?, rest)
    }
}

fn members(root: &Table) -> Vec<String> {
    let listed = lookup(root, &["workspace", "members"]).and_then(Value::as_array);
    listed
        .into_iter()
        .flatten()
        .filter_map(|member| member.as_str().map(ToOwned::to_owned))
        .collect()
}

/// Dependencies that name a version, a path or a repository themselves.
fn own_versions(path: &str, manifest: &Table) -> Vec<Finding> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let tables =
        std::iter::once(manifest).chain(targets.into_iter().flatten().filter_map(|(_, value)| value.as_table()));
    let mut findings = Vec::new();
    for table in tables {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = table.get(kind).and_then(Value::as_table) else {
                continue;
            };
            for (name, value) in dependencies {
                let inherited = value
                    .as_table()
                    .and_then(|value| value.get("workspace"))
                    .and_then(Value::as_bool);
                if inherited != Some(true) {
                    let text = format!("`{name}` has its own version: move it to [workspace.dependencies] of the root");
                    findings.push(Finding::file(path, text));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    const GOOD_ROOT: &str = "[workspace]\nmembers = [\"a\"]\n[workspace.lints.rust]\nunsafe_code = \"forbid\"\n";

    #[test]
    fn a_package_without_the_lints_is_reported() {
        let (_folder, tree) =
            planted::tree(&[("Cargo.toml", GOOD_ROOT), ("a/Cargo.toml", "[package]\nname = \"a\"\n")]);
        let found = check(&tree).unwrap();
        assert_eq!(
            planted::lines(&found),
            ["a/Cargo.toml: does not inherit the lints: add `[lints] workspace = true`"]
        );
    }

    #[test]
    fn a_version_outside_the_root_is_reported() {
        let manifest = "[lints]\nworkspace = true\n[dependencies]\nhttp = \"1\"\nbytes.workspace = true\n\
                        [target.'cfg(unix)'.dev-dependencies]\nlibc = { version = \"0.2\" }\n";
        let (_folder, tree) = planted::tree(&[("Cargo.toml", GOOD_ROOT), ("a/Cargo.toml", manifest)]);
        let found = planted::lines(&check(&tree).unwrap()).join("\n");
        assert!(
            found.contains("`http` has its own version") && found.contains("`libc` has its own version"),
            "{found}"
        );
        assert!(!found.contains("`bytes`"));
    }

    #[test]
    fn unsafe_must_stay_forbidden() {
        let root = "[workspace]\nmembers = []\n[workspace.lints.rust]\nunsafe_code = \"warn\"\n";
        let (_folder, tree) = planted::tree(&[("Cargo.toml", root)]);
        assert_eq!(check(&tree).unwrap().len(), 1);
    }
}
