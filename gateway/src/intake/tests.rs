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
    let target = read(&request(method, target, headers)).unwrap();
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
fn refuses(method: &str, target: &str, headers: &[(&'static str, &str)], error: Case) {
    assert_eq!(
        read(&request(method, target, headers)),
        Err(error),
        "{method} {target} {headers:?}"
    );
}

#[test]
fn targets_that_are_refused() {
    let host = ("host", "a.example");
    refuses("GET", "*", &[host], Case::TargetForm);
    refuses("GET", "ftp://a.example/", &[host], Case::TargetForm);
    refuses("GET", "http://a.example?x", &[host], Case::TargetForm);
    refuses("GET", "http://b.example/", &[host], Case::HostMismatch);
    refuses("GET", "/a%2fb", &[host], Case::PathEncodedSlash);
    refuses("GET", "/", &[], Case::HostMissing);
    refuses("GET", "http://a.example/", &[], Case::HostMissing);
    refuses("GET", "/", &[host, host], Case::HostRepeated);
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
        refuses("GET", "/", &[("host", bad)], Case::HostInvalid);
    }
    refuses("TRACE", "/", &[host], Case::Trace);
}

#[test]
fn framing_that_is_refused() {
    let refused = |headers: &[(&'static str, &str)]| {
        let mut request = request("POST", "/", headers);
        request.set_version(Version::HTTP_2);
        read(&request).unwrap_err()
    };
    let host = ("host", "a");
    let length = ("content-length", "3");
    assert_eq!(refused(&[host, length, length]), Case::LengthRepeated);
    assert_eq!(refused(&[host, ("content-length", "+3")]), Case::LengthMalformed);
    assert_eq!(refused(&[host, ("content-length", "3, 3")]), Case::LengthMalformed);
    assert_eq!(
        refused(&[host, length, ("transfer-encoding", "chunked")]),
        Case::LengthAndCoding
    );
    assert_eq!(refused(&[host, ("expect", "200-ok")]), Case::Expectation);
}
