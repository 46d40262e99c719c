//! Function sizes: a function fits on a screen. Tests may be longer, because a test tells a story in order.

use anyhow::Result;
use syn::visit::{self, Visit};

use super::syntax;
use crate::tree::{Finding, Tree};

const BODY_LINES: usize = 70;

/// Functions that are one flat table and may be longer: file, function, reason.
const LONGER: &[(&str, &str, &str)] = &[];

/// Measures every function body outside tests.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    measure(tree, LONGER)
}

fn measure(tree: &Tree, longer: &[(&str, &str, &str)]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    let mut used = Vec::new();
    for path in tree.ending(".rs").filter(|path| !syntax::is_test_path(path)) {
        let file = match syntax::parse(tree, path)? {
            Ok(file) => file,
            Err(finding) => {
                findings.push(finding);
                continue;
            }
        };
        let mut bodies = LongBodies::default();
        bodies.visit_file(&file);
        for (name, line, lines) in bodies.found {
            if let Some(entry) = longer
                .iter()
                .find(|(file, function, _)| *file == path && *function == name)
            {
                used.push(*entry);
            } else {
                let text = format!("`{name}` has {lines} lines; the limit is {BODY_LINES}: split it");
                findings.push(Finding::at(path, line, text));
            }
        }
    }
    for (file, function, _) in longer.iter().filter(|entry| !used.contains(entry)) {
        let text =
            format!("`{function}` is not too long any more: take it off the list in xtask/src/tidy/functions.rs");
        findings.push(Finding::file(file, text));
    }
    Ok(findings)
}

/// Collects name, line and length of the bodies over the limit.
#[derive(Default)]
struct LongBodies {
    found: Vec<(String, usize, usize)>,
}

impl LongBodies {
    fn look(&mut self, signature: &syn::Signature, body: &syn::Block) {
        let braces = body.brace_token.span;
        let lines = syntax::line(braces.close()).saturating_sub(syntax::line(braces.open()) + 1);
        if lines > BODY_LINES {
            self.found
                .push((signature.ident.to_string(), syntax::line(signature.ident.span()), lines));
        }
    }
}

impl<'ast> Visit<'ast> for LongBodies {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !syntax::is_test_item(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !syntax::is_test_item(&function.attrs) {
            self.look(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_trait_item_fn(&mut self, function: &'ast syn::TraitItemFn) {
        if let Some(block) = &function.default {
            self.look(&function.sig, block);
        }
        visit::visit_trait_item_fn(self, function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    fn function(name: &str, lines: usize) -> String {
        format!("fn {name}() {{\n{}}}\n", "    work();\n".repeat(lines))
    }

    #[test]
    fn a_long_body_is_reported_with_its_line() {
        let text = format!("{}{}", function("fits", 70), function("long", 71));
        let (_folder, tree) = planted::tree(&[("a/src/lib.rs", &text)]);
        assert_eq!(
            planted::lines(&measure(&tree, &[]).unwrap()),
            ["a/src/lib.rs:73: `long` has 71 lines; the limit is 70: split it"]
        );
    }

    #[test]
    fn methods_and_default_bodies_count_and_tests_do_not() {
        let long = function("long", 71);
        let text = format!(
            "impl A {{ {long} }}\ntrait B {{ {long} }}\n#[cfg(test)]\nmod tests {{ {long} }}\n#[test]\n{}",
            function("long_test", 90)
        );
        let (_folder, tree) = planted::tree(&[("a/src/lib.rs", &text), ("tests/tests/x.rs", &long)]);
        assert_eq!(measure(&tree, &[]).unwrap().len(), 2);
    }

    #[test]
    fn a_listed_table_may_be_long_until_it_is_not() {
        let (_folder, tree) = planted::tree(&[("a/src/lib.rs", &function("table", 100))]);
        assert_eq!(measure(&tree, &[("a/src/lib.rs", "table", "a table")]).unwrap(), []);
        let stale = [("a/src/lib.rs", "table", "a table"), ("a/src/lib.rs", "gone", "?")];
        assert_eq!(measure(&tree, &stale).unwrap().len(), 1);
    }

    #[test]
    fn a_source_that_does_not_parse_is_a_finding() {
        let (_folder, tree) = planted::tree(&[("a/src/lib.rs", "fn (")]);
        assert!(measure(&tree, &[]).unwrap()[0].text.starts_with("does not parse"));
    }
}
