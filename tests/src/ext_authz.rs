//! A client of Envoy's external authorization over gRPC, down to the bytes of its messages: it shares no code and no type with
//! what it tests.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;

/// A field of a message: its number, and its bytes.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        bytes.push(u8::try_from(length & 0x7f).expect("seven bits") | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).expect("seven bits"));
    bytes.extend_from_slice(value);
    bytes
}

/// The fields of a message. A number stands as its bytes, least significant first.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let value = match key & 7 {
            0 => varint(&mut bytes).to_le_bytes().to_vec(),
            2 => {
                let length = usize::try_from(varint(&mut bytes)).expect("a length");
                let (value, rest) = bytes.split_at(length);
                bytes = rest;
                value.to_vec()
            }
            other => panic!("wire type {other}"),
        };
        found.push((key >> 3, value));
    }
    found
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for place in 0.. {
        let (first, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn one(message: &[u8], number: u64) -> Option<Vec<u8>> {
    let found = fields(message).into_iter().find(|(known, _)| *known == number);
    found.map(|(_, value)| value)
}

fn all(message: &[u8], number: u64) -> Vec<Vec<u8>> {
    let found = fields(message).into_iter().filter(|(known, _)| *known == number);
    found.map(|(_, value)| value).collect()
}

fn number(message: &[u8], number: u64) -> u64 {
    let bytes = one(message, number).unwrap_or_default();
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// What is asked about.
pub struct Question<'q> {
    /// The method.
    pub method: &'q str,
    /// The target.
    pub path: &'q str,
    /// The authority.
    pub host: &'q str,
    /// Header fields.
    pub headers: &'q [(&'q str, &'q str)],
    /// The other end of Envoy's connection.
    pub source: &'q str,
}

impl Question<'_> {
    /// A `CheckRequest`.
    pub fn bytes(&self) -> Vec<u8> {
        let mut http = field(1, b"4711");
        http.extend(field(2, self.method.as_bytes()));
        for (name, value) in self.headers {
            let entry = [field(1, name.as_bytes()), field(2, value.as_bytes())].concat();
            http.extend(field(3, &entry));
        }
        for (number, text) in [(4, self.path), (5, self.host), (6, "https"), (10, "HTTP/2")] {
            http.extend(field(number, text.as_bytes()));
        }
        let socket = [field(2, self.source.as_bytes()), vec![3 << 3, 0xd2, 0x09]].concat();
        let source = field(1, &field(1, &field(1, &socket)));
        let request = field(4, &field(2, &http));
        field(1, &[source, request].concat())
    }
}

/// What was answered.
#[derive(Debug, Default)]
pub struct Checked {
    /// `grpc-status`.
    pub grpc_status: String,
    /// The code in the message: 0 is "it may pass".
    pub code: u64,
    /// The status that the client gets instead.
    pub denied_with: u64,
    /// What the client gets instead.
    pub body: String,
    /// Fields: for the upstream if it may pass, else for the client.
    pub headers: BTreeMap<String, String>,
    /// Fields that the upstream must not see.
    pub removed: Vec<String>,
    /// Fields for the client of a request that may pass.
    pub added: BTreeMap<String, String>,
}

impl Checked {
    fn of(message: &[u8], grpc_status: String) -> Self {
        let mut checked = Self {
            grpc_status,
            ..Self::default()
        };
        checked.code = one(message, 1).map_or(99, |status| number(&status, 1));
        let options = |message: &[u8], place| {
            let entries = all(message, place).into_iter().filter_map(|option| one(&option, 1));
            let text = |entry: &[u8], number| String::from_utf8(one(entry, number).unwrap_or_default()).expect("text");
            entries.map(|entry| (text(&entry, 1), text(&entry, 2))).collect()
        };
        if let Some(denied) = one(message, 2) {
            checked.denied_with = one(&denied, 1).map_or(0, |status| number(&status, 1));
            checked.headers = options(&denied, 2);
            checked.body = String::from_utf8(one(&denied, 3).unwrap_or_default()).expect("text");
        }
        if let Some(ok) = one(message, 3) {
            checked.headers = options(&ok, 2);
            let removed = all(&ok, 5).into_iter();
            checked.removed = removed.map(|name| String::from_utf8(name).expect("text")).collect();
            checked.added = options(&ok, 6);
        }
        checked
    }
}

/// Asks all questions on one connection, one after the other.
pub fn check(address: SocketAddr, questions: &[Question<'_>]) -> Vec<Checked> {
    let bodies = questions.iter().map(|question| framed(&question.bytes())).collect();
    ask(address, bodies)
}

/// A message in gRPC's framing.
pub fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("a length");
    [&[0][..], &length.to_be_bytes(), message].concat()
}

/// Sends these bodies to `Check`, each as a call of its own on one connection.
pub fn ask(address: SocketAddr, bodies: Vec<Vec<u8>>) -> Vec<Checked> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let (mut client, connection) = h2::client::handshake(stream).await.expect("HTTP/2");
        tokio::spawn(connection);
        let mut answers = Vec::new();
        for body in bodies {
            let request = Request::post("http://authz/envoy.service.auth.v3.Authorization/Check")
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(())
                .expect("a request");
            client = client.ready().await.expect("room for a stream");
            let (answer, mut stream) = client.send_request(request, false).expect("a stream");
            stream.send_data(Bytes::from(body), true).expect("a body");
            answers.push(answered(answer.await.expect("an answer")).await);
        }
        answers
    })
}

async fn answered(answer: http::Response<h2::RecvStream>) -> Checked {
    let status = |headers: &HeaderMap| {
        let status = headers.get("grpc-status").and_then(|status| status.to_str().ok());
        status.map(str::to_owned)
    };
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/grpc");
    let alone = status(answer.headers());
    let mut body = answer.into_body();
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk.expect("a piece of the body");
        let _ = body.flow_control().release_capacity(chunk.len());
        message.extend_from_slice(&chunk);
    }
    if let Some(alone) = alone {
        return Checked {
            grpc_status: alone,
            code: 99,
            ..Checked::default()
        };
    }
    let trailers = body.trailers().await.expect("trailers").expect("trailers");
    let (prefix, message) = message.split_at(5);
    assert_eq!(prefix[0], 0, "not compressed");
    assert_eq!(
        prefix[1..],
        u32::try_from(message.len()).expect("a length").to_be_bytes()
    );
    Checked::of(message, status(&trailers).unwrap_or_default())
}
