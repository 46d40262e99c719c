//! Listeners with `mode: decision`: the five forms in which peers ask, over real sockets, and real nginx behind one of them.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::ext_authz::{self, Question};
use portcullis_e2e::gateway::{Builder, Gateway};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::nginx::Nginx;
use serde_json::Value;

/// One request a key on `/limited`, and a switch on a header field.
const BUNDLE: &str = r#"
bundle_version: 1
kill_switches: [{ scope_key: "header:x-tenant", scope_value: evil }]
policies:
- id: limit
  spec:
    selector: { pathPrefix: /limited, hosts: [api.example] }
    rules:
    - { name: per-key, limit_keys: ["header:x-key"], algorithm: token_bucket, algorithm_config: { tokens_per_second: 0.001, burst: 1 } }
"#;

const SITE: &str = r#"
sites:
- hosts: ["*"]
  filters:
  - policy: {}
  - headers: { request: { set: { x-user: alice }, remove: [x-secret] } }
  routes:
  - match: { path_prefix: / }
  - match: { path_prefix: /cors }
    filters: [{ cors: { origins: ["https://app.example"], methods: [PUT] } }]
- hosts: [get.example]
  routes: [{ match: { path_prefix: /get, methods: [GET] } }]
"#;

fn start(more: &str) -> Gateway {
    let signer = Signer::new("k1");
    let yaml = format!(
        "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision, h2c: true }}]\ntrusted_proxies: [127.0.0.1]\n{}{more}{SITE}",
        signer.policy()
    );
    Builder::new(&yaml).file("policy.bundle", signer.sign(BUNDLE)).start()
}

/// The first line of the log that says this.
fn with<'l>(lines: &'l [Value], key: &str, value: &str) -> &'l Value {
    let line = lines.iter().find(|line| line[key] == value);
    line.unwrap_or_else(|| panic!("no line has {key}: {value}: {lines:?}"))
}

fn original<'a>(target: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut fields = vec![
        ("X-Original-Method", "GET"),
        ("X-Original-URI", target),
        ("X-Original-Host", "api.example"),
    ];
    fields.extend_from_slice(more);
    fields
}

fn decision(address: SocketAddr, target: &str, more: &[(&str, &str)]) -> Answer {
    h1::request(address, "POST", "authz", "/v1/decision", &original(target, more), b"")
}

#[test]
fn a_status_says_all() {
    let gateway = start("");
    let allowed = decision(gateway.public, "/limited/a?b=c", &[("X-Key", "a")]);
    assert_eq!((allowed.status, allowed.body.len()), (200, 0));
    assert_eq!(allowed.header("content-type"), Some("application/json"));
    assert_eq!(allowed.header("ratelimit-limit"), Some("1"));
    assert_eq!(allowed.header("x-user"), Some("alice"));
    let refused = decision(gateway.public, "/limited/a", &[("X-Key", "a")]);
    assert_eq!(
        (refused.status, refused.reason()),
        (429, "token_bucket_exceeded".into())
    );
    assert_eq!(refused.header("x-portcullis-reason"), Some("token_bucket_exceeded"));
    assert!(refused.header("retry-after").is_some());
    assert_eq!(decision(gateway.public, "/limited/a", &[("X-Key", "b")]).status, 200);
    let switched = decision(gateway.public, "/", &[("X-Tenant", "evil")]);
    assert_eq!((switched.status, switched.reason()), (429, "kill_switch".into()));
    // The log tells of what was asked about, with the receipt of the chain.
    let lines = gateway.access_log(4);
    let line = with(&lines, "query", "b=c");
    assert_eq!((&line["method"], &line["path"]), (&"GET".into(), &"/limited/a".into()));
    assert_eq!((&line["host"], &line["status"]), (&"api.example".into(), &200.into()));
    assert!(!line["receipt"].is_null(), "{lines:?}");
    assert_eq!(with(&lines, "reason", "token_bucket_exceeded")["status"], 429);
    assert!(lines.iter().all(|line| line.get("missing").is_none()), "{lines:?}");
}

#[test]
fn nothing_else_is_served_there() {
    let gateway = start("");
    for (method, path, status) in [
        ("GET", "/v1/decision", 405),
        ("PUT", "/v1/decision", 405),
        ("POST", "/v1/auth_request", 405),
        ("POST", "/decision", 404),
        ("POST", "/v1/decision/", 404),
        ("GET", "/livez", 404),
        ("GET", "/readyz", 404),
        ("GET", "/metrics", 404),
        ("POST", "/-/reload", 404),
        ("GET", "/limited/a", 404),
        ("POST", "/v1/debug/session", 404),
    ] {
        let answer = h1::request(gateway.public, method, "authz", path, &original("/", &[]), b"");
        assert_eq!(answer.status, status, "{method} {path}");
    }
    for (method, path, status) in [("GET", "/get", 200), ("PUT", "/get", 405), ("GET", "/", 404)] {
        let fields = [
            ("X-Original-Method", method),
            ("X-Original-URI", path),
            ("X-Original-Host", "get.example"),
        ];
        let answer = h1::request(gateway.public, "POST", "authz", "/v1/decision", &fields, b"");
        assert_eq!(answer.status, status, "{method} {path}");
    }
}

#[test]
fn only_trusted_peers_may_ask() {
    let signer = Signer::new("k1");
    let yaml = format!(
        "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision }}]\ntrusted_proxies: [192.0.2.1]\n{}{SITE}",
        signer.policy()
    );
    let gateway = Builder::new(&yaml).file("policy.bundle", signer.sign(BUNDLE)).start();
    let answer = decision(gateway.public, "/", &[]);
    assert_eq!((answer.status, answer.reason()), (403, "peer_untrusted".into()));
}

#[test]
fn without_a_bundle_nothing_passes() {
    let signer = Signer::new("k1");
    let yaml = format!(
        "listeners: [{{ name: authz, address: \"{{public}}\", mode: decision, h2c: true }}]\ntrusted_proxies: [127.0.0.1]\n{}{SITE}",
        signer.policy()
    );
    let gateway = Builder::new(&yaml).start();
    let answer = decision(gateway.public, "/", &[]);
    assert_eq!((answer.status, answer.reason()), (503, "no_bundle_loaded".into()));
    let question = Question {
        method: "GET",
        path: "/",
        host: "api.example",
        headers: &[],
        source: "192.0.2.9",
    };
    let checked = ext_authz::check(gateway.public, &[question]);
    assert_eq!((checked[0].code, checked[0].denied_with), (7, 503));
}

#[test]
fn forward_auth_and_ext_authz_over_http() {
    let gateway = start("");
    let forwarded = |key: &str, proto: &[(&str, &str)]| {
        let mut fields = vec![
            ("X-Forwarded-Method", "POST"),
            ("X-Forwarded-Uri", "/limited/a?x=y"),
            ("X-Forwarded-Host", "api.example:443"),
            ("X-Forwarded-For", "203.0.113.7"),
            ("X-Key", key),
        ];
        fields.extend_from_slice(proto);
        h1::request(gateway.public, "GET", "authz", "/v1/forward_auth", &fields, b"")
    };
    assert_eq!(forwarded("t", &[("X-Forwarded-Proto", "https")]).status, 200);
    assert_eq!(forwarded("t", &[]).status, 429);
    let twice = [("X-Forwarded-Proto", "https"), ("X-Forwarded-Proto", "http")];
    assert_eq!(forwarded("u", &twice).reason(), "description_repeated");
    let envoy = |path: &str, fields: &[(&str, &str)]| {
        let path = format!("/v1/ext_authz{path}");
        h1::request(gateway.public, "DELETE", "api.example", &path, fields, b"")
    };
    let allowed = envoy("/limited//x", &[("X-Key", "e")]);
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("x-user"), Some("alice"));
    assert_eq!(allowed.header("x-envoy-auth-headers-to-remove"), Some("x-secret"));
    assert_eq!(envoy("/limited/x", &[("X-Key", "e")]).status, 429);
    assert_eq!(envoy("/../limited/x", &[("X-Key", "e")]).status, 429);
    assert_eq!(envoy("/limited/%2f", &[("X-Key", "f")]).reason(), "path_encoded_slash");
    let lines = gateway.access_log(6);
    assert_eq!(with(&lines, "query", "x=y")["method"], "POST");
    assert_eq!(with(&lines, "query", "x=y")["client"], "203.0.113.7");
    assert_eq!(with(&lines, "path", "/limited/x")["method"], "DELETE");
}

#[test]
fn ext_authz_over_grpc() {
    let gateway = start("");
    let question = |path, headers| Question {
        method: "GET",
        path,
        host: "api.example",
        headers,
        source: "203.0.113.9",
    };
    let key: &[(&str, &str)] = &[(":path", "/x"), ("x-key", "g"), ("x-forwarded-for", "198.51.100.1")];
    let answers = ext_authz::check(
        gateway.public,
        &[
            question("/limited/a?x", key),
            question("/limited/a", key),
            question("/limited/%63", &[("x-key", "h")]),
            question("/limited/c", &[("x-key", "h")]),
            question("/a%00", key),
            Question {
                method: "get",
                ..question("/", key)
            },
            Question {
                host: "",
                ..question("/", key)
            },
        ],
    );
    assert!(answers.iter().all(|answer| answer.grpc_status == "0"), "{answers:?}");
    let codes: Vec<_> = answers.iter().map(|answer| (answer.code, answer.denied_with)).collect();
    assert_eq!(
        codes,
        [(0, 0), (7, 429), (0, 0), (7, 429), (7, 400), (7, 400), (7, 400)]
    );
    assert_eq!(answers[0].headers["x-user"], "alice");
    assert_eq!(answers[0].removed, ["x-secret"]);
    assert_eq!(answers[0].added["ratelimit-limit"], "1");
    assert!(answers[1].headers.contains_key("retry-after"), "{:?}", answers[1]);
    assert!(answers[1].body.contains("token_bucket_exceeded"), "{:?}", answers[1]);
    let lines = gateway.access_log(7);
    // Envoy's peer is no trusted proxy, so what it says of others counts for nothing.
    assert!(
        lines.iter().take(4).all(|line| line["client"] == "203.0.113.9"),
        "{lines:?}"
    );
    assert_eq!(with(&lines, "reason", "token_bucket_exceeded")["status"], 429);
    let broken = ext_authz::ask(
        gateway.public,
        vec![
            vec![],
            vec![1, 0, 0, 0, 0],
            vec![0, 0, 0, 0, 9, 1],
            ext_authz::framed(b"\xff\xff\xff"),
        ],
    );
    let statuses: Vec<_> = broken.iter().map(|answer| answer.grpc_status.as_str()).collect();
    assert_eq!(statuses, ["3", "12", "3", "3"]);
    let empty = ext_authz::ask(gateway.public, vec![ext_authz::framed(b"")]);
    assert_eq!((empty[0].code, empty[0].denied_with), (7, 400));
}

#[test]
fn an_answer_of_a_filter_lets_nothing_through() {
    let gateway = start("");
    let preflight = [
        ("X-Original-Method", "OPTIONS"),
        ("X-Original-URI", "/cors"),
        ("X-Original-Host", "api.example"),
        ("Origin", "https://app.example"),
        ("Access-Control-Request-Method", "PUT"),
    ];
    let answer = h1::request(gateway.public, "POST", "authz", "/v1/decision", &preflight, b"");
    assert_eq!((answer.status, answer.reason()), (403, "answer_not_expressible".into()));
    let question = Question {
        method: "OPTIONS",
        path: "/cors",
        host: "api.example",
        headers: &[
            ("origin", "https://app.example"),
            ("access-control-request-method", "PUT"),
        ],
        source: "192.0.2.9",
    };
    let checked = ext_authz::check(gateway.public, &[question]);
    assert_eq!((checked[0].code, checked[0].denied_with), (7, 204));
    assert_eq!(checked[0].headers["access-control-allow-origin"], "https://app.example");
}

/// gRPC that a client speaks to its own upstream says nothing about how Portcullis is asked.
#[test]
fn a_refused_grpc_call_is_no_yes() {
    let gateway = start("");
    let grpc = [("Content-Type", "application/grpc"), ("X-Tenant", "evil")];
    let answer = decision(gateway.public, "/pkg.Service/Call", &grpc);
    assert_eq!((answer.status, answer.header("grpc-status")), (429, None));
}

#[test]
fn nginx_with_auth_request() {
    let gateway = start("");
    let server = format!(
        "location = /_authz {{ internal; proxy_pass http://{}/v1/auth_request; proxy_pass_request_body off; proxy_http_version 1.1;\n\
         proxy_set_header Content-Length \"\"; proxy_set_header Connection \"\";\n\
         proxy_set_header X-Original-Method $request_method; proxy_set_header X-Original-URI $request_uri;\n\
         proxy_set_header X-Original-Host $host; proxy_set_header X-Forwarded-For $remote_addr; }}\n\
         location @denied {{ add_header Retry-After $authz_retry_after always; add_header X-Why $authz_reason always;\n\
         if ($authz_status = 429) {{ return 429; }} if ($authz_status = 400) {{ return 400; }} return 403; }}\n\
         location / {{ auth_request /_authz; auth_request_set $authz_status $upstream_http_x_portcullis_status;\n\
         auth_request_set $authz_reason $upstream_http_x_portcullis_reason;\n\
         auth_request_set $authz_retry_after $upstream_http_retry_after; auth_request_set $user $upstream_http_x_user;\n\
         error_page 403 = @denied; add_header X-User $user; try_files /index.html =404; }}",
        gateway.public
    );
    let Some(nginx) = Nginx::start("nginx_with_auth_request", &server) else {
        return;
    };
    let ask = |path: &str, key: &str| h1::get(nginx.address, "api.example", path, &[("X-Key", key)]);
    let allowed = ask("/limited/a?b", "n");
    assert_eq!((allowed.status, allowed.text()), (200, "hello from nginx\n".into()));
    assert_eq!(allowed.header("x-user"), Some("alice"));
    for path in [
        "/limited/a",
        "//limited/a",
        "/limited/%61",
        "/x/../limited/a?c",
        "/limited",
    ] {
        let refused = ask(path, "n");
        assert_eq!(refused.status, 429, "{path}");
        assert_eq!(refused.header("x-why"), Some("token_bucket_exceeded"), "{path}");
        assert!(refused.header("retry-after").is_some(), "{path}");
    }
    assert_eq!(ask("/limited/a", "o").status, 200);
    assert_eq!(ask("/limited/%2e%2e%2fa", "p").status, 400);
    let body = h1::request(
        nginx.address,
        "POST",
        "api.example",
        "/limited/b",
        &[("X-Key", "q")],
        b"hello",
    );
    assert_ne!(body.status, 429);
    let lines = gateway.access_log(9);
    assert_eq!(with(&lines, "method", "POST")["path"], "/limited/b");
    assert!(lines.iter().all(|line| line["client"] == "127.0.0.1"), "{lines:?}");
}

#[test]
fn a_debug_session_of_the_admin_listener() {
    let gateway = start("");
    let (status, body) = gateway.admin("POST", "/-/debug", "");
    assert_eq!(status, 201, "{body}");
    let session: Value = serde_json::from_str(&body).expect("JSON");
    let cookie = session["cookie"].as_str().expect("a cookie");
    assert!(cookie.starts_with("portcullis-debug="), "{cookie}");
    let told = |key: &str| decision(gateway.public, "/limited/d", &[("X-Key", key), ("Cookie", cookie)]);
    let allowed = told("d");
    for (field, value) in [
        ("x-portcullis-decision", "allow"),
        ("x-portcullis-mode", "enforce"),
        ("x-portcullis-debug-policy", "limit"),
        ("x-portcullis-debug-matched-policies", "1"),
        ("x-portcullis-debug-descriptor-1-key", "header:x-key"),
        ("x-portcullis-debug-descriptor-1-value", "d"),
    ] {
        assert_eq!(allowed.header(field), Some(value), "{field}: {:?}", allowed.headers);
    }
    let refused = told("d");
    assert_eq!(refused.header("x-portcullis-debug-decision"), Some("reject"));
    assert_eq!(refused.header("x-portcullis-debug-rule"), Some("per-key"));
    assert_eq!(
        decision(gateway.public, "/limited/d", &[("X-Key", "e")]).header("x-portcullis-decision"),
        None
    );
    assert_eq!(gateway.admin("DELETE", "/-/debug", ""), (200, "{\"ended\":1}\n".into()));
    assert_eq!(told("f").header("x-portcullis-decision"), None);
}
