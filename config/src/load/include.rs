//! Includes: other files of the same shape, merged into the tree. Lists are appended, maps are merged, and what only one
//! file may say, only one file says.

use std::path::Path;

use super::Reading;
use super::glob::{self, GlobError};
use crate::diagnostic::{Diagnostic, codes};
use crate::document::{Document, Kind, NodeId};

/// Merges what a document includes into it. False: something is missing, so that further checks would mislead.
pub(super) fn merge(reading: &mut Reading, document: &mut Document, folder: Option<&Path>) -> bool {
    let Some(include) = document.get(document.root(), "include") else {
        return true;
    };
    let patterns: Vec<NodeId> = document.items(include).to_vec();
    let mut whole = true;
    for node in patterns {
        // What is no string is reported when the list is decoded.
        let Some(pattern) = document.string(node).map(str::to_owned) else {
            continue;
        };
        let Some(folder) = folder else {
            let message = "`include` needs a file that it can be relative to";
            reading
                .out
                .push(Diagnostic::new(codes::INCLUDE, message).on(document, node));
            return false;
        };
        match glob::expand(&pattern, folder) {
            Ok(found) => {
                reading.files.extend(found.folder);
                for path in found.files {
                    whole &= one(reading, document, node, &path).is_some();
                }
            }
            Err(error) => {
                reading.out.push(explain(&pattern, folder, &error).on(document, node));
                whole = false;
            }
        }
    }
    whole
}

fn explain(pattern: &str, folder: &Path, error: &GlobError) -> Diagnostic {
    match error {
        GlobError::StarInFolder => Diagnostic::new(
            codes::INCLUDE,
            format!("`{pattern}`: a `*` may stand in the file name only"),
        )
        .help("list each folder, such as `[sites/*.yaml, teams/*.yaml]`"),
        GlobError::NoFileName => Diagnostic::new(codes::INCLUDE, format!("`{pattern}` names no file"))
            .help("write a file or a pattern, such as `sites/*.yaml`"),
        GlobError::Unreadable(error) => {
            let folder = folder.join(pattern);
            let folder = folder.parent().unwrap_or(&folder).display();
            Diagnostic::new(codes::INCLUDE, format!("`{pattern}`: cannot list {folder}: {error}"))
        }
        GlobError::TooMany => Diagnostic::new(
            codes::INCLUDE,
            format!("`{pattern}` matches more than {} files", glob::MOST),
        ),
    }
}

fn one(reading: &mut Reading, document: &mut Document, asked: NodeId, path: &Path) -> Option<()> {
    let file = reading.file(path, Some(document.span(asked)))?;
    reading.read.push(file);
    let part = Document::parse_yaml_into(&reading.sources, file, &mut reading.out)?;
    match part.kind(part.root()) {
        Kind::Map(_) => {}
        // A file of comments only.
        Kind::Null => return Some(()),
        _ => {
            let message = format!("an included file holds a map, found {}", part.describe(part.root()));
            reading
                .out
                .push(Diagnostic::new(codes::WRONG_TYPE, message).on(&part, part.root()));
            return None;
        }
    }
    if let Some(nested) = part.get(part.root(), "include") {
        let diagnostic = Diagnostic::new(codes::INCLUDE, "an included file cannot include others");
        let help = "list all patterns in the main file";
        reading.out.push(diagnostic.on_key(&part, nested).help(help));
        return None;
    }
    let root = document.root();
    let added = document.adopt(&part);
    merge_maps(reading, document, root, added);
    Some(())
}

/// Moves the entries of `from` into `into`.
fn merge_maps(reading: &mut Reading, document: &mut Document, into: NodeId, from: NodeId) {
    for (key, new) in document.entries(from).to_vec() {
        let Some(old) = document.get(into, &key) else {
            document.insert(into, key, new);
            continue;
        };
        match (document.kind(old), document.kind(new)) {
            (Kind::List(_), Kind::List(_)) => document.append(old, new),
            (Kind::Map(_), Kind::Map(_)) if may_merge(document, old) => merge_maps(reading, document, old, new),
            (_, Kind::Null) => {}
            (Kind::Null, _) => document.replace(old, new),
            _ => {
                let path = document.path(old);
                let message = format!("`{path}` is given by two files");
                let diagnostic = Diagnostic::new(codes::MERGE_CONFLICT, message)
                    .at(document.key_span(new))
                    .path(path);
                reading
                    .out
                    .push(diagnostic.related(document.key_span(old), "also given here"));
            }
        }
    }
}

/// Maps of settings and maps of names are merged; a named thing, such as one upstream, is written in one file only.
fn may_merge(document: &Document, map: NodeId) -> bool {
    const COLLECTIONS: [&str; 2] = ["upstreams", "identity.issuers"];
    let named = document
        .parent(map)
        .is_some_and(|parent| COLLECTIONS.contains(&document.path(parent).as_str()));
    !named
}
