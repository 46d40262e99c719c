//! Configurations: any text is either a configuration or a list of errors that can be shown, and whatever is accepted says
//! the same when it is read again.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use portcullis_config::address::Network;
use portcullis_config::codes::CODES;
use portcullis_config::decode::decode;
use portcullis_config::diagnostic::Diagnostics;
use portcullis_config::document::Document;
use portcullis_config::gateway::Config;
use portcullis_config::key::Key;
use portcullis_config::load::load_str;
use portcullis_config::matcher::HostPattern;
use portcullis_config::secret::SecretRef;
use portcullis_config::span::SourceMap;
use portcullis_config::units::{ByteSize, Duration, Rate};
use portcullis_config::validate::validate;

use crate::seeds::{Seed, blocks, files};

/// Values of a JSON document.
const MAX_NODES: usize = 10_000;
/// Longest text that is tried as one of the small languages.
const SMALL: usize = 300;

/// What must hold for a text.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    as_yaml(text);
    as_json(text);
    if text.len() <= SMALL {
        small_languages(text);
    }
}

fn as_yaml(text: &str) {
    match load_str("portcullis.yaml", text) {
        Ok(loaded) => {
            let again = load_str("portcullis.yaml", text).expect("it was accepted a moment ago");
            assert_eq!(loaded.digest, again.digest);
            assert_eq!(format!("{:?}", loaded.config), format!("{:?}", again.config));
        }
        Err(failed) => {
            presentable(&failed.diagnostics, &failed.sources);
            let _ = failed.render_json().to_string();
        }
    }
}

fn as_json(text: &str) {
    let mut sources = SourceMap::default();
    let file = sources.add("any.json", text);
    let mut out = Diagnostics::default();
    let document = Document::parse_json_into(&sources, file, MAX_NODES, &mut out);
    if let Some(document) = &document {
        if let Some(config) = decode::<Config>(document, document.root(), &[], &mut out) {
            validate(&config, document, &mut out);
        }
    } else {
        assert!(!out.is_empty(), "no document and no error");
    }
    out.sort();
    if !out.is_empty() {
        presentable(&out, &sources);
    }
}

/// Errors are there, have a code that is in the table and a message, and point into the text.
fn presentable(diagnostics: &Diagnostics, sources: &SourceMap) {
    assert!(!diagnostics.is_empty());
    for diagnostic in diagnostics {
        assert!(
            CODES.iter().any(|(code, _)| *code == diagnostic.code),
            "{}",
            diagnostic.code
        );
        assert!(!diagnostic.message.is_empty(), "{}", diagnostic.code);
        if let Some(span) = diagnostic.span {
            let (from, to) = (sources.locate(span), sources.locate_end(span));
            assert!(from.line >= 1 && from.column >= 1, "{from:?}");
            assert!((from.line, from.column) <= (to.line, to.column), "{from:?} {to:?}");
        }
    }
    let text = diagnostics.render_text(sources);
    assert!(text.contains("error["), "{text}");
    let control = |c: char| c.is_control() && c != '\n';
    assert!(!text.chars().any(control), "a terminal would obey this: {text:?}");
}

fn small_languages(text: &str) {
    same_again::<Duration>(text);
    same_again::<ByteSize>(text);
    same_again::<Rate>(text);
    same_again::<HostPattern>(text);
    same_again::<Key>(text);
    same_again::<Network>(text);
    let _ = text.parse::<SecretRef>();
}

/// What is accepted can be written, and means the same then.
fn same_again<T: FromStr + Display + PartialEq + Debug>(text: &str)
where
    T::Err: Display,
{
    match text.parse::<T>() {
        Ok(value) => {
            let written = value.to_string();
            assert!(
                written.parse::<T>().is_ok_and(|again| again == value),
                "{text:?} is written {written:?}"
            );
        }
        Err(error) => assert!(!error.to_string().is_empty(), "{text:?}"),
    }
}

/// Configurations to begin with.
pub fn seeds() -> Vec<Seed> {
    let mut seeds = files(&["config/tests", "examples", "deploy"], &[".yaml", ".json"]);
    seeds.extend(blocks(
        &files(&["filters/src", "docs"], &[".md"]),
        &["```yaml config", "```yaml"],
    ));
    let words = [
        "250ms",
        "7d",
        "32KiB",
        "0.5/s",
        "600/m",
        "*.api.example.com",
        "[2001:db8::1]:8443",
        "10.0.0.0/8",
        "jwt:sub",
        "header:x-tenant",
        "ip:address",
        "env:NAME",
        "file:/run/secrets/key",
        "unix:/run/a.sock",
    ];
    seeds.extend(
        words
            .iter()
            .enumerate()
            .map(|(number, word)| Seed::new(format!("word-{number:02}"), *word)),
    );
    seeds
}
