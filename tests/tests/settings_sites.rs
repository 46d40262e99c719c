//! Every key of sites, routes and their links: which requests match, who answers and with what, and what the three keys of
//! every link (`name`, `mode`, `on_error`) change. What filters do with keys of their own is not shown here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;

/// Answers with the target that reached it.
fn echo(name: &'static str) -> Origin {
    Origin::with(move |seen| {
        let body = format!("{name} {}", seen.target());
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    })
}

fn one_site(routes: &str) -> Gateway {
    Gateway::start(&format!("sites: [{{ hosts: [\"*\"], routes: [{routes}] }}]\n"))
}

fn said(gateway: &Gateway, host: &str, path: &str) -> String {
    h1::get(gateway.public, host, path, &[]).text()
}

#[test]
fn hosts() {
    let site = |hosts: &str, body: &str| {
        format!("- {{ hosts: [{hosts}], routes: [{{ respond: {{ status: 200, body: {body} }} }}] }}\n")
    };
    let exact = site("a.example.com, b.example.com", "exact");
    let below = site("\"*.example.com\"", "below");
    let any = site("\"*\"", "any");
    let gateway = Gateway::start(&format!("sites:\n{exact}{below}{any}"));
    for (host, expected) in [
        ("a.example.com", "exact"),
        ("B.example.com:8080", "exact"),
        ("c.example.com", "below"),
        ("x.y.example.com", "below"),
        ("example.com", "any"),
        ("other.test", "any"),
    ] {
        assert_eq!(said(&gateway, host, "/"), expected, "{host}");
    }
    let gateway = Gateway::start(&format!("sites:\n{exact}{below}"));
    assert_eq!(said(&gateway, "a.example.com", "/"), "exact");
    assert_eq!(h1::get(gateway.public, "example.com", "/", &[]).reason(), "no_route");
}

#[test]
fn listeners_of_a_site() {
    let other = ports::free();
    let gateway = Gateway::start(&format!(
        "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: inner, address: \"{other}\" }}]\nsites:\n- {{ hosts: [a.test], listeners: [inner], routes: [{{ respond: {{ status: 200, body: inner }} }}] }}\n- {{ hosts: [b.test], listeners: [inner, public], routes: [{{ respond: {{ status: 200, body: both }} }}] }}\n- {{ hosts: [c.test], routes: [{{ respond: {{ status: 200, body: all }} }}] }}\n"
    ));
    for (host, public, inner) in [("a.test", 404, 200), ("b.test", 200, 200), ("c.test", 200, 200)] {
        assert_eq!(h1::get(gateway.public, host, "/", &[]).status, public, "{host}");
        assert_eq!(h1::get(other, host, "/", &[]).status, inner, "{host}");
    }
}

#[test]
fn match_path_and_prefix() {
    let gateway = one_site(
        "{ match: { path: /one }, respond: { status: 200, body: one } }, { match: { path: /two }, respond: { status: 200, body: two } }, { match: { path_prefix: /v1 }, respond: { status: 200, body: v1 } }, { match: { path_prefix: /v1/deep }, respond: { status: 200, body: deep } }, { respond: { status: 200, body: rest } }",
    );
    for (path, expected) in [
        ("/one", "one"),
        ("/two?x=1", "two"),
        ("/one/", "rest"),
        ("/one/more", "rest"),
        ("/v1", "v1"),
        ("/v1/x", "v1"),
        ("/v10", "rest"),
        ("/v1/deep/x", "deep"),
        ("/", "rest"),
    ] {
        assert_eq!(said(&gateway, "a", path), expected, "{path}");
    }
}

#[test]
fn match_methods() {
    let gateway = one_site(
        "{ match: { methods: [GET] }, respond: { status: 200, body: read } }, { match: { methods: [PUT, DELETE] }, respond: { status: 200, body: write } }, { match: { path: /any }, respond: { status: 200, body: any } }",
    );
    let ask = |method: &str, path: &str| h1::request(gateway.public, method, "a", path, &[], b"");
    for (method, expected) in [("GET", "read"), ("PUT", "write"), ("DELETE", "write")] {
        assert_eq!(ask(method, "/").text(), expected);
        assert_eq!(ask(method, "/any").text(), "any");
    }
    let refused = ask("POST", "/");
    assert_eq!((refused.status, refused.header("allow").is_some()), (405, true));
    assert_eq!(ask("POST", "/any").text(), "any");
}

#[test]
fn match_headers() {
    let gateway = one_site(
        "{ match: { headers: { X-Tenant: blue } }, respond: { status: 200, body: blue } }, { match: { headers: { x-tenant: green, x-beta: \"1\" } }, respond: { status: 200, body: green } }, { respond: { status: 200, body: rest } }",
    );
    let ask = |headers: &[(&str, &str)]| h1::get(gateway.public, "a", "/", headers).text();
    assert_eq!(ask(&[("x-tenant", "blue")]), "blue");
    assert_eq!(ask(&[("X-Tenant", "green"), ("X-Beta", "1")]), "green");
    assert_eq!(ask(&[("X-Tenant", "green")]), "rest", "all of them must match");
    assert_eq!(ask(&[("X-Tenant", "Blue")]), "rest", "values are exact");
    assert_eq!(ask(&[]), "rest");
}

#[test]
fn name_of_a_route() {
    let gateway = one_site(
        "{ name: front-page, match: { path: / }, respond: { status: 200 } }, { match: { path: /unnamed }, respond: { status: 200 } }",
    );
    for path in ["/", "/unnamed"] {
        assert_eq!(h1::get(gateway.public, "a", path, &[]).status, 200);
    }
    let logged = gateway.access_log(2);
    let route_of = |path: &str| {
        let line = logged.iter().find(|line| line["path"] == path).expect("its line");
        line["route"].as_str().expect("a route").to_owned()
    };
    assert_eq!(route_of("/"), "front-page");
    assert!(
        route_of("/unnamed").contains("/unnamed"),
        "made from its match: {}",
        route_of("/unnamed")
    );
}

#[test]
fn proxy_to_an_upstream() {
    let (first, second) = (echo("first"), echo("second"));
    let gateway = Gateway::start(&format!(
        "upstreams: {{ first: {{ servers: [\"{}\"] }}, second: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ match: {{ path_prefix: /1 }}, proxy: {{ upstream: first }} }}, {{ match: {{ path_prefix: /2 }}, proxy: {{ upstream: second }} }}, {{ match: {{ path_prefix: /new }}, proxy: {{ upstream: first, rewrite_prefix: /old/api }} }}, {{ match: {{ path_prefix: /away }}, proxy: {{ upstream: first, rewrite_prefix: / }} }}] }}]\n",
        first.address, second.address
    ));
    for (path, expected) in [
        ("/1/x?q=1", "first /1/x?q=1"),
        ("/2/x", "second /2/x"),
        ("/new/x?q=1", "first /old/api/x?q=1"),
        ("/new", "first /old/api"),
        ("/away/x", "first /x"),
    ] {
        assert_eq!(said(&gateway, "a", path), expected, "{path}");
    }
}

#[test]
fn redirect() {
    let gateway = one_site(
        "{ redirect: { to: \"https://${host}/moved${path}${query}\" } }, { match: { path: /elsewhere }, redirect: { to: \"https://b.test/\", status: 302 } }",
    );
    let ask = |path: &str| h1::get(gateway.public, "a.test", path, &[]);
    let location = |answer: &Answer| answer.header("location").unwrap_or_default().to_owned();
    let moved = ask("/x/y?q=1&r=2");
    assert_eq!(
        (moved.status, location(&moved).as_str()),
        (308, "https://a.test/moved/x/y?q=1&r=2")
    );
    assert_eq!(
        location(&ask("/x")),
        "https://a.test/moved/x",
        "no query, no question mark"
    );
    let elsewhere = ask("/elsewhere?q=1");
    assert_eq!(
        (elsewhere.status, location(&elsewhere).as_str()),
        (302, "https://b.test/")
    );
}

#[test]
fn respond() {
    let gateway = one_site(
        "{ match: { path: /bare }, respond: { status: 404 } }, { match: { path: /json }, respond: { status: 200, body: '{\"ok\":true}', content_type: application/json } }, { match: { path: /text }, respond: { status: 503, body: later } }",
    );
    let ask = |path: &str| {
        let answer = h1::get(gateway.public, "a", path, &[]);
        let media_type = answer.header("content-type").unwrap_or_default().to_owned();
        (answer.status, media_type, answer.text())
    };
    let text = "text/plain; charset=utf-8";
    let (status, _, body) = ask("/bare");
    assert_eq!((status, body.as_str()), (404, ""));
    assert_eq!(ask("/json"), (200, "application/json".into(), "{\"ok\":true}".into()));
    assert_eq!(ask("/text"), (503, text.into(), "later".into()));
}

/// Two routes whose links differ by `keys` alone, in the site's filters or in the route's.
fn with_link(place: &str, link: &str, keys: &str) -> Builder {
    let keyed = link.replace("KEYS", keys);
    let bare = link.replace(", KEYS", "");
    let yaml = match place {
        "site" => format!(
            "sites:\n- {{ hosts: [bare.test], filters: [{bare}], routes: [{{ respond: {{ status: 200 }} }}] }}\n- {{ hosts: [keyed.test], filters: [{keyed}], routes: [{{ respond: {{ status: 200 }} }}] }}\n"
        ),
        _ => format!(
            "sites:\n- {{ hosts: [bare.test], routes: [{{ filters: [{bare}], respond: {{ status: 200 }} }}] }}\n- {{ hosts: [keyed.test], routes: [{{ filters: [{keyed}], respond: {{ status: 200 }} }}] }}\n"
        ),
    };
    Builder::new(&yaml)
}

const DENY_ALL: &str = "{ ip_access: { deny: [127.0.0.0/8], KEYS } }";
/// A query of more parameters than are looked at makes it fail.
const FRAGILE: &str = "{ rate_limit: { key: \"query:k\", rate: 1000/s, KEYS } }";

fn mode_of_a_link(place: &str) {
    for (keys, status) in [("mode: shadow", 200), ("mode: enforce", 403)] {
        let gateway = with_link(place, DENY_ALL, keys).start();
        assert_eq!(h1::get(gateway.public, "bare.test", "/", &[]).status, 403);
        assert_eq!(h1::get(gateway.public, "keyed.test", "/", &[]).status, status, "{keys}");
    }
}

fn on_error_of_a_link(place: &str) {
    let path = format!("/?{}", "x=1&".repeat(1000));
    for (keys, status) in [("on_error: allow", 200), ("on_error: deny", 500)] {
        let gateway = with_link(place, FRAGILE, keys).start();
        let ask = |host: &str, path: &str| h1::get(gateway.public, host, path, &[]).status;
        assert_eq!((ask("bare.test", "/?k=1"), ask("bare.test", &path)), (200, 500));
        assert_eq!((ask("keyed.test", "/?k=1"), ask("keyed.test", &path)), (200, status));
    }
}

fn name_of_a_link(place: &str) {
    for (keys, expected) in [("name: office", "office"), ("name: home", "home")] {
        let gateway = with_link(place, DENY_ALL, keys).start();
        for host in ["bare.test", "keyed.test"] {
            assert_eq!(h1::get(gateway.public, host, "/", &[]).status, 403);
        }
        let logged = gateway.access_log(2);
        let link_of = |host: &str| {
            let line = logged.iter().find(|line| line["host"] == host).expect("its line");
            line["decisions"][0]["link"].clone()
        };
        assert_eq!(link_of("bare.test"), "ip_access");
        assert_eq!(link_of("keyed.test"), expected);
    }
}

#[test]
fn mode_of_a_sites_link() {
    mode_of_a_link("site");
}

#[test]
fn mode_of_a_routes_link() {
    mode_of_a_link("route");
}

#[test]
fn on_error_of_a_sites_link() {
    on_error_of_a_link("site");
}

#[test]
fn on_error_of_a_routes_link() {
    on_error_of_a_link("route");
}

#[test]
fn name_of_a_sites_link() {
    name_of_a_link("site");
}

#[test]
fn name_of_a_routes_link() {
    name_of_a_link("route");
}

#[test]
fn hsts() {
    let site = |host: &str, hsts: &str| {
        format!(
            "- {{ hosts: [{host}], {hsts} routes: [{{ match: {{ path: / }}, proxy: {{ upstream: app }} }}, {{ match: {{ path: /own }}, respond: {{ status: 200 }} }}] }}\n"
        )
    };
    let origin = Origin::with(|_| {
        b"HTTP/1.1 200 OK\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let sites = [
        site("none.test", ""),
        site("age.test", "hsts: { max_age: 2d },"),
        site(
            "all.test",
            "hsts: { max_age: 365d, include_subdomains: true, preload: true },",
        ),
    ];
    let gateway = Gateway::start(&format!(
        "trusted_proxies: [127.0.0.1]\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites:\n{}",
        origin.address,
        sites.concat()
    ));
    let all = "max-age=31536000; includeSubDomains; preload";
    for (host, path, expected) in [
        ("none.test", "/", &["max-age=1"][..]),
        ("none.test", "/own", &[]),
        ("age.test", "/", &["max-age=172800"]),
        ("age.test", "/own", &["max-age=172800"]),
        ("all.test", "/", &[all]),
        ("all.test", "/not-there", &[all]),
        ("unknown.test", "/", &[]),
    ] {
        let answer = h1::get(gateway.public, host, path, &[("X-Forwarded-Proto", "https")]);
        assert_eq!(answer.all("strict-transport-security"), expected, "{host}{path}");
        let plain = h1::get(gateway.public, host, path, &[]);
        let passed_on = ["max-age=1"];
        let expected = if path == "/" && host != "unknown.test" {
            &passed_on[..]
        } else {
            &[]
        };
        assert_eq!(
            plain.all("strict-transport-security"),
            expected,
            "{host}{path} in plaintext"
        );
    }
}
