//! What `cors` answers, adds and takes away, and what of its configuration is refused.

use http::HeaderMap;
use http::header::VARY;

use super::origin::Origin;
use crate::testing::{Answered, Bench, ENTROPY, RequestBuilder, Upstream, try_bench};
use crate::zones::Zones;

const APP: &str = "https://app.example.com";

fn bench(config: &str) -> Bench {
    Bench::new(&format!("filters: [{{ cors: {config} }}]"))
}

fn preflight(origin: &str, method: &str) -> RequestBuilder {
    RequestBuilder::new("OPTIONS", "/")
        .header("origin", origin)
        .header("access-control-request-method", method)
}

fn text<'a>(answered: &'a Answered, name: &str) -> Option<&'a str> {
    answered.headers.get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn origins_match_to_the_letter_or_below_a_name() {
    for (pattern, origin, expected) in [
        ("https://a.example", "https://a.example", true),
        ("https://a.example", "http://a.example", false),
        ("https://a.example", "https://a.example:8443", false),
        ("https://a.example", "https://A.example", false),
        ("https://a.example", "https://a.example/", false),
        ("https://a.example", "https://a.example.", false),
        ("https://*.a.example", "https://x.a.example", true),
        ("https://*.a.example", "https://x.y-1.a.example", true),
        ("https://*.a.example", "https://a.example", false),
        ("https://*.a.example", "https://.a.example", false),
        ("https://*.a.example", "https://xa.example", false),
        ("https://*.a.example", "https://x.a.example.evil", false),
        ("https://*.a.example", "https://evil/.a.example", false),
        ("https://*.a.example", "https://evil#.a.example", false),
        ("https://*.a.example", "https://u@x.a.example", false),
        ("https://*.a.example", "https://x:1.a.example", false),
        ("https://*.a.example", "http://x.a.example", false),
        ("https://*.a.example", "https://x..a.example", false),
        ("https://*.a.example:8443", "https://x.a.example:8443", true),
        ("https://*.a.example:8443", "https://x.a.example", false),
        ("http://localhost:5173", "http://localhost:5173", true),
        ("http://[::1]:5173", "http://[::1]:5173", true),
        ("capacitor://localhost", "capacitor://localhost", true),
        ("*", "null", true),
        ("https://a.example", "null", false),
        ("https://a.example", "", false),
    ] {
        let parsed: Origin = pattern.parse().unwrap();
        assert_eq!(parsed.allows(origin.as_bytes()), expected, "{pattern} {origin}");
        assert_eq!(parsed.to_string(), pattern);
    }
}

#[test]
fn origins_that_no_browser_sends_are_errors() {
    for text in [
        "",
        "null",
        "app.example.com",
        "https://",
        "https://app.example.com/",
        "https://app.example.com/x",
        "https://App.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com:443",
        "http://app.example.com:80",
        "https://app.example.com:",
        "https://app.example.com:x",
        "https://app.example.com:080",
        "https://app.example.com:99999",
        "https://*",
        "https://*.",
        "https://*example.com",
        "https://a.*.example.com",
        "https://*.*.example.com",
        "https://*.[::1]",
        "https://u@example.com",
        "https://a b",
        "https://a.example?x",
        "://a",
        "1https://a",
        "https://ä.example",
    ] {
        assert!(text.parse::<Origin>().is_err(), "{text}");
    }
}

#[test]
fn preflights_are_answered_in_full() {
    let bench = bench(&format!(
        "{{ origins: [\"{APP}\"], methods: [GET, DELETE], headers: [X-A, x-b], max_age: 1d }}"
    ));
    let answered = bench.send(&preflight(APP, "DELETE"));
    assert_eq!((answered.status.as_u16(), answered.upstream), (204, None));
    let names: Vec<_> = answered
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    assert_eq!(
        names,
        [
            ("access-control-allow-origin", APP),
            ("access-control-allow-methods", "GET, DELETE"),
            ("access-control-allow-headers", "x-a, x-b"),
            ("access-control-max-age", "86400"),
            (
                "vary",
                "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
            ),
        ]
    );
}

#[test]
fn a_star_echoes_what_is_asked_for() {
    let bench = bench(&format!(
        "{{ origins: [\"{APP}\"], methods: [\"*\"], headers: [\"*\"], credentials: true }}"
    ));
    let answered = bench.send(&preflight(APP, "PURGE").header("access-control-request-headers", "authorization,x-a"));
    assert_eq!(text(&answered, "access-control-allow-methods"), Some("PURGE"));
    assert_eq!(
        text(&answered, "access-control-allow-headers"),
        Some("authorization,x-a")
    );
    let answered = bench.send(&preflight(APP, "PURGE"));
    assert_eq!(text(&answered, "access-control-allow-headers"), None);
}

#[test]
fn only_preflights_are_answered() {
    let bench = bench(&format!("{{ origins: [\"{APP}\"] }}"));
    let plain = |method: &str| RequestBuilder::new(method, "/");
    for (name, request) in [
        (
            "no origin",
            plain("OPTIONS").header("access-control-request-method", "GET"),
        ),
        ("no method", plain("OPTIONS").header("origin", APP)),
        (
            "GET",
            plain("GET")
                .header("origin", APP)
                .header("access-control-request-method", "GET"),
        ),
        (
            "POST",
            plain("POST")
                .header("origin", APP)
                .header("access-control-request-method", "GET"),
        ),
        ("two origins", preflight(APP, "GET").header("origin", APP)),
        (
            "two methods",
            preflight(APP, "GET").header("access-control-request-method", "PUT"),
        ),
        ("bare", plain("OPTIONS")),
    ] {
        assert!(bench.send(&request).upstream.is_some(), "{name}");
    }
    let answered = bench.send(
        &plain("GET")
            .header("origin", APP)
            .header("origin", "https://evil.example"),
    );
    assert_eq!(
        text(&answered, "access-control-allow-origin"),
        None,
        "two origins are none"
    );
}

#[test]
fn what_the_upstream_says_is_replaced() {
    let mut headers = HeaderMap::new();
    for name in ["origin", "credentials", "methods", "headers", "private-network"] {
        let name: http::HeaderName = format!("access-control-allow-{name}").parse().unwrap();
        headers.append(&name, "*".parse().unwrap());
        headers.append(&name, "https://evil.example".parse().unwrap());
    }
    headers.append("access-control-expose-headers", "*".parse().unwrap());
    headers.append("access-control-max-age", "1".parse().unwrap());
    headers.append("x-kept", "1".parse().unwrap());
    let upstream = Upstream {
        headers,
        ..Upstream::default()
    };
    let bench = bench(&format!("{{ origins: [\"{APP}\"], credentials: true }}"));
    let left = |request: RequestBuilder| {
        let answered = bench.send_to(&request, &upstream);
        let mut names: Vec<String> = answered.headers.keys().map(ToString::to_string).collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(left(RequestBuilder::get("/")), "vary x-kept");
    assert_eq!(
        left(RequestBuilder::get("/").header("origin", "https://evil.example")),
        "vary x-kept"
    );
    let allowed = left(RequestBuilder::get("/").header("origin", APP));
    assert_eq!(
        allowed,
        "access-control-allow-credentials access-control-allow-origin vary x-kept"
    );
    assert_eq!(left(RequestBuilder::new("OPTIONS", "/")), "vary x-kept");
}

#[test]
fn caches_are_told() {
    let vary = |config: &str, upstream: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(upstream) = upstream {
            headers.append(VARY, upstream.parse().unwrap());
        }
        let answered = bench(config).send_to(
            &RequestBuilder::get("/"),
            &Upstream {
                headers,
                ..Upstream::default()
            },
        );
        let values = answered
            .headers
            .get_all(VARY)
            .iter()
            .map(|value| value.to_str().unwrap().to_owned());
        values.collect::<Vec<_>>().join(" | ")
    };
    let one = format!("{{ origins: [\"{APP}\"] }}");
    assert_eq!(vary(&one, None), "Origin");
    assert_eq!(vary(&one, Some("Accept-Encoding")), "Accept-Encoding | Origin");
    assert_eq!(vary(&one, Some("Accept, ORIGIN")), "Accept, ORIGIN");
    assert_eq!(vary(&one, Some("*")), "*");
    assert_eq!(vary("{ origins: [\"*\"] }", None), "");
}

#[test]
fn refusals_of_later_filters_can_be_read() {
    let bench = Bench::new(&format!(
        "filters: [{{ cors: {{ origins: [\"{APP}\"] }} }}, {{ ip_access: {{ allow: [10.0.0.1] }} }}]"
    ));
    let answered = bench.send(&RequestBuilder::get("/").header("origin", APP));
    assert_eq!(
        (answered.status.as_u16(), text(&answered, "access-control-allow-origin")),
        (403, Some(APP))
    );
    // A preflight that an earlier filter refuses is not made an approval.
    let bench = Bench::new(&format!(
        "filters: [{{ ip_access: {{ allow: [10.0.0.1] }} }}, {{ cors: {{ origins: [\"{APP}\"] }} }}]"
    ));
    let answered = bench.send(&preflight(APP, "GET"));
    assert_eq!(
        (answered.status.as_u16(), text(&answered, "access-control-allow-origin")),
        (403, None)
    );
}

#[test]
fn shadow_changes_nothing() {
    let bench = bench(&format!("{{ origins: [\"{APP}\"], mode: shadow }}"));
    let answered = bench.send(&preflight(APP, "GET"));
    assert!(
        answered.upstream.is_some() && answered.headers.is_empty(),
        "{answered:?}"
    );
}

#[test]
fn configurations_that_are_refused() {
    for (config, message) in [
        ("{}", "origins"),
        ("{ origins: [] }", "no origin is allowed"),
        ("{ origins: [\"*\"], credentials: true }", "every site of the world"),
        ("{ origins: [\"*\", \"https://a.example\"] }", "allows every origin"),
        ("{ origins: [\"https://a.example\", \"https://a.example\"] }", "twice"),
        ("{ origins: [\"https://a.example/\"] }", "has a path"),
        ("{ origins: [\"*\"], methods: [\"*\", GET] }", "allows everything"),
        ("{ origins: [\"*\"], methods: [get] }", "upper-case"),
        ("{ origins: [\"*\"], headers: [\"*\", x-a] }", "allows everything"),
        ("{ origins: [\"*\"], headers: [\"a b\"] }", "header field name"),
        (
            "{ origins: [\"https://a.example\"], expose: [\"*\"], credentials: true }",
            "field name and not all",
        ),
        ("{ origins: [\"*\"], max_age: 2d }", "a day at most"),
        ("{ origins: [\"*\"], maxage: 2d }", "max_age"),
    ] {
        let error = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ cors: {config} }}]")).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(message)),
            "{config}: {error:?}"
        );
    }
}
