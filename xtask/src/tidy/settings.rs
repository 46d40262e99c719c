//! No dead settings: every key of the configuration has a row in `tests/settings.md` that names the test that proves the key
//! is read. The test itself shows the behaviour; here it is shown that none is missing. A key that only groups others needs
//! no row and may have one.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::syntax;
use crate::tree::{Finding, Tree};

const PAGE: &str = "tests/settings.md";

/// Holds the keys of the schema against the page.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    compare(tree, &crate::generate::keys())
}

/// One row of the page.
struct Row<'a> {
    line: usize,
    key: &'a str,
    test: &'a str,
}

fn compare(tree: &Tree, keys: &BTreeSet<String>) -> Result<Vec<Finding>> {
    if !tree.has(PAGE) {
        return Ok(vec![Finding::file(
            PAGE,
            "is missing: it names the test of every setting",
        )]);
    }
    let text = tree.read(PAGE)?;
    let rows = rows(&text);
    let mut findings = Vec::new();
    let mut tests = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for row in &rows {
        if !keys.contains(row.key) {
            findings.push(Finding::at(
                PAGE,
                row.line,
                format!("`{}` is not a key of the configuration", row.key),
            ));
        }
        if !seen.insert(row.key) {
            findings.push(Finding::at(PAGE, row.line, format!("`{}` has a second row", row.key)));
        }
        if let Some(problem) = missing(tree, row.test, &mut tests)? {
            findings.push(Finding::at(PAGE, row.line, format!("`{}`: {problem}", row.key)));
        }
    }
    let absent = keys
        .iter()
        .filter(|key| !seen.contains(key.as_str()) && !is_group(key, keys));
    findings.extend(absent.map(|key| {
        Finding::file(
            PAGE,
            format!("`{key}` has no row: name the test that proves it is read"),
        )
    }));
    Ok(findings)
}

/// Whether other keys stand below this one: `tls` over `tls.alpn`, `servers` over `servers[].weight`.
fn is_group(key: &str, keys: &BTreeSet<String>) -> bool {
    let mut below = keys.iter().filter_map(|other| other.strip_prefix(key));
    below.any(|rest| rest.starts_with('.') || rest.starts_with("[]"))
}

/// The rows of the page's table: `` | `key` | `path::function` | ``.
fn rows(text: &str) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let Some(inside) = line.trim().strip_prefix('|').and_then(|rest| rest.strip_suffix('|')) else {
            continue;
        };
        let mut cells = inside.split('|').map(|cell| cell.trim().trim_matches('`'));
        let (Some(key), Some(test)) = (cells.next(), cells.next()) else {
            continue;
        };
        let is_rule = key.chars().all(|c| matches!(c, '-' | ':' | ' '));
        if !is_rule && key != "key" {
            rows.push(Row {
                line: index + 1,
                key,
                test,
            });
        }
    }
    rows
}

/// What is wrong with the name of a test, if anything is.
fn missing(tree: &Tree, test: &str, known: &mut BTreeMap<String, Vec<String>>) -> Result<Option<String>> {
    let Some((path, function)) = test.rsplit_once("::") else {
        return Ok(Some(format!("`{test}` is no `path::function`")));
    };
    if !tree.has(path) {
        return Ok(Some(format!("there is no {path}")));
    }
    if !known.contains_key(path) {
        let functions = syntax::parse(tree, path)?
            .map(|file| syntax::test_functions(&file))
            .unwrap_or_default();
        known.insert(path.to_owned(), functions);
    }
    let found = known
        .get(path)
        .is_some_and(|functions| functions.iter().any(|name| name == function));
    Ok((!found).then(|| format!("{path} has no test `{function}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    fn found(keys: &[&str], page: &str) -> Vec<String> {
        let (_folder, tree) = planted::tree(&[
            ("tests/tests/a.rs", "#[test]\nfn works() {}\nfn helper() {}\n"),
            (PAGE, page),
        ]);
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        planted::lines(&compare(&tree, &keys).unwrap())
    }

    #[test]
    fn a_complete_page_passes() {
        let page = "# Settings\n\n| key | test |\n|---|---|\n| `admin.address` | `tests/tests/a.rs::works` |\n";
        assert_eq!(found(&["admin.address"], page), Vec::<String>::new());
    }

    #[test]
    fn missing_extra_and_double_rows_are_reported() {
        let row = "| `a` | `tests/tests/a.rs::works` |\n";
        assert_eq!(
            found(&["a", "b"], row),
            ["tests/settings.md: `b` has no row: name the test that proves it is read"]
        );
        assert_eq!(
            found(&[], row),
            ["tests/settings.md:1: `a` is not a key of the configuration"]
        );
        assert_eq!(
            found(&["a"], &row.repeat(2)),
            ["tests/settings.md:2: `a` has a second row"]
        );
    }

    #[test]
    fn a_group_needs_no_row_and_may_have_one() {
        let keys = ["tls", "tls.alpn", "tls_extra", "servers", "servers[].weight"];
        let rows = "| `tls.alpn` | `tests/tests/a.rs::works` |\n| `servers[].weight` | `tests/tests/a.rs::works` |\n";
        assert_eq!(
            found(&keys, rows),
            ["tests/settings.md: `tls_extra` has no row: name the test that proves it is read"]
        );
        let group =
            format!("{rows}| `tls` | `tests/tests/a.rs::works` |\n| `tls_extra` | `tests/tests/a.rs::works` |\n");
        assert_eq!(found(&keys, &group), Vec::<String>::new());
    }

    #[test]
    fn a_test_that_does_not_exist_is_reported() {
        for (test, problem) in [
            ("tests/tests/a.rs::gone", "has no test `gone`"),
            ("tests/tests/a.rs::helper", "has no test `helper`"),
            ("tests/tests/gone.rs::works", "there is no tests/tests/gone.rs"),
            ("works", "is no `path::function`"),
        ] {
            let found = found(&["a"], &format!("| `a` | `{test}` |\n"));
            assert!(found.len() == 1 && found[0].contains(problem), "{found:?}");
        }
    }

    #[test]
    fn a_missing_page_is_reported() {
        let (_folder, tree) = planted::tree(&[]);
        assert_eq!(compare(&tree, &BTreeSet::new()).unwrap().len(), 1);
    }
}
