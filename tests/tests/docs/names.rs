//! Names on pages, and whether the code has them.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use crate::page::{self, Page};

/// Texts in backticks of a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_source(name: &str) -> bool {
    name.contains('/') && name.strip_suffix(".rs").is_some_and(|name| !name.contains(' '))
}

/// `Type::name` of `Type::name()`.
fn function(name: &str) -> Option<&str> {
    let name = name.strip_suffix("()")?;
    let plain = name
        .chars()
        .all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':'));
    plain.then_some(name)
}

/// Lines of a page outside of blocks, with their numbers.
fn prose(page: &Page) -> impl Iterator<Item = (usize, &str)> {
    let mut inside = false;
    (1..).zip(page.text.lines()).filter(move |(_, line)| {
        let fence = line.starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Files and functions that do not exist. A function belongs to the file that is named before it, in the same row or
/// paragraph.
pub(crate) fn code(page: &Page) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut source: Option<(&str, String)> = None;
    for (number, line) in prose(page) {
        if line.trim().is_empty() || line.trim_start().starts_with(['|', '-']) {
            source = None;
        }
        for name in quoted(line) {
            let at = format!("{}:{number}", page.path);
            if is_source(name) {
                let text = std::fs::read_to_string(page::root().join(name));
                if text.is_err() {
                    wrong.push(format!("{at}: there is no {name}"));
                }
                source = text.ok().map(|text| (name, text));
            } else if let Some(function) = function(name) {
                match &source {
                    Some((file, text)) if !defines(text, function) => {
                        wrong.push(format!("{at}: no `{function}` in {file}"));
                    }
                    Some(_) => {}
                    None => wrong.push(format!("{at}: `{name}` stands behind no file")),
                }
            }
        }
    }
    wrong
}

/// Whether a source defines a function, and names the type that it is said to belong to.
fn defines(text: &str, function: &str) -> bool {
    let mut parts = function.rsplit("::");
    let name = parts.next().unwrap_or(function);
    let is_word = |word: &str| {
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .any(|found| found == word)
    };
    let defined = text.match_indices(&format!("fn {name}")).any(|(at, found)| {
        let next = text[at + found.len()..].chars().next();
        matches!(next, Some('(' | '<'))
    });
    defined && parts.all(is_word)
}

/// How many functions a page names.
pub(crate) fn functions(page: &Page) -> usize {
    prose(page)
        .flat_map(|(_, line)| quoted(line))
        .filter(|name| function(name).is_some())
        .count()
}

/// The names in the first cells of every table whose first column is called `head`.
pub(crate) fn first_cells(text: &str, head: &str) -> BTreeSet<String> {
    let mut cells = BTreeSet::new();
    let mut inside = false;
    for line in text.lines() {
        let Some(cell) = line.strip_prefix('|').and_then(|rest| rest.split('|').next()) else {
            inside = false;
            continue;
        };
        if cell.trim() == head {
            inside = true;
        } else if inside {
            cells.extend(quoted(cell).map(ToOwned::to_owned));
        }
    }
    cells
}

/// The sources of what runs, without tests.
fn sources() -> &'static [String] {
    static SOURCES: OnceLock<Vec<String>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let paths = ["config/src", "bundles/src", "filters/src", "gateway/src"].map(|folder| page::files(folder, "rs"));
        let is_test = |path: &String| path.ends_with("/tests.rs") || path.contains("/tests/");
        let texts = paths
            .into_iter()
            .flatten()
            .filter(|path| !is_test(path))
            .map(|path| page::read(&path));
        texts
            .map(|text| {
                text.split("\n#[cfg(test)]\nmod tests {")
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .collect()
    })
}

/// Whether a text stands in quotes in the code.
pub(crate) fn is_literal(name: &str) -> bool {
    let quoted = format!("\"{name}\"");
    sources().iter().any(|text| text.contains(&quoted))
}

/// Every metric that the code writes.
pub(crate) fn metrics_in_code() -> BTreeSet<String> {
    let literals = sources().iter().flat_map(|text| text.split('"'));
    let plain = |text: &&str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    // Names of crates and of the command's folder begin alike.
    let is_metric = |text: &&str| text.starts_with("portcullis_") && text.len() < 64;
    literals
        .filter(plain)
        .filter(is_metric)
        .map(ToOwned::to_owned)
        .collect()
}

/// Every field that the JSON access log writes.
pub(crate) fn fields_in_code() -> BTreeSet<String> {
    let text = page::read("gateway/src/telemetry/access_log/json.rs");
    let calls = ["text", "bytes", "shown", "number", "milliseconds", "nested", "key"];
    let mut fields = BTreeSet::new();
    for call in calls.map(|call| format!(".{call}(\"")) {
        let named = text.split(&call).skip(1).filter_map(|rest| rest.split('"').next());
        fields.extend(named.map(ToOwned::to_owned));
    }
    fields
}
