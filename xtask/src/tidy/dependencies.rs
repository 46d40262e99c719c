//! The dependency line: config <- bundles <- filters <- gateway <- tests, benches. No circle can grow, the proxy framework
//! stays behind one crate, and the crates that decide can be tested without a runtime.

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

use crate::tree::{Finding, Tree};

const CONFIG: &str = "portcullis-config";
const BUNDLES: &str = "portcullis-bundles";
const FILTERS: &str = "portcullis-filters";
const GATEWAY: &str = "portcullis";
const TESTS: &str = "portcullis-e2e";
const BENCHES: &str = "portcullis-benches";
const XTASK: &str = "xtask";

/// Which of our packages each of them may know, for code, tests and build scripts alike.
const TABLE: &[(&str, &[&str])] = &[
    (CONFIG, &[]),
    (BUNDLES, &[CONFIG]),
    (FILTERS, &[CONFIG, BUNDLES]),
    (GATEWAY, &[CONFIG, BUNDLES, FILTERS]),
    (TESTS, &[CONFIG, BUNDLES, FILTERS, GATEWAY, BENCHES]),
    (BENCHES, &[CONFIG, BUNDLES, FILTERS, GATEWAY, TESTS]),
    (XTASK, &[CONFIG, BUNDLES, FILTERS, GATEWAY, TESTS, BENCHES]),
];

/// Families of crates that few may name as a normal dependency. The benches have a proxy that is nothing but the framework.
const RESERVED: &[(&str, &[&str])] = &[("pingora", &[GATEWAY, BENCHES]), ("tokio", &[GATEWAY, TESTS])];

/// Families that must be nowhere below these packages.
const PURE: &[&str] = &[CONFIG, BUNDLES, FILTERS];
const IMPURE: &[&str] = &["tokio", "hyper", "pingora"];

/// Compares `cargo metadata` with the table.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let metadata = metadata(tree)?;
    let mut findings = Vec::new();
    for package in metadata.workspace_packages() {
        findings.extend(direct(&metadata, package));
    }
    for name in PURE {
        if let Some(package) = metadata
            .workspace_packages()
            .into_iter()
            .find(|package| package.name == *name)
        {
            findings.extend(transitive(&metadata, package)?);
        }
    }
    Ok(findings)
}

/// What cargo knows of the workspace, for every target platform and with every feature that is on.
pub(crate) fn metadata(tree: &Tree) -> Result<Metadata> {
    let mut command = MetadataCommand::new();
    command.manifest_path(tree.root().join("Cargo.toml"));
    command.exec().context("`cargo metadata` failed")
}

/// The manifest of one of our packages, relative to the root.
pub(crate) fn manifest(metadata: &Metadata, package: &Package) -> String {
    let root = metadata.workspace_root.as_path();
    package
        .manifest_path
        .strip_prefix(root)
        .unwrap_or(&package.manifest_path)
        .to_string()
}

fn direct(metadata: &Metadata, package: &Package) -> Vec<Finding> {
    let path = manifest(metadata, package);
    let Some((_, allowed)) = TABLE.iter().find(|(name, _)| package.name == *name) else {
        let text = format!(
            "`{}` is not in the table of xtask/src/tidy/dependencies.rs: say what it may know",
            package.name
        );
        return vec![Finding::file(&path, text)];
    };
    let mut findings = Vec::new();
    for dependency in &package.dependencies {
        let name = dependency.name.as_str();
        let ours = dependency.path.is_some();
        if ours && !allowed.contains(&name) {
            findings.push(Finding::file(
                &path,
                format!("`{}` must not know `{name}`", package.name),
            ));
        }
        let reserved = RESERVED.iter().find(|(family, _)| is_of(name, family));
        if let Some((family, owners)) = reserved
            && dependency.kind == DependencyKind::Normal
            && !owners.iter().any(|owner| package.name == *owner)
        {
            let owners = owners.join(", ");
            let text = format!("`{}` depends on `{name}`; only {owners} may use {family}", package.name);
            findings.push(Finding::file(&path, text));
        }
    }
    findings
}

/// `tokio` is of the family `tokio`, and so is `tokio-rustls`.
fn is_of(name: &str, family: &str) -> bool {
    name.strip_prefix(family)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Looks for impure crates in the normal dependency tree of `package`, nearest first.
fn transitive(metadata: &Metadata, package: &Package) -> Result<Vec<Finding>> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("`cargo metadata` gave no dependency tree")?;
    let nodes: HashMap<&PackageId, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let names: HashMap<&PackageId, &str> = metadata
        .packages
        .iter()
        .map(|one| (&one.id, one.name.as_str()))
        .collect();
    let name_of = |id: &PackageId| names.get(id).copied().unwrap_or("?").to_owned();

    let mut paths: BTreeMap<&PackageId, Vec<String>> = BTreeMap::from([(&package.id, vec![name_of(&package.id)])]);
    let mut queue = VecDeque::from([&package.id]);
    let mut findings = Vec::new();
    while let Some(id) = queue.pop_front() {
        let Some(node) = nodes.get(id) else { continue };
        let path = paths.get(id).cloned().unwrap_or_default();
        for dependency in &node.deps {
            let normal = dependency
                .dep_kinds
                .iter()
                .any(|kind| kind.kind == DependencyKind::Normal);
            if !normal || paths.contains_key(&dependency.pkg) {
                continue;
            }
            let name = name_of(&dependency.pkg);
            let impure = IMPURE.iter().any(|family| is_of(&name, family));
            let mut path = path.clone();
            path.push(name);
            if impure {
                let text = format!("`{}` must not reach it: {}", package.name, path.join(" -> "));
                findings.push(Finding::file(&manifest(metadata, package), text));
            } else {
                queue.push_back(&dependency.pkg);
            }
            paths.insert(&dependency.pkg, path);
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    /// A workspace of empty crates: folder, package, and the lines of its manifest after `[package]`.
    fn workspace(crates: &[(&str, &str, &str)]) -> Vec<String> {
        let mut files = vec![(
            "Cargo.toml".to_owned(),
            "[workspace]\nresolver = \"3\"\nmembers = [\"*\"]\n".to_owned(),
        )];
        for (folder, name, rest) in crates {
            let head = format!("[package]\nname = \"{name}\"\nversion = \"1.0.0\"\nedition = \"2024\"\n{rest}\n");
            files.push((format!("{folder}/Cargo.toml"), head));
            files.push((format!("{folder}/src/lib.rs"), String::new()));
        }
        let files: Vec<_> = files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        let (_folder, tree) = planted::tree(&files);
        planted::lines(&check(&tree).unwrap())
    }

    /// Stands for a crate from outside: it is ours to the rules only by its path, so these tests give it a name alone.
    fn depends(on: &[(&str, &str)]) -> String {
        let lines: Vec<String> = on
            .iter()
            .map(|(name, folder)| format!("{name} = {{ path = \"../{folder}\" }}"))
            .collect();
        format!("[dependencies]\n{}\n", lines.join("\n"))
    }

    #[test]
    fn the_line_holds() {
        let found = workspace(&[
            ("config", CONFIG, ""),
            ("bundles", BUNDLES, &depends(&[(CONFIG, "config")])),
            (
                "filters",
                FILTERS,
                &depends(&[(CONFIG, "config"), (BUNDLES, "bundles")]),
            ),
            ("xtask", XTASK, &depends(&[(FILTERS, "filters")])),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_step_against_the_line_is_reported() {
        let found = workspace(&[
            ("config", CONFIG, ""),
            ("bundles", BUNDLES, &depends(&[("portcullis", "gateway")])),
            ("gateway", GATEWAY, ""),
        ]);
        assert_eq!(
            found,
            ["bundles/Cargo.toml: `portcullis-bundles` must not know `portcullis`"]
        );
        let found = workspace(&[("xtask", XTASK, ""), ("tests", TESTS, &depends(&[(XTASK, "xtask")]))]);
        assert_eq!(found, ["tests/Cargo.toml: `portcullis-e2e` must not know `xtask`"]);
    }

    #[test]
    fn test_dependencies_count_too() {
        let rest = depends(&[(FILTERS, "filters")]).replace("[dependencies]", "[dev-dependencies]");
        let found = workspace(&[("config", CONFIG, &rest), ("filters", FILTERS, "")]);
        assert_eq!(
            found,
            ["config/Cargo.toml: `portcullis-config` must not know `portcullis-filters`"]
        );
    }

    #[test]
    fn a_runtime_far_below_a_pure_crate_is_reported_with_the_way_to_it() {
        let found = workspace(&[
            ("config", CONFIG, &depends(&[("helper", "helper")])),
            ("helper", "helper", &depends(&[("tokio", "tokio")])),
            ("tokio", "tokio", ""),
        ]);
        assert!(
            found.contains(
                &"config/Cargo.toml: `portcullis-config` must not reach it: portcullis-config -> helper -> tokio"
                    .to_owned()
            ),
            "{found:?}"
        );
    }

    #[test]
    fn only_the_gateway_and_the_benches_name_the_framework() {
        let rest = depends(&[("pingora-core", "pingora-core"), ("tokio-rustls", "tokio-rustls")]);
        let stubs = [
            ("pingora-core", "pingora-core", ""),
            ("tokio-rustls", "tokio-rustls", ""),
        ];
        for (folder, package, allowed, reserved) in [
            (
                "tests",
                TESTS,
                "tokio",
                "`portcullis-e2e` depends on `pingora-core`; only portcullis, portcullis-benches may use pingora",
            ),
            (
                "benches",
                BENCHES,
                "pingora",
                "`portcullis-benches` depends on `tokio-rustls`; only portcullis, portcullis-e2e may use tokio",
            ),
        ] {
            let found = workspace(&[(folder, package, &rest), stubs[0], stubs[1]]).join("\n");
            assert!(found.contains(reserved), "{found}");
            assert!(!found.contains(&format!("may use {allowed}")), "{found}");
        }
    }

    #[test]
    fn a_package_that_the_table_does_not_know_is_reported() {
        let found = workspace(&[("extra", "portcullis-extra", "")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].contains("is not in the table"));
    }
}
