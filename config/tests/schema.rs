//! The JSON Schema, and that the documents of these tests use every key of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice
)] // a test may

use std::collections::BTreeSet;

use portcullis_config::document::{Document, NodeId};
use portcullis_config::load::load_str;
use portcullis_config::schema::{keys, keys_of, schema};
use schemars::{JsonSchema, schema_for};
use serde_json::json;

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Limit {
    /// How often.
    rate: portcullis_config::units::Rate,
    inner: Option<Inner>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct Inner {
    deep: Option<Box<Inner>>,
}

#[derive(JsonSchema)]
#[allow(dead_code)]
struct NoSettings {}

/// The keys that a document uses, written as [`keys`] does.
fn used(document: &Document, node: NodeId, path: &str, known: &BTreeSet<String>, out: &mut BTreeSet<String>) {
    for item in document.items(node) {
        used(document, *item, &format!("{path}[]"), known, out);
    }
    for (key, value) in document.entries(node) {
        let named = if path.is_empty() {
            key.to_string()
        } else {
            format!("{path}.{key}")
        };
        let any = format!("{path}.*");
        let prefix = format!("{any}.");
        let below = if known.contains(&named) || !known.iter().any(|key| key.starts_with(&prefix)) {
            named
        } else {
            any
        };
        out.insert(below.clone());
        used(document, *value, &below, known, out);
    }
}

#[test]
fn every_key_is_accepted_somewhere() {
    let known: BTreeSet<String> = keys().into_iter().collect();
    let mut seen = BTreeSet::new();
    for text in [
        include_str!("valid/everything.yaml"),
        include_str!("valid/full.yaml"),
        include_str!("valid/control_plane.yaml"),
    ] {
        let loaded = load_str("x.yaml", text).unwrap();
        used(&loaded.document, loaded.document.root(), "", &known, &mut seen);
    }
    let unused: Vec<_> = known.difference(&seen).collect();
    // Written only in a file; see `valid/tree`.
    assert_eq!(unused, ["include"]);
}

#[test]
fn filters_have_their_keys_and_those_of_every_link() {
    let filters = [("limit", schema_for!(Limit)), ("plain", schema_for!(NoSettings))];
    let schema = schema(&filters);
    let keys = keys_of(&schema);
    for key in [
        "sites[].filters[].limit",
        "sites[].filters[].limit.rate",
        "sites[].filters[].limit.mode",
        "sites[].routes[].filters[].limit.inner.deep",
        "sites[].routes[].filters[].plain.on_error",
    ] {
        assert!(keys.iter().any(|known| known == key), "{key}");
    }
    let link = &schema["$defs"]["Link"];
    assert_eq!(link["additionalProperties"], json!(false));
    assert_eq!(link["properties"]["plain"]["type"], json!(["object", "null"]));
    assert_eq!(link["properties"]["limit"]["type"], "object");
    assert_eq!(
        link["properties"]["limit"]["properties"]["rate"]["$ref"],
        "#/$defs/limit.Rate"
    );
    assert!(schema["$defs"]["limit.Inner"].is_object());
}

#[test]
fn references_lead_somewhere_and_defaults_are_shown() {
    let schema = schema(&[("limit", schema_for!(Limit))]);
    let text = schema.to_string();
    for reference in text
        .split("\"#/$defs/")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
    {
        assert!(schema["$defs"][reference].is_object(), "{reference}");
    }
    assert_eq!(schema["$defs"]["Timeouts"]["properties"]["connect"]["default"], "1s");
    assert_eq!(
        schema["$defs"]["Limits"]["properties"]["request_body_bytes"]["default"],
        "10MiB"
    );
    assert_eq!(
        schema["$defs"]["Listener"]["properties"]["proxy_protocol"]["default"],
        "off"
    );
    assert_eq!(schema["$defs"]["Listener"]["required"], json!(["name", "address"]));
    assert_eq!(schema["$defs"]["Listener"]["additionalProperties"], json!(false));
}
