//! Filters: each folder of `filters/src/` is a filter with its page, its kind and its line in the registry, so that no
//! filter exists half. Whether the page's examples work is shown by the filters' own tests.

use std::collections::BTreeSet;

use anyhow::Result;
use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

use super::syntax;
use crate::tree::{Finding, Tree};

const HOME: &str = "filters/src/";
const REGISTRY: &str = "filters/src/registry.rs";

/// The headings of a filter's page, in order.
const HEADINGS: &[&str] = &[
    "What it does",
    "When to use it",
    "Config",
    "Example",
    "Decisions",
    "State and reload",
    "Limits",
    "Metrics",
];

/// Folders that hold code shared by filters and are none themselves, each with the reason.
const SHARED: &[(&str, &str)] = &[("buckets", "the algorithm and the zone under `rate_limit` and `policy`")];

/// Looks at every folder with a `mod.rs`.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    inspect(tree, SHARED)
}

fn inspect(tree: &Tree, shared: &[(&str, &str)]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let registered = registered(tree)?;
    for folder in folders(tree) {
        let is_shared = shared.iter().any(|(name, _)| *name == folder);
        let module = format!("{HOME}{folder}/mod.rs");
        if is_shared {
            continue;
        }
        if !registered.contains(folder) {
            let text = format!("`{folder}` has no line in {REGISTRY}");
            findings.push(Finding::file(&module, text));
        }
        if !kinds(tree, folder)?.iter().any(|kind| kind == folder) {
            let text = format!("no `Filter::KIND` in the folder is \"{folder}\": folder, key and page have one name");
            findings.push(Finding::file(&module, text));
        }
        findings.extend(page(tree, folder)?);
    }
    let gone = shared.iter().filter(|(name, _)| !folders(tree).contains(name));
    findings.extend(gone.map(|(name, _)| {
        Finding::file(
            &format!("{HOME}{name}"),
            "is on the list in xtask/src/tidy/filters.rs, but not there",
        )
    }));
    Ok(findings)
}

fn folders(tree: &Tree) -> BTreeSet<&str> {
    let below = tree
        .files()
        .filter_map(|path| path.strip_prefix(HOME)?.strip_suffix("/mod.rs"));
    below.filter(|folder| !folder.contains('/')).collect()
}

/// Every name that the registry mentions in code.
fn registered(tree: &Tree) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    if tree.has(REGISTRY) {
        let tokens: TokenStream = syntax::tokens(tree, REGISTRY)?.unwrap_or_default();
        collect(tokens, &mut names);
    }
    Ok(names)
}

fn collect(tokens: TokenStream, names: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(name) => drop(names.insert(name.to_string())),
            TokenTree::Group(group) => collect(group.stream(), names),
            _ => {}
        }
    }
}

/// The values of `Filter::KIND` in a folder.
fn kinds(tree: &Tree, folder: &str) -> Result<Vec<String>> {
    let prefix = format!("{HOME}{folder}/");
    let mut kinds = Kinds::default();
    for path in tree.ending(".rs").filter(|path| path.starts_with(&prefix)) {
        if let Ok(file) = syntax::parse(tree, path)? {
            kinds.visit_file(&file);
        }
    }
    Ok(kinds.values)
}

#[derive(Default)]
struct Kinds {
    values: Vec<String>,
}

impl<'ast> Visit<'ast> for Kinds {
    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        let of = item.trait_.as_ref().and_then(|(_, path, _)| path.segments.last());
        if of.is_none_or(|of| of.ident != "Filter") {
            return;
        }
        for item in &item.items {
            if let syn::ImplItem::Const(item) = item
                && item.ident == "KIND"
                && let syn::Expr::Lit(syn::ExprLit {
                    lit: syn::Lit::Str(text),
                    ..
                }) = &item.expr
            {
                self.values.push(text.value());
            }
        }
    }
}

/// The page has the fixed headings in the fixed order, each with something under it.
fn page(tree: &Tree, folder: &str) -> Result<Vec<Finding>> {
    let path = format!("{HOME}{folder}/README.md");
    if !tree.has(&path) {
        return Ok(vec![Finding::file(&path, "the filter has no page")]);
    }
    let text = tree.read(&path)?;
    let found = sections(&text);
    let names: Vec<&str> = found.iter().map(|(_, name, _)| *name).collect();
    let mut findings = Vec::new();
    if names != HEADINGS {
        findings.push(Finding::file(
            &path,
            format!("its headings must be: {}", HEADINGS.join(", ")),
        ));
    }
    for (line, name, filled) in found {
        if !filled {
            findings.push(Finding::at(&path, line, format!("nothing stands under `{name}`")));
        }
    }
    Ok(findings)
}

/// The `##` sections outside fenced blocks: line, heading, and whether text follows.
fn sections(text: &str) -> Vec<(usize, &str, bool)> {
    let mut found: Vec<(usize, &str, bool)> = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        match line.strip_prefix("## ") {
            Some(name) if !fenced => found.push((index + 1, name.trim(), false)),
            _ if line.trim().is_empty() => {}
            _ => {
                if let Some(last) = found.last_mut() {
                    last.2 = true;
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    const GOOD: &str = "impl Filter for Cors { const KIND: &'static str = \"cors\"; }";

    fn good_page() -> String {
        format!("## {}\n\nText.\n\n", HEADINGS.join("\n\nText.\n\n## "))
    }

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let (_folder, tree) = planted::tree(files);
        planted::lines(&inspect(&tree, &[]).unwrap())
    }

    #[test]
    fn a_whole_filter_passes() {
        let files = [
            ("filters/src/cors/mod.rs", ""),
            ("filters/src/cors/filter.rs", GOOD),
            ("filters/src/cors/README.md", &*good_page()),
            (
                REGISTRY,
                "pub const FILTERS: &[FilterDef] = &[FilterDef::of::<crate::cors::Cors>()];",
            ),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn a_filter_without_page_line_and_kind_is_reported_for_each() {
        let files = [
            ("filters/src/cors/mod.rs", ""),
            (REGISTRY, "// cors is only mentioned\n"),
        ];
        let found = found(&files).join("\n");
        assert!(
            found.contains("has no line in") && found.contains("no `Filter::KIND`") && found.contains("has no page"),
            "{found}"
        );
    }

    #[test]
    fn a_missing_misplaced_or_empty_heading_is_reported() {
        let base = [("filters/src/cors/mod.rs", GOOD), (REGISTRY, "use crate::cors;")];
        for wrong in [
            good_page().replace("## Limits\n\nText.\n", ""),
            good_page().replace("## Config", "## Configuration"),
            good_page().replace("## Metrics\n\nText.", "## Metrics\n"),
            format!("## Metrics\n\nText.\n{}", good_page()),
        ] {
            let found = found(&[base[0], base[1], ("filters/src/cors/README.md", &wrong)]);
            assert_eq!(found.len(), 1, "{found:?}\n{wrong}");
        }
    }

    #[test]
    fn a_heading_inside_a_fence_is_text() {
        let page = good_page().replace("## Example\n\nText.", "## Example\n\n```\n## not a heading\n```");
        assert_eq!(
            found(&[
                ("filters/src/cors/mod.rs", GOOD),
                (REGISTRY, "use crate::cors;"),
                ("filters/src/cors/README.md", &page)
            ]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_shared_folder_must_exist() {
        let (_folder, tree) = planted::tree(&[("filters/src/limit/mod.rs", "")]);
        assert_eq!(
            inspect(&tree, &[("limit", "algorithms of several filters")]).unwrap(),
            []
        );
        assert_eq!(inspect(&tree, &[("limit", ""), ("gone", "")]).unwrap().len(), 1);
    }
}
