//! `csrf` in front of an origin: what foreign pages send does not arrive there (VX-17), and every key of the filter is read.

#![allow(clippy::expect_used, clippy::panic)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::origin::Origin;

const KEY: &str = "a key of tests that is long enough for HMAC";

/// Each variant of the filter has a path of its own.
fn builder(origin: &Origin, variants: &[(&str, &str)]) -> Builder {
    let routes: Vec<String> = variants
        .iter()
        .map(|(name, keys)| {
            format!("{{ match: {{ path_prefix: /{name} }}, filters: [{{ csrf: {{ {keys} }} }}], proxy: {{ upstream: app }} }}")
        })
        .collect();
    let yaml = format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        origin.address,
        routes.join(", ")
    );
    Builder::new(&yaml).file("key", KEY)
}

fn post(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    h1::request(gateway.public, "POST", "app.example:8080", path, headers, b"x=1")
}

fn reason(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> String {
    let answer = post(gateway, path, headers);
    match answer.status {
        200 => "passed".to_owned(),
        403 => answer.reason(),
        other => panic!("{path}: {other}"),
    }
}

#[test]
fn vx_17_what_a_foreign_page_sends_does_not_arrive() {
    let origin = Origin::start("ok");
    let gateway = builder(
        &origin,
        &[
            ("bare", ""),
            ("allowed", "allowed_origins: [\"https://a.example\"]"),
            ("exempt", "exempt_paths: [/exempt/hooks/]"),
            ("open", "without_origin: allow"),
        ],
    )
    .start();
    let own = [("Origin", "http://app.example:8080")];
    let other = [("Origin", "https://a.example")];
    let cross = [("Sec-Fetch-Site", "cross-site")];
    for (path, headers, expected) in [
        ("/bare", &own[..], "passed"),
        ("/bare", &[("Sec-Fetch-Site", "same-origin")], "passed"),
        ("/bare", &other, "csrf_origin_mismatch"),
        ("/bare", &cross, "csrf_cross_site"),
        ("/bare", &[("Origin", "http://app.example")], "csrf_origin_mismatch"),
        ("/bare", &[], "csrf_origin_missing"),
        ("/allowed", &other, "passed"),
        ("/allowed", &cross, "csrf_cross_site"),
        ("/exempt/page", &cross, "csrf_cross_site"),
        ("/exempt/hooks/one", &cross, "passed"),
        ("/exempt/hooks/../page", &cross, "csrf_cross_site"),
        ("/exempt/hooks/%2e%2e/page", &cross, "csrf_cross_site"),
        ("/open", &[], "passed"),
        ("/open", &cross, "csrf_cross_site"),
    ] {
        let before = origin.seen().len();
        assert_eq!(reason(&gateway, path, headers), expected, "{path} {headers:?}");
        let arrived = origin.seen().len() > before;
        assert_eq!(arrived, expected == "passed", "{path} {headers:?}");
    }
    let tunnel = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("Origin", "https://evil.example"),
    ];
    let answer = h1::get(gateway.public, "app.example:8080", "/bare", &tunnel);
    assert_eq!((answer.status, answer.reason().as_str()), (403, "csrf_origin_mismatch"));
    let answer = h1::get(gateway.public, "app.example:8080", "/bare", &cross);
    assert_eq!(answer.status, 200, "what changes nothing passes");
}

/// The token that an answer sets, and the cookie's name and terms.
fn cookie(answer: &Answer) -> (String, String, String) {
    let text = answer.header("set-cookie").expect("a cookie");
    let (name, rest) = text.split_once('=').expect("a name");
    let (token, terms) = rest.split_once("; ").expect("terms");
    (name.to_owned(), token.to_owned(), terms.to_owned())
}

#[test]
fn a_signed_double_submit() {
    let origin = Origin::start("ok");
    let token = |more: &str| format!("token: {{ key: \"file:{{dir}}/key\"{more} }}");
    let gateway = builder(
        &origin,
        &[
            ("bare", &token("")),
            ("named", &token(", cookie: __Host-t, header: x-t")),
            ("bound", &token(", session_cookie: sid")),
            ("short", &token(", max_age: 1m")),
        ],
    )
    .start();
    let first =
        |path: &str, headers: &[(&str, &str)]| cookie(&h1::get(gateway.public, "app.example:8080", path, headers));
    let send = |path: &str, cookies: &str, field: &str, token: &str| {
        let headers = [("Sec-Fetch-Site", "same-origin"), ("Cookie", cookies), (field, token)];
        reason(&gateway, path, &headers)
    };
    let (name, token, terms) = first("/bare", &[]);
    assert_eq!(
        (name.as_str(), terms.as_str()),
        ("__Host-csrf", "Path=/; Secure; SameSite=Lax; Max-Age=43200")
    );
    let cookies = format!("__Host-csrf={token}");
    assert_eq!(send("/bare", &cookies, "X-CSRF-Token", &token), "passed");
    assert_eq!(send("/bare", &cookies, "X-Other", &token), "csrf_token_missing");
    assert_eq!(send("/bare", &cookies, "X-CSRF-Token", "AAAA"), "csrf_token_mismatch");
    assert_eq!(send("/bare", "a=b", "X-CSRF-Token", &token), "csrf_token_missing");
    assert_eq!(
        send("/bare", "__Host-csrf=AAAA", "X-CSRF-Token", "AAAA"),
        "csrf_token_invalid"
    );

    let (name, token, _) = first("/named", &[]);
    assert_eq!(name, "__Host-t");
    assert_eq!(send("/named", &format!("__Host-t={token}"), "X-T", &token), "passed");

    let (_, token, _) = first("/bound", &[("Cookie", "sid=alice")]);
    let with = |session: &str| format!("sid={session}; __Host-csrf={token}");
    assert_eq!(send("/bound", &with("alice"), "X-CSRF-Token", &token), "passed");
    assert_eq!(
        send("/bound", &with("mallory"), "X-CSRF-Token", &token),
        "csrf_token_invalid"
    );

    let (_, _, terms) = first("/short", &[]);
    assert!(terms.ends_with("Max-Age=60"), "{terms}");
}

#[test]
fn another_key_is_taken_up_by_a_reload_and_none_refuses_it() {
    let origin = Origin::start("ok");
    let mut gateway = builder(&origin, &[("a", "token: { key: \"file:{dir}/key\" }")]).start();
    let (_, token, _) = cookie(&h1::get(gateway.public, "app.example:8080", "/a", &[]));
    let send = |gateway: &Gateway| {
        let cookies = format!("__Host-csrf={token}");
        let headers = [
            ("Sec-Fetch-Site", "none"),
            ("Cookie", cookies.as_str()),
            ("X-CSRF-Token", &token),
        ];
        reason(gateway, "/a", &headers)
    };
    assert_eq!(send(&gateway), "passed");
    for (text, expected) in [("short", "shorter than the 32 bytes"), ("", "is empty")] {
        std::fs::write(gateway.path("key"), text).expect("the key");
        let (status, body) = gateway.reload();
        assert!(status >= 400 && body.contains(expected), "{status} {body}");
        assert_eq!(send(&gateway), "passed", "the key before stays in use");
    }
    let other = "another key of tests that is long enough for HMAC";
    std::fs::write(gateway.path("key"), other).expect("the key");
    wait("the reload", || gateway.reload().0 == 200);
    assert_eq!(send(&gateway), "csrf_token_invalid");
    assert!(!gateway.log().contains(other) && !gateway.log().contains(KEY));
    std::fs::write(gateway.path("key"), "short").expect("the key");
    gateway.crash();
    let said = gateway.restart_expecting_refusal();
    assert!(said.contains("shorter than the 32 bytes"), "{said}");
}

#[test]
fn a_new_process_has_the_key_too() {
    let origin = Origin::start("ok");
    let builder = builder(&origin, &[("a", "token: { key: \"file:{dir}/key\" }")]);
    let yaml = format!(
        "upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nruntime: {{ upgrade_socket: \"{{dir}}/upgrade.sock\" }}\nsites: [{{ hosts: [\"*\"], routes: [{{ filters: [{{ csrf: {{ token: {{ key: \"file:{{dir}}/key\" }} }} }}], proxy: {{ upstream: app }} }}] }}]\n",
        origin.address
    );
    let mut gateway = builder.with_yaml(&yaml).start();
    let (_, token, _) = cookie(&h1::get(gateway.public, "app.example:8080", "/a", &[]));
    let before = gateway.pid();
    let mut old = gateway.upgrade();
    wait("the old process's end", || {
        old.try_wait().expect("the old process").is_some()
    });
    gateway.wait_for("/-/status", |status, body| {
        status == 200 && !body.contains(&format!("\"pid\":{before},"))
    });
    let cookies = format!("__Host-csrf={token}");
    let headers = [
        ("Sec-Fetch-Site", "none"),
        ("Cookie", cookies.as_str()),
        ("X-CSRF-Token", &token),
    ];
    assert_eq!(reason(&gateway, "/a", &headers), "passed");
}
