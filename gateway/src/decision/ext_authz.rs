//! Envoy's external authorization over gRPC (`envoy.service.auth.v3`): from a question to the request that it describes, from
//! a decision to an answer, and one message each way in gRPC's framing.

use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora_http::ResponseHeader;
use portcullis_filters::facts::{Facts, HeaderEdit, HeaderEdits};
use portcullis_filters::verdict::Denial;
use prost::Message;

use super::Protocol;
use super::described::{Described, MALFORMED, method};
use super::messages::{
    Bool, CheckRequest, CheckResponse, DeniedHttpResponse, HeaderEntry, HeaderValueOption, HttpStatus, OkHttpResponse,
    Status,
};
use crate::intake;

/// The method's path.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
/// Largest question. Envoy sends bodies only where it is told to.
pub const MOST_BYTES: usize = 4 << 20;
/// The length of a message's prefix.
const PREFIX: usize = 5;
/// `PERMISSION_DENIED` of gRPC.
const PERMISSION_DENIED: i32 = 7;

/// Why a question was not understood, as gRPC tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misunderstood {
    /// gRPC's code.
    pub code: u8,
    /// For people.
    pub message: &'static str,
}

impl Misunderstood {
    /// Longer than [`MOST_BYTES`].
    pub const TOO_LONG: Self = Self::new(8, "the message is too long");
    /// It did not come in time.
    pub const LATE: Self = Self::new(4, "the message did not come in time");
    /// gRPC is spoken over HTTP/2.
    pub const NOT_HTTP2: Self = Self::new(12, "gRPC needs HTTP/2");
    /// The stream ended before the message did.
    pub const BROKEN: Self = Self::new(3, "the message did not come to its end");
    const COMPRESSED: Self = Self::new(12, "compressed messages are not read");
    const MALFORMED: Self = Self::new(3, "this is no CheckRequest");

    const fn new(code: u8, message: &'static str) -> Self {
        Self { code, message }
    }
}

/// Reads the one message of a unary call.
pub fn read(mut body: Bytes) -> Result<CheckRequest, Misunderstood> {
    let Some(prefix) = body.split_off_prefix() else {
        return Err(Misunderstood::MALFORMED);
    };
    match prefix {
        [0, length @ ..] if u32::from_be_bytes(length) as usize == body.len() => {
            CheckRequest::decode(body).map_err(|_| Misunderstood::MALFORMED)
        }
        [1, ..] => Err(Misunderstood::COMPRESSED),
        _ => Err(Misunderstood::MALFORMED),
    }
}

trait Prefixed {
    fn split_off_prefix(&mut self) -> Option<[u8; PREFIX]>;
}

impl Prefixed for Bytes {
    fn split_off_prefix(&mut self) -> Option<[u8; PREFIX]> {
        if self.len() < PREFIX {
            return None;
        }
        <[u8; PREFIX]>::try_from(&*self.split_to(PREFIX)).ok()
    }
}

/// A message in gRPC's framing.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX + length);
    body.put_u8(0);
    body.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // The buffer grows, so there is always room.
    let _ = message.encode(&mut body);
    body.freeze()
}

impl CheckRequest {
    /// The request that is asked about.
    pub fn described(self) -> Result<Described, Denial> {
        let malformed = |what: &'static str| Denial::new(StatusCode::BAD_REQUEST, MALFORMED).detail(what);
        let attributes = self.attributes.ok_or_else(|| malformed("there are no attributes"))?;
        let http = attributes
            .request
            .and_then(|request| request.http)
            .ok_or_else(|| malformed("there is no attributes.request.http"))?;
        let method = method(&http.method)?;
        let mut headers = HeaderMap::with_capacity(http.headers.len());
        let listed = http.header_map.map(|map| map.headers).unwrap_or_default();
        let listed = listed.into_iter().map(HeaderEntry::into_pair);
        let mapped = http.headers.into_iter().map(|(key, value)| (key, value.into_bytes()));
        for (key, value) in mapped.chain(listed).filter(|(key, _)| !key.starts_with(':')) {
            let name = HeaderName::try_from(key).map_err(|_| malformed("a field's name is not a token"))?;
            let value =
                HeaderValue::try_from(value).map_err(|_| malformed("a field's value has a control character"))?;
            headers.append(name, value);
        }
        let address = attributes.source.and_then(|peer| peer.address?.socket_address);
        Ok(Described {
            protocol: Protocol::Grpc,
            target: intake::described(&method, &http.path, &http.host)?,
            method,
            headers: Some(headers),
            source: address.and_then(|it| it.address.parse::<IpAddr>().ok()),
            tls: Some(http.scheme.eq_ignore_ascii_case("https")),
        })
    }
}

impl HeaderEntry {
    fn into_pair(self) -> (String, Vec<u8>) {
        let value = if self.raw_value.is_empty() {
            self.value.into_bytes()
        } else {
            self.raw_value
        };
        (self.key, value)
    }
}

/// "It may pass", with what filters change on its way, and the parameters of the query that end here.
pub fn ok<'p>(facts: &Facts, parameters: impl Iterator<Item = &'p str>) -> CheckResponse {
    let removed = facts.request_headers.iter().filter_map(|edit| match edit {
        HeaderEdit::Remove(name) => Some(name.as_str().to_owned()),
        HeaderEdit::Set(..) | HeaderEdit::Append(..) => None,
    });
    CheckResponse {
        status: Some(Status { code: 0 }),
        denied_response: None,
        ok_response: Some(OkHttpResponse {
            headers: options(&facts.request_headers),
            headers_to_remove: removed.collect(),
            response_headers_to_add: options(&facts.response_headers),
            query_parameters_to_remove: parameters.map(str::to_owned).collect(),
        }),
    }
}

/// "It is answered with this instead."
pub fn denied(header: &ResponseHeader, body: &Bytes) -> CheckResponse {
    let mut headers = Vec::with_capacity(header.headers.len());
    for name in header.headers.keys() {
        for (place, value) in header.headers.get_all(name).iter().enumerate() {
            headers.push(option(name, value, place > 0));
        }
    }
    CheckResponse {
        status: Some(Status {
            code: PERMISSION_DENIED,
        }),
        denied_response: Some(DeniedHttpResponse {
            status: Some(HttpStatus {
                code: i32::from(header.status.as_u16()),
            }),
            headers,
            body: String::from_utf8_lossy(body).into_owned(),
        }),
        ok_response: None,
    }
}

fn options(edits: &HeaderEdits) -> Vec<HeaderValueOption> {
    let options = edits.iter().filter_map(|edit| match edit {
        HeaderEdit::Set(name, value) => Some(option(name, value, false)),
        HeaderEdit::Append(name, value) => Some(option(name, value, true)),
        HeaderEdit::Remove(_) => None,
    });
    options.collect()
}

fn option(name: &HeaderName, value: &HeaderValue, append: bool) -> HeaderValueOption {
    let header = match value.to_str() {
        Ok(text) => HeaderEntry {
            key: name.as_str().to_owned(),
            value: text.to_owned(),
            raw_value: Vec::new(),
        },
        Err(_) => HeaderEntry {
            key: name.as_str().to_owned(),
            value: String::new(),
            raw_value: value.as_bytes().to_vec(),
        },
    };
    HeaderValueOption {
        header: Some(header),
        append: Some(Bool { value: append }),
    }
}
