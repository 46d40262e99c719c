//! Questions to the decision service: a description is understood when it is whole and there once, and means the same in whichever
//! of the forms it comes.

use std::collections::HashMap;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use portcullis_config::path;

use crate::gateway::decision::Protocol;
use crate::gateway::decision::described::Described;
use crate::gateway::decision::ext_authz;
use crate::gateway::decision::messages::{Attributes, CheckRequest, HeaderEntry, HeaderList, HttpRequest, Request};
use crate::seeds::Seed;

/// What must hold for a question. The first byte says how it is asked: from 0 to 7 by header fields, else by gRPC.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    if *how < 8 {
        by_header(*how, rest);
    } else {
        by_grpc(rest);
    }
}

/// `rest`: the target that is asked, and in lines behind it the header fields.
fn by_header(how: u8, rest: &[u8]) {
    let (protocol, method, names) = match how % 4 {
        0 => (
            Protocol::Decision,
            "POST",
            ["x-original-method", "x-original-uri", "x-original-host"],
        ),
        1 => (
            Protocol::AuthRequest,
            "GET",
            ["x-original-method", "x-original-uri", "x-original-host"],
        ),
        2 => (
            Protocol::ForwardAuth,
            "GET",
            ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"],
        ),
        _ => (Protocol::ExtAuthz, "GET", [""; 3]),
    };
    let own_host = how >= 4;
    let mut lines = rest.split(|byte| *byte == b'\n');
    let Ok(mut request) = RequestHeader::build(method, lines.next().unwrap_or_default(), None) else {
        return;
    };
    for (name, value) in lines.filter_map(|line| line.split_at_checked(line.iter().position(|byte| *byte == b':')?)) {
        let value = value.get(1..).unwrap_or_default();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            let _ = request.append_header(name, value);
        }
    }
    let Ok(described) = Described::by_header(protocol, &request, own_host) else {
        return;
    };
    if protocol != Protocol::ExtAuthz {
        for (place, name) in names.into_iter().enumerate() {
            let values: Vec<_> = request.headers.get_all(name).iter().collect();
            let left_out = place == 2 && own_host && values.is_empty();
            let once = values.len() == 1 && values.iter().all(|value| !value.is_empty());
            assert!(once || left_out, "{name} is not there once: {values:?}");
        }
        let told = request.headers.get(names[0]).map(HeaderValue::as_bytes);
        assert_eq!(told, Some(described.method.as_str().as_bytes()));
    }
    holds(&described);
    // The same question over gRPC gets the same answer.
    let again = question(
        described.method.as_str(),
        &target(&described),
        &described.target.authority,
    );
    let again = asked(&again).expect("it was understood before");
    assert_eq!((&again.method, &again.target), (&described.method, &described.target));
}

fn by_grpc(body: &[u8]) {
    let Ok(question) = ext_authz::read(Bytes::copy_from_slice(body)) else {
        return;
    };
    let length = body
        .get(1..5)
        .and_then(|prefix| prefix.try_into().ok())
        .map(u32::from_be_bytes);
    assert_eq!(
        length.map(|length| length as usize),
        Some(body.len() - 5),
        "all of the message and nothing behind it"
    );
    let framed = ext_authz::framed(&question);
    assert_eq!(
        ext_authz::read(framed),
        Ok(question.clone()),
        "what is read can be written"
    );
    let Ok(described) = question.described() else { return };
    holds(&described);
    let headers = described.headers.as_ref().expect("its own fields");
    assert!(headers.keys().all(|name| !name.as_str().starts_with(':')));
}

/// What is understood has one form.
fn holds(described: &Described) {
    let method = described.method.as_str();
    assert!(!method.bytes().any(|byte| byte.is_ascii_lowercase()) && method != "CONNECT" && method != "TRACE");
    let found = &described.target;
    assert!(!found.host.is_empty() && *found.host == found.host.to_ascii_lowercase());
    assert!(found.authority.starts_with(&*found.host));
    if &*found.path != "*" {
        assert_eq!(path::normalize(&found.path).as_deref(), Ok(&*found.path));
    }
    let bad = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'#';
    assert!(!found.query.as_deref().unwrap_or_default().bytes().any(bad));
}

fn target(described: &Described) -> String {
    let query = described.target.query.as_ref().map(|query| format!("?{query}"));
    format!("{}{}", described.target.path, query.unwrap_or_default())
}

fn question(method: &str, path: &str, host: &str) -> CheckRequest {
    let http = HttpRequest {
        method: method.into(),
        headers: HashMap::from([("x-key".to_owned(), "a".to_owned())]),
        path: path.into(),
        host: host.into(),
        scheme: "https".into(),
        header_map: Some(HeaderList {
            headers: vec![HeaderEntry {
                key: "x-raw".into(),
                value: String::new(),
                raw_value: vec![0xff],
            }],
        }),
    };
    CheckRequest {
        attributes: Some(Attributes {
            source: None,
            request: Some(Request { http: Some(http) }),
        }),
    }
}

fn asked(question: &CheckRequest) -> Option<Described> {
    ext_authz::read(ext_authz::framed(question)).ok()?.described().ok()
}

/// Questions to begin with.
pub fn seeds() -> Vec<Seed> {
    let targets = [
        ("GET", "/", "a.example"),
        ("POST", "/v1/chat?x=1&y=%20", "a.example:8443"),
        ("DELETE", "http://a.example/b/../c", "a.example"),
        ("GET", "//a/./b/%63//?q", "[::1]:80"),
        ("OPTIONS", "*", "a"),
        ("get", "/", "a"),
        ("GET", "/%2f", "a"),
        ("GET", "/a#b", "A.Example."),
        ("CONNECT", "a:443", "a:443"),
        ("GET", "", ""),
    ];
    let mut seeds = Vec::new();
    for (number, (method, uri, host)) in targets.into_iter().enumerate() {
        for (how, prefix, path) in [
            (0, "X-Original-", "/v1/decision"),
            (1, "X-Original-", "/v1/auth_request"),
            (2, "X-Forwarded-", "/v1/forward_auth"),
            (4, "X-Original-", "/v1/decision"),
        ] {
            let fields = format!(
                "{path}\nHost:edge\n{prefix}Method:{method}\n{prefix}URI:{uri}\n{prefix}Host:{host}\nX-Forwarded-Proto:https"
            );
            seeds.push(Seed::new(
                format!("{number}-{how}"),
                [&[how], fields.as_bytes()].concat(),
            ));
        }
        let behind = format!("/v1/ext_authz{uri}\nHost:{host}");
        seeds.push(Seed::new(format!("{number}-3"), [&[3], behind.as_bytes()].concat()));
        let framed = ext_authz::framed(&question(method, uri, host));
        seeds.push(Seed::new(format!("{number}-8"), [&[8], &*framed].concat()));
    }
    seeds.push(Seed::new(
        "twice",
        *b"\x00/v1/decision\nX-Original-URI:/a\nX-Original-URI:/b\nX-Original-Method:GET",
    ));
    seeds.push(Seed::new("compressed", *b"\x08\x01\x00\x00\x00\x00"));
    seeds
}
