//! Keys: values, missing ones, and those that are neither.

use portcullis_bundles::attributes::Attributes;
use portcullis_config::key::Key;
use serde_json::json;

use super::{KeyError, RequestAttributes, text};
use crate::request::{MAX_PARAMETERS, TooManyParameters, query_parameter};
use crate::testing::{RequestBuilder, filler};

fn value(request: &RequestBuilder, key: &str) -> Result<Option<String>, KeyError> {
    let key: Key = key.parse().unwrap();
    request.with(&mut request.facts(), |request| {
        text(request, &key).map(|value| value.map(std::borrow::Cow::into_owned))
    })
}

fn found(request: &RequestBuilder, key: &str) -> Option<String> {
    value(request, key).unwrap()
}

#[test]
fn parameters_are_decoded_and_the_first_counts() {
    for (query, expected) in [
        ("k=v", Some("v")),
        ("a=b&k=v&k=w", Some("v")),
        ("k=&k=w", None),
        ("k", Some("true")),
        ("kk=1", None),
        ("", None),
        ("&&k=v&", Some("v")),
        ("k=a+b%20c", Some("a b c")),
        ("%6B=v", Some("v")),
        ("k=%2", Some("%2")),
        ("k=%zz%41", Some("%zzA")),
        ("k=%C3%A4", Some("ä")),
        ("k=%E4", Some("ä")),
        ("k=a=b", Some("a=b")),
        ("K=v", None),
    ] {
        assert_eq!(query_parameter(query, "k").unwrap().as_deref(), expected, "{query}");
    }
}

#[test]
fn a_query_is_never_cut_silently() {
    let before = filler(MAX_PARAMETERS - 1);
    assert_eq!(
        query_parameter(&format!("{before}k=v"), "k").unwrap().as_deref(),
        Some("v"),
        "the hundredth"
    );
    assert_eq!(query_parameter(&format!("{before}x&k=v"), "k"), Err(TooManyParameters));
    assert_eq!(query_parameter(&format!("{before}x"), "k"), Ok(None));
    assert_eq!(
        query_parameter(&format!("k=v&{before}x&y&z"), "k").unwrap().as_deref(),
        Some("v")
    );
}

#[test]
fn headers_are_found_whatever_their_dashes() {
    let request = RequestBuilder::get("/")
        .header("X-Tenant-Id", "a")
        .header("x-tenant-id", "b")
        .header("x_other", "c");
    assert_eq!(found(&request, "header:x_tenant_id").as_deref(), Some("a"));
    assert_eq!(found(&request, "header:X-Tenant-Id").as_deref(), Some("a"));
    assert_eq!(found(&request, "header:x-other").as_deref(), Some("c"));
    assert_eq!(found(&request, "header:xother"), None);
    let both = RequestBuilder::get("/")
        .header("x_a_b", "under")
        .header("x-a-b", "dash");
    assert_eq!(found(&both, "header:x-a-b").as_deref(), Some("dash"));
    assert_eq!(
        found(&RequestBuilder::get("/").header("x-a", ""), "header:x-a"),
        None,
        "empty is missing"
    );
}

#[test]
fn header_bytes_that_are_no_text_stay_different() {
    let mut headers = http::HeaderMap::new();
    let of = |headers: &http::HeaderMap| super::readable(headers["x"].as_bytes()).into_owned();
    headers.insert("x", http::HeaderValue::from_bytes(b"a\xE4").unwrap());
    let first = of(&headers);
    headers.insert("x", http::HeaderValue::from_bytes(b"a\xE5").unwrap());
    assert_ne!(first, of(&headers));
}

#[test]
fn claims_are_the_verified_ones_and_scalar() {
    let request = RequestBuilder::get("/").header("authorization", "Bearer x.eyJzdWIiOiJtYWxsb3J5In0.y");
    assert_eq!(found(&request, "jwt:sub"), None, "an unverified token has no claims");
    let request = request.claims(json!({
        "sub": "alice", "empty": "", "none": null, "yes": true, "no": false, "id": 12_345_678_901_234_501_u64, "share": 0.5,
        "groups": ["a"], "nested": { "a": "b" }
    }));
    for (name, expected) in [
        ("sub", Some("alice")),
        ("Sub", None),
        ("empty", None),
        ("none", None),
        ("yes", Some("true")),
        ("no", Some("false")),
        ("id", Some("12345678901234501")),
        ("share", Some("0.5")),
        ("absent", None),
    ] {
        assert_eq!(found(&request, &format!("jwt:{name}")).as_deref(), expected, "{name}");
    }
    assert!(matches!(value(&request, "jwt:groups"), Err(KeyError::NotScalar(_))));
    assert!(matches!(value(&request, "jwt:nested"), Err(KeyError::NotScalar(_))));
}

#[test]
fn addresses_and_agents() {
    let request = RequestBuilder::get("/").ip("::ffff:192.0.2.7");
    assert_eq!(found(&request, "ip:address").as_deref(), Some("192.0.2.7"));
    assert_eq!(
        found(&RequestBuilder::get("/").ip("2001:db8::7"), "ip:address").as_deref(),
        Some("2001:db8::7")
    );
    assert_eq!(found(&request, "ip:country"), None);
    assert_eq!(found(&request, "ua:bot"), None, "no User-Agent, no answer");
    let browser = request.clone().header("user-agent", "Mozilla/5.0 Firefox/133.0");
    assert_eq!(
        (found(&browser, "ua:bot").as_deref(), found(&browser, "ua:bot_category")),
        (Some("false"), None)
    );
    let bot = request.header("user-agent", "Mozilla/5.0 (compatible; Googlebot/2.1)");
    assert_eq!(found(&bot, "ua:bot").as_deref(), Some("true"));
    assert_eq!(found(&bot, "ua:bot_category").as_deref(), Some("search_engine"));
}

#[test]
fn the_first_error_is_kept() {
    let request = RequestBuilder::get("/").claims(json!({ "groups": [] }));
    request.with(&mut request.facts(), |request| {
        let attributes = RequestAttributes::new(request);
        assert!(attributes.claims_known() && attributes.path() == "/");
        assert!(attributes.get(&"jwt:sub".parse().unwrap()).is_none() && attributes.error().is_none());
        assert!(attributes.get(&"jwt:groups".parse().unwrap()).is_none());
        assert!(matches!(attributes.error(), Some(KeyError::NotScalar(_))));
    });
}

#[test]
fn cookies_are_found_in_every_field_and_the_first_counts() {
    let request = RequestBuilder::get("/")
        .header("cookie", "a=1; id=\"x\"; id=y")
        .header("cookie", "id=z; empty=; b=2");
    assert_eq!(found(&request, "cookie:id").as_deref(), Some("x"));
    assert_eq!(found(&request, "cookie:b").as_deref(), Some("2"));
    assert_eq!(
        (found(&request, "cookie:empty"), found(&request, "cookie:ID")),
        (None, None)
    );
    let mut seen = Vec::new();
    request.with(&mut request.facts(), |request| {
        RequestAttributes::new(request).each(&"cookie:id".parse().unwrap(), &mut |value| seen.push(value.to_owned()));
    });
    assert_eq!(seen, ["x", "y", "z"], "a switch looks at all of them");
}

#[test]
fn a_cookie_that_a_filter_has_put_there_counts() {
    let request = RequestBuilder::get("/").header("cookie", "id=client");
    let mut facts = request.facts();
    facts
        .request_headers
        .set(http::header::COOKIE, http::HeaderValue::from_static("id=filter"));
    let key: Key = "cookie:id".parse().unwrap();
    request.with(&mut facts, |request| {
        assert_eq!(text(request, &key).unwrap().as_deref(), Some("filter"));
        let mut seen = Vec::new();
        RequestAttributes::new(request).each(&key, &mut |value| seen.push(value.to_owned()));
        assert_eq!(seen, ["filter", "client"]);
    });
}

#[test]
fn certificates_are_told_by_kind_of_name() {
    use crate::client::{ClientCertificate, San, SanKind};
    let san = |kind, text: &str| San {
        kind,
        text: text.into(),
    };
    let with = |sans: Vec<San>| {
        RequestBuilder::get("/").certificate(ClientCertificate {
            sans,
            subject: "CN=app".into(),
            serial: "01".into(),
            fingerprint: "ab".into(),
            issuer: "CN=ca".into(),
            der: Box::default(),
        })
    };
    let request = with(vec![
        san(SanKind::Uri, "spiffe://example.com/app"),
        san(SanKind::Dns, "one.example.com"),
        san(SanKind::Dns, "two.example.com"),
    ]);
    for (key, expected) in [
        ("mtls:san", "spiffe://example.com/app"),
        ("mtls:uri", "spiffe://example.com/app"),
        ("mtls:spiffe", "spiffe://example.com/app"),
        ("mtls:dns", "one.example.com"),
        ("mtls:subject", "CN=app"),
        ("mtls:serial", "01"),
        ("mtls:fingerprint", "ab"),
    ] {
        assert_eq!(found(&request, key).as_deref(), Some(expected), "{key}");
    }
    let mut seen = Vec::new();
    request.with(&mut request.facts(), |request| {
        RequestAttributes::new(request).each(&"mtls:dns".parse().unwrap(), &mut |value| seen.push(value.to_owned()));
    });
    assert_eq!(seen, ["one.example.com", "two.example.com"]);
    let two = with(vec![
        san(SanKind::Uri, "spiffe://a/x"),
        san(SanKind::Uri, "spiffe://a/y"),
    ]);
    assert_eq!(found(&two, "mtls:spiffe"), None, "nobody knows whom it names");
    let web = with(vec![san(SanKind::Uri, "https://example.com/")]);
    assert_eq!((found(&web, "mtls:spiffe"), found(&web, "mtls:dns")), (None, None));
    assert_eq!(found(&RequestBuilder::get("/"), "mtls:uri"), None);
}

#[test]
fn the_route_is_a_key_and_its_name_is_one() {
    assert_eq!(
        found(&RequestBuilder::get("/").route("api"), "route:name").as_deref(),
        Some("api")
    );
    assert_eq!(found(&RequestBuilder::get("/"), "route:name"), None);
}

#[test]
fn the_tenant_is_a_key_once_it_is_known() {
    let tenant = |request: &RequestBuilder| found(request, "tenant:id");
    assert_eq!(
        tenant(&RequestBuilder::get("/").tenant("acme")).as_deref(),
        Some("acme")
    );
    assert_eq!(tenant(&RequestBuilder::get("/").header("tenant", "acme")), None);
}

#[test]
fn addresses_are_compared_in_their_one_form() {
    for (address, text, other) in [
        ("192.0.2.7", "192.0.2.7", "192.0.2.70"),
        ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:192.0.2.7"),
        ("2001:db8:0:0::7", "2001:db8::7", "2001:db8::"),
        (
            "1111:2222:3333:4444:5555:6666:7777:8888",
            "1111:2222:3333:4444:5555:6666:7777:8888",
            "",
        ),
    ] {
        let request = RequestBuilder::get("/").ip(address);
        let key: Key = "ip:address".parse().unwrap();
        request.with(&mut request.facts(), |request| {
            let is = |text| super::equals(request, &key, text).unwrap();
            assert!(is(text) && !is(other), "{address}");
            let mut seen = Vec::new();
            RequestAttributes::new(request).each(&key, &mut |value| seen.push(value.to_owned()));
            assert_eq!(seen, [text]);
        });
    }
}
