//! The JSON Schema of `portcullis.yaml`, for editors and documentation.

use std::collections::BTreeSet;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::gateway::Config;
use crate::link::{Head, Link};

/// Where the definitions of a schema stand.
const DEFINITIONS: &str = "$defs";

/// The schema of the whole configuration. `filters` are the kinds of filters with the schemas of their settings.
pub fn schema(filters: &[(&str, Schema)]) -> Value {
    let mut root = SchemaGenerator::default().into_root_schema_for::<Config>().to_value();
    let Some(object) = root.as_object_mut() else {
        return root;
    };
    if filters.is_empty() {
        return root;
    }
    let mut definitions = match object.remove(DEFINITIONS) {
        Some(Value::Object(definitions)) => definitions,
        _ => Map::new(),
    };
    let keys = definitions.remove(Head::schema_name().as_ref()).unwrap_or_default();
    let mut kinds = Map::new();
    for (kind, schema) in filters {
        let (schema, own) = named_apart(kind, schema.clone().to_value());
        definitions.extend(own);
        kinds.insert((*kind).to_owned(), with_link_keys(schema, &keys));
    }
    let link = json!({
        "description": "A filter: its kind, with its settings.",
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "properties": kinds,
        "additionalProperties": false,
    });
    definitions.insert(Link::schema_name().into_owned(), link);
    object.insert(DEFINITIONS.to_owned(), Value::Object(definitions));
    root
}

/// Every key of the configuration: `listeners[].tls.min_version`, `upstreams.*.servers[].weight`. Filters' own keys are not
/// among them; [`keys_of`] finds those in the schema of a filter.
pub fn keys() -> Vec<String> {
    keys_of(&schema(&[]))
}

/// Every key that a schema describes.
pub fn keys_of(schema: &Value) -> Vec<String> {
    let mut keys = BTreeSet::new();
    collect(schema, schema, "", &mut Vec::new(), &mut keys);
    keys.into_iter().collect()
}

fn collect<'s>(root: &'s Value, at: &'s Value, path: &str, open: &mut Vec<&'s str>, keys: &mut BTreeSet<String>) {
    if let Some(name) = at
        .get("$ref")
        .and_then(Value::as_str)
        .and_then(|reference| reference.rsplit('/').next())
    {
        // A type that holds itself is looked into once.
        if !open.contains(&name)
            && let Some(definition) = root.get(DEFINITIONS).and_then(|definitions| definitions.get(name))
        {
            open.push(name);
            collect(root, definition, path, open, keys);
            open.pop();
        }
    }
    for either in ["anyOf", "oneOf", "allOf"] {
        for part in at.get(either).and_then(Value::as_array).into_iter().flatten() {
            collect(root, part, path, open, keys);
        }
    }
    for (key, value) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let below = if path.is_empty() {
            key.clone()
        } else {
            format!("{path}.{key}")
        };
        keys.insert(below.clone());
        collect(root, value, &below, open, keys);
    }
    if let Some(items) = at.get("items") {
        collect(root, items, &format!("{path}[]"), open, keys);
    }
    if let Some(values) = at.get("additionalProperties").filter(|values| values.is_object()) {
        collect(root, values, &format!("{path}.*"), open, keys);
    }
}

/// Gives the definitions of a filter's schema names of their own, and takes them out.
fn named_apart(kind: &str, mut schema: Value) -> (Value, Map<String, Value>) {
    rename(kind, &mut schema);
    let object = schema.as_object_mut();
    let definitions = object.and_then(|object| {
        object.remove("$schema");
        object.remove(DEFINITIONS)
    });
    let named = match definitions {
        Some(Value::Object(definitions)) => definitions
            .into_iter()
            .map(|(name, value)| (format!("{kind}.{name}"), value))
            .collect(),
        _ => Map::new(),
    };
    (schema, named)
}

fn rename(kind: &str, value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                let prefix = format!("#/{DEFINITIONS}/");
                match value {
                    Value::String(reference) if key == "$ref" => {
                        *reference = reference.replace(&prefix, &format!("{prefix}{kind}."));
                    }
                    other => rename(kind, other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(kind, item)),
        _ => {}
    }
}

/// Adds the keys that every filter has. A filter that needs no key may be written without a value.
fn with_link_keys(mut schema: Value, keys: &Value) -> Value {
    let Some(object) = schema.as_object_mut() else {
        return schema;
    };
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    if let (Some(properties), Some(keys)) = (
        properties.as_object_mut(),
        keys.get("properties").and_then(Value::as_object),
    ) {
        properties.extend(keys.clone());
    }
    let required = object
        .get("required")
        .and_then(Value::as_array)
        .is_some_and(|required| !required.is_empty());
    if !required && object.get("type") == Some(&json!("object")) {
        object.insert("type".into(), json!(["object", "null"]));
    }
    schema
}
