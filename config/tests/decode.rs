//! Decoding of any type: what is accepted, what is refused, and that everything wrong is found at once.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use std::collections::BTreeMap;

use portcullis_config::decode::{Rules, decode, decode_with};
use portcullis_config::diagnostic::Diagnostics;
use portcullis_config::document::{Document, RawNode};
use portcullis_config::secret::SecretRef;
use portcullis_config::site::Link;
use portcullis_config::span::SourceMap;
use portcullis_config::units::Duration;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn parse(text: &str) -> (SourceMap, Document) {
    let mut sources = SourceMap::default();
    let file = sources.add("test.yaml", text);
    let document = Document::parse_yaml(&sources, file).unwrap_or_else(|out| panic!("{}", out.render_text(&sources)));
    (sources, document)
}

/// The value, or `code path` of each error.
fn read_with<T: DeserializeOwned>(text: &str, rules: Rules<'_>) -> Result<T, Vec<String>> {
    let (_, document) = parse(text);
    let mut out = Diagnostics::default();
    let value = decode_with(&document, document.root(), rules, &mut out);
    assert_eq!(value.is_some(), out.is_empty());
    value.ok_or_else(|| {
        out.iter()
            .map(|error| format!("{} {}", error.code, error.path))
            .collect()
    })
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    read_with(text, Rules::default())
}

#[derive(Debug, PartialEq, Deserialize)]
struct Inner {
    name: String,
    count: u8,
    wait: Duration,
    #[serde(default)]
    tags: Vec<String>,
    note: Option<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
struct Outer {
    list: Vec<Inner>,
    map: BTreeMap<String, Inner>,
    kind: Kind,
    #[serde(default)]
    pair: Option<(u32, String)>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Plain,
    Newtype(u16),
    Struct { size: i8 },
    Tuple(bool, char),
}

const GOOD: &str = "
list: [{ name: a, count: 1, wait: 5s }, { name: b, count: 255, wait: 1m, tags: [x, 'y'], note: ~ }]
map: { m: { name: c, count: 0x10, wait: 1ms, note: n } }
kind: { struct: { size: -5 } }
pair: [7, seven]
";

#[test]
fn structs_lists_maps_and_enums() {
    let outer: Outer = read(GOOD).unwrap();
    assert_eq!(outer.list.len(), 2);
    assert_eq!(outer.list[1].tags, ["x", "y"]);
    assert_eq!((outer.map["m"].count, outer.map["m"].note.as_deref()), (16, Some("n")));
    assert_eq!(outer.kind, Kind::Struct { size: -5 });
    assert_eq!(outer.pair, Some((7, "seven".into())));
    assert_eq!(read("plain"), Ok(Kind::Plain));
    assert_eq!(read("{ newtype: 65535 }"), Ok(Kind::Newtype(65_535)));
    assert_eq!(read("{ tuple: [true, é] }"), Ok(Kind::Tuple(true, 'é')));
    assert_eq!(
        read("{ 200: ok, 404: missing }"),
        Ok(BTreeMap::from([(200_u16, "ok".to_owned()), (404, "missing".into())]))
    );
    assert_eq!(read("[1, -1, 0o17]"), Ok(vec![1_i64, -1, 15]));
    assert_eq!(read("[1, 0.5, 1e3]"), Ok(vec![1.0_f64, 0.5, 1000.0]));
    assert_eq!(read("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(read("~"), Ok(()));
    assert_eq!(read("~"), Ok(None::<u8>));
    assert_eq!(read("off"), Ok("off".to_owned()));
}

#[test]
fn everything_wrong_is_found_in_one_run() {
    let text = "
list:
  - { name: 1, count: 256, wait: 5, tags: [a, 2, b, 3], note: true }
  - { nmae: a, wait: 5x, tags: {} }
  - 7
  - { name: ok, count: 1, wait: 1s }
  - {}
map:
  good: { name: c, count: 0, wait: 1ms }
  bad: { name: c, count: -1, wait: 1ms, cuont: 5 }
  worse: [1]
kind: { struct: { size: 200, sice: 1 } }
pair: [x, 5]
extra: 1
";
    let mut found = read::<Outer>(text).unwrap_err();
    found.sort();
    assert_eq!(
        found,
        [
            "invalid-value list[1].wait",
            "missing-key list[1]",
            "missing-key list[4]",
            "missing-key list[4]",
            "missing-key list[4]",
            "out-of-range kind.struct.size",
            "out-of-range list[0].count",
            "out-of-range map.bad.count",
            "unknown-key extra",
            "unknown-key kind.struct.sice",
            "unknown-key list[1].nmae",
            "unknown-key map.bad.cuont",
            "wrong-type list[0].name",
            "wrong-type list[0].note",
            "wrong-type list[0].tags[1]",
            "wrong-type list[0].tags[3]",
            "wrong-type list[0].wait",
            "wrong-type list[1].tags",
            "wrong-type list[2]",
            "wrong-type map.worse",
            "wrong-type pair[0]",
            "wrong-type pair[1]",
        ]
    );
}

#[test]
fn types_are_never_bent() {
    for text in ["1", "1.5", "true", "~", "[]", "{}"] {
        assert_eq!(read::<String>(text).unwrap_err(), ["wrong-type "], "{text}");
    }
    for text in ["'1'", "1.5", "1.0", "true", "~", "one"] {
        assert_eq!(read::<u32>(text).unwrap_err(), ["wrong-type "], "{text}");
    }
    for text in ["-1", "4294967296", "99999999999999999999999"] {
        assert_eq!(read::<u32>(text).unwrap_err(), ["out-of-range "], "{text}");
    }
    for text in ["yes", "on", "'true'", "1", "~"] {
        assert_eq!(read::<bool>(text).unwrap_err(), ["wrong-type "], "{text}");
    }
    for text in [".inf", "-.inf", ".nan"] {
        assert_eq!(read::<f64>(text).unwrap_err(), ["out-of-range "], "{text}");
    }
    assert_eq!(
        read::<BTreeMap<u8, String>>("{ 256: a, x: b, 1: c }").unwrap_err(),
        ["invalid-value 256", "invalid-value x"]
    );
}

#[test]
fn variants() {
    for (text, code) in [
        ("plian", "unknown-variant "),
        ("{ plian: 1 }", "unknown-variant plian"),
        ("newtype", "invalid-value "),
        ("{ plain: {} }", "invalid-value "),
        ("{ plain: 1, newtype: 2 }", "wrong-type "),
        ("{}", "wrong-type "),
        ("5", "wrong-type "),
        ("{ newtype: 65536 }", "out-of-range newtype"),
        ("{ tuple: [1, xx] }", "wrong-type tuple[0]"),
        ("{ struct: {} }", "missing-key struct"),
        ("{ tuple: [true] }", "out-of-range tuple"),
        ("{ tuple: [true, x, y] }", "out-of-range tuple"),
    ] {
        assert_eq!(read::<Kind>(text).unwrap_err()[0], code, "{text}");
    }
}

#[test]
fn null_means_absent_where_the_rules_say_so() {
    let text = "{ name: a, count: 1, wait: 1s, tags: null, note: null }";
    assert_eq!(read::<Inner>(text).unwrap_err(), ["wrong-type tags"]);
    let rules = Rules {
        null_is_absent: true,
        ..Rules::default()
    };
    assert_eq!(read_with::<Inner>(text, rules).unwrap().tags, Vec::<String>::new());
    assert_eq!(
        read_with::<Inner>("{ name: null, count: 1, wait: 1s }", rules).unwrap_err(),
        ["missing-key "]
    );
}

#[test]
fn links_and_filters_share_a_map() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Filter {
        issuer: Option<String>,
    }

    let (_, document) =
        parse("[{ jwt: { name: n, issuer: main, mode: shadow } }, { jwt: }, { jwt: { isuer: main, mode: 5 } }]");
    let mut out = Diagnostics::default();
    let links: Option<Vec<Link>> = decode(&document, document.root(), &[], &mut out);
    assert!(links.is_none());
    assert_eq!(
        out.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(),
        ["[2].jwt.mode"]
    );

    let mut issuers = Vec::new();
    let mut out = Diagnostics::default();
    for item in document.items(document.root()) {
        let settings = document.get(*item, "jwt").unwrap();
        issuers.push(decode::<Filter>(&document, settings, &Link::KEYS, &mut out));
    }
    assert_eq!(
        issuers,
        [
            Some(Filter {
                issuer: Some("main".into())
            }),
            Some(Filter { issuer: None }),
            None
        ]
    );
    assert_eq!(
        out.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(),
        ["[2].jwt.isuer"]
    );
}

#[test]
fn a_node_can_be_kept() {
    #[derive(Debug, Deserialize)]
    struct Keep {
        rest: RawNode,
    }
    let (_, document) = parse("{ rest: [1, 2] }");
    let mut out = Diagnostics::default();
    let keep: Keep = decode(&document, document.root(), &[], &mut out).unwrap();
    assert_eq!(document.items(keep.rest.0).len(), 2);
}

#[test]
fn flattened_and_untagged_types_work_with_coarser_places() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Flat {
        a: u8,
        #[serde(flatten)]
        rest: BTreeMap<String, Either>,
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }
    let flat: Flat = read("{ a: 1, b: 2, c: three }").unwrap();
    assert_eq!(flat.rest["c"], Either::Text("three".into()));
    assert_eq!(read::<Flat>("{ a: 1, b: [] }").unwrap_err().len(), 1);
    assert_eq!(read::<Flat>("{ a: 256, b: [] }").unwrap_err().len(), 1);
}

#[test]
fn secrets_stay_hidden_whatever_else_is_wrong() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Secrets {
        one: SecretRef,
        signing: Option<SecretRef>,
        many: Vec<SecretRef>,
    }
    let (sources, document) =
        parse("{ one: hunter2, signing: hunter2, many: [hunter2, env:OK, 5], other: 1, sining: 5 }");
    let mut out = Diagnostics::default();
    assert!(decode::<Secrets>(&document, document.root(), &[], &mut out).is_none());
    let text = out.render_text(&sources);
    assert_eq!(out.len(), 6, "{text}");
    assert!(!text.contains("hunter2") && text.contains("env:OK"), "{text}");
    assert!(!out.render_json(&sources).to_string().contains("hunter2"));
}

#[test]
fn errors_are_bounded() {
    let items = "- x\n".repeat(1000);
    let (sources, document) = parse(&items);
    let mut out = Diagnostics::default();
    assert!(decode::<Vec<u8>>(&document, document.root(), &[], &mut out).is_none());
    assert_eq!(out.len(), Diagnostics::MOST);
    assert!(out.is_full());

    let keys: Vec<_> = (0..1000).map(|i| format!("k{i}: 1")).collect();
    let keys = keys.join(
        "
",
    );
    let (_, document) = parse(&format!("name: a\ncount: 1\nwait: 1s\n{keys}"));
    let mut out = Diagnostics::default();
    assert!(decode::<Inner>(&document, document.root(), &[], &mut out).is_none());
    assert_eq!((out.iter().count(), out.dropped()), (200, 800));
    assert!(out.render_text(&sources).ends_with("error: and 800 more\n"));
}
