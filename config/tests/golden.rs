//! Golden pairs: each wrong document of `tests/invalid/` and the errors it gives. `UPDATE_GOLDEN=1` writes them anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use portcullis_config::codes::CODES;
use portcullis_config::document::Document;
use portcullis_config::load::{Failed, load, load_str};
use portcullis_config::span::SourceMap;

/// Codes that no document gives by itself, and who raises them.
const RAISED_ELSEWHERE: &[(&str, &str)] = &[("unusable-file", "the gateway, when it opens what a setting names")];
/// In every literal secret of the test documents. It must not be shown.
const SECRET: &str = "hunter2";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid")
}

/// The wrong documents: `NAME.yaml`, `NAME.json`, or a folder with a `portcullis.yaml`.
fn documents() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = entries
        .filter(|path| path.is_dir() || path.extension().is_some_and(|end| end == "yaml" || end == "json"))
        .collect();
    documents.sort();
    documents
}

fn failure(path: &Path) -> String {
    if path.is_dir() {
        let failed = load(&path.join("portcullis.yaml")).unwrap_err();
        return failed.render_text().replace(&format!("{}/", path.display()), "");
    }
    let name = path.file_name().unwrap().to_str().unwrap();
    let text = std::fs::read_to_string(path).unwrap();
    if path.extension().is_some_and(|end| end == "json") {
        let mut sources = SourceMap::default();
        let file = sources.add(name, text);
        return Document::parse_json(&sources, file, 1000)
            .unwrap_err()
            .render_text(&sources);
    }
    load_str(name, &text).map(|_| ()).expect_err(name).render_text()
}

fn compare(golden: &Path, text: &str, wrong: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    if expected != text {
        wrong.push(format!(
            "{}\n--- expected\n{expected}\n--- found\n{text}",
            golden.display()
        ));
    }
}

#[test]
fn each_wrong_document_gives_its_errors() {
    let mut wrong = Vec::new();
    let documents = documents();
    for path in &documents {
        let text = failure(path);
        assert!(!text.contains(SECRET), "{} shows a secret:\n{text}", path.display());
        compare(&path.with_extension("stderr"), &text, &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "{}\nUPDATE_GOLDEN=1 writes them anew",
        wrong.join("\n")
    );
    assert!(documents.len() >= 60, "only {} documents", documents.len());
}

#[test]
fn each_code_has_a_golden_and_each_golden_a_document() {
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|end| end != "stderr") {
            continue;
        }
        let has_document = ["yaml", "json", ""].iter().any(|end| path.with_extension(end).exists());
        assert!(has_document, "{} has no document", path.display());
        let text = std::fs::read_to_string(&path).unwrap();
        let codes = text
            .lines()
            .filter_map(|line| line.strip_prefix("error[")?.split_once(']'));
        seen.extend(codes.map(|(code, _)| code.to_owned()));
    }
    for (code, _) in CODES {
        let elsewhere = RAISED_ELSEWHERE.iter().any(|(raised, _)| raised == code);
        assert_ne!(
            seen.contains(*code),
            elsewhere,
            "{code}: needs a golden, or a reason why it has none"
        );
    }
    for code in &seen {
        assert!(
            CODES.iter().any(|(known, _)| known == code),
            "{code} is not in the table"
        );
    }
}

#[test]
fn as_json() {
    let failed: Failed = load(&folder().join("many.yaml")).unwrap_err();
    let text = serde_json::to_string_pretty(&failed.render_json()).unwrap() + "\n";
    let text = text.replace(&format!("{}/", folder().display()), "");
    assert!(!text.contains(SECRET));
    let mut wrong = Vec::new();
    compare(&folder().join("../many.json"), &text, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn valid_documents_are_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/valid");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let main = if path.is_dir() {
            path.join("portcullis.yaml")
        } else {
            path
        };
        if main.extension().is_some_and(|end| end == "yaml") {
            if let Err(failed) = load(&main) {
                panic!("{failed}");
            }
            count += 1;
        }
    }
    assert!(count >= 3);
}
