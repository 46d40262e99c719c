//! Which form a question has, and what of it is refused.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora_http::RequestHeader;
use portcullis_filters::facts::Facts;
use prost::Message as _;

use super::described::Described;
use super::ext_authz::{self, Misunderstood};
use super::messages::{
    Address, Attributes, CheckRequest, HeaderEntry, HeaderList, HttpRequest, Peer, Request, SocketAddress,
};
use super::*;

#[test]
fn each_protocol_has_a_path_and_a_method() {
    for (method, path, expected) in [
        (Method::POST, "/v1/decision", Ok(Protocol::Decision)),
        (Method::GET, "/v1/decision", Err(405)),
        (Method::POST, "/v1/decision/", Err(404)),
        (Method::POST, "/v1/decision?x", Err(404)),
        (Method::POST, "/decision", Err(404)),
        (Method::GET, "/v1/auth_request", Ok(Protocol::AuthRequest)),
        (Method::POST, "/v1/auth_request", Err(405)),
        (Method::GET, "/v1/forward_auth", Ok(Protocol::ForwardAuth)),
        (Method::DELETE, "/v1/ext_authz/a/../b?c", Ok(Protocol::ExtAuthz)),
        (Method::OPTIONS, "/v1/ext_authz*", Ok(Protocol::ExtAuthz)),
        (Method::GET, "/v1/ext_authz", Err(404)),
        (Method::GET, "/v1/ext_authzz/a", Err(404)),
        (Method::POST, ext_authz::CHECK, Ok(Protocol::Grpc)),
        (Method::GET, ext_authz::CHECK, Err(405)),
        (Method::GET, "/readyz", Err(404)),
        (Method::GET, "/metrics", Err(404)),
    ] {
        let found = Protocol::of(&method, path).map_err(|denial| denial.status.as_u16());
        assert_eq!(found, expected, "{method} {path}");
    }
}

fn headers(fields: &[(&'static str, &'static [u8])]) -> HeaderMap {
    let pairs = fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value).unwrap()));
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(name, value);
    }
    map
}

fn described(fields: &[(&'static str, &'static [u8])]) -> Result<String, &'static str> {
    let mut request = RequestHeader::build("POST", b"/v1/decision", None).unwrap();
    for (name, value) in &headers(fields) {
        request.append_header(name.clone(), value.clone()).unwrap();
    }
    let described = Described::by_header(Protocol::Decision, &request, false).map_err(|denial| {
        assert!(denial.status == StatusCode::BAD_REQUEST || denial.status == StatusCode::METHOD_NOT_ALLOWED);
        denial.reason.0
    })?;
    let target = described.target;
    let query = target.query.map(|query| format!("?{query}")).unwrap_or_default();
    Ok(format!("{} {} {}{query}", described.method, target.host, target.path))
}

#[test]
fn a_description_is_whole_and_single() {
    let whole: [(&str, &[u8]); 3] = [
        ("x-original-method", b"GET"),
        ("x-original-uri", b"/a"),
        ("x-original-host", b"A.example:443"),
    ];
    assert_eq!(described(&whole).unwrap(), "GET a.example /a");
    for place in 0..3 {
        let mut fields = whole.to_vec();
        fields.remove(place);
        assert_eq!(described(&fields).unwrap_err(), "description_missing");
        fields.push((whole[place].0, b""));
        assert_eq!(described(&fields).unwrap_err(), "description_missing");
        let mut fields = whole.to_vec();
        fields.push(whole[place]);
        assert_eq!(described(&fields).unwrap_err(), "description_repeated");
        fields[place].1 = b"\xff";
        fields.pop();
        let reason = described(&fields).unwrap_err();
        assert_eq!(reason, "description_malformed");
    }
}

#[test]
fn a_description_is_read_like_a_request() {
    let of = |method: &'static str, uri: &'static str| {
        described(&[
            ("x-original-method", method.as_bytes()),
            ("x-original-uri", uri.as_bytes()),
            ("x-original-host", b"a.example"),
        ])
    };
    for uri in [
        "/v1/chat",
        "//v1/chat",
        "/v1/./chat",
        "/v1/x/../chat",
        "/v1/%63hat",
        "http://a.example/v1/chat",
    ] {
        assert_eq!(of("GET", uri).unwrap(), "GET a.example /v1/chat", "{uri}");
    }
    assert_eq!(of("GET", "/v1/chat?a=1&b").unwrap(), "GET a.example /v1/chat?a=1&b");
    for (method, uri, reason) in [
        ("get", "/", "description_malformed"),
        ("G T", "/", "description_malformed"),
        ("TRACE", "/", "method_not_served"),
        ("CONNECT", "a.example:443", "method_not_allowed"),
        ("GET", "/a#b", "path_forbidden_character"),
        ("GET", "/a%2fb", "path_encoded_slash"),
        ("GET", "/a%00", "path_encoded_nul"),
        ("GET", "a", "target_form"),
        ("GET", "*", "target_form"),
        ("GET", "http://b.example/", "host_mismatch"),
        ("GET", "/?a#b", "query_forbidden_character"),
    ] {
        assert_eq!(of(method, uri).unwrap_err(), reason, "{method} {uri}");
    }
}

fn question() -> CheckRequest {
    let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    CheckRequest {
        attributes: Some(Attributes {
            source: Some(Peer {
                address: Some(Address {
                    socket_address: Some(SocketAddress {
                        address: "203.0.113.9".into(),
                    }),
                }),
            }),
            request: Some(Request {
                http: Some(HttpRequest {
                    method: "GET".into(),
                    headers: [pair(":path", "/x"), pair("x-key", "k")].into(),
                    path: "/a/./b?c=d".into(),
                    host: "A.example".into(),
                    scheme: "https".into(),
                    header_map: Some(HeaderList {
                        headers: vec![HeaderEntry {
                            key: "x-raw".into(),
                            value: String::new(),
                            raw_value: vec![0xe4],
                        }],
                    }),
                }),
            }),
        }),
    }
}

#[test]
fn a_question_over_grpc() {
    let read = ext_authz::read(ext_authz::framed(&question())).unwrap();
    let described = read.described().unwrap();
    assert_eq!(&*described.target.path, "/a/b");
    assert_eq!(described.target.query.as_deref(), Some("c=d"));
    assert_eq!(&*described.target.host, "a.example");
    assert_eq!(described.source, Some("203.0.113.9".parse().unwrap()));
    assert_eq!(described.tls, Some(true));
    let headers = described.headers.unwrap();
    assert_eq!(headers["x-key"], "k");
    assert_eq!(headers["x-raw"].as_bytes(), [0xe4]);
    assert_eq!(headers.len(), 2);
}

#[test]
fn what_is_no_question_is_no_panic() {
    let framed = ext_authz::framed(&question());
    for length in 0..framed.len() {
        assert!(ext_authz::read(framed.slice(..length)).is_err(), "{length}");
    }
    let mut compressed = framed.to_vec();
    compressed[0] = 1;
    assert_eq!(ext_authz::read(compressed.into()).unwrap_err().code, 12);
    let mut two = framed.to_vec();
    two.extend_from_slice(&framed);
    assert!(ext_authz::read(two.into()).is_err());
    assert_eq!(Misunderstood::TOO_LONG.code, 8);
    for broken in [
        CheckRequest::default(),
        CheckRequest {
            attributes: Some(Attributes::default()),
        },
    ] {
        let reason = broken.described().unwrap_err().reason;
        assert_eq!(reason.0, "description_malformed");
    }
    let mut lower = question();
    let http = lower.attributes.as_mut().unwrap().request.as_mut().unwrap();
    http.http.as_mut().unwrap().method = "get".into();
    assert!(lower.described().is_err());
}

#[test]
fn an_answer_over_grpc() {
    let mut facts = Facts::default();
    facts
        .request_headers
        .set(HeaderName::from_static("x-user"), HeaderValue::from_static("u"));
    facts.request_headers.remove(HeaderName::from_static("x-secret"));
    facts
        .response_headers
        .append(HeaderName::from_static("ratelimit"), HeaderValue::from_static("r"));
    let bytes = ext_authz::framed(&ext_authz::ok(&facts, ["token"].into_iter()));
    let ok = messages::CheckResponse::decode(bytes.slice(5..)).unwrap();
    assert_eq!(ok.status.unwrap().code, 0);
    let ok = ok.ok_response.unwrap();
    assert_eq!(ok.headers_to_remove, ["x-secret"]);
    assert_eq!(ok.query_parameters_to_remove, ["token"]);
    assert_eq!(ok.headers[0].header.as_ref().unwrap().value, "u");
    assert!(!ok.headers[0].append.as_ref().unwrap().value);
    assert!(ok.response_headers_to_add[0].append.as_ref().unwrap().value);
}
