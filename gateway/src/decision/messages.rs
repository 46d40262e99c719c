//! The messages of `envoy.service.auth.v3` and what they are made of, as far as they are read or written here. Fields that
//! are not listed are skipped, as protobuf has it.

use std::collections::HashMap;

use prost::Message;

/// The question.
#[derive(Clone, PartialEq, Message)]
pub struct CheckRequest {
    /// What is known of the request.
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

/// `AttributeContext`.
#[derive(Clone, PartialEq, Message)]
pub struct Attributes {
    /// Where it comes from.
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    /// The request.
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
}

/// `AttributeContext.Peer`.
#[derive(Clone, PartialEq, Message)]
pub struct Peer {
    /// Its address.
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
}

/// `core.v3.Address`.
#[derive(Clone, PartialEq, Message)]
pub struct Address {
    /// Of a socket, and not of a pipe.
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

/// `core.v3.SocketAddress`.
#[derive(Clone, PartialEq, Message)]
pub struct SocketAddress {
    /// An IP address in text.
    #[prost(string, tag = "2")]
    pub address: String,
}

/// `AttributeContext.Request`.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// As HTTP.
    #[prost(message, optional, tag = "2")]
    pub http: Option<HttpRequest>,
}

/// `AttributeContext.HttpRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpRequest {
    /// The method.
    #[prost(string, tag = "2")]
    pub method: String,
    /// The fields, where they are text.
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    /// The target, with its query.
    #[prost(string, tag = "4")]
    pub path: String,
    /// The authority.
    #[prost(string, tag = "5")]
    pub host: String,
    /// `http` or `https`.
    #[prost(string, tag = "6")]
    pub scheme: String,
    /// The fields under `encode_raw_headers`.
    #[prost(message, optional, tag = "13")]
    pub header_map: Option<HeaderList>,
}

/// `core.v3.HeaderMap`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderList {
    /// In order.
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<HeaderEntry>,
}

/// `core.v3.HeaderValue`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderEntry {
    /// The name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// The value, where it is text.
    #[prost(string, tag = "2")]
    pub value: String,
    /// The value, where it is not.
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

/// The answer.
#[derive(Clone, PartialEq, Message)]
pub struct CheckResponse {
    /// Whether it may pass: code 0.
    #[prost(message, optional, tag = "1")]
    pub status: Option<Status>,
    /// How it is answered when it may not.
    #[prost(message, optional, tag = "2")]
    pub denied_response: Option<DeniedHttpResponse>,
    /// What changes on its way when it may.
    #[prost(message, optional, tag = "3")]
    pub ok_response: Option<OkHttpResponse>,
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// gRPC's code.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `DeniedHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct DeniedHttpResponse {
    /// The status.
    #[prost(message, optional, tag = "1")]
    pub status: Option<HttpStatus>,
    /// The fields.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// The body.
    #[prost(string, tag = "3")]
    pub body: String,
}

/// `OkHttpResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct OkHttpResponse {
    /// For the upstream.
    #[prost(message, repeated, tag = "2")]
    pub headers: Vec<HeaderValueOption>,
    /// What the upstream must not see.
    #[prost(string, repeated, tag = "5")]
    pub headers_to_remove: Vec<String>,
    /// For the client.
    #[prost(message, repeated, tag = "6")]
    pub response_headers_to_add: Vec<HeaderValueOption>,
    /// Parameters of the query that the upstream must not see.
    #[prost(string, repeated, tag = "8")]
    pub query_parameters_to_remove: Vec<String>,
}

/// `type.v3.HttpStatus`.
#[derive(Clone, PartialEq, Message)]
pub struct HttpStatus {
    /// The status.
    #[prost(int32, tag = "1")]
    pub code: i32,
}

/// `core.v3.HeaderValueOption`.
#[derive(Clone, PartialEq, Message)]
pub struct HeaderValueOption {
    /// The field.
    #[prost(message, optional, tag = "1")]
    pub header: Option<HeaderEntry>,
    /// Beside what is there, or in its place.
    #[prost(message, optional, tag = "2")]
    pub append: Option<Bool>,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, PartialEq, Message)]
pub struct Bool {
    /// The value.
    #[prost(bool, tag = "1")]
    pub value: bool,
}
