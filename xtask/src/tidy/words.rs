//! Words that have no place in the tree: placeholders in code, tests that are switched off, and pointers to notes that a
//! reader of this repository does not have.

use anyhow::Result;
use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::syntax;
use crate::tree::{Finding, Tree};

/// Macros that must not be called.
const MACROS: &[&str] = &["todo", "unimplemented", "dbg"];

/// Phrases that must not stand in any text, in lower case. Written in halves, because this file is searched too.
const PHRASES: &[(&str, &str)] = &[
    (concat!("../", "shared"), "points outside the repository"),
    (concat!("design", ".md"), "points outside the repository"),
    (concat!("controls", ".md"), "points outside the repository"),
    (concat!("policy_bundles", ".md"), "points outside the repository"),
    (concat!("pingora", ".md"), "points outside the repository"),
    (concat!("fix", "me"), "is a placeholder: do it or drop it"),
];

/// Phrases about how the work was done, looked for in pages.
const DIARY: &[&str] = &[
    "this session",
    "next session",
    "last session",
    "previous session",
    "earlier session",
];

/// Kinds of text that are searched for phrases.
const TEXTS: &[&str] = &[
    ".rs",
    ".md",
    ".toml",
    ".yaml",
    ".yml",
    ".sh",
    "Makefile",
    "Dockerfile",
    ".service",
    ".ci/run",
];

/// Searches every source and text.
pub(crate) fn check(tree: &Tree) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for path in tree.ending(".rs") {
        match syntax::tokens(tree, path)? {
            Ok(tokens) => placeholders(path, tokens, &mut findings),
            Err(finding) => findings.push(finding),
        }
    }
    for path in tree
        .files()
        .filter(|path| TEXTS.iter().any(|suffix| path.ends_with(suffix)))
    {
        phrases(path, &tree.read_lossy(path)?, &mut findings);
    }
    Ok(findings)
}

/// Goes through all tokens, so that calls inside other macros are seen, and comments and strings are not.
fn placeholders(path: &str, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (index, token) in tokens.iter().enumerate() {
        let next = tokens.get(index + 1);
        match (token, next) {
            (TokenTree::Ident(name), Some(TokenTree::Punct(mark))) if mark.as_char() == '!' => {
                let name = name.to_string();
                if MACROS.contains(&name.as_str()) {
                    findings.push(Finding::at(
                        path,
                        syntax::line(token.span()),
                        format!("`{name}!` is left in the code"),
                    ));
                }
            }
            (TokenTree::Punct(mark), Some(TokenTree::Group(group)))
                if mark.as_char() == '#' && group.delimiter() == Delimiter::Bracket && switches_off(group.stream()) =>
            {
                let text = "the test is switched off: mend it, or let it report itself as skipped with the reason";
                findings.push(Finding::at(path, syntax::line(token.span()), text));
            }
            _ => {}
        }
        if let TokenTree::Group(group) = token {
            placeholders(path, group.stream(), findings);
        }
    }
}

/// `#[ignore]`, `#[ignore = ".."]`, `#[cfg_attr(.., ignore)]`.
fn switches_off(attribute: TokenStream) -> bool {
    let mut tokens = attribute.into_iter();
    match (tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), _) if name == "ignore" => true,
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(inside))) if name == "cfg_attr" => inside
            .stream()
            .into_iter()
            .any(|token| matches!(token, TokenTree::Ident(name) if name == "ignore")),
        _ => false,
    }
}

fn phrases(path: &str, text: &str, findings: &mut Vec<Finding>) {
    let is_page = std::path::Path::new(path)
        .extension()
        .is_some_and(|extension| extension == "md");
    for (index, line) in text.lines().enumerate() {
        let lower = line.to_lowercase();
        for (phrase, why) in PHRASES {
            if lower.contains(phrase) {
                findings.push(Finding::at(path, index + 1, format!("`{phrase}` {why}")));
            }
        }
        if names_an_issue(&lower) {
            findings.push(Finding::at(
                path,
                index + 1,
                "names an issue by number: say what it is about",
            ));
        }
        if let Some(phrase) = DIARY.iter().find(|phrase| is_page && lower.contains(**phrase)) {
            findings.push(Finding::at(
                path,
                index + 1,
                format!("`{phrase}`: say how it is, not how the work went"),
            ));
        }
    }
}

/// The word and a number, with or without `#`. A link to another project's issue carries its address and is let through.
fn names_an_issue(line: &str) -> bool {
    line.match_indices("issue ").any(|(at, word)| {
        let rest = line.get(at + word.len()..).unwrap_or_default();
        rest.strip_prefix('#')
            .unwrap_or(rest)
            .starts_with(|first: char| first.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::planted;

    #[test]
    fn placeholders_are_found_in_code_and_only_there() {
        let text = "//! dbg!(x) in a comment is no code.
fn a() { todo!() }
fn b() { assert_eq!(dbg!(1), 1); }
fn c() { println!(\"todo!()\"); }
fn d() { if !todo {} }
fn e() { unimplemented!(\"later\") }
";
        let (_folder, tree) = planted::tree(&[("a.rs", text)]);
        let lines: Vec<usize> = check(&tree).unwrap().iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 3, 6]);
    }

    #[test]
    fn a_test_that_is_switched_off_is_found() {
        let text = "#[test]\n#[ignore]\nfn a() {}\n#[cfg_attr(not(unix), ignore)]\nfn b() {}\n#[ignore = \"slow\"]\nfn c() {}\n#[cfg_attr(unix, inline)]\nfn d() {}\n";
        let (_folder, tree) = planted::tree(&[("a.rs", text)]);
        let lines: Vec<usize> = check(&tree).unwrap().iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [2, 4, 6]);
    }

    #[test]
    fn pointers_to_what_the_reader_does_not_have_are_found() {
        let shared = concat!("See ../", "shared/x.\n");
        let issue = concat!("As iss", "ue #12 says.\nAn issue is filed.\n");
        let diary = concat!("In this ", "session we did it.\n");
        let (_folder, tree) = planted::tree(&[("a.md", shared), ("b.rs", &format!("// {issue}")), ("c.md", diary)]);
        let paths: Vec<_> = check(&tree)
            .unwrap()
            .into_iter()
            .map(|finding| (finding.path, finding.line))
            .collect();
        assert_eq!(
            paths,
            [("a.md".to_owned(), 1), ("b.rs".to_owned(), 1), ("c.md".to_owned(), 1)]
        );
    }
}
