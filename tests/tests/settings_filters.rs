//! Keys of filters that change what goes over the wire, set on one route and left out or set otherwise on another: `cors`,
//! `headers`, `rate_limit`. What a filter decides in every case is shown in its own folder.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::gateway::Gateway;
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::origin::Origin;

const APP: &str = "https://app.example.com";

/// Each variant of a filter has a route of its own: its name.
fn variants(origin: &Origin, filter: &str, variants: &[(&str, &str)]) -> Gateway {
    let routes: Vec<String> = variants
        .iter()
        .map(|(name, keys)| {
            format!(
                "{{ match: {{ path: /{name} }}, filters: [{{ {filter}: {{ {keys} }} }}], proxy: {{ upstream: app }} }}"
            )
        })
        .collect();
    Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        origin.address,
        routes.join(", ")
    ))
}

fn preflight(gateway: &Gateway, path: &str, origin: &str) -> Answer {
    let headers = [
        ("Origin", origin),
        ("Access-Control-Request-Method", "DELETE"),
        ("Access-Control-Request-Headers", "x-a"),
    ];
    h1::request(gateway.public, "OPTIONS", "a", path, &headers, b"")
}

#[test]
fn cors() {
    let upstream = Origin::start("ok");
    let own = format!("origins: [\"{APP}\"]");
    let with = |more: &str| format!("{own}, {more}");
    let gateway = variants(
        &upstream,
        "cors",
        &[
            ("bare", &own),
            ("other", "origins: [\"https://other.example.com\"]"),
            ("methods", &with("methods: [GET, DELETE]")),
            ("headers", &with("headers: [x-a, x-b]")),
            ("expose", &with("expose: [x-total]")),
            ("credentials", &with("credentials: true")),
            ("max-age", &with("max_age: 10m")),
        ],
    );
    let of_preflight = |path: &str, field: &str| {
        let answer = preflight(&gateway, path, APP);
        let value = answer.header(&format!("access-control-{field}"));
        value.map(str::to_owned)
    };
    let of_request = |path: &str, field: &str| {
        let answer = h1::get(gateway.public, "a", path, &[("Origin", APP)]);
        let value = answer.header(&format!("access-control-{field}"));
        value.map(str::to_owned)
    };
    for (field, path, expected) in [
        ("allow-origin", "/other", None),
        ("allow-origin", "/bare", Some(APP)),
        ("allow-methods", "/bare", Some("GET, HEAD, POST")),
        ("allow-methods", "/methods", Some("GET, DELETE")),
        ("allow-headers", "/bare", None),
        ("allow-headers", "/headers", Some("x-a, x-b")),
        ("max-age", "/bare", None),
        ("max-age", "/max-age", Some("600")),
        ("allow-credentials", "/bare", None),
        ("allow-credentials", "/credentials", Some("true")),
    ] {
        assert_eq!(of_preflight(path, field).as_deref(), expected, "{field} of {path}");
    }
    for (field, path, expected) in [
        ("allow-origin", "/other", None),
        ("allow-origin", "/bare", Some(APP)),
        ("expose-headers", "/bare", None),
        ("expose-headers", "/expose", Some("x-total")),
        ("allow-credentials", "/bare", None),
        ("allow-credentials", "/credentials", Some("true")),
    ] {
        assert_eq!(of_request(path, field).as_deref(), expected, "{field} of {path}");
    }
}

#[test]
fn headers_of_requests() {
    let origin = Origin::start("ok");
    let gateway = variants(
        &origin,
        "headers",
        &[
            ("other", "request: { set: { x-other: \"1\" } }"),
            ("set", "request: { set: { x-a: new } }"),
            ("append", "request: { append: { x-a: more } }"),
            ("remove", "request: { remove: [x-a] }"),
        ],
    );
    for (path, expected) in [
        ("/other", &["old"][..]),
        ("/set", &["new"]),
        ("/append", &["old", "more"]),
        ("/remove", &[]),
    ] {
        assert_eq!(h1::get(gateway.public, "a", path, &[("X-A", "old")]).status, 200);
        let seen = origin.seen().pop().expect("the request");
        assert_eq!(seen.all("x-a"), expected, "{path}");
    }
}

#[test]
fn headers_of_responses() {
    let origin = Origin::with(|_| b"HTTP/1.1 200 OK\r\nX-A: old\r\nContent-Length: 0\r\n\r\n".to_vec());
    let gateway = variants(
        &origin,
        "headers",
        &[
            ("other", "response: { set: { x-other: \"1\" } }"),
            ("set", "response: { set: { x-a: new } }"),
            ("append", "response: { append: { x-a: more } }"),
            ("remove", "response: { remove: [x-a] }"),
        ],
    );
    for (path, expected) in [
        ("/other", &["old"][..]),
        ("/set", &["new"]),
        ("/append", &["old", "more"]),
        ("/remove", &[]),
    ] {
        assert_eq!(h1::get(gateway.public, "a", path, &[]).all("x-a"), expected, "{path}");
    }
}

/// How many of these requests pass.
fn passed<'a>(gateway: &Gateway, path: &str, headers: impl Iterator<Item = [(&'a str, String); 2]>) -> usize {
    let statuses = headers.map(|headers| {
        let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
        h1::get(gateway.public, "a", path, &headers).status
    });
    statuses.filter(|status| *status == 200).count()
}

#[test]
fn key_burst_and_room_of_a_rate_limit() {
    let origin = Origin::start("ok");
    let gateway = variants(
        &origin,
        "rate_limit",
        &[
            ("by-a", "key: \"header:x-a\", rate: 1/d, burst: 3"),
            ("by-b", "key: \"header:x-b\", rate: 1/d, burst: 3"),
            ("usual-burst", "key: \"header:x-b\", rate: 1/d"),
            ("larger-burst", "key: \"header:x-b\", rate: 1/d, burst: 7"),
            ("little-room", "key: \"header:x-a\", rate: 1/d, burst: 1, max_keys: 4"),
            ("more-room", "key: \"header:x-a\", rate: 1/d, burst: 1, max_keys: 100"),
        ],
    );
    // The first field has another value each time, the second always the same.
    let requests = || (0..10).map(|number| [("x-a", number.to_string()), ("x-b", "same".to_owned())]);
    for (path, expected) in [
        ("/by-a", 10),
        ("/by-b", 3),
        ("/usual-burst", 1),
        ("/larger-burst", 7),
        ("/little-room", 4 + 1),
        ("/more-room", 10),
    ] {
        assert_eq!(passed(&gateway, path, requests()), expected, "{path}");
    }
}

#[test]
fn zone_of_a_rate_limit() {
    let origin = Origin::start("ok");
    let keys = "key: \"header:x-b\", rate: 1/d, burst: 3";
    let with = |zone: &str| format!("{keys}, zone: {zone}");
    let gateway = variants(
        &origin,
        "rate_limit",
        &[
            ("own-1", keys),
            ("own-2", keys),
            ("shared-1", &with("shared")),
            ("shared-2", &with("shared")),
            ("other", &with("other")),
        ],
    );
    let requests = || (0..2).map(|_| [("x-a", String::new()), ("x-b", "same".to_owned())]);
    for (path, expected) in [
        ("/own-1", 2),
        ("/own-2", 2),
        ("/shared-1", 2),
        ("/shared-2", 1),
        ("/other", 2),
    ] {
        assert_eq!(passed(&gateway, path, requests()), expected, "{path}");
    }
}
