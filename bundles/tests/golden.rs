//! What people read when a bundle is refused: every file of `invalid/` beside the text it must give. `UPDATE_GOLDEN=1`
//! writes the texts anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::problem::CODES;

use support::{NOW, unsigned_loader};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/invalid")
}

fn documents() -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut documents: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|end| end != "stderr"))
        .collect();
    documents.sort();
    documents
}

/// What the gateway says of JSON and what authors are told of YAML.
fn refusal(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    if author::format_of(name) == Format::Yaml {
        let text = std::str::from_utf8(&bytes).unwrap();
        return author::read(name, text, Format::Yaml).expect_err(name).render_text();
    }
    let refused = unsigned_loader().accept(&bytes, NOW, None).expect_err(name);
    format!("{refused}\n\n{}", refused.explanation.render_text())
}

#[test]
fn refusals_read_as_written_down() {
    let mut wrong = Vec::new();
    for path in documents() {
        let told = refusal(&path);
        let golden = path.with_extension("stderr");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &told).unwrap();
        } else if fs::read_to_string(&golden).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 accepts these:\n{}", wrong.join("\n"));
}

#[test]
fn every_text_belongs_to_a_document_and_every_code_has_one() {
    assert!(documents().len() >= 30);
    let mut told = String::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "stderr") {
            assert!(
                ["json", "yaml"].iter().any(|end| path.with_extension(end).exists()),
                "{}",
                path.display()
            );
            told.push_str(&fs::read_to_string(path).unwrap());
        }
    }
    // `invalid-bundle` is for what only the fast reader refuses; nothing is known.
    let codes = CODES
        .iter()
        .map(|(code, _)| code)
        .filter(|code| **code != "invalid-bundle");
    let untold: BTreeSet<_> = codes.filter(|code| !told.contains(&format!("[{code}]"))).collect();
    assert!(untold.is_empty(), "{untold:?}");
}
