//! Requests that are read, and requests that are refused.

use super::*;

fn request(method: &str, target: &str, headers: &[(&'static str, &str)]) -> RequestHeader {
    let mut request = RequestHeader::build(method, target.as_bytes(), None).unwrap();
    request.set_version(Version::HTTP_11);
    for (name, value) in headers {
        request.append_header(*name, *value).unwrap();
    }
    request
}

#[track_caller]
fn reads(method: &str, target: &str, headers: &[(&'static str, &str)], host: &str, path: &str, query: Option<&str>) {
    let target = read(&request(method, target, headers), None).unwrap();
    assert_eq!(
        (&*target.host, &*target.path, target.query.as_deref()),
        (host, path, query)
    );
}

#[test]
fn targets_that_are_read() {
    reads(
        "GET",
        "/a//b/%2e%2e/c?x=1&y",
        &[("host", "API.example.com:8080")],
        "api.example.com",
        "/a/c",
        Some("x=1&y"),
    );
    reads(
        "GET",
        "http://a.example/x?y",
        &[("host", "a.example")],
        "a.example",
        "/x",
        Some("y"),
    );
    reads(
        "GET",
        "http://a.example",
        &[("host", "a.example")],
        "a.example",
        "/",
        None,
    );
    reads("OPTIONS", "*", &[("host", "a.example")], "a.example", "*", None);
    reads("GET", "/", &[("host", "[2001:db8::1]:80")], "[2001:db8::1]", "/", None);
    reads("GET", "/", &[("host", "a.example.")], "a.example", "/", None);
    reads("GET", "/?", &[("host", "a")], "a", "/", Some(""));
}

#[track_caller]
fn refuses(method: &str, target: &str, headers: &[(&'static str, &str)], error: IntakeError) {
    assert_eq!(
        read(&request(method, target, headers), None),
        Err(error),
        "{method} {target} {headers:?}"
    );
}

#[test]
fn targets_that_are_refused() {
    let host = ("host", "a.example");
    refuses("GET", "*", &[host], IntakeError::TargetForm);
    refuses("GET", "ftp://a.example/", &[host], IntakeError::TargetForm);
    refuses("GET", "http://a.example?x", &[host], IntakeError::TargetForm);
    refuses("GET", "http://b.example/", &[host], IntakeError::HostMismatch);
    refuses("GET", "/a%2fb", &[host], IntakeError::Path(PathError::EncodedSlash));
    refuses("GET", "/", &[], IntakeError::HostMissing);
    refuses("GET", "http://a.example/", &[], IntakeError::HostMissing);
    refuses("GET", "/", &[host, host], IntakeError::HostInvalid);
    for bad in [
        "",
        "a b",
        "a/b",
        "user@a.example",
        "a:b",
        "a:",
        "a:99999",
        "a..b",
        "[::1",
        "[::1]x",
        "a,b",
        "a\u{e9}",
    ] {
        refuses("GET", "/", &[("host", bad)], IntakeError::HostInvalid);
    }
    refuses("TRACE", "/", &[host], IntakeError::Method);
}

#[test]
fn framing_that_is_refused() {
    let host = ("host", "a");
    let length = ("content-length", "3");
    let chunked = ("transfer-encoding", "chunked");
    refuses("POST", "/", &[host, length, length], IntakeError::Framing);
    refuses("POST", "/", &[host, length, chunked], IntakeError::Framing);
    refuses("POST", "/", &[host, chunked, chunked], IntakeError::Framing);
    refuses("POST", "/", &[host, ("content-length", "+3")], IntakeError::Framing);
    refuses("POST", "/", &[host, ("content-length", "3, 3")], IntakeError::Framing);
    refuses(
        "POST",
        "/",
        &[host, ("transfer-encoding", "gzip, chunked")],
        IntakeError::TransferCoding,
    );
    let raw = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(
        read(&request("POST", "/", &[host, chunked]), Some(raw)),
        Err(IntakeError::Framing)
    );
    let raw = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert!(read(&request("POST", "/", &[host, chunked]), Some(raw)).is_ok());
}
