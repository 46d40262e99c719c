//! What `headers` changes, and what of its configuration is refused.

use http::HeaderMap;

use super::template::Template;
use crate::testing::{Bench, ENTROPY, RequestBuilder, Upstream, try_bench};
use crate::zones::Zones;

fn sent(config: &str, request: &RequestBuilder) -> HeaderMap {
    let bench = Bench::new(&format!("filters: [{{ headers: {{ request: {config} }} }}]"));
    bench.send(request).upstream.unwrap()
}

fn values<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap())
        .collect()
}

#[test]
fn removed_then_set_then_appended() {
    let request = RequestBuilder::get("/")
        .header("x-a", "1")
        .header("x-a", "2")
        .header("x-b", "1")
        .header("x-c", "1");
    let headers = sent(
        "{ append: { x-c: \"2\", x-a: \"4\" }, set: { x-a: \"3\" }, remove: [x-b] }",
        &request,
    );
    assert_eq!(values(&headers, "x-a"), ["3", "4"]);
    assert_eq!(values(&headers, "x-b"), [""; 0]);
    assert_eq!(values(&headers, "x-c"), ["1", "2"]);
}

#[test]
fn twins_of_what_is_replaced_do_not_pass() {
    let request = RequestBuilder::get("/")
        .header("x_tenant", "evil")
        .header("X-TENANT", "evil")
        .header("x.tenant", "evil")
        .header("x_added", "stays")
        .header("xtenant", "stays");
    let headers = sent("{ set: { x-tenant: good }, append: { x-added: edge } }", &request);
    let names: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
        .collect();
    assert_eq!(names.len(), 4, "{names:?}");
    for field in ["x-tenant=good", "x_added=stays", "x-added=edge", "xtenant=stays"] {
        assert!(names.iter().any(|name| name == field), "{field}: {names:?}");
    }
    let headers = sent("{ remove: [x_tenant] }", &request);
    assert_eq!(
        headers.keys().map(http::HeaderName::as_str).collect::<Vec<_>>(),
        ["x_added", "xtenant"]
    );
}

#[test]
fn variables_are_filled_in() {
    let request = RequestBuilder::new("POST", "/a%20b?q=1")
        .host("api.example.com")
        .ip("2001:db8::1")
        .via("10.0.0.1");
    for (value, expected) in [
        ("plain", "plain"),
        ("", ""),
        ("${client_ip}", "2001:db8::1"),
        ("${peer_ip}", "10.0.0.1"),
        ("${host}", "api.example.com"),
        ("${method}", "POST"),
        ("${path}", "/a%20b"),
        ("${scheme}", "http"),
        ("a${host}b${host}c", "aapi.example.combapi.example.comc"),
        ("$$", "$"),
        ("$${host}", "${host}"),
        ("$$${host}", "$api.example.com"),
        ("a$b", "a$b"),
        ("5$", "5$"),
        ("}{", "}{"),
    ] {
        let headers = sent(&format!("{{ set: {{ x-a: \"{value}\" }} }}"), &request);
        assert_eq!(values(&headers, "x-a"), [expected], "{value}");
    }
    let headers = sent("{ set: { x-a: \"${scheme}\" } }", &request.tls());
    assert_eq!(values(&headers, "x-a"), ["https"]);
}

#[test]
fn answers_of_the_gateway_are_changed_too() {
    let bench = Bench::new(
        "filters: [{ headers: { response: { set: { x-a: \"${host}\" }, remove: [www-authenticate, x-up] } } }, \
         { ip_access: { deny: [192.0.2.1] } }]",
    );
    let refused = bench.send(&RequestBuilder::get("/"));
    assert_eq!(
        (refused.status.as_u16(), values(&refused.headers, "x-a")),
        (403, vec!["example.com"])
    );
    let mut headers = HeaderMap::new();
    headers.append("x-up", "1".parse().unwrap());
    let upstream = Upstream {
        headers,
        ..Upstream::default()
    };
    let answered = bench.send_to(&RequestBuilder::get("/").ip("192.0.2.2"), &upstream);
    assert_eq!((answered.status.as_u16(), answered.headers.len()), (200, 1));
}

#[test]
fn later_filters_see_the_changes() {
    let bench = Bench::new(
        "filters: [{ headers: { request: { set: { x-key: one } } } }, \
         { rate_limit: { key: \"header:x-key\", rate: 1/h, burst: 1 } }]",
    );
    let status = |key: &str| {
        bench
            .send(&RequestBuilder::get("/").header("x-key", key))
            .status
            .as_u16()
    };
    assert_eq!((status("a"), status("b")), (200, 429));
}

#[test]
fn values_that_are_refused() {
    for text in [
        "a\r\nb: c",
        "a\nb",
        "a\0b",
        "a\tb",
        "\u{7f}",
        " a",
        "a ",
        "${nope}",
        "${host",
        "${}",
        "${ host }",
    ] {
        assert!(text.parse::<Template>().is_err(), "{text:?}");
    }
    assert!("x".repeat(8193).parse::<Template>().is_err());
    let error = "${client-ip}".parse::<Template>().unwrap_err();
    assert_eq!(error.help.as_deref(), Some("did you mean `client_ip`?"));
}

#[test]
fn configurations_that_are_refused() {
    for (config, message) in [
        ("{}", "changes nothing"),
        ("{ request: {} }", "changes nothing"),
        ("{ request: { set: { host: a } } }", "`host` cannot be changed"),
        (
            "{ request: { append: { X-Forwarded-For: a } } }",
            "`x-forwarded-for` cannot be changed",
        ),
        (
            "{ request: { set: { x_forwarded_proto: https } } }",
            "cannot be changed",
        ),
        (
            "{ request: { remove: [connection] } }",
            "`connection` cannot be changed",
        ),
        ("{ request: { remove: [x-request-id] } }", "cannot be changed"),
        ("{ response: { set: { content-length: \"0\" } } }", "cannot be changed"),
        ("{ response: { remove: [transfer-encoding] } }", "cannot be changed"),
        (
            "{ request: { set: { x-a: b }, remove: [X-A] } }",
            "removed or set twice",
        ),
        ("{ request: { remove: [x-a, x-a] } }", "removed or set twice"),
        ("{ request: { set: { \"a b\": c } } }", "header field name"),
        ("{ request: { set: { x-a: \"${nope}\" } } }", "no variable `nope`"),
        ("{ request: { set: { x-a: \"a\\r\\nb\" } } }", "control character"),
        ("{ request: { add: { x-a: b } } }", "add"),
    ] {
        let error = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ headers: {config} }}]")).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(message)),
            "{config}: {error:?}"
        );
    }
    let many: Vec<String> = (0..101).map(|n| format!("x-{n}")).collect();
    let config = format!(
        "filters: [{{ headers: {{ request: {{ remove: [{}] }} }} }}]",
        many.join(", ")
    );
    assert!(try_bench(&Zones::new(ENTROPY), &config).is_err_and(|error| error.contains("more than 100")));
}
