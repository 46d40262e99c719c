//! File sizes: a source that nobody can hold in the head is split. Functions are measured in `functions`.

use anyhow::Result;

use super::syntax;
use crate::tree::{Finding, Tree};

const SOURCE_LINES: usize = 500;
const TEST_LINES: usize = 800;

/// Files that stay smaller than the rest, because code that belongs elsewhere gathers in them.
const SMALLER: &[(&str, usize)] = &[("gateway/src/main.rs", 100), ("gateway/src/proxy.rs", 250)];

/// Flat tables that may be longer, each with the reason.
const LONGER: &[(&str, &str)] = &[];

/// Counts the lines of every Rust source.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    measure(tree, LONGER)
}

fn measure(tree: &Tree, longer: &[(&str, &str)]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.ending(".rs") {
        let lines = tree.read(path)?.lines().count();
        let limit = limit(path);
        let exempt = longer.iter().any(|(file, _)| *file == path);
        if lines > limit && !exempt {
            findings.push(Finding::file(
                path,
                format!("{lines} lines; the limit is {limit}: split it"),
            ));
        }
        if lines <= limit && exempt {
            findings.push(Finding::file(
                path,
                "is not too long any more: take it off the list in xtask/src/tidy/sizes.rs",
            ));
        }
    }
    let gone = longer.iter().filter(|(file, _)| !tree.has(file));
    findings
        .extend(gone.map(|(file, _)| Finding::file(file, "is on the list in xtask/src/tidy/sizes.rs, but not there")));
    Ok(findings)
}

fn limit(path: &str) -> usize {
    let smaller = SMALLER.iter().find(|(file, _)| *file == path).map(|(_, lines)| *lines);
    smaller.unwrap_or(if syntax::is_test_path(path) {
        TEST_LINES
    } else {
        SOURCE_LINES
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn a_long_file_is_reported_and_a_long_test_only_later() {
        let long = "\n".repeat(501);
        let longer = "\n".repeat(801);
        let (_folder, tree) = planted::tree(&[
            ("a/src/long.rs", &long),
            ("a/src/fits.rs", &"\n".repeat(500)),
            ("a/tests/long.rs", &long),
            ("a/tests/longer.rs", &longer),
        ]);
        assert_eq!(
            planted::lines(&measure(&tree, &[]).unwrap()),
            [
                "a/src/long.rs: 501 lines; the limit is 500: split it",
                "a/tests/longer.rs: 801 lines; the limit is 800: split it"
            ]
        );
    }

    #[test]
    fn the_entry_points_stay_small() {
        let (_folder, tree) = planted::tree(&[("gateway/src/main.rs", &"\n".repeat(101))]);
        assert_eq!(measure(&tree, &[]).unwrap().len(), 1);
    }

    #[test]
    fn a_listed_table_may_be_long_until_it_is_not() {
        let (_folder, tree) = planted::tree(&[("table.rs", &"\n".repeat(600)), ("short.rs", "")]);
        assert_eq!(measure(&tree, &[("table.rs", "a table")]).unwrap(), []);
        let stale = measure(&tree, &[("table.rs", "a table"), ("short.rs", "?"), ("gone.rs", "?")]).unwrap();
        assert_eq!(
            stale.iter().map(|finding| finding.path.as_str()).collect::<Vec<_>>(),
            ["short.rs", "gone.rs"]
        );
    }
}
