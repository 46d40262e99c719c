//! How diagnostics are shown: as text with excerpts in the manner of rustc, and as JSON. Neither shows a secret.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use super::{Diagnostic, Diagnostics};
use crate::span::{SourceMap, Span};

/// Characters of a line that are shown. A longer line is cut around the place.
const WIDTH: usize = 160;

pub(super) fn text(all: &Diagnostics, sources: &SourceMap) -> String {
    let mut out = String::new();
    for diagnostic in all {
        if !out.is_empty() {
            out.push('\n');
        }
        one(&mut out, diagnostic, &all.secrets, sources);
    }
    if all.dropped > 0 {
        let _ = write!(out, "\nerror: and {} more\n", all.dropped);
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic, secrets: &[Span], sources: &SourceMap) {
    let _ = writeln!(out, "error[{}]: {}", diagnostic.code, clean(&diagnostic.message));
    let mut gutter = 1;
    if let Some(span) = diagnostic.span {
        let place = sources.locate(span);
        gutter = place.line.to_string().len();
        let excerpt = excerpt(span, secrets, sources);
        let _ = writeln!(
            out,
            "{:gutter$}--> {}:{}:{}",
            "",
            clean(&place.file),
            place.line,
            place.column
        );
        let _ = writeln!(out, "{:gutter$} |", "");
        let _ = writeln!(out, "{} | {}", place.line, excerpt.line);
        let _ = writeln!(
            out,
            "{:gutter$} | {}{}",
            "",
            " ".repeat(excerpt.before),
            "^".repeat(excerpt.marked)
        );
    }
    if !diagnostic.path.is_empty() {
        let _ = writeln!(out, "{:gutter$} = path: {}", "", clean(&diagnostic.path));
    }
    for (span, note) in &diagnostic.related {
        let place = sources.locate(*span);
        let at = format!("{}:{}:{}", clean(&place.file), place.line, place.column);
        let _ = writeln!(out, "{:gutter$} = note: {}: {at}", "", clean(note));
    }
    if let Some(help) = &diagnostic.help {
        let _ = writeln!(out, "{:gutter$} = help: {}", "", clean(help));
    }
}

struct Excerpt {
    line: String,
    before: usize,
    marked: usize,
}

fn excerpt(span: Span, secrets: &[Span], sources: &SourceMap) -> Excerpt {
    let (text, place) = sources.line(span);
    let hidden = hidden_ranges(text, place, secrets);
    let start = (span.start.saturating_sub(place.start)) as usize;
    let end = (span.end.min(place.end).saturating_sub(place.start)) as usize;
    let mut shown: Vec<char> = Vec::new();
    let (mut before, mut marked) = (0, 0);
    for (offset, c) in text.char_indices() {
        if let Some((from, _)) = hidden.iter().find(|(from, to)| (*from..*to).contains(&offset)) {
            if offset != *from {
                continue;
            }
            shown.extend(['*'; 3]);
        } else {
            shown.push(if is_plain(c) {
                c
            } else if c == '\t' {
                ' '
            } else {
                '\u{fffd}'
            });
        }
        if offset < start {
            before = shown.len();
        } else if offset < end {
            marked = shown.len() - before;
        }
    }
    let (first, line) = window(&shown, before);
    let lead = usize::from(first > 0);
    let room = line.chars().count().saturating_sub(before - first + lead);
    Excerpt {
        before: before - first + lead,
        marked: marked.clamp(1, room.max(1)),
        line,
    }
}

/// Cuts a long line so that the place stays in view. Gives the first character shown and the text.
fn window(shown: &[char], before: usize) -> (usize, String) {
    if shown.len() <= WIDTH {
        return (0, shown.iter().collect());
    }
    let first = before.saturating_sub(WIDTH / 2).min(shown.len() - WIDTH);
    let head = if first > 0 { "…" } else { "" };
    let tail = if first + WIDTH < shown.len() { "…" } else { "" };
    let middle: String = shown.iter().skip(first).take(WIDTH).collect();
    (first, format!("{head}{middle}{tail}"))
}

/// The byte ranges of a line that must not be shown, in order and apart from each other.
fn hidden_ranges(text: &str, place: Span, secrets: &[Span]) -> Vec<(usize, usize)> {
    let marked = secrets.iter().filter(|secret| secret.overlaps(place)).map(|secret| {
        let from = secret.start.saturating_sub(place.start) as usize;
        (from, (secret.end.min(place.end) - place.start) as usize)
    });
    let mut ranges: Vec<_> = marked
        .chain(values_of_secret_keys(text))
        .chain(userinfo(text))
        .collect();
    ranges.sort_unstable();
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (from, to) in ranges {
        match merged.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => merged.push((from, to)),
        }
    }
    merged
}

/// Whether a key of this name is likely to hold a secret, whatever the schema says of it.
pub(crate) fn names_secret(key: &str) -> bool {
    const WORDS: [&str; 6] = [
        "secret",
        "password",
        "passwd",
        "passphrase",
        "private_key",
        "credential",
    ];
    let key = key.to_ascii_lowercase();
    WORDS.iter().any(|word| key.contains(word)) || key == "token" || key.ends_with("_token")
}

/// Values of keys that sound like secrets, found by their looks: this also covers text that does not parse.
fn values_of_secret_keys(text: &str) -> Vec<(usize, usize)> {
    let mut ranges = Vec::new();
    let mut from = 0;
    while let Some(colon) = text.get(from..).and_then(|rest| rest.find(':')).map(|at| at + from) {
        from = colon + 1;
        let key = text.get(..colon).unwrap_or_default().trim_end_matches(['"', '\'', ' ']);
        let word = key
            .rsplit(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '-'))
            .next();
        let rest = text.get(from..).unwrap_or_default();
        let value = rest.trim_start();
        let begin = from + (rest.len() - value.len());
        let bare = value.trim_start_matches(['"', '\'']);
        let reference = bare.starts_with("env:") || bare.starts_with("file:");
        if word.is_some_and(names_secret) && !reference && !value.is_empty() && !value.starts_with(['{', '[']) {
            let end = begin + value_length(value);
            ranges.push((begin, end));
            from = end;
        }
    }
    ranges
}

/// Users and passwords of URLs: what stands between `://` and `@`.
pub(crate) fn userinfo(text: &str) -> Vec<(usize, usize)> {
    let starts = text.match_indices("://").map(|(at, mark)| at + mark.len());
    let parts = starts.filter_map(|from| {
        let rest = text.get(from..)?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        authority.rfind('@').map(|length| (from, from + length))
    });
    parts.collect()
}

/// How far a scalar reaches at most: to its closing quote, or to the end of the flow entry or line.
fn value_length(value: &str) -> usize {
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
    let mut escaped = false;
    for (offset, c) in value.char_indices().skip(1) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(quote) if c == quote => return offset + 1,
            None if matches!(c, ',' | '}' | ']') => return offset,
            _ => {}
        }
    }
    value.len()
}

/// Text without anything that a terminal acts upon or that turns the reading direction.
fn clean(text: &str) -> String {
    text.chars().map(|c| if is_plain(c) { c } else { '\u{fffd}' }).collect()
}

fn is_plain(c: char) -> bool {
    // Turns the reading direction, or has no width.
    let hides = matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !hides
}

pub(super) fn json(all: &Diagnostics, sources: &SourceMap) -> Value {
    let errors: Vec<Value> = all.iter().map(|diagnostic| json_one(diagnostic, sources)).collect();
    json!({ "errors": errors, "more": all.dropped })
}

fn json_one(diagnostic: &Diagnostic, sources: &SourceMap) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
    put("code", diagnostic.code.into());
    put("message", diagnostic.message.as_str().into());
    put("path", diagnostic.path.as_str().into());
    if let Some(span) = diagnostic.span {
        let (start, end) = (sources.locate(span), sources.locate_end(span));
        put("file", start.file.into());
        put("line", start.line.into());
        put("column", start.column.into());
        put("end_line", end.line.into());
        put("end_column", end.column.into());
    }
    if let Some(help) = &diagnostic.help {
        put("help", help.as_ref().into());
    }
    if !diagnostic.related.is_empty() {
        let related = diagnostic.related.iter().map(|(span, note)| {
            let place = sources.locate(*span);
            json!({ "file": place.file, "line": place.line, "column": place.column, "message": note })
        });
        put("related", related.collect());
    }
    Value::Object(object)
}
