//! Files that are made from code, so that they cannot say anything else. This module writes and compares them; what stands in
//! them is decided where the code is.

mod reference;

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use portcullis_config::schema;
use portcullis_filters::registry::{self, FILTERS};

use crate::tree::{Finding, Tree};

/// A file and what must stand in it.
struct Generated {
    path: &'static str,
    text: String,
}

/// Every generated file. Of the configuration's page only the tables are.
fn all(tree: &Tree) -> Result<Vec<Generated>> {
    let filters: Vec<_> = FILTERS.iter().map(|filter| (filter.kind, filter.schema())).collect();
    let schema = serde_json::to_string_pretty(&schema::schema(&filters))?;
    Ok(vec![
        Generated {
            path: "docs/config-schema.json",
            text: schema + "\n",
        },
        Generated {
            path: "docs/errors.md",
            text: errors(&codes()),
        },
        Generated {
            path: reference::PAGE,
            text: reference::fill(&tree.read(reference::PAGE)?, &schema::schema(&[]))?,
        },
    ])
}

/// The table itself, without the gateway around it.
#[path = "../../gateway/src/strict/table.rs"]
#[allow(dead_code, unreachable_pub)] // the gateway uses the rest
mod strict;

/// The page of all diagnostics, and of all that is refused about the form of a request.
fn errors(codes: &[(&str, &str)]) -> String {
    let mut page = String::from(
        "# Diagnostics\n\n\
         <!-- Made by `cargo xtask generate`; the texts stand in config/src/codes.rs, filters/src/registry.rs and gateway/src/strict/table.rs. -->\n\n\
         What `portcullis check` and a refused reload can say, by the code that stands in brackets behind the message and under \
         `code` in the JSON form. A code is never renamed and never changes its meaning.\n\n\
         | code | meaning |\n|---|---|\n",
    );
    for (code, text) in codes {
        // Writing to a String cannot fail.
        let _ = writeln!(page, "| `{code}` | {} |", text.replace('|', "\\|"));
    }
    page.push_str(
        "\n## Requests\n\n\
         What is refused about the form of a request, before it is routed: the status and reason of the answer, the rule, and what the answer \
         says. Several rules may share a reason. An HTTP/1 request is held against them byte by byte as it comes in, before anything else reads \
         it; what is found there ends the connection.\n\n\
         | reason | status | rule | detail |\n|---|---|---|---|\n",
    );
    for row in &strict::TABLE {
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            row.reason, row.status, row.rfc, row.says
        );
    }
    page
}

/// The codes of the configuration's language, then those that filters add.
fn codes() -> Vec<(&'static str, &'static str)> {
    portcullis_config::codes::CODES
        .iter()
        .chain(registry::CODES)
        .copied()
        .collect()
}

/// Every key of the configuration, dotted. Those of filters stand under `filters.KIND`.
pub(crate) fn keys() -> BTreeSet<String> {
    let of_filters = FILTERS.iter().flat_map(|filter| {
        let keys = schema::keys_of(&filter.schema().to_value());
        keys.into_iter().map(|key| format!("filters.{}.{key}", filter.kind))
    });
    schema::keys().into_iter().chain(of_filters).collect()
}

/// Writes the files that differ and gives their paths.
pub(crate) fn write(tree: &Tree) -> Result<Vec<&'static str>> {
    let mut written = Vec::new();
    for file in all(tree)? {
        if differs(tree, &file) {
            let path = tree.root().join(file.path);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            std::fs::write(&path, &file.text).with_context(|| format!("cannot write {}", file.path))?;
            written.push(file.path);
        }
    }
    Ok(written)
}

/// Reports the files that differ.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let drifted = all(tree)?.into_iter().filter(|file| differs(tree, file));
    Ok(drifted
        .map(|file| Finding::file(file.path, "differs from the code: run `cargo xtask generate`"))
        .collect())
}

fn differs(tree: &Tree, file: &Generated) -> bool {
    tree.read(file.path).ok().as_ref() != Some(&file.text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn a_file_that_drifted_is_told_from_one_that_did_not() {
        let (_folder, tree) = planted::tree(&[("docs/a.md", "as made\n")]);
        assert!(!differs(
            &tree,
            &Generated {
                path: "docs/a.md",
                text: "as made\n".into()
            }
        ));
        assert!(differs(
            &tree,
            &Generated {
                path: "docs/a.md",
                text: "as made\nand more\n".into()
            }
        ));
        assert!(differs(
            &tree,
            &Generated {
                path: "docs/gone.md",
                text: String::new()
            }
        ));
    }
}
