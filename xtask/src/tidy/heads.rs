//! The head of a source: a `//!` paragraph that says what the file is for and what it is not. What it says is for readers
//! to judge; that it is there and is more than a title is checked.

use anyhow::Result;

use crate::tree::{Finding, Tree};

const FEWEST_WORDS: usize = 4;

/// Looks at the first lines of every Rust source.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.ending(".rs") {
        let text = tree.read(path)?;
        // A filter's page is its documentation.
        if text.starts_with("#![doc = include_str!(\"README.md\")]") {
            continue;
        }
        let head: Vec<&str> = text.lines().map_while(|line| line.strip_prefix("//!")).collect();
        let words = head.iter().flat_map(|line| line.split_whitespace()).count();
        if head.is_empty() {
            findings.push(Finding::at(
                path,
                1,
                "begins without a `//!` paragraph: say what the file is for and what it is not",
            ));
        } else if words < FEWEST_WORDS {
            findings.push(Finding::at(
                path,
                1,
                "its `//!` paragraph is a title only: say what the file is for and what it is not",
            ));
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn a_missing_late_or_empty_head_is_reported() {
        let (_folder, tree) = planted::tree(&[
            (
                "good.rs",
                "//! Counts requests over time; it keeps no clock of its own.\nfn a() {}\n",
            ),
            (
                "late.rs",
                "use std::fmt;\n//! Counts requests over time; it keeps no clock of its own.\n",
            ),
            ("none.rs", "fn a() {}\n"),
            ("title.rs", "//! Placeholder.\n"),
        ]);
        let paths: Vec<_> = check(&tree).unwrap().into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["late.rs", "none.rs", "title.rs"]);
    }
}
