//! Any text is either a configuration or a list of errors that can be shown; neither takes the process down.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use portcullis_config::document::Document;
use portcullis_config::load::load_str;
use portcullis_config::span::SourceMap;
use proptest::prelude::*;

fn digest_or_errors(text: &str) {
    if let Err(failed) = load_str("any.yaml", text) {
        assert!(!failed.diagnostics.is_empty());
        let _ = failed.render_text();
        let _ = failed.render_json();
    }
    let mut sources = SourceMap::default();
    let file = sources.add("any.json", text);
    if let Err(out) = Document::parse_json(&sources, file, 1000) {
        let _ = out.render_text(&sources);
    }
}

const EVERYTHING: &str = include_str!("valid/everything.yaml");

/// Pieces that YAML and the configuration are made of.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z_]{1,12}: ",
        "\n {0,6}(- )?",
        "[\\[\\]{},:&*!|>'\"%@`#?-]",
        "[0-9.eE+x-]{1,8}",
        Just("listeners".to_owned()),
        Just("upstreams:\n  a: { servers: [".to_owned()),
        Just("sites:\n - hosts: ['*']\n   routes:\n   - ".to_owned()),
        Just("<<: *a".to_owned()),
        Just("\t".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("---\n".to_owned()),
        "\\PC{1,3}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_text(text in "\\PC{0,200}") {
        digest_or_errors(&text);
    }

    #[test]
    fn any_bytes_that_are_text(text in any::<String>()) {
        digest_or_errors(&text);
    }

    #[test]
    fn pieces_of_configuration(pieces in prop::collection::vec(piece(), 0..40)) {
        digest_or_errors(&pieces.concat());
    }

    #[test]
    fn a_configuration_with_a_wound(at in 0..EVERYTHING.len(), length in 0..40_usize, instead in "\\PC{0,6}") {
        let end = (at + length).min(EVERYTHING.len());
        if EVERYTHING.is_char_boundary(at) && EVERYTHING.is_char_boundary(end) {
            digest_or_errors(&format!("{}{instead}{}", &EVERYTHING[..at], &EVERYTHING[end..]));
        }
    }

    #[test]
    fn a_configuration_with_another_value(line in 0..120_usize, value in "(~|-1|0|1e9|true|x|''|\\[\\]|\\{\\}|\\[x\\]|\\{a: b\\}|99999999999999999999|!!str a|\\*tls)") {
        let mut lines: Vec<String> = EVERYTHING.lines().map(str::to_owned).collect();
        let line = line % lines.len();
        if let Some((key, _)) = lines[line].clone().split_once(": ") {
            lines[line] = format!("{key}: {value}");
            digest_or_errors(&lines.join("\n"));
        }
    }
}
