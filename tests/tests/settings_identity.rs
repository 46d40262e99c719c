//! Every key of an issuer of tokens, and the keys of `jwt` that say where the token is and what the upstream sees: the same
//! token under two values. Which tokens are refused in every case is shown elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::idp::{Idp, Key, now};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::source::{answer, serve_tls};
use portcullis_e2e::tls::Authority;
use serde_json::json;

/// An issuer as it should be, but for the keys that are given.
fn issuer(jwks: SocketAddr, changed: &[(&'static str, &str)]) -> String {
    let mut keys = BTreeMap::from([
        ("issuer", format!("\"{}\"", Idp::ISSUER)),
        ("jwks_url", format!("\"http://{jwks}/jwks.json\"")),
        ("algorithms", "[EdDSA, ES256]".to_owned()),
        ("audiences", "[api]".to_owned()),
    ]);
    for (key, value) in changed {
        keys.insert(key, (*value).to_owned());
    }
    let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    format!("{{ {} }}", keys.join(", "))
}

/// Each issuer has a route of its own: its name.
fn configuration(issuers: &[(&str, String)]) -> String {
    let written: Vec<String> = issuers
        .iter()
        .map(|(name, issuer)| format!("    {name}: {issuer}\n"))
        .collect();
    let routes: Vec<String> = issuers
        .iter()
        .map(|(name, _)| {
            format!("{{ match: {{ path: /{name} }}, filters: [{{ jwt: {{ issuer: {name} }} }}], respond: {{ status: 200 }} }}")
        })
        .collect();
    format!(
        "identity:\n  issuers:\n{}sites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        written.concat(),
        routes.join(", ")
    )
}

fn status(gateway: &Gateway, path: &str, token: &str) -> u16 {
    let value = format!("Bearer {token}");
    h1::get(gateway.public, "a", path, &[("Authorization", &value)]).status
}

/// Asks until the keys were fetched: before that it is 503.
fn judged(gateway: &Gateway, path: &str, token: &str) -> u16 {
    let mut last = 503;
    wait("the keys", || {
        last = status(gateway, path, token);
        last != 503
    });
    last
}

/// The first issuer accepts the token, the second refuses it.
fn first_and_not_second(issuers: &[(&str, String); 2], token: &str) {
    let paths = issuers.each_ref().map(|(name, _)| format!("/{name}"));
    let gateway = Gateway::start(&configuration(issuers));
    let judgements = paths.map(|path| judged(&gateway, &path, token));
    assert_eq!(judgements, [200, 401]);
}

#[test]
fn issuer_and_the_filters_issuer() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let own = ("own", issuer(idp.address, &[]));
    let other = (
        "other",
        issuer(idp.address, &[("issuer", "\"https://other.example.com/\"")]),
    );
    first_and_not_second(&[own, other], &key.token(&Idp::claims("alice")));
}

#[test]
fn jwks_url() {
    let (key, stranger) = (Key::ed25519("k1"), Key::ed25519("k1"));
    let (idp, other) = (Idp::start(&[&key]), Idp::start(&[&stranger]));
    let issuers = [("own", issuer(idp.address, &[])), ("other", issuer(other.address, &[]))];
    first_and_not_second(&issuers, &key.token(&Idp::claims("alice")));
}

#[test]
fn algorithms() {
    let (edwards, nist) = (Key::ed25519("k1"), Key::es256("k2"));
    let idp = Idp::start(&[&edwards, &nist]);
    let only = |algorithm: &str| issuer(idp.address, &[("algorithms", algorithm)]);
    let claims = Idp::claims("alice");
    first_and_not_second(
        &[("edwards", only("[EdDSA]")), ("nist", only("[ES256]"))],
        &edwards.token(&claims),
    );
    first_and_not_second(
        &[("nist", only("[ES256]")), ("edwards", only("[EdDSA]"))],
        &nist.token(&claims),
    );
}

#[test]
fn audiences() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let meant_for = |audiences: &str| issuer(idp.address, &[("audiences", audiences)]);
    first_and_not_second(
        &[("us", meant_for("[else, api]")), ("others", meant_for("[else]"))],
        &key.token(&Idp::claims("alice")),
    );
}

#[test]
fn types() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let header = json!({ "alg": "EdDSA", "kid": "k1", "typ": "dpop+jwt" });
    first_and_not_second(
        &[
            ("odd", issuer(idp.address, &[("types", "[dpop+jwt]")])),
            ("usual", issuer(idp.address, &[])),
        ],
        &key.token_with(&header, &Idp::claims("alice")),
    );
}

#[test]
fn leeway() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let mut claims = Idp::claims("alice");
    claims["exp"] = json!(now() - 60);
    first_and_not_second(
        &[
            ("lenient", issuer(idp.address, &[("leeway", "10m")])),
            ("strict", issuer(idp.address, &[("leeway", "0s")])),
        ],
        &key.token(&claims),
    );
}

/// A key set over HTTP.
fn document(keys: &[&Key], padding: usize) -> Vec<u8> {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    let body = format!("{}{}", json!({ "keys": keys }), " ".repeat(padding));
    answer(body.as_bytes())
}

#[test]
fn ca() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().expect("a temporary folder");
    authority.issue(files.path(), "server", &["localhost"]);
    let key = Key::ed25519("k1");
    let server = serve_tls(files.path(), document(&[&key], 0));
    let url = format!("\"https://localhost:{}/jwks.json\"", server.port());
    let with = |ca: &[(&'static str, &str)]| issuer(server, &[&[("jwks_url", url.as_str())], ca].concat());
    let issuers = [
        ("right", with(&[("ca", "\"{dir}/ca.pem\"")])),
        ("wrong", with(&[("ca", "\"{dir}/other.pem\"")])),
        ("public", with(&[])),
    ];
    let gateway = Builder::new(&configuration(&issuers))
        .file("ca.pem", authority.pem())
        .file("other.pem", other.pem())
        .start();
    let token = key.token(&Idp::claims("alice"));
    assert_eq!(judged(&gateway, "/right", &token), 200);
    for path in ["/wrong", "/public"] {
        assert_eq!(status(&gateway, path, &token), 503, "{path}: its keys cannot be had");
    }
}

/// A provider that is asked by several issuers, each at a path of its own, and answers as it is told.
fn provider(answer: impl Fn() -> Vec<u8> + Send + Sync + 'static) -> Origin {
    Origin::with(move |_| answer())
}

fn refreshed(provider: &Origin, name: &str, refresh: &str) -> String {
    let url = format!("\"http://{}/{name}\"", provider.address);
    issuer(
        provider.address,
        &[("jwks_url", &url), ("refresh", &format!("{{ {refresh} }}"))],
    )
}

fn fetches(provider: &Origin, name: &str) -> usize {
    provider
        .seen()
        .iter()
        .filter(|seen| seen.target().trim_start_matches('/') == name)
        .count()
}

#[test]
fn refresh_interval() {
    let key = Key::ed25519("k1");
    let provider = provider(move || document(&[&key], 0));
    let _gateway = Gateway::start(&configuration(&[
        (
            "often",
            refreshed(&provider, "often", "interval: 100ms, cooldown: 100ms"),
        ),
        (
            "rarely",
            refreshed(&provider, "rarely", "interval: 24h, cooldown: 100ms"),
        ),
    ]));
    wait("many fetches", || {
        fetches(&provider, "often") >= 10 && fetches(&provider, "rarely") >= 1
    });
    assert_eq!(fetches(&provider, "rarely"), 1);
}

#[test]
fn refresh_cooldown() {
    let (key, unknown) = (Key::ed25519("k1"), Key::ed25519("unknown"));
    let provider = provider(move || document(&[&key], 0));
    let gateway = Gateway::start(&configuration(&[
        ("short", refreshed(&provider, "short", "interval: 24h, cooldown: 100ms")),
        ("long", refreshed(&provider, "long", "interval: 24h, cooldown: 1h")),
    ]));
    let token = unknown.token(&Idp::claims("alice"));
    wait("a fetch for each of some tokens", || {
        assert_eq!(judged(&gateway, "/short", &token), 401);
        assert_eq!(judged(&gateway, "/long", &token), 401);
        fetches(&provider, "short") >= 5
    });
    assert_eq!(fetches(&provider, "long"), 1);
}

#[test]
fn refresh_stale_for() {
    let key = Key::ed25519("k1");
    let token = key.token(&Idp::claims("alice"));
    let broken = Arc::new(AtomicBool::new(false));
    let breaks = Arc::clone(&broken);
    let provider = provider(move || {
        if breaks.load(Ordering::SeqCst) {
            return b"HTTP/1.1 500 Error\r\nContent-Length: 0\r\n\r\n".to_vec();
        }
        document(&[&key], 0)
    });
    let often = "interval: 100ms, cooldown: 100ms";
    let gateway = Gateway::start(&configuration(&[
        (
            "short",
            refreshed(&provider, "short", &format!("{often}, stale_for: 1s")),
        ),
        (
            "long",
            refreshed(&provider, "long", &format!("{often}, stale_for: 24h")),
        ),
    ]));
    assert_eq!(judged(&gateway, "/short", &token), 200);
    assert_eq!(judged(&gateway, "/long", &token), 200);
    broken.store(true, Ordering::SeqCst);
    wait("keys that are too old", || status(&gateway, "/short", &token) == 503);
    assert_eq!(status(&gateway, "/long", &token), 200);
}

#[test]
fn refresh_timeout() {
    let key = Key::ed25519("k1");
    let token = key.token(&Idp::claims("alice"));
    let provider = provider(move || {
        std::thread::sleep(Duration::from_millis(1500));
        document(&[&key], 0)
    });
    let gateway = Gateway::start(&configuration(&[
        ("short", refreshed(&provider, "short", "timeout: 200ms")),
        ("long", refreshed(&provider, "long", "timeout: 60s")),
    ]));
    assert_eq!(judged(&gateway, "/long", &token), 200);
    assert_eq!(status(&gateway, "/short", &token), 503);
}

#[test]
fn refresh_max_bytes() {
    let key = Key::ed25519("k1");
    let token = key.token(&Idp::claims("alice"));
    let provider = provider(move || document(&[&key], 8 << 10));
    let gateway = Gateway::start(&configuration(&[
        ("small", refreshed(&provider, "small", "max_bytes: 4KiB")),
        ("large", refreshed(&provider, "large", "max_bytes: 64KiB")),
    ]));
    assert_eq!(judged(&gateway, "/large", &token), 200);
    wait("a fetch", || fetches(&provider, "small") >= 1);
    assert_eq!(status(&gateway, "/small", &token), 503);
}

#[test]
fn header_forward_and_claims_to_headers() {
    let key = Key::ed25519("k1");
    let idp = Idp::start(&[&key]);
    let origin = Origin::start("ok");
    let route = |name: &str, keys: &str| {
        format!(
            "{{ match: {{ path: /{name} }}, filters: [{{ jwt: {{ issuer: main{keys} }} }}], proxy: {{ upstream: app }} }}"
        )
    };
    let routes = [
        route("usual", ""),
        route("kept", ", forward: keep"),
        route("stripped", ", forward: strip"),
        route("elsewhere", ", header: x-assertion"),
        route("told", ", claims_to_headers: { x-user: sub }"),
        route("told-otherwise", ", claims_to_headers: { x-org: org }"),
    ];
    let gateway = Gateway::start(&format!(
        "{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        idp.identity(""),
        origin.address,
        routes.join(", ")
    ));
    let mut claims = Idp::claims("alice");
    claims["org"] = json!("blue");
    let token = key.token(&claims);
    let bearer = format!("Bearer {token}");
    let ask = |path: &str, name: &str, value: &str| {
        let spoofed = [(name, value), ("X-User", "mallory"), ("X-Org", "red")];
        let status = h1::get(gateway.public, "a", path, &spoofed).status;
        let seen = origin.seen().into_iter().rev().find(|seen| seen.target() == path);
        let field = |name: &str| {
            let seen = seen.as_ref().map(|seen| seen.all(name).join(","));
            seen.unwrap_or_default()
        };
        (status, [field(name), field("x-user"), field("x-org")])
    };
    wait("the keys", || ask("/usual", "Authorization", &bearer).0 == 200);
    let passed = |token: &str, user: &str, org: &str| (200, [token, user, org].map(str::to_owned));
    for (path, name, value, expected) in [
        ("/usual", "authorization", &bearer, passed(&bearer, "mallory", "red")),
        ("/kept", "authorization", &bearer, passed(&bearer, "mallory", "red")),
        ("/stripped", "authorization", &bearer, passed("", "mallory", "red")),
        ("/elsewhere", "x-assertion", &token, passed(&token, "mallory", "red")),
        ("/told", "authorization", &bearer, passed(&bearer, "alice", "red")),
        (
            "/told-otherwise",
            "authorization",
            &bearer,
            passed(&bearer, "mallory", "blue"),
        ),
    ] {
        assert_eq!(ask(path, name, value), expected, "{path}");
    }
    assert_eq!(ask("/usual", "x-assertion", &token).0, 401);
    assert_eq!(ask("/elsewhere", "authorization", &bearer).0, 401);
}
