//! Where tokens are looked for, and what of that goes on; and tokens under shared secrets.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde_json::json;

use super::{bearer, bench, config, token};
use crate::testing::{Answered, Bench, RequestBuilder, START};

fn outcome(answered: &Answered) -> (u16, &'static str) {
    (answered.status.as_u16(), answered.reason.map_or("", |reason| reason.0))
}

#[test]
fn a_token_is_found_in_each_place_that_is_named_and_in_no_other() {
    let good = token("k1", 1, json!({}));
    let in_query = RequestBuilder::get(&format!("/?a=1&t={good}"));
    let in_cookie = RequestBuilder::get("/").header("cookie", &format!("a=b; t={good}"));
    let in_field = RequestBuilder::get("/").header("x-t", &good);
    let usual = bearer(&good);
    for (settings, places) in [
        ("", [true, false, false, false]),
        (", header: x-t", [false, true, false, false]),
        (", cookie: t", [false, false, true, false]),
        (", query: t", [false, false, false, true]),
        (", cookie: t, query: t", [false, false, true, true]),
        (", header: authorization, cookie: t", [true, false, true, false]),
        (", cookie: T, query: T", [false; 4]),
    ] {
        let bench = bench(settings);
        for (request, is_found) in [&usual, &in_field, &in_cookie, &in_query].into_iter().zip(places) {
            let expected = if is_found { (200, "") } else { (401, "token_missing") };
            assert_eq!(outcome(&bench.send(request)), expected, "{settings}");
        }
    }
}

#[test]
fn two_tokens_are_no_token() {
    let good = token("k1", 1, json!({}));
    let bench = bench(", header: authorization, cookie: t, query: t, optional: true");
    let twice = |target: &str, cookies: &[&str], field: bool| {
        let mut request = RequestBuilder::get(&target.replace('$', &good));
        for cookie in cookies {
            request = request.header("cookie", &cookie.replace('$', &good));
        }
        if field {
            request = request.header("authorization", &format!("Bearer {good}"));
        }
        outcome(&bench.send(&request))
    };
    let repeated = (400, "token_repeated");
    assert_eq!(twice("/?t=$", &["t=$"], false), repeated);
    assert_eq!(twice("/?t=$", &[], true), repeated);
    assert_eq!(twice("/", &["t=$"], true), repeated);
    assert_eq!(twice("/?t=$&t=x", &[], false), repeated);
    assert_eq!(twice("/?t=$&%74=x", &[], false), repeated);
    assert_eq!(twice("/", &["t=$; t=x"], false), repeated);
    assert_eq!(twice("/", &["t=$", "t=x"], false), repeated);
    assert_eq!(twice("/?t=", &["t="], false), (200, ""), "nothing is no token");
    assert_eq!(twice("/?t", &[], false), (401, "token_malformed"));
    let many = format!("/?{}t=$", "a=1&".repeat(200));
    assert_eq!(
        twice(&many, &[], false),
        (401, "token_malformed"),
        "more than is looked at"
    );
}

#[test]
fn a_cookie_is_kept_or_taken_away_and_the_others_stay() {
    let good = token("k1", 1, json!({}));
    let request = RequestBuilder::get("/")
        .header("cookie", &format!("a=1; t={good};b=2"))
        .header("cookie", "c=\"3\"; ;");
    let cookies = |settings: &str, request: &RequestBuilder| {
        let headers = bench(settings).send(request).upstream.unwrap();
        let values = headers.get_all("cookie").iter();
        values
            .map(|value| value.to_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(cookies(", cookie: t", &request).len(), 2);
    assert_eq!(cookies(", cookie: t, forward: strip", &request), ["a=1; b=2; c=\"3\""]);
    let alone = RequestBuilder::get("/").header("cookie", &format!("t={good}"));
    assert!(cookies(", cookie: t, forward: strip", &alone).is_empty());
    let none = RequestBuilder::get("/");
    assert!(cookies(", cookie: t, forward: strip, optional: true", &none).is_empty());
}

#[test]
fn what_is_in_the_query_stays_between_client_and_gateway() {
    let good = token("k1", 1, json!({}));
    let enforced = bench(", query: t");
    let answered = enforced.send(&RequestBuilder::get(&format!("/?t={good}")));
    assert_eq!(answered.headers["cache-control"], "private");
    for (query, left) in [
        ("t=x", ""),
        ("a=1&t=x&b=2", "a=1&b=2"),
        ("%74=x&a=%74", "a=%74"),
        ("t&tt=1", "tt=1"),
        ("a=1&&b=t", "a=1&&b=t"),
        ("", ""),
    ] {
        assert_eq!(enforced.chain.query_to_forward(query), left, "{query}");
        assert_eq!(enforced.chain.query_to_log(query), left, "{query}");
    }
    let shadow = bench(", query: t, mode: shadow");
    assert_eq!(
        shadow.chain.query_to_forward("a=1&t=x"),
        "a=1&t=x",
        "a shadow changes nothing"
    );
    assert_eq!(shadow.chain.query_to_log("a=1&t=x"), "a=1", "and tells nothing");
    assert_eq!(enforced.chain.parameters_to_remove().collect::<Vec<_>>(), ["t"]);
    assert_eq!(shadow.chain.parameters_to_remove().count(), 0);
    assert_eq!(bench("").chain.query_to_log("t=x"), "t=x");
}

/// A token under the stand-in for secrets.
fn shared(issuer: &str, algorithm: &str, kid: Option<&str>, secret: &[u8]) -> String {
    let hash = match algorithm {
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    };
    let mut header = json!({ "alg": algorithm });
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let claims = json!({ "iss": issuer, "aud": "api", "sub": "p", "exp": START.unix() + 60 });
    let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mac = hmac::sign(&hmac::Key::new(hash, secret), signed.as_bytes());
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
}

#[test]
fn shared_secrets_are_for_those_who_share_them() {
    let bench = Bench::new(&config("[{ jwt: { issuers: [shared, two, main] } }]"));
    // As a bench fills secrets up.
    let of = |reference: &str| format!("{reference:-<64}").into_bytes();
    let (a, b, other) = (&*of("env:A"), &*of("file:B"), &*of("env:B"));
    for (token, expected) in [
        (shared("shared", "HS256", None, a), (200, "")),
        (shared("shared", "HS512", None, a), (200, "")),
        (shared("shared", "HS256", None, other), (401, "signature_invalid")),
        (shared("shared", "HS384", None, a), (401, "alg_not_allowed")),
        (shared("shared", "HS256", Some("a"), a), (401, "unknown_key")),
        (shared("two", "HS256", Some("a"), a), (200, "")),
        (shared("two", "HS256", Some("b"), b), (200, "")),
        (shared("two", "HS256", Some("c"), a), (401, "unknown_key")),
        (shared("two", "HS256", None, a), (401, "unknown_key")),
        (shared("two", "HS512", Some("a"), a), (401, "alg_not_allowed")),
        (
            shared("https://id.example.com/", "HS256", None, a),
            (401, "alg_not_allowed"),
        ),
        (token("k1", 1, json!({ "iss": "shared" })), (401, "alg_not_allowed")),
    ] {
        assert_eq!(outcome(&bench.send(&bearer(&token))), expected, "{token}");
    }
}
