//! The tables of settings on the page of the configuration, made from the JSON Schema. What stands between the tables is
//! written by hand; where each table goes is said by a comment with the settings' common path.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The page.
pub(super) const PAGE: &str = "docs/configuration.md";

const BEGIN: &str = "<!-- settings: ";
const END: &str = "<!-- end of settings -->";

/// Types with a name that says more than their shape.
const NAMED: &[(&str, &str)] = &[
    ("ByteSize", "size"),
    ("Duration", "duration"),
    ("HostPattern", "host"),
    ("Key", "key"),
    ("Link", "filter"),
    ("Method", "method"),
    ("Network", "network"),
    ("SecretRef", "secret"),
    ("Server", "`host:port` or map"),
    ("Status", "status"),
];

/// A setting as the schema describes it.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    path: String,
    kind: String,
    default: String,
    meaning: String,
}

/// The page with its tables as the schema has them. Fails when a setting is in none of them.
pub(super) fn fill(page: &str, schema: &Value) -> Result<String> {
    let mut settings = Vec::new();
    walk(schema, schema, "", &mut settings);
    let places: Vec<&str> = page.lines().filter_map(place).flat_map(names).collect();
    for setting in &settings {
        if table_of(&setting.path, &places).is_none() {
            bail!("{PAGE} has no table for `{}`: add `{BEGIN}PATH -->`", setting.path);
        }
    }
    let mut out = String::with_capacity(page.len());
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "{line}");
        let Some(list) = place(line) else { continue };
        let first = names(list).next().context("a table without a path")?;
        table(&mut out, first, &places, &settings)?;
        lines
            .by_ref()
            .find(|line| line.trim() == END)
            .with_context(|| format!("{PAGE}: no `{END}` after the table of `{first}`"))?;
        let _ = writeln!(out, "{END}");
    }
    Ok(out)
}

/// The paths that a comment names. The table is made of the first; the others have the same settings.
fn place(line: &str) -> Option<&str> {
    line.trim().strip_prefix(BEGIN)?.strip_suffix(" -->")
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim)
}

/// The longest of the places that a setting is below. The top level is `.`.
fn table_of<'p>(path: &str, places: &[&'p str]) -> Option<&'p str> {
    let is_above = |place: &&&str| match **place {
        "." => true,
        place => path.strip_prefix(place).is_some_and(|rest| rest.starts_with('.')),
    };
    places.iter().filter(is_above).max_by_key(|place| place.len()).copied()
}

fn table(out: &mut String, name: &str, places: &[&str], settings: &[Setting]) -> Result<()> {
    out.push_str("\n| key | type | default | meaning |\n|---|---|---|---|\n");
    let mut empty = true;
    for setting in settings {
        if table_of(&setting.path, places) != Some(name) {
            continue;
        }
        empty = false;
        let key = setting
            .path
            .strip_prefix(name)
            .unwrap_or(&setting.path)
            .trim_start_matches('.');
        let Setting {
            kind, default, meaning, ..
        } = setting;
        let _ = writeln!(
            out,
            "| `{key}` | {} | {} | {} |",
            cell(kind),
            cell(default),
            cell(meaning)
        );
    }
    if empty {
        bail!("{PAGE}: there are no settings below `{name}`");
    }
    out.push('\n');
    Ok(())
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Everything below a node, each setting before its own settings.
fn walk(root: &Value, at: &Value, path: &str, out: &mut Vec<Setting>) {
    if let Some(definition) = definition(root, at) {
        walk(root, definition, path, out);
    }
    for either in ["anyOf", "oneOf"] {
        items(at, either).for_each(|part| walk(root, part, path, out));
    }
    for (key, value) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        out.push(Setting {
            kind: kind(root, value),
            default: if items(at, "required").any(|name| name == key) {
                "needed".into()
            } else {
                default(value)
            },
            meaning: value
                .get("description")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            path: below.clone(),
        });
        walk(root, value, &below, out);
    }
    if let Some(item) = at.get("items") {
        walk(root, item, &format!("{path}[]"), out);
    }
    if let Some(values) = at.get("additionalProperties").filter(|values| values.is_object()) {
        walk(root, values, &format!("{path}.*"), out);
    }
}

fn items<'v>(at: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    at.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn name_of(at: &Value) -> Option<&str> {
    at.get("$ref").and_then(Value::as_str)?.rsplit('/').next()
}

fn definition<'v>(root: &'v Value, at: &Value) -> Option<&'v Value> {
    root.get("$defs")?.get(name_of(at)?)
}

/// The type in a few words.
fn kind(root: &Value, at: &Value) -> String {
    let named = name_of(at).and_then(|name| NAMED.iter().find(|(known, _)| *known == name));
    if let Some((_, word)) = named {
        return (*word).to_owned();
    }
    if let Some(definition) = definition(root, at) {
        return kind(root, definition);
    }
    if let Some(value) = at.get("const") {
        return code(value);
    }
    let values: Vec<String> = items(at, "enum").map(code).collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    let mut parts: Vec<String> = Vec::new();
    for part in items(at, "anyOf").chain(items(at, "oneOf")) {
        let part = kind(root, part);
        if !part.is_empty() && !parts.contains(&part) {
            parts.push(part);
        }
    }
    if !parts.is_empty() {
        return parts.join(", ");
    }
    let types = at.get("type");
    let of = types.and_then(Value::as_str).or_else(|| {
        let listed = items(at, "type").filter_map(Value::as_str);
        listed.filter(|name| *name != "null").last()
    });
    match of {
        Some("string") => "text".to_owned(),
        Some("array") => {
            let item = at.get("items").map(|item| kind(root, item)).unwrap_or_default();
            format!("list: {item}")
        }
        Some("object") => match at.get("properties") {
            Some(properties) => only_key(properties).map_or_else(|| "map".into(), |key| format!("map with `{key}`")),
            None => "map by name".to_owned(),
        },
        Some("null") | None => String::new(),
        Some(other) => other.to_owned(),
    }
}

/// The key of a map that has one key only: a variant with settings of its own.
fn only_key(properties: &Value) -> Option<&String> {
    let properties = properties.as_object()?;
    properties.keys().next().filter(|_| properties.len() == 1)
}

/// The default, where it is short. That of a map is told by its own settings.
fn default(at: &Value) -> String {
    match at.get("default") {
        None | Some(Value::Null | Value::Object(_)) => String::new(),
        Some(Value::Array(list)) if list.is_empty() => String::new(),
        Some(Value::String(text)) if text.is_empty() => String::new(),
        Some(Value::Array(list)) => {
            let values: Vec<String> = list.iter().map(plain).collect();
            format!("`[{}]`", values.join(", "))
        }
        Some(value) => code(value),
    }
}

fn code(value: &Value) -> String {
    format!("`{}`", plain(value))
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> Value {
        json!({
            "$defs": {
                "Duration": { "type": "string", "pattern": "^x$" },
                "Off": { "oneOf": [{ "const": "off" }, { "const": "on" }, { "type": "object", "properties": { "by": { "type": "string" } } }] },
                "Server": { "properties": {
                    "address": { "type": "string", "description": "Where | it is." },
                    "wait": { "$ref": "#/$defs/Duration", "default": "1s" },
                }, "required": ["address"], "type": "object" },
            },
            "properties": {
                "mode": { "$ref": "#/$defs/Off", "default": "off" },
                "servers": { "type": "array", "items": { "$ref": "#/$defs/Server" } },
            },
        })
    }

    #[test]
    fn tables_are_filled_and_the_rest_stays() {
        let page = "# A\n<!-- settings: . -->\nold\n<!-- end of settings -->\ntext\n<!-- settings: servers[], others[] -->\n<!-- end of settings -->\n";
        let filled = fill(page, &schema()).unwrap();
        let want = "# A\n<!-- settings: . -->\n\n| key | type | default | meaning |\n|---|---|---|---|\n\
            | `mode` | `off`, `on`, map with `by` | `off` |  |\n| `mode.by` | text |  |  |\n| `servers` | list: `host:port` or map |  |  |\n\n\
            <!-- end of settings -->\ntext\n<!-- settings: servers[], others[] -->\n\n\
            | key | type | default | meaning |\n|---|---|---|---|\n\
            | `address` | text | needed | Where \\| it is. |\n| `wait` | duration | `1s` |  |\n\n<!-- end of settings -->\n";
        assert_eq!(filled, want);
        assert_eq!(fill(&filled, &schema()).unwrap(), filled);
    }

    #[test]
    fn a_setting_without_a_table_and_a_table_without_settings_are_errors() {
        let end = "<!-- end of settings -->\n";
        for page in [
            String::new(),
            format!("<!-- settings: servers[] -->\n{end}"),
            format!("<!-- settings: . -->\n{end}<!-- settings: gone -->\n{end}"),
            "<!-- settings: . -->\n".to_owned(),
        ] {
            assert!(fill(&page, &schema()).is_err(), "{page}");
        }
    }

    #[test]
    fn every_key_of_the_configuration_is_found() {
        let schema = portcullis_config::schema::schema(&[]);
        let mut settings = Vec::new();
        walk(&schema, &schema, "", &mut settings);
        let mut paths: Vec<String> = settings.into_iter().map(|setting| setting.path).collect();
        paths.sort();
        paths.dedup();
        assert_eq!(paths, portcullis_config::schema::keys());
    }
}
