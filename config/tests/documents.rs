//! Documents: what text means, where it stands, and what places are called.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use portcullis_config::document::{Document, Format, Kind, NodeId, NumberValue};
use portcullis_config::span::{SourceMap, Span};
use proptest::prelude::*;

fn yaml(text: &str) -> (SourceMap, Document) {
    let mut sources = SourceMap::default();
    let file = sources.add("test.yaml", text);
    let document = Document::parse_yaml(&sources, file).unwrap_or_else(|out| panic!("{}", out.render_text(&sources)));
    (sources, document)
}

fn slice(sources: &SourceMap, span: Span) -> &str {
    &sources.text(span.file)[span.start as usize..span.end as usize]
}

fn all(document: &Document) -> Vec<NodeId> {
    let mut nodes = vec![document.root()];
    let mut next = 0;
    while let Some(node) = nodes.get(next).copied() {
        nodes.extend(document.items(node));
        nodes.extend(document.entries(node).iter().map(|(_, value)| *value));
        next += 1;
    }
    nodes
}

#[test]
fn spans_are_the_text_of_values() {
    let (sources, document) = yaml(
        "a: [1, 'two', \"thr\\u0065e\"]\nb:\n  - c: plain text # comment\n    é: ~\n  - |\n    block\nd: { e: {} }\n",
    );
    for (path, text) in [
        ("a", "[1, 'two', \"thr\\u0065e\"]"),
        ("a[0]", "1"),
        ("a[1]", "'two'"),
        ("a[2]", "\"thr\\u0065e\""),
        ("b[0]", "c: plain text # comment\n    é: ~"),
        ("b[0].c", "plain text"),
        ("b[0][\"é\"]", "~"),
        ("d", "{ e: {} }"),
        ("d.e", "{}"),
    ] {
        let node = document.at(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(slice(&sources, document.span(node)), text, "{path}");
        assert_eq!(document.path(node), path);
    }
    let block = document.at("b[1]").unwrap();
    assert_eq!(document.string(block), Some("block\n"));
    let key = document.at("b[0].c").unwrap();
    assert_eq!(slice(&sources, document.key_span(key)), "c");
    assert_eq!(document.pointer(document.at("b[0].c").unwrap()), "/b/0/c");
    for missing in ["x", "a[3]", "a.b", "a[", "a[x]", "b[0].", "[\"a", "[\"a\"", "a[0].b"] {
        assert_eq!(document.at(missing), None, "{missing}");
    }
    assert_eq!(document.at(""), Some(document.root()));
}

#[test]
fn keys_that_are_no_words_are_quoted_in_paths_and_escaped_in_pointers() {
    let (_, document) = yaml("{ 'a.b': { 'c\"d]': 1 }, 'x/y~z': 2, '': 3 }");
    for (path, pointer) in [
        ("[\"a.b\"][\"c\\\"d]\"]", "/a.b/c\"d]"),
        ("[\"x/y~z\"]", "/x~1y~0z"),
        ("[\"\"]", "/"),
    ] {
        let node = document.at(path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!(
            (document.path(node).as_str(), document.pointer(node).as_str()),
            (path, pointer)
        );
    }
}

#[test]
fn quotes_make_strings() {
    let (_, document) = yaml("[1, '1', true, 'true', ~, '~', 1.5, \"1.5\", off, <<, '<<', 2001-01-01]");
    let kinds: Vec<_> = document
        .items(document.root())
        .iter()
        .map(|item| document.describe(*item))
        .collect();
    let (s, n) = ("a string", "a number");
    assert_eq!(
        kinds,
        [
            n,
            s,
            "a boolean",
            s,
            "nothing (null)",
            s,
            "a number with a fraction",
            s,
            s,
            s,
            s,
            s
        ]
    );
}

#[test]
fn aliases_are_copies_with_places_of_their_own() {
    let (sources, document) = yaml("base: &b { list: [1, 2] }\ncopy: *b\nagain: [*b, *b]\nscalar: &s x\nuse: *s\n");
    let one = document.at("again[1].list[1]").unwrap();
    assert_eq!(document.path(one), "again[1].list[1]");
    assert_eq!(slice(&sources, document.span(one)), "2");
    assert_eq!(document.string(document.at("use").unwrap()), Some("x"));
    let copy = document.at("copy").unwrap();
    assert_eq!(slice(&sources, document.key_span(copy)), "copy");
}

#[test]
fn json_is_the_same_tree_with_pointers() {
    let mut sources = SourceMap::default();
    let text = " {\"a\": [1, -2, 1.50, 1e2, \"\\u00e9\\n\"], \"b\": {\"c\": null, \"d\": true}, \"n\": 12345678901234567890123} ";
    let file = sources.add("test.json", text);
    let document = Document::parse_json(&sources, file, 100).unwrap();
    assert_eq!(document.format(), Format::Json);
    assert_eq!(document.place(document.at("a[4]").unwrap()), "/a/4");
    assert_eq!(document.string(document.at("a[4]").unwrap()), Some("é\n"));
    let number = |path: &str| match document.kind(document.at(path).unwrap()) {
        Kind::Number(number) => (number.text.to_string(), number.value),
        _ => panic!("{path}"),
    };
    assert_eq!(number("a[1]"), ("-2".into(), NumberValue::Signed(-2)));
    assert_eq!(number("a[2]"), ("1.50".into(), NumberValue::Float(1.5)));
    assert_eq!(number("n").0, "12345678901234567890123");
    assert_eq!(
        slice(&sources, document.span(document.at("b").unwrap())),
        "{\"c\": null, \"d\": true}"
    );
    assert!(Document::parse_json(&sources, file, 10).is_err());
}

#[test]
fn a_yaml_file_has_a_largest_size() {
    let mut sources = SourceMap::default();
    let file = sources.add("big.yaml", "# ".repeat(2 << 20) + "\n");
    let out = Document::parse_yaml(&sources, file).unwrap_err();
    assert_eq!(out.iter().next().map(|error| error.code), Some("too-large"));
}

/// JSON and what is nearly JSON.
fn nearly_json() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("true".to_owned()),
        Just("nul".to_owned()),
        "-?[0-9]{1,4}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?",
        "\"[a-z\\\\\"u0-9é]{0,6}\"",
        Just("[]".to_owned()),
        Just("{}".to_owned()),
    ];
    let tree = word.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(("[a-c]", inner), 0..3).prop_map(|entries| {
                let entries: Vec<_> = entries
                    .iter()
                    .map(|(key, value)| format!("\"{key}\" : {value}"))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    (tree, "[ ,\\]}a]{0,1}").prop_map(|(tree, end)| tree + &end)
}

proptest! {
    #[test]
    fn json_is_accepted_as_by_serde_json(text in nearly_json()) {
        let mut sources = SourceMap::default();
        let file = sources.add("x", text.as_str());
        let ours = Document::parse_json(&sources, file, 10_000);
        let theirs = serde_json::from_str::<serde_json::Value>(&text);
        match ours {
            Ok(document) => {
                prop_assert!(theirs.is_ok(), "{}", text);
                for node in all(&document) {
                    let pointer = document.pointer(node);
                    prop_assert!(theirs.as_ref().unwrap().pointer(&pointer).is_some(), "{} {}", text, pointer);
                }
            }
            Err(out) => {
                let duplicate = out.iter().all(|error| error.code == "duplicate-key");
                prop_assert!(theirs.is_err() || duplicate, "{}\n{}", text, out.render_text(&sources));
            }
        }
    }

    #[test]
    fn each_path_leads_back_to_its_node(text in nearly_json()) {
        let mut sources = SourceMap::default();
        let file = sources.add("x", text.as_str());
        if let Ok(document) = Document::parse_yaml(&sources, file) {
            for node in all(&document) {
                prop_assert_eq!(document.at(&document.path(node)), Some(node));
            }
        }
    }
}
