//! Lookups against a handful of sites.

use super::*;
use portcullis_config::load::load_str;

fn router(yaml: &str) -> Router {
    let loaded = load_str("test.yaml", yaml).unwrap_or_else(|failed| panic!("{}", failed.render_text()));
    let listeners: Vec<&str> = loaded
        .config
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    Router::compile(&loaded.config.sites, &listeners)
}

const SITES: &str = r#"
listeners:
  - { name: public, address: "127.0.0.1:8080" }
  - { name: internal, address: "127.0.0.1:8081" }
sites:
  - hosts: ["api.example.com"]
    routes:
      - { match: { path: /v1 }, respond: { status: 200 } }
      - { match: { path_prefix: /v1/ }, respond: { status: 200 } }
      - { match: { path_prefix: /v1/users, methods: [GET, HEAD] }, respond: { status: 200 } }
      - { match: { path_prefix: /v1/users, methods: [POST], headers: { x-beta: "1" } }, respond: { status: 200 } }
      - { match: { path: /only, methods: [PUT] }, respond: { status: 200 } }
  - hosts: ["*.example.com"]
    routes:
      - { respond: { status: 200 } }
  - hosts: ["*"]
    listeners: [internal]
    routes:
      - { match: { path_prefix: /any }, respond: { status: 200 } }
"#;

#[track_caller]
fn check(listener: usize, method: &str, host: &str, path: &str, headers: &[(&str, &str)], expected: Option<u32>) {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.insert(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let found = router(SITES).find(listener, host, path, &method.parse().unwrap(), &map);
    match expected {
        Some(id) => assert_eq!(found, Found::Route(RouteId(id))),
        None => assert!(!matches!(found, Found::Route(_)), "{found:?}"),
    }
}

#[test]
fn the_most_specific_path_wins() {
    check(0, "GET", "api.example.com", "/v1", &[], Some(0));
    check(0, "GET", "api.example.com", "/v1/", &[], Some(1));
    check(0, "GET", "api.example.com", "/v1/x/y", &[], Some(1));
    check(0, "GET", "api.example.com", "/v1/users", &[], Some(2));
    check(0, "GET", "api.example.com", "/v1/users/42", &[], Some(2));
    check(0, "GET", "api.example.com", "/v1/users/", &[], Some(2));
    check(0, "GET", "api.example.com", "/v10", &[], None);
}

#[test]
fn conditions_fall_through_to_wider_routes() {
    check(0, "POST", "api.example.com", "/v1/users", &[("x-beta", "1")], Some(3));
    check(0, "POST", "api.example.com", "/v1/users", &[], Some(1));
    check(0, "DELETE", "api.example.com", "/v1/users", &[], Some(1));
}

#[test]
fn hosts_are_exact_then_suffix_then_any() {
    check(0, "GET", "x.example.com", "/v1", &[], Some(5));
    check(0, "GET", "a.b.example.com", "/v1", &[], Some(5));
    check(0, "GET", "example.com", "/v1", &[], None);
    check(0, "GET", "other.org", "/any/x", &[], None);
    check(1, "GET", "other.org", "/any/x", &[], Some(6));
    check(7, "GET", "other.org", "/any/x", &[], None);
}

#[test]
fn a_known_path_with_another_method_tells_the_methods() {
    let found = router(SITES).find(0, "api.example.com", "/only", &Method::GET, &HeaderMap::new());
    assert_eq!(found, Found::MethodNotAllowed(SmallVec::from_iter([Method::PUT])));
}
