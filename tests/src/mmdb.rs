//! Writes small databases in MaxMind's format (MaxMind DB 2.0): a tree over IPv6 with records of 24 bits, IPv4 networks where
//! readers look for them, in its first 96 bits of zeros.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

/// What stands before the metadata.
const MARKER: &[u8] = b"\xab\xcd\xefMaxMind.com";

/// A database that is being written.
pub struct Mmdb {
    kind: String,
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(usize),
    Data(usize),
}

impl Mmdb {
    /// An empty one of a type, such as `GeoLite2-Country`.
    pub fn new(kind: &str) -> Self {
        Self {
            kind: kind.into(),
            nodes: vec![[Child::Nothing; 2]],
            data: Vec::new(),
        }
    }

    /// One with the countries of networks.
    pub fn countries(networks: &[(&str, &str)]) -> Vec<u8> {
        let add = |mmdb: Self, (network, code): &(&str, &str)| {
            let names = json!({ "en": "a name", "de": "ein Name" });
            mmdb.network(
                network,
                &json!({ "country": { "geoname_id": 1, "iso_code": code, "names": names } }),
            )
        };
        networks.iter().fold(Self::new("GeoLite2-Country"), add).bytes()
    }

    /// One with the autonomous systems of networks.
    pub fn asns(networks: &[(&str, u32)]) -> Vec<u8> {
        let add = |mmdb: Self, (network, number): &(&str, u32)| {
            let record = json!({ "autonomous_system_number": number, "autonomous_system_organization": "Example" });
            mmdb.network(network, &record)
        };
        networks.iter().fold(Self::new("GeoLite2-ASN"), add).bytes()
    }

    /// Adds a network that none before it holds or is in.
    #[must_use]
    pub fn network(mut self, network: &str, record: &Value) -> Self {
        let (address, length) = network.split_once('/').expect("a network");
        let length: u32 = length.parse().expect("its length");
        let (bits, length) = match address.parse().expect("its address") {
            IpAddr::V4(four) => (u128::from(four.to_bits()), length + 96),
            IpAddr::V6(six) => (six.to_bits(), length),
        };
        let record = self.append(record);
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                assert!(matches!(self.nodes[node][side], Child::Nothing), "{network}");
                self.nodes[node][side] = Child::Data(record);
                break;
            }
            node = match self.nodes[node][side] {
                Child::Node(next) => next,
                Child::Nothing => {
                    self.nodes.push([Child::Nothing; 2]);
                    let next = self.nodes.len() - 1;
                    self.nodes[node][side] = Child::Node(next);
                    next
                }
                Child::Data(_) => panic!("{network} is in another"),
            };
        }
        self
    }

    fn append(&mut self, record: &Value) -> usize {
        let start = self.data.len();
        encode(record, &mut self.data);
        start
    }

    /// The file.
    pub fn bytes(self) -> Vec<u8> {
        let count = self.nodes.len();
        let mut file = Vec::new();
        for child in self.nodes.iter().flatten() {
            let value = match child {
                Child::Nothing => count,
                Child::Node(node) => *node,
                Child::Data(place) => count + 16 + place,
            };
            file.extend_from_slice(&u32::try_from(value).expect("a small file").to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&self.data);
        file.extend_from_slice(MARKER);
        metadata(&self.kind, count, &mut file);
        file
    }
}

/// The map behind the marker. Readers insist on the widths of its numbers.
fn metadata(kind: &str, nodes: usize, out: &mut Vec<u8>) {
    let texts = json!({ "database_type": kind, "description": { "en": "of a test" }, "languages": ["en"] });
    let texts = texts.as_object().expect("a map");
    let shorts: [(&str, u16); 4] = [
        ("binary_format_major_version", 2),
        ("binary_format_minor_version", 0),
        ("ip_version", 6),
        ("record_size", 24),
    ];
    control(7, texts.len() + shorts.len() + 2, out);
    for (key, value) in texts {
        encode(&json!(key), out);
        encode(value, out);
    }
    for (key, value) in shorts {
        encode(&json!(key), out);
        control(5, 2, out);
        out.extend_from_slice(&value.to_be_bytes());
    }
    encode(&json!("node_count"), out);
    encode(&json!(nodes), out);
    encode(&json!("build_epoch"), out);
    control(9, 8, out);
    out.extend_from_slice(&1_767_225_600_u64.to_be_bytes());
}

/// A value with its type before it.
fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::String(text) => {
            control(2, text.len(), out);
            out.extend_from_slice(text.as_bytes());
        }
        Value::Number(number) => {
            let number = u32::try_from(number.as_u64().expect("a whole number")).expect("a small number");
            control(6, 4, out);
            out.extend_from_slice(&number.to_be_bytes());
        }
        Value::Array(items) => {
            control(11, items.len(), out);
            for item in items {
                encode(item, out);
            }
        }
        Value::Object(entries) => map(entries, out),
        Value::Null | Value::Bool(_) => panic!("no record of a test has one"),
    }
}

fn map(entries: &Map<String, Value>, out: &mut Vec<u8>) {
    control(7, entries.len(), out);
    for (key, value) in entries {
        encode(&json!(key), out);
        encode(value, out);
    }
}

/// Type and size.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (short, more) = if size < 29 {
        (u8::try_from(size).expect("below 29"), None)
    } else {
        (29, Some(u8::try_from(size - 29).expect("a short value")))
    };
    if kind > 7 {
        out.extend_from_slice(&[short, kind - 7]);
    } else {
        out.push(kind << 5 | short);
    }
    out.extend(more);
}
