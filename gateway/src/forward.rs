//! What goes upstream: the client's request in one canonical form, with what we say of the client and no more.
//!
//! Hop-by-hop fields (RFC 9110, 7.6.1) are gone before this runs: Pingora's peer policy strips them.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use portcullis_filters::client::Client;
use portcullis_filters::facts::{HeaderEdit, HeaderEdits};
use portcullis_filters::geoip::{X_ASN, X_ASN_TYPE, X_COUNTRY_CODE, X_TOR_EXIT};
use smallvec::SmallVec;

use crate::client::{X_FORWARDED_FOR, X_FORWARDED_HOST};
use crate::intake::Target;
use crate::telemetry::plain;
use crate::upstream::response::Fault;

/// `X-Request-Id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A `rewrite_prefix`, ready to be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewrite {
    /// The matched prefix, without a slash at its end.
    pub prefix: Box<str>,
    /// What replaces it, without a slash at its end.
    pub with: Box<str>,
}

impl Rewrite {
    /// Of a route's `path_prefix` and `rewrite_prefix`.
    pub fn new(prefix: &str, with: &str) -> Self {
        Self {
            prefix: prefix.trim_end_matches('/').into(),
            with: with.trim_end_matches('/').into(),
        }
    }

    fn apply(&self, path: &str, out: &mut String) {
        let rest = path.strip_prefix(&*self.prefix).unwrap_or(path);
        out.push_str(&self.with);
        if !rest.starts_with('/') && (!rest.is_empty() || self.with.is_empty()) {
            out.push('/');
        }
        out.push_str(rest);
    }
}

/// Sets the target: the normalised path, rewritten where the route says so, and the query.
pub fn set_target(
    request: &mut RequestHeader,
    target: &Target,
    query: Option<&str>,
    rewrite: Option<&Rewrite>,
) -> Result<()> {
    if rewrite.is_none() && is_sent_as(request.raw_path(), &target.path, query) {
        return Ok(());
    }
    let mut text = String::with_capacity(target.path.len() + query.map_or(0, |query| query.len() + 1) + 16);
    match rewrite {
        Some(rewrite) if &*target.path != "*" => rewrite.apply(&target.path, &mut text),
        _ => text.push_str(&target.path),
    }
    if let Some(query) = query {
        text.push('?');
        push_ascii(query, &mut text);
    }
    let target = PathAndQuery::from_maybe_shared(bytes::Bytes::from(text))
        .or_err(ErrorType::InternalError, "the normalised target is not a path")?;
    let mut parts = http::uri::Parts::default();
    parts.path_and_query = Some(target);
    request.set_uri(Uri::from_parts(parts).or_err(ErrorType::InternalError, "the normalised target is not a URI")?);
    Ok(())
}

/// Appends a query. Letters beyond ASCII are escaped, as they are in a path: a target has none (RFC 9112, 3.2).
fn push_ascii(query: &str, out: &mut String) {
    if query.is_ascii() {
        out.push_str(query);
        return;
    }
    for byte in query.bytes() {
        if byte.is_ascii() {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// Whether a target came in the very form in which it goes on.
fn is_sent_as(raw: &[u8], path: &str, query: Option<&str>) -> bool {
    let Some(rest) = raw.strip_prefix(path.as_bytes()) else {
        return false;
    };
    match query {
        None => rest.is_empty(),
        Some(query) => query.is_ascii() && rest.strip_prefix(b"?") == Some(query.as_bytes()),
    }
}

/// Says who the client is, in `Forwarded`, `X-Forwarded-*` and `X-Request-Id`. What a stranger said is replaced.
pub fn set_forwarded(request: &mut RequestHeader, client: &Client, target: &Target, request_id: &str) -> Result<()> {
    remove_twins(request);
    if !client.peer_is_trusted {
        remove_told(request);
    }
    let scheme = if client.tls { "https" } else { "http" };
    let mut text = Vec::with_capacity(160);
    if client.peer_is_trusted {
        join(request, &X_FORWARDED_FOR, &mut text);
    }
    plain::address(&mut text, client.peer);
    request.insert_header("x-forwarded-for", value(&text)?)?;
    text.clear();
    if client.peer_is_trusted {
        join(request, &header::FORWARDED, &mut text);
    }
    let (open, close): (&[u8], &[u8]) = match client.peer {
        IpAddr::V4(_) => (b"for=", b";proto="),
        IpAddr::V6(_) => (b"for=\"[", b"]\";proto="),
    };
    text.extend_from_slice(open);
    plain::address(&mut text, client.peer);
    text.extend_from_slice(close);
    text.extend_from_slice(scheme.as_bytes());
    if !target.authority.is_empty() {
        text.extend_from_slice(b";host=\"");
        text.extend_from_slice(target.authority.as_bytes());
        text.push(b'"');
    }
    request.insert_header("forwarded", value(&text)?)?;
    request.insert_header("x-forwarded-proto", HeaderValue::from_static(scheme))?;
    if !(client.peer_is_trusted && request.headers.contains_key(X_FORWARDED_HOST)) {
        let host = host_as_sent(request, &target.authority)
            .cloned()
            .map_or_else(|| value(target.authority.as_bytes()), Ok)?;
        request.insert_header("x-forwarded-host", host)?;
    }
    request.insert_header("x-request-id", value(request_id.as_bytes())?)
}

/// Removes fields that servers of the CGI kind (RFC 3875, 4.1.18) would take for ours. They are rarely there, so one look
/// at all names is cheaper than a search for each.
fn remove_twins(request: &mut RequestHeader) {
    const TWINS: [&str; 5] = [
        "x_forwarded_for",
        "x_forwarded_proto",
        "x_forwarded_host",
        "x_request_id",
        "x-real-ip",
    ];
    let is_twin = |name: &HeaderName| name.as_str().starts_with('x') && TWINS.contains(&name.as_str());
    if request.headers.keys().any(is_twin) {
        for twin in TWINS {
            request.remove_header(twin);
        }
    }
}

/// Removes what only a trusted proxy may say of an address, also under names that servers behind us may read as these.
fn remove_told(request: &mut RequestHeader) {
    let folded = |name: &HeaderName, told: &HeaderName| {
        let bytes = name.as_str().bytes();
        name.as_str().len() == told.as_str().len()
            && bytes
                .map(|byte| if byte == b'_' { b'-' } else { byte })
                .eq(told.as_str().bytes())
    };
    let told = [&X_COUNTRY_CODE, &X_ASN, &X_ASN_TYPE, &X_TOR_EXIT];
    let is_told = |name: &&HeaderName| name.as_str().starts_with('x') && told.iter().any(|told| folded(name, told));
    let names: SmallVec<[HeaderName; 4]> = request.headers.keys().filter(is_told).cloned().collect();
    for name in &names {
        request.remove_header(name);
    }
}

/// Sets Host, unless it is there already.
pub fn set_host(request: &mut RequestHeader, host: &str) -> Result<()> {
    if host_as_sent(request, host).is_some() {
        return Ok(());
    }
    request.insert_header(header::HOST, host)
}

/// The request's Host, if it is the only one and says exactly this.
fn host_as_sent<'r>(request: &'r RequestHeader, host: &str) -> Option<&'r HeaderValue> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    hosts
        .next()
        .filter(|value| value.as_bytes() == host.as_bytes() && hosts.next().is_none())
}

fn value(text: &[u8]) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text).or_err(ErrorType::InternalError, "not a header value")
}

/// Appends the values of a field, each with a comma after it.
fn join(request: &RequestHeader, name: &HeaderName, out: &mut Vec<u8>) {
    for value in request.headers.get_all(name) {
        out.extend_from_slice(value.to_str().unwrap_or("unknown").as_bytes());
        out.extend_from_slice(b", ");
    }
}

/// One Content-Length, where equal ones were let pass (RFC 9110, 8.6).
pub fn join_lengths(request: &mut RequestHeader) -> Result<()> {
    let lengths = request.headers.get_all(header::CONTENT_LENGTH);
    let repeated = lengths.iter().nth(1).is_some();
    let list = |value: &HeaderValue| value.as_bytes().contains(&b',');
    let Some(first) = lengths.iter().next().filter(|first| repeated || list(first)) else {
        return Ok(());
    };
    let digits = first.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default();
    let length =
        HeaderValue::from_bytes(digits.trim_ascii()).or_err(ErrorType::InternalError, "a length is no value")?;
    request.insert_header(header::CONTENT_LENGTH, length)
}

/// One Cookie field, whatever HTTP/2 split it into (RFC 9113, 8.2.3).
pub fn join_cookies(request: &mut RequestHeader) -> Result<()> {
    if request.headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return Ok(());
    }
    let mut whole = Vec::new();
    for value in request.headers.get_all(header::COOKIE) {
        if !whole.is_empty() {
            whole.extend_from_slice(b"; ");
        }
        whole.extend_from_slice(value.as_bytes());
    }
    let whole = HeaderValue::from_maybe_shared(bytes::Bytes::from(whole))
        .or_err(ErrorType::InternalError, "joined cookies are not a header value")?;
    request.insert_header(header::COOKIE, whole)
}

/// Makes the filters' changes to a request.
pub fn edit_request(request: &mut RequestHeader, edits: &HeaderEdits) -> Result<()> {
    for edit in edits.iter() {
        match edit {
            HeaderEdit::Set(name, value) => request.insert_header(name.clone(), value.clone())?,
            HeaderEdit::Append(name, value) => {
                request.append_header(name.clone(), value.clone())?;
            }
            HeaderEdit::Remove(name) => {
                request.remove_header(name);
            }
        }
    }
    Ok(())
}

/// Makes the filters' changes to a response.
pub fn edit_response(response: &mut ResponseHeader, edits: &HeaderEdits) -> Result<()> {
    for edit in edits.iter() {
        match edit {
            HeaderEdit::Set(name, value) => response.insert_header(name.clone(), value.clone())?,
            HeaderEdit::Append(name, value) => {
                response.append_header(name.clone(), value.clone())?;
            }
            HeaderEdit::Remove(name) => {
                response.remove_header(name);
            }
        }
    }
    Ok(())
}

/// Options of one Connection field, or all of them, that are looked at.
const MAX_OPTIONS: usize = 64;

/// Refuses a response whose Connection names more fields than anybody would look for.
pub fn check_connection(response: &ResponseHeader) -> std::result::Result<(), Fault> {
    match connection_options(response).nth(MAX_OPTIONS) {
        None => Ok(()),
        Some(_) => Err(Fault::ConnectionOptions),
    }
}

fn connection_options(response: &ResponseHeader) -> impl Iterator<Item = &[u8]> {
    let fields = response.headers.get_all(header::CONNECTION).iter();
    fields
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

/// Brings an upstream's response into one form: no hop-by-hop fields, nor those that its Connection names (RFC 9110, 7.6.1),
/// and no field twice that is only meant to be there once and that others would read differently.
pub fn make_canonical(response: &mut ResponseHeader) {
    const ONCE: [HeaderName; 4] = [header::DATE, header::SERVER, header::CONTENT_TYPE, header::LOCATION];
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let named: SmallVec<[HeaderName; 4]> = connection_options(response)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        // Framing is the connection's own business: Pingora settles it.
        .filter(|name| *name != header::CONTENT_LENGTH && *name != header::TRANSFER_ENCODING)
        .collect();
    for name in named {
        response.remove_header(&name);
    }
    // Most answers have none of these: one look at all names is cheaper than a search for each.
    let hop_by_hop = response.headers.keys().filter(|name| is_hop_by_hop(name));
    let found: SmallVec<[HeaderName; 7]> = hop_by_hop.cloned().collect();
    for name in &found {
        response.remove_header(name);
    }
    // Most answers have nothing twice.
    let repeated = response.headers.len() > response.headers.keys_len();
    for name in ONCE.into_iter().filter(|_| repeated) {
        let mut values = response.headers.get_all(&name).iter();
        if let (Some(first), Some(_)) = (values.next().cloned(), values.next()) {
            response.remove_header(&name);
            // It was there, so it can be there again.
            let _ = response.insert_header(name, first);
        }
    }
    canonical_framing(response);
    let no_body = response.status.is_informational() || response.status == http::StatusCode::NO_CONTENT;
    if no_body {
        response.remove_header(&header::CONTENT_LENGTH);
    }
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection" | "keep-alive" | "proxy-authentication-info" | "proxy-connection" | "te" | "trailer" | "upgrade"
    )
}

/// The two fields that say where a body ends, as everybody writes them. They were judged when they came.
fn canonical_framing(response: &mut ResponseHeader) {
    let coding = response.headers.get(header::TRANSFER_ENCODING);
    if coding.is_some_and(|coding| coding != "chunked") {
        let _ = response.insert_header(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    let length = response.headers.get(header::CONTENT_LENGTH).map(HeaderValue::as_bytes);
    if let Some([b'0', _, ..]) = length
        && let Some(length) = length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok())
    {
        let _ = response.insert_header(header::CONTENT_LENGTH, length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, query: Option<&str>) -> Target {
        Target {
            host: "a".into(),
            authority: "a:8080".into(),
            path: path.into(),
            query: query.map(Into::into),
        }
    }

    #[track_caller]
    fn sent(path: &str, query: Option<&str>, rewrite: Option<(&str, &str)>) -> String {
        let mut request = RequestHeader::build("GET", b"http://elsewhere/x", None).unwrap();
        let rewrite = rewrite.map(|(prefix, with)| Rewrite::new(prefix, with));
        set_target(&mut request, &target(path, query), query, rewrite.as_ref()).unwrap();
        String::from_utf8(request.raw_path().to_vec()).unwrap()
    }

    #[test]
    fn targets() {
        assert_eq!(sent("/v1/x", None, None), "/v1/x");
        assert_eq!(sent("/v1/x", Some("a=b?c"), None), "/v1/x?a=b?c");
        assert_eq!(sent("/v1/x", Some("q"), Some(("/v1", "/"))), "/x?q");
        assert_eq!(sent("/v1", None, Some(("/v1", "/"))), "/");
        assert_eq!(sent("/v1/", None, Some(("/v1/", "/api/"))), "/api/");
        assert_eq!(sent("/v1", None, Some(("/v1", "/api"))), "/api");
        assert_eq!(sent("/x", None, Some(("/", "/api"))), "/api/x");
        assert_eq!(sent("*", None, None), "*");
    }

    fn forwarded(client: &Client, headers: &[(&'static str, &str)]) -> RequestHeader {
        let mut request = RequestHeader::build("GET", b"/", None).unwrap();
        for (name, value) in headers {
            request.append_header(*name, *value).unwrap();
        }
        set_forwarded(&mut request, client, &target("/", None), "id-1").unwrap();
        request
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let peer: IpAddr = "192.0.2.9".parse().unwrap();
        let client = Client {
            address: peer,
            peer,
            peer_is_trusted: false,
            tls: true,
        };
        let spoofed = [
            ("x-forwarded-for", "6.6.6.6"),
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-host", "evil"),
            ("x_forwarded_for", "6"),
        ];
        let request = forwarded(&client, &spoofed);
        assert_eq!(request.headers["x-forwarded-for"], "192.0.2.9");
        assert_eq!(
            request.headers["forwarded"],
            "for=192.0.2.9;proto=https;host=\"a:8080\""
        );
        assert_eq!(request.headers["x-forwarded-host"], "a:8080");
        assert_eq!(request.headers["x-forwarded-proto"], "https");
        assert_eq!(request.headers["x-request-id"], "id-1");
        assert!(!request.headers.contains_key("x_forwarded_for"));
    }

    #[test]
    fn a_trusted_proxy_is_continued() {
        let peer: IpAddr = "2001:db8::1".parse().unwrap();
        let client = Client {
            address: "203.0.113.1".parse().unwrap(),
            peer,
            peer_is_trusted: true,
            tls: false,
        };
        let request = forwarded(
            &client,
            &[
                ("x-forwarded-for", "203.0.113.1"),
                ("x-forwarded-host", "www.example.com"),
            ],
        );
        assert_eq!(request.headers["x-forwarded-for"], "203.0.113.1, 2001:db8::1");
        assert_eq!(
            request.headers["forwarded"],
            "for=\"[2001:db8::1]\";proto=http;host=\"a:8080\""
        );
        assert_eq!(request.headers["x-forwarded-host"], "www.example.com");
    }

    #[test]
    fn response_fields_for_this_hop_stay_here() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value) in [
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("x-end", "1"),
        ] {
            response.append_header(name, value).unwrap();
        }
        make_canonical(&mut response);
        assert_eq!(
            response.headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(),
            ["x-end"]
        );
    }
}
