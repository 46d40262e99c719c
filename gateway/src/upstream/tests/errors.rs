//! What cannot be built is refused whole, and every text says how to mend it.

use super::*;

fn errors(config: Value) -> Vec<String> {
    let errors = try_compile(config, &nothing(Clock::manual())).unwrap_err();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn every_mistake_is_told_at_once() {
    let config = json!({
        "empty": { "servers": [] },
        "good": { "servers": ["localhost:80"] },
        "wrong": {
            "servers": ["10.0.0.1", "a:80", "a:80", { "address": "b:80", "weight": 0 }],
            "protocol": "auto",
            "health": { "path": "healthz" },
        },
    });
    assert_eq!(
        errors(config),
        [
            "upstream `empty`: it has no server: name at least one under `servers`",
            "upstream `wrong`: server `10.0.0.1`: it has no port: write `host:port`",
            "upstream `wrong`: server `a:80` is listed twice: give it a greater `weight` instead",
            "upstream `wrong`: server `b:80` has weight 0: remove it, or give it 1 or more",
            "upstream `wrong`: `protocol: auto` chooses by ALPN and needs `tls`: add it, or write `http1` or `http2`",
            "upstream `wrong`: `health.path` `healthz` cannot be requested: write a path such as `/healthz`",
        ]
    );
}

#[test]
fn bounds_are_kept() {
    let many: Vec<_> = (0..1_025).map(address).collect();
    let text = errors(json!({ "app": { "servers": many } })).join("\n");
    assert_eq!(text, "upstream `app`: it has 1025 servers: 1024 is the most");
    let heavy = json!({ "servers": servers(&[4_096, 1]), "balance": { "consistent_hash": { "key": "ip:address" } } });
    let text = errors(json!({ "app": heavy })).join("\n");
    assert!(
        text.contains("the weights sum up to 4097, and consistent hashing allows 4096"),
        "{text}"
    );
    app(json!({ "servers": servers(&[u32::MAX, u32::MAX, 1]) }));
}

#[test]
fn checks_that_could_not_be_sent_are_refused() {
    for (key, value, expected) in [
        ("path", json!("/a b"), "cannot be requested"),
        ("path", json!("/a\r\nX: y"), "cannot be requested"),
        ("path", json!("http://x/"), "cannot be requested"),
        ("host", json!("a b"), "cannot be sent"),
        ("host", json!("a\r\nX: y"), "cannot be sent"),
        ("host", json!("user@host"), "cannot be sent"),
        ("host", json!(""), "cannot be sent"),
        ("interval", json!("9ms"), "must be 10ms or longer"),
        ("timeout", json!("0s"), "longer than nothing"),
        ("statuses", json!([]), "no server could ever be healthy"),
    ] {
        let mut health = quick_health();
        health[key] = value.clone();
        let text = errors(json!({ "app": { "servers": ["a:80"], "health": health } })).join("\n");
        assert!(text.contains(expected), "{key} {value}: {text}");
    }
}
