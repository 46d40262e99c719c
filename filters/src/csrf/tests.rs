//! What `csrf` lets pass, refuses and sets, and what of its configuration is refused.

use proptest::prelude::*;
use ring::hmac;

use super::token::{self, Bad};
use crate::client::Now;
use crate::testing::{Bench, ENTROPY, RequestBuilder, START, Upstream, after, try_bench};
use crate::zones::Zones;

fn bench(config: &str) -> Bench {
    Bench::new(&format!("filters: [{{ csrf: {config} }}]"))
}

fn judged(bench: &Bench, request: &RequestBuilder) -> &'static str {
    bench.send(request).reason.map_or("passed", |reason| reason.0)
}

#[test]
fn where_requests_come_from() {
    let bench = bench("{ allowed_origins: [\"https://a.example\"] }");
    let post = RequestBuilder::new("POST", "/").tls();
    for (fields, expected) in [
        (&[("sec-fetch-site", "same-origin")][..], "passed"),
        (&[("sec-fetch-site", "none")], "passed"),
        (&[("sec-fetch-site", "same-site")], "csrf_cross_site"),
        (&[("sec-fetch-site", "cross-site")], "csrf_cross_site"),
        (&[("sec-fetch-site", "Same-Origin")], "csrf_cross_site"),
        (&[("sec-fetch-site", "")], "csrf_cross_site"),
        (
            &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")],
            "csrf_cross_site",
        ),
        (
            &[("sec-fetch-site", "cross-site"), ("origin", "https://example.com")],
            "csrf_cross_site",
        ),
        (
            &[("sec-fetch-site", "cross-site"), ("origin", "https://a.example")],
            "passed",
        ),
        (&[("origin", "https://example.com")], "passed"),
        (&[("origin", "https://EXAMPLE.com")], "passed"),
        (&[("origin", "http://example.com")], "csrf_origin_mismatch"),
        (&[("origin", "https://example.com:8443")], "csrf_origin_mismatch"),
        (&[("origin", "https://example.com.evil")], "csrf_origin_mismatch"),
        (&[("origin", "https://sub.example.com")], "csrf_origin_mismatch"),
        (&[("origin", "null")], "csrf_origin_mismatch"),
        (&[("origin", "")], "csrf_origin_mismatch"),
        (
            &[("origin", "https://example.com"), ("origin", "https://example.com")],
            "csrf_origin_mismatch",
        ),
        (
            &[("origin", "https://a.example"), ("origin", "https://example.com")],
            "csrf_origin_mismatch",
        ),
        (&[("referer", "https://example.com/page?x=1")], "passed"),
        (&[("referer", "https://example.com")], "passed"),
        (&[("referer", "https://a.example/page")], "passed"),
        (&[("referer", "https://example.com.evil/")], "csrf_origin_mismatch"),
        (&[("referer", "https://example.com\\@evil/")], "csrf_origin_mismatch"),
        (&[("referer", "https://example.com@evil/")], "csrf_origin_mismatch"),
        (
            &[("referer", "https://evil/https://example.com/")],
            "csrf_origin_mismatch",
        ),
        (&[("referer", "/page")], "csrf_origin_mismatch"),
        (
            &[("referer", "https://example.com/"), ("referer", "https://example.com/")],
            "csrf_origin_mismatch",
        ),
        (
            &[("origin", "null"), ("referer", "https://example.com/")],
            "csrf_origin_mismatch",
        ),
        (&[], "csrf_origin_missing"),
    ] {
        let request = fields
            .iter()
            .fold(post.clone(), |request, (name, value)| request.header(name, value));
        assert_eq!(judged(&bench, &request), expected, "{fields:?}");
    }
}

#[test]
fn the_own_origin_has_the_scheme_and_the_port() {
    let bench = bench("{}");
    for (tls, host, origin, expected) in [
        (false, "example.com", "http://example.com", true),
        (false, "example.com", "https://example.com", false),
        (false, "example.com:80", "http://example.com", true),
        (true, "example.com:443", "https://example.com", true),
        (true, "example.com:80", "https://example.com", false),
        (true, "example.com:8443", "https://example.com:8443", true),
        (true, "[::1]:8443", "https://[::1]:8443", true),
        (true, "", "https://", false),
    ] {
        let request = RequestBuilder::new("POST", "/").host(host).header("origin", origin);
        let request = if tls { request.tls() } else { request };
        assert_eq!(judged(&bench, &request) == "passed", expected, "{host} {origin}");
    }
}

#[test]
fn what_changes_nothing_passes_and_a_tunnel_changes() {
    let bench = bench("{ exempt_paths: [/hooks/, /one] }");
    for (method, path, expected) in [
        ("GET", "/", "passed"),
        ("HEAD", "/", "passed"),
        ("OPTIONS", "/", "passed"),
        ("POST", "/", "csrf_cross_site"),
        ("PUT", "/", "csrf_cross_site"),
        ("PATCH", "/", "csrf_cross_site"),
        ("DELETE", "/", "csrf_cross_site"),
        ("get", "/", "csrf_cross_site"),
        ("POST", "/hooks/a/b", "passed"),
        ("POST", "/hooks", "csrf_cross_site"),
        ("POST", "/hooksx", "csrf_cross_site"),
        ("POST", "/one", "passed"),
        ("POST", "/one/more", "csrf_cross_site"),
    ] {
        let request = RequestBuilder::new(method, path).header("sec-fetch-site", "cross-site");
        assert_eq!(judged(&bench, &request), expected, "{method} {path}");
    }
    let tunnel = RequestBuilder::get("/chat").header("connection", "keep-alive, Upgrade");
    let foreign = tunnel.clone().header("origin", "https://evil.example");
    assert_eq!(judged(&bench, &foreign), "csrf_origin_mismatch");
    assert_eq!(judged(&bench, &tunnel.header("origin", "http://example.com")), "passed");
}

#[test]
fn without_origin() {
    let post = RequestBuilder::new("POST", "/");
    assert_eq!(judged(&bench("{}"), &post), "csrf_origin_missing");
    let open = bench("{ without_origin: allow }");
    assert_eq!(judged(&open, &post), "passed");
    assert_eq!(judged(&open, &post.header("origin", "null")), "csrf_origin_mismatch");
}

const TOKEN: &str =
    "{ token: { key: \"env:KEY\", session_cookie: sid, max_age: 1h }, allowed_origins: [\"https://a.example\"] }";

/// The token that an answer sets.
fn issued(bench: &Bench, request: &RequestBuilder) -> Option<String> {
    let answered = bench.send(request);
    let cookie = answered.headers.get("set-cookie")?.to_str().unwrap().to_owned();
    let (token, terms) = cookie.strip_prefix("__Host-csrf=").unwrap().split_once(';').unwrap();
    assert_eq!(terms, " Path=/; Secure; SameSite=Lax; Max-Age=3600");
    Some(token.to_owned())
}

fn with_cookie(method: &str, session: &str, token: &str) -> RequestBuilder {
    let cookie = format!("sid={session}; __Host-csrf={token}");
    RequestBuilder::new(method, "/").header("cookie", &cookie)
}

#[test]
fn a_token_is_repeated() {
    let bench = bench(TOKEN);
    let visit = RequestBuilder::get("/").header("cookie", "sid=alice");
    let token = issued(&bench, &visit).unwrap();
    let own = |request: RequestBuilder| request.header("sec-fetch-site", "same-origin");
    let post = |session: &str| own(with_cookie("POST", session, &token));
    let repeated = |session: &str| post(session).header("x-csrf-token", &token);
    assert_eq!(judged(&bench, &repeated("alice")), "passed");
    assert_eq!(judged(&bench, &repeated("mallory")), "csrf_token_invalid");
    assert_eq!(judged(&bench, &post("alice")), "csrf_token_missing");
    let other = issued(&bench, &visit.at(after(START, 1))).unwrap();
    assert_ne!(other, token);
    assert_eq!(
        judged(&bench, &post("alice").header("x-csrf-token", &other)),
        "csrf_token_mismatch"
    );
    let twice = repeated("alice").header("x-csrf-token", &token);
    assert_eq!(judged(&bench, &twice), "csrf_token_mismatch");
    let two = repeated("alice").header("cookie", &format!("__Host-csrf={other}"));
    assert_eq!(judged(&bench, &two), "csrf_token_invalid");
    let sessions = repeated("alice").header("cookie", "sid=mallory");
    assert_eq!(judged(&bench, &sessions), "csrf_token_invalid");
    // A foreign page is refused whatever it sends; an allowed one has no way to the cookie.
    let foreign = with_cookie("POST", "alice", &token)
        .header("x-csrf-token", &token)
        .header("sec-fetch-site", "cross-site");
    assert_eq!(judged(&bench, &foreign), "csrf_cross_site");
    let allowed = RequestBuilder::new("POST", "/").header("origin", "https://a.example");
    assert_eq!(judged(&bench, &allowed), "passed");
    // Without a word of where it comes from, the token decides.
    let plain = with_cookie("POST", "alice", &token);
    assert_eq!(judged(&bench, &plain), "csrf_token_missing");
    assert_eq!(judged(&bench, &plain.header("x-csrf-token", &token)), "passed");
}

#[test]
fn tokens_age_and_are_renewed_in_time() {
    let bench = bench(TOKEN);
    let token = issued(&bench, &RequestBuilder::get("/").header("cookie", "sid=alice")).unwrap();
    let minute = 60_000;
    for (minutes, renewed) in [(0, false), (30, false), (31, true), (60, true), (61, true)] {
        let request = with_cookie("GET", "alice", &token).at(after(START, minutes * minute));
        assert_eq!(issued(&bench, &request).is_some(), renewed, "after {minutes} minutes");
    }
    let late = with_cookie("POST", "alice", &token)
        .header("x-csrf-token", &token)
        .header("sec-fetch-site", "same-origin")
        .at(after(START, 60 * minute + 1));
    assert_eq!(judged(&bench, &late), "csrf_token_expired");
    assert!(issued(&bench, &late).is_some(), "the refusal brings the next one");
}

#[test]
fn no_cookie_on_what_caches_may_share() {
    let bench = bench(TOKEN);
    for (value, set) in [
        ("no-store", true),
        ("private, max-age=60", true),
        ("max-age=60", true),
        ("public, max-age=60", false),
        ("max-age=60, Public", false),
        ("S-MaxAge=60", false),
        ("s-maxage=60", false),
    ] {
        let mut upstream = Upstream::default();
        upstream.headers.insert("cache-control", value.parse().unwrap());
        let answered = bench.send_to(&RequestBuilder::get("/"), &upstream);
        assert_eq!(answered.headers.contains_key("set-cookie"), set, "{value}");
    }
}

#[test]
fn what_is_no_configuration() {
    let origin = "https://a.example";
    for (config, expected) in [
        ("{ allowed_origins: [\"*\"] }", "every page of the world"),
        ("{ exempt_paths: [hooks] }", "no path in its normal form"),
        ("{ exempt_paths: [\"/a/../b\"] }", "no path in its normal form"),
        ("{ exempt_paths: [/] }", "exempts everything"),
        (
            "{ token: { key: \"env:K\" }, without_origin: allow }",
            "judged by its token",
        ),
        (
            "{ token: { key: \"env:K\", cookie: csrf } }",
            "must begin with `__Host-`",
        ),
        (
            "{ token: { key: \"env:K\", session_cookie: \"a b\" } }",
            "the name of another cookie",
        ),
        (
            "{ token: { key: \"env:K\", session_cookie: __Host-csrf } }",
            "the name of another cookie",
        ),
        (
            "{ token: { key: \"env:K\", header: connection } }",
            "cannot carry a token",
        ),
        ("{ token: { key: \"env:K\", max_age: 1s } }", "from 1m to 30d"),
        (
            "{ token: { key: hunter2 } }",
            "must not be written into the configuration",
        ),
        ("{ token: {} }", "key"),
        (&*format!("{{ origins: [\"{origin}\"] }}"), "origins"),
    ] {
        let error = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ csrf: {config} }}]"));
        let error = error.err().unwrap_or_else(|| panic!("{config} was accepted"));
        assert!(
            error.contains(expected) && !error.contains("hunter2"),
            "{config}: {error}"
        );
    }
}

fn key(bytes: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, bytes)
}

proptest! {
    #[test]
    fn a_token_is_good_for_its_key_its_session_and_its_time(
        session in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        other in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)),
        unix_ms in 0_u64..1 << 50,
        later in 0_u64..10_000,
        flipped in 0_usize..64,
    ) {
        let now = Now { monotonic_ns: 7, unix_ms };
        let token = token::make(&key(b"one"), session.as_deref(), now);
        prop_assert_eq!(token.len(), 64);
        let check = |with: &[u8], session: Option<&[u8]>, token: &[u8], now| {
            token::check(&key(with), session, token, now, 5_000)
        };
        let then = Now { monotonic_ns: 9, unix_ms: unix_ms + later };
        let expected = if later <= 5_000 { Ok(later) } else { Err(Bad::Expired) };
        prop_assert_eq!(check(b"one", session.as_deref(), token.as_bytes(), then), expected);
        prop_assert_eq!(check(b"two", session.as_deref(), token.as_bytes(), then), Err(Bad::Forged));
        if other != session {
            prop_assert_eq!(check(b"one", other.as_deref(), token.as_bytes(), now), Err(Bad::Forged));
        }
        let mut bytes = token.clone().into_bytes();
        bytes[flipped] = if bytes[flipped] == b'A' { b'B' } else { b'A' };
        prop_assert_eq!(check(b"one", session.as_deref(), &bytes, now), Err(Bad::Forged));
        prop_assert_eq!(check(b"one", session.as_deref(), &token.as_bytes()[..flipped], now), Err(Bad::Forged));
    }
}

proptest! {
    #[test]
    fn no_request_makes_it_panic_and_no_foreign_one_passes(
        site in "(same-origin|none|same-site|cross-site|[a-z-]{0,12})",
        origin in "(https://example\\.com|null|[!-~]{0,20})",
        referer in "[!-~]{0,30}",
    ) {
        let bench = bench("{}");
        let request = RequestBuilder::new("POST", "/").tls();
        let by_site = judged(&bench, &request.clone().header("sec-fetch-site", &site).header("origin", &origin));
        prop_assert_eq!(by_site == "passed", site == "same-origin" || site == "none");
        let by_origin = judged(&bench, &request.clone().header("origin", &origin).header("referer", &referer));
        prop_assert_eq!(by_origin == "passed", origin == "https://example.com");
        let by_referer = judged(&bench, &request.header("referer", &referer));
        prop_assert!(by_referer == "csrf_origin_mismatch" || referer.starts_with("https://example.com"));
    }
}
