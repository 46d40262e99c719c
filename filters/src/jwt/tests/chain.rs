//! Requests through a chain with `jwt`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{bearer, bench, config, jwks, key_set, token};
use crate::jwt::cache::TokenCache;
use crate::jwt::keys::KeySet;
use crate::testing::{Answered, Bench, RequestBuilder, START, after};

fn outcome(answered: &Answered) -> (u16, &'static str) {
    (answered.status.as_u16(), answered.reason.map_or("", |reason| reason.0))
}

fn challenge(answered: &Answered) -> &str {
    answered
        .headers
        .get("www-authenticate")
        .map_or("", |value| value.to_str().unwrap())
}

/// Lets `publish` run at the first refresh; counts all of them.
fn refresh_once(set: &Arc<KeySet>, document: Vec<u8>) -> Arc<AtomicUsize> {
    let asked = Arc::new(AtomicUsize::new(0));
    let (count, weak) = (Arc::clone(&asked), Arc::downgrade(set));
    set.set_refresher(Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        if let Some(set) = weak.upgrade() {
            let _ = set.publish(&document, START);
        }
        Box::pin(std::future::ready(()))
    }));
    asked
}

#[test]
fn claims_are_left_for_the_filters_after_it() {
    let bench = bench("");
    let answered = bench.send(&bearer(&token("k1", 1, json!({ "sub": "alice" }))));
    let claims = answered.facts.claims.unwrap();
    assert_eq!((&*claims.issuer, claims.get("sub")), ("main", Some(&json!("alice"))));
    assert_eq!(answered.upstream.unwrap()["authorization"].as_bytes()[..7], *b"Bearer ");
    let again = bench
        .send(&bearer(&token("k1", 1, json!({ "sub": "alice" }))))
        .facts
        .claims
        .unwrap();
    assert!(Arc::ptr_eq(&claims, &again), "remembered");
    let cache = bench.zones.get::<TokenCache>(TokenCache::NAME).unwrap();
    assert_eq!((cache.len(), cache.lookups()), (1, (1, 1)));
}

#[test]
fn a_request_without_a_token() {
    let strict = bench("");
    let answered = strict.send(&RequestBuilder::get("/"));
    assert_eq!(outcome(&answered), (401, "token_missing"));
    assert_eq!(challenge(&answered), "Bearer realm=\"portcullis\"");
    assert_eq!(
        outcome(&strict.send(&RequestBuilder::get("/").header("authorization", "Basic dTpw"))).1,
        "token_missing"
    );
    assert_eq!(
        outcome(&bench(", optional: true").send(&RequestBuilder::get("/"))),
        (200, "")
    );
    let realm = bench(", realm: shop").send(&RequestBuilder::get("/"));
    assert_eq!(challenge(&realm), "Bearer realm=\"shop\"");
}

#[test]
fn optional_is_not_lenient() {
    let bench = bench(", optional: true");
    for (request, expected) in [
        (bearer("x"), (401, "token_malformed")),
        (bearer(&token("k1", 2, json!({}))), (401, "signature_invalid")),
        (bearer(&token("k1", 1, json!({ "exp": 1 }))), (401, "token_expired")),
        (
            bearer(&token("k1", 1, json!({}))).header("authorization", "Basic dTpw"),
            (400, "token_repeated"),
        ),
        (
            RequestBuilder::get("/").header("authorization", "Bearer\tx"),
            (401, "token_malformed"),
        ),
        (
            RequestBuilder::get("/").header("authorization", "Basic dTpw"),
            (200, ""),
        ),
    ] {
        assert_eq!(outcome(&bench.send(&request)), expected);
    }
    let answered = bench.send(&bearer("x"));
    assert!(
        challenge(&answered).contains("error=\"invalid_token\", error_description="),
        "{}",
        challenge(&answered)
    );
}

#[test]
fn another_field_carries_the_token_alone() {
    let bench = bench(", header: X-Assertion, forward: strip");
    let good = token("k1", 1, json!({}));
    let answered = bench.send(
        &RequestBuilder::get("/")
            .header("x-assertion", &good)
            .header("x_assertion", "forged"),
    );
    assert_eq!(answered.upstream.unwrap().len(), 0);
    assert_eq!(outcome(&bench.send(&bearer(&good))), (401, "token_missing"));
    let prefixed = RequestBuilder::get("/").header("x-assertion", &format!("Bearer {good}"));
    assert_eq!(outcome(&bench.send(&prefixed)), (401, "token_malformed"));
}

#[test]
fn what_the_upstream_sees() {
    let names = |answered: Answered| {
        let headers = answered.upstream.unwrap();
        let mut fields: Vec<String> = headers
            .iter()
            .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()))
            .collect();
        fields.sort();
        fields.join(" ")
    };
    let settings = ", claims_to_headers: { x-user: sub, x-org: org, x-admin: admin }";
    let spoof = |request: RequestBuilder| {
        ["x-user", "X_USER", "x.user", "x-org", "x_admin"]
            .iter()
            .fold(request, |request, name| request.header(name, "evil"))
    };
    let claims = json!({ "sub": "alice", "org": 12_345_678_901_234_567_u64 });
    let strip = bench(&format!("{settings}, forward: strip"));
    let answered = strip.send(&spoof(bearer(&token("k1", 1, claims)).header("x-other", "1")));
    assert_eq!(names(answered), "x-org=12345678901234567 x-other=1 x-user=alice");
    let optional = bench(&format!("{settings}, forward: strip, optional: true"));
    assert_eq!(
        names(optional.send(&spoof(RequestBuilder::get("/").header("authorization", "Basic dTpw")))),
        ""
    );
    // What an earlier filter wrote is no claim either.
    let filters = "[{ headers: { request: { set: { x-user: config } } } }, \
                   { jwt: { issuer: main, optional: true, claims_to_headers: { x-user: sub } } }]";
    assert_eq!(names(Bench::new(&config(filters)).send(&RequestBuilder::get("/"))), "");
}

#[test]
fn claims_that_cannot_be_header_fields() {
    let bench = bench(", claims_to_headers: { x-a: a }");
    for (claim, expected) in [
        (json!("b"), (200, "")),
        (json!(true), (200, "")),
        (json!(-1), (200, "")),
        (json!("ä"), (200, "")),
        (json!(""), (200, "")),
        (json!(null), (200, "")),
        (json!(["b"]), (401, "claim_unusable")),
        (json!({ "b": 1 }), (401, "claim_unusable")),
        (json!("b\r\nx-admin: 1"), (401, "claim_unusable")),
        (json!("b\u{0}"), (401, "claim_unusable")),
    ] {
        assert_eq!(
            outcome(&bench.send(&bearer(&token("k1", 1, json!({ "a": claim }))))),
            expected,
            "{claim}"
        );
    }
}

#[test]
fn scopes_and_claims_that_a_route_wants() {
    let scopes = bench(", scopes: [\"a\", \"b:c\"]");
    let claims = bench(", required_claims: { level: [2, 3], role: admin, ok: true }");
    let good = json!({ "level": 3, "role": ["user", "admin"], "ok": true });
    let but = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    for (bench, claims, expected) in [
        (&scopes, json!({ "scope": "a b:c d" }), 200),
        (&scopes, json!({ "scp": ["b:c", "a"] }), 200),
        (&scopes, json!({ "scp": "a b:c" }), 200),
        (&scopes, json!({ "scope": "a", "scp": ["b:c"] }), 200),
        (&scopes, json!({ "scope": "a b" }), 403),
        (&scopes, json!({ "scope": "A b:c" }), 403),
        (&scopes, json!({ "scope": "a,b:c" }), 403),
        (&scopes, json!({ "scope": { "a": 1, "b:c": 1 } }), 403),
        (&scopes, json!({}), 403),
        (&claims, good.clone(), 200),
        (&claims, but("level", json!(2)), 200),
        (&claims, but("level", json!("2")), 403),
        (&claims, but("level", json!(4)), 403),
        (&claims, but("role", json!("admin")), 200),
        (&claims, but("role", json!("user")), 403),
        (&claims, but("role", json!([])), 403),
        (&claims, but("role", json!({ "admin": true })), 403),
        (&claims, but("ok", json!("true")), 403),
        (&claims, but("ok", json!(null)), 403),
        (&claims, json!({ "role": "admin", "ok": true }), 403),
    ] {
        let answered = bench.send(&bearer(&token("k1", 1, claims.clone())));
        assert_eq!(answered.status.as_u16(), expected, "{claims}");
        let again = bench.send(&bearer(&token("k1", 1, claims.clone())));
        assert_eq!(again.status.as_u16(), expected, "{claims}, remembered");
    }
}

#[test]
fn an_unknown_key_is_asked_for_once() {
    let bench = bench("");
    let set = key_set(&bench, "main");
    let asked = refresh_once(&set, jwks(&[("k1", 1), ("k2", 2)]));
    assert_eq!(outcome(&bench.send(&bearer(&token("k2", 2, json!({}))))), (200, ""));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    assert_eq!(
        outcome(&bench.send(&bearer(&token("k3", 3, json!({}))))),
        (401, "unknown_key")
    );
    assert_eq!(
        asked.load(Ordering::Relaxed),
        2,
        "once a request; the refresher knows about cooldowns"
    );
    // Nobody is asked for tokens that are bad whatever the keys are.
    for bad in [
        "x.y.z".to_owned(),
        token("k9", 1, json!({ "iss": "https://evil.example/" })),
        token("k1", 9, json!({})),
    ] {
        bench.send(&bearer(&bad));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
}

#[test]
fn without_keys_it_is_our_fault_and_not_the_clients() {
    let bench = Bench::new(&config("[{ jwt: { issuer: main } }]"));
    let good = token("k1", 1, json!({}));
    let answered = bench.send(&bearer(&good));
    assert_eq!(
        (outcome(&answered), challenge(&answered)),
        ((503, "jwks_unavailable"), "")
    );
    assert_eq!(outcome(&bench.send(&RequestBuilder::get("/"))), (401, "token_missing"));
    let set = key_set(&bench, "main");
    let asked = refresh_once(&set, b"<html>".to_vec());
    assert_eq!(outcome(&bench.send(&bearer(&good))), (503, "jwks_unavailable"));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    refresh_once(&set, jwks(&[("k1", 1)]));
    assert_eq!(
        outcome(&bench.send(&bearer(&good))),
        (200, ""),
        "the first request after a start waits for the keys"
    );
    // A day later without a word of the issuer: too old, also for what is remembered.
    set.set_refresher(Arc::new(|| Box::pin(std::future::ready(()))));
    let long = token("k1", 1, json!({ "exp": START.unix() + 10 * 86_400 }));
    let at = |hours: u64| bearer(&long).at(after(START, hours * 3_600_000));
    assert_eq!(outcome(&bench.send(&at(24))), (200, ""));
    assert_eq!(outcome(&bench.send(&at(25))), (503, "jwks_unavailable"));
}

#[test]
fn a_removed_key_takes_its_tokens_with_it() {
    let bench = bench("");
    let set = key_set(&bench, "main");
    let good = token("k1", 1, json!({}));
    assert_eq!(outcome(&bench.send(&bearer(&good))), (200, ""));
    set.publish(&jwks(&[("k2", 2)]), START).unwrap();
    assert_eq!(outcome(&bench.send(&bearer(&good))), (401, "unknown_key"));
    set.publish(&jwks(&[("k1", 2)]), START).unwrap();
    assert_eq!(outcome(&bench.send(&bearer(&good))), (401, "signature_invalid"));
}

#[test]
fn several_issuers_have_their_own_keys() {
    let bench = Bench::new(&config("[{ jwt: { issuers: [main, other] } }]"));
    key_set(&bench, "main").publish(&jwks(&[("k1", 1)]), START).unwrap();
    let other = |seed| token("k1", seed, json!({ "iss": "https://other.example.com/" }));
    assert_eq!(
        outcome(&bench.send(&bearer(&other(2)))),
        (503, "jwks_unavailable"),
        "the other's keys are not there"
    );
    key_set(&bench, "other").publish(&jwks(&[("k1", 2)]), START).unwrap();
    for (token, expected) in [
        (token("k1", 1, json!({})), (200, "")),
        (other(2), (200, "")),
        (other(1), (401, "signature_invalid")),
        (token("k1", 2, json!({})), (401, "signature_invalid")),
        (
            token("k1", 1, json!({ "iss": "https://third.example.com/" })),
            (401, "issuer_unknown"),
        ),
    ] {
        assert_eq!(outcome(&bench.send(&bearer(&token))), expected);
        assert_eq!(outcome(&bench.send(&bearer(&token))), expected, "again");
    }
    // What one link remembers is nothing to a link that trusts somebody else.
    let filters = "[{ jwt: { issuers: [main, other] } }, { jwt: { issuer: main, name: second } }]";
    let both = Bench::reloaded(&bench.zones, &config(filters));
    assert_eq!(outcome(&both.send(&bearer(&other(2)))), (401, "issuer_unknown"));
}

#[test]
fn keys_and_tokens_outlive_a_reload_and_rules_do_not() {
    let before = bench("");
    let good = token("k1", 1, json!({}));
    before.send(&bearer(&good));
    let lookups = |bench: &Bench| bench.zones.get::<TokenCache>(TokenCache::NAME).unwrap().lookups();
    let same = Bench::reloaded(&before.zones, &config("[{ jwt: { issuer: main, scopes: [] } }]"));
    assert_eq!(
        (outcome(&same.send(&bearer(&good))), lookups(&same)),
        ((200, ""), (1, 1))
    );
    let yaml = config("[{ jwt: { issuer: main } }]");
    let stricter = Bench::reloaded(&same.zones, &yaml.replace("audiences: [api]", "audiences: [else]"));
    assert_eq!(outcome(&stricter.send(&bearer(&good))), (401, "audience_mismatch"));
    let moved = Bench::reloaded(&stricter.zones, &yaml.replace("jwks.json", "keys"));
    assert_eq!(
        outcome(&moved.send(&bearer(&good))),
        (503, "jwks_unavailable"),
        "other keys, not these"
    );
    let back = Bench::reloaded(&moved.zones, &yaml);
    assert_eq!((outcome(&back.send(&bearer(&good))), lookups(&back).0), ((200, ""), 2));
}

#[test]
fn shadow_and_open_posture() {
    let shadow = bench(", mode: shadow, claims_to_headers: { x-user: sub }");
    let answered = shadow.send(&bearer("x").header("x-user", "kept"));
    assert_eq!(
        (outcome(&answered), answered.facts.decisions[0].reason.0),
        ((200, ""), "token_malformed")
    );
    assert_eq!(answered.upstream.unwrap()["x-user"], "kept");
    assert!(shadow.send(&bearer(&token("k1", 1, json!({})))).facts.claims.is_none());
    let open = Bench::new(&config("[{ jwt: { issuer: main, on_error: allow } }]"));
    assert_eq!(
        outcome(&open.send(&bearer(&token("k1", 1, json!({}))))),
        (200, ""),
        "broken"
    );
    assert_eq!(
        outcome(&open.send(&bearer("x"))),
        (401, "token_malformed"),
        "refused, not broken"
    );
}

#[test]
fn the_time_is_the_requests() {
    let bench = bench("");
    let good = token("k1", 1, json!({ "nbf": START.unix() + 100 }));
    let at = |seconds: u64| outcome(&bench.send(&bearer(&good).at(after(START, seconds * 1000))));
    assert_eq!(at(0), (401, "token_not_yet_valid"));
    assert_eq!(at(70), (200, ""));
    assert_eq!(at(3629), (200, ""));
    assert_eq!(at(3630), (401, "token_expired"));
    assert_eq!(at(0), (401, "token_not_yet_valid"), "the clock was set back");
}
