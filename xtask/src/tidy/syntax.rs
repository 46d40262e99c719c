//! Rust sources as syntax trees, for the rules that look inside them. It knows no rule.

use anyhow::Result;
use proc_macro2::{LineColumn, Span, TokenStream};
use syn::visit::Visit;

use crate::tree::{Finding, Tree};

/// Parses a source; a source that does not parse is a finding.
pub(crate) fn parse(tree: &Tree, path: &str) -> Result<Result<syn::File, Finding>> {
    let text = tree.read(path)?;
    Ok(syn::parse_file(&text).map_err(|error| {
        let LineColumn { line, .. } = error.span().start();
        Finding::at(path, line, format!("does not parse: {error}"))
    }))
}

/// The source as tokens.
pub(crate) fn tokens(tree: &Tree, path: &str) -> Result<Result<TokenStream, Finding>> {
    let text = tree.read(path)?;
    Ok(text
        .parse()
        .map_err(|error| Finding::file(path, format!("does not parse: {error}"))))
}

/// The line of a span, from 1.
pub(crate) fn line(span: Span) -> usize {
    span.start().line
}

/// Whether code at this path is test code as a whole.
pub(crate) fn is_test_path(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Whether an item is compiled for tests only: `#[cfg(test)]`, or any attribute that ends in `test`.
pub(crate) fn is_test_item(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let cfg_test = attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|inside| inside.is_ident("test"));
        cfg_test || is_test_attribute(attribute)
    })
}

/// `#[test]`, `#[tokio::test]` and their like.
fn is_test_attribute(attribute: &syn::Attribute) -> bool {
    attribute
        .path()
        .segments
        .last()
        .is_some_and(|last| last.ident == "test")
}

/// The names of all test functions in a source, also those in modules and in macros such as `proptest!`.
pub(crate) fn test_functions(file: &syn::File) -> Vec<String> {
    let mut found = TestFunctions::default();
    found.visit_file(file);
    found.names
}

#[derive(Default)]
struct TestFunctions {
    names: Vec<String>,
}

impl<'ast> Visit<'ast> for TestFunctions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if function.attrs.iter().any(is_test_attribute) {
            self.names.push(function.sig.ident.to_string());
        }
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let mut after_fn = false;
        let mut after_test = false;
        for token in call.tokens.clone() {
            match token {
                proc_macro2::TokenTree::Group(group) if after_test || is_test_group(&group) => {
                    after_test |= is_test_group(&group);
                    after_fn = false;
                }
                proc_macro2::TokenTree::Ident(ident) if after_fn && after_test => {
                    self.names.push(ident.to_string());
                    (after_fn, after_test) = (false, false);
                }
                proc_macro2::TokenTree::Ident(ident) => after_fn = ident == "fn",
                _ => after_fn = false,
            }
        }
    }
}

fn is_test_group(group: &proc_macro2::Group) -> bool {
    group.delimiter() == proc_macro2::Delimiter::Bracket && group.stream().to_string() == "test"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_functions_are_found_wherever_they_stand() {
        let file = syn::parse_file(
            "#[test] fn a() {}
             #[tokio::test(flavor = \"multi_thread\")] async fn b() {}
             mod inner { #[test] fn c() {} fn not_a_test() {} }
             proptest! { #[test] fn d(x in 0..1) { } fn helper() {} #[test] fn e(y: u8) {} }",
        )
        .unwrap();
        assert_eq!(test_functions(&file), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn test_paths_and_items_are_told_from_others() {
        assert!(is_test_path("tests/src/lib.rs") && is_test_path("config/src/load/tests.rs"));
        assert!(!is_test_path("filters/src/testing.rs"));
        let module: syn::ItemMod = syn::parse_str("#[cfg(test)] mod tests {}").unwrap();
        assert!(is_test_item(&module.attrs));
        let module: syn::ItemMod = syn::parse_str("#[cfg(unix)] mod unix {}").unwrap();
        assert!(!is_test_item(&module.attrs));
    }
}
