//! The egress manifest: every field that may leave to the control plane, made from the types that are sent, so that it cannot say
//! less than they hold. `portcullis connect --manifest` prints it. Nothing is sent here.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Serialize;
use serde_json::Value;

use super::course::Call;
use super::wire::{Ack, Batch, Heartbeat, Introduction, Register};

/// Header fields of calls; no other is ever written.
const HEADER_FIELDS: [&str; 9] = [
    "accept",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "idempotency-key",
    "if-none-match",
    "user-agent",
];

/// Every field that may leave.
#[derive(Debug, Serialize)]
pub struct Manifest {
    /// Names of header fields, in lower case.
    header_fields: [&'static str; HEADER_FIELDS.len()],
    /// The bodies of calls.
    calls: Vec<CallFields>,
    /// What an event may hold, by its `kind`.
    events: BTreeMap<String, Fields>,
}

/// The body of a call.
#[derive(Debug, Serialize)]
struct CallFields {
    /// The call.
    call: &'static str,
    /// Its path.
    path: &'static str,
    /// Its fields; none where there is no body.
    fields: Fields,
}

/// Fields and what they are.
type Fields = BTreeMap<String, Field>;

/// A field.
#[derive(Debug, Serialize)]
struct Field {
    /// Its JSON type.
    r#type: String,
    /// What it says.
    meaning: String,
}

/// The manifest of this binary.
pub fn manifest() -> Manifest {
    let of = |call: Call, fields| CallFields {
        call: call.as_str(),
        path: call.path(),
        fields,
    };
    let mut introduction = of(Call::Register, fields::<Introduction>());
    introduction.call = "connect";
    Manifest {
        header_fields: HEADER_FIELDS,
        calls: vec![
            introduction,
            of(Call::Register, fields::<Register<'_>>()),
            of(Call::Heartbeat, fields::<Heartbeat<'_>>()),
            of(Call::Pull, Fields::new()),
            of(Call::Ack, fields::<Ack<'_>>()),
            of(Call::Events, fields::<Batch<'_>>()),
        ],
        events: events(),
    }
}

fn schema<T: JsonSchema>() -> Value {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<T>().to_value()
}

fn fields<T: JsonSchema>() -> Fields {
    let mut fields = Fields::new();
    add(&schema::<T>(), &mut fields);
    fields
}

/// Adds the properties of an object, those of its parts too.
fn add(schema: &Value, fields: &mut Fields) {
    for part in schema.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        add(part, fields);
    }
    for (name, field) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let meaning = field.get("description").and_then(Value::as_str).unwrap_or_default();
        fields.insert(
            name.clone(),
            Field {
                r#type: kind(field),
                meaning: meaning.to_owned(),
            },
        );
    }
}

/// The type of a value, in words of JSON.
fn kind(schema: &Value) -> String {
    match schema.get("type") {
        Some(Value::String(kind)) => kind.clone(),
        Some(Value::Array(kinds)) => {
            let kinds: Vec<_> = kinds.iter().filter_map(Value::as_str).collect();
            kinds.join(" or ")
        }
        // A code, or one of several.
        _ => "string".to_owned(),
    }
}

/// Kinds of events, with what each may hold.
fn events() -> BTreeMap<String, Fields> {
    let all = schema::<super::events::event::Event>();
    let kinds = all.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    kinds
        .map(|one| {
            let kind = one.pointer("/properties/kind/const").and_then(Value::as_str);
            let mut fields = Fields::new();
            add(one, &mut fields);
            fields.remove("kind");
            (kind.unwrap_or_default().to_owned(), fields)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::events::event::{Bundle, Decisions, Event, Gateway, Lost, Traffic};
    use super::*;

    /// One of each kind; a new kind does not compile here without a sample.
    fn sample(kind: &str) -> Event {
        let (from, to, at) = (0.0, 0.0, 0.0);
        let all = [
            Event::Traffic(Traffic {
                from,
                to,
                requests: 0,
                status_1xx: 0,
                status_2xx: 0,
                status_3xx: 0,
                status_4xx: 0,
                status_5xx: 0,
            }),
            Event::Decisions(Decisions {
                from,
                to,
                policy: None,
                rule: None,
                action: "",
                mode: "",
                reason: "",
                count: 0,
            }),
            Event::Bundle(Bundle {
                at,
                status: "",
                version: None,
                hash: None,
                error: None,
            }),
            Event::Gateway(Gateway {
                at,
                change: "",
                version: "",
            }),
            Event::Lost(Lost { at, events: 0 }),
        ];
        let of = |event: &Event| match event {
            Event::Traffic(_) => "traffic",
            Event::Decisions(_) => "decisions",
            Event::Bundle(_) => "bundle",
            Event::Gateway(_) => "gateway",
            Event::Lost(_) => "lost",
        };
        all.into_iter().find(|event| of(event) == kind).unwrap()
    }

    #[test]
    fn it_holds_every_field_of_every_kind() {
        let manifest = manifest();
        assert_eq!(manifest.events.len(), 5);
        for (kind, fields) in &manifest.events {
            let written = serde_json::to_value(sample(kind)).unwrap();
            let written: Vec<_> = written
                .as_object()
                .unwrap()
                .keys()
                .filter(|key| *key != "kind")
                .collect();
            assert_eq!(written, fields.keys().collect::<Vec<_>>(), "{kind}");
        }
        let described = manifest.calls.iter().flat_map(|call| call.fields.iter());
        let described = described.chain(manifest.events.values().flatten());
        for (name, field) in described {
            assert!(!field.meaning.is_empty(), "{name}");
        }
        let ack = manifest.calls.iter().find(|call| call.call == "config_ack").unwrap();
        let names: Vec<_> = ack.fields.keys().map(String::as_str).collect();
        assert_eq!(
            names,
            ["edge_id", "error", "etag", "hash", "status", "timestamp", "version"]
        );
    }
}
