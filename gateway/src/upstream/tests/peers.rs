//! Peers: what Pingora's connector is told, and which connections may share a pool.

use std::net::TcpListener as StdListener;

use pingora_core::upstreams::peer::{ALPN, H1UpgradePolicy, HttpPeer, Peer};

use super::super::response::Expect;
use super::files::Files;
use super::*;

fn peer(shape: Value) -> Box<HttpPeer> {
    pick(&app(shape)).peer(Expect::default()).0
}

#[test]
fn plaintext() {
    let timeouts = json!({ "connect": "1s", "read": "2s", "write": "3s", "idle": "4s" });
    let peer = peer(json!({ "servers": ["10.0.0.1:80"], "timeouts": timeouts, "pool": { "h2_streams": 7 } }));
    let options = &peer.options;
    assert!(!peer.is_tls());
    assert_eq!(peer.address().to_string(), "10.0.0.1:80");
    assert_eq!(options.total_connection_timeout, Some(Duration::from_secs(1)));
    assert_eq!(options.read_timeout, Some(Duration::from_secs(2)));
    assert_eq!(options.write_timeout, Some(Duration::from_secs(3)));
    assert_eq!(options.idle_timeout, Some(Duration::from_secs(4)));
    assert_eq!(options.alpn, ALPN::H1);
    assert!(options.custom_l4.is_some(), "by our own connections");
    let policy = options.http_upstream_request_policy;
    assert!(policy.strip_hop_by_hop && policy.strip_connection_nominated);
    assert_eq!(policy.h1_upgrade, H1UpgradePolicy::WebSocketOnly);
}

#[test]
fn tls_of_pingora_is_always_verified() {
    let files = Files::new();
    let peer = peer(json!({
        "servers": ["10.0.0.1:443"], "protocol": "http2", "tls": files.mutual_tls(), "pool": { "h2_streams": 7 },
    }));
    assert_eq!(peer.options.max_h2_streams, 7);
    assert!(peer.options.tcp_keepalive.is_some());
    assert!(peer.is_tls() && peer.verify_cert() && peer.verify_hostname());
    assert_eq!(peer.sni(), "app.internal");
    assert!(peer.get_ca().is_some() && peer.get_client_cert_key().is_some());
}

#[test]
fn protocols() {
    let files = Files::new();
    let shape = |protocol: &str| json!({ "servers": ["10.0.0.1:443"], "protocol": protocol, "tls": files.tls() });
    let upgrade = Expect {
        upgrade: true,
        ..Expect::default()
    };
    for (protocol, request, by_us) in [
        ("http1", ALPN::H1, true),
        ("http2", ALPN::H2, false),
        ("auto", ALPN::H2H1, false),
    ] {
        let upstream = app(shape(protocol));
        let selected = pick(&upstream);
        let (peer, call) = selected.peer(Expect::default());
        assert_eq!((peer.options.alpn.clone(), call.is_some()), (request, by_us));
        assert_eq!(upstream.can_upgrade(), protocol != "http2");
        assert_eq!(selected.peer(upgrade).1.is_some(), protocol != "http2");
    }
    assert_eq!(
        peer(json!({ "servers": ["10.0.0.1:80"], "protocol": "http2" }))
            .options
            .alpn,
        ALPN::H2
    );
}

#[test]
fn pools_are_apart_by_upstream_trust_identity_and_protocol() {
    let (files, other) = (Files::new(), Files::new());
    let shape = |tls: Value, protocol: &str| json!({ "servers": ["10.0.0.1:443"], "protocol": protocol, "tls": tls });
    let mut other_client = files.mutual_tls();
    other_client["certificate"] = json!(other.path("client.pem"));
    other_client["key"] = json!(other.path("client.key"));
    let shapes = [
        shape(files.tls(), "http1"),
        shape(other.tls(), "http1"),
        shape(files.mutual_tls(), "http1"),
        shape(other_client, "http1"),
        shape(files.tls(), "auto"),
        shape(files.tls(), "http2"),
    ];
    let hashes: Vec<_> = shapes.iter().map(|shape| peer(shape.clone()).reuse_hash()).collect();
    let again: Vec<_> = shapes.iter().map(|shape| peer(shape.clone()).reuse_hash()).collect();
    assert_eq!(hashes, again, "a reload that changes nothing keeps its connections");
    let groups: std::collections::HashSet<_> = shapes.iter().map(|shape| peer(shape.clone()).group_key).collect();
    assert_eq!(groups.len(), shapes.len());
    let one = json!({ "servers": ["10.0.0.1:80"] });
    let both = compile(json!({ "a": one.clone(), "b": one }));
    let groups: std::collections::HashSet<_> = both
        .iter()
        .map(|it| pick(it).peer(Expect::default()).0.group_key)
        .collect();
    assert_eq!(groups.len(), 2, "upstreams do not share connections");
}

#[test]
fn the_host_header() {
    let host = |host: Value| {
        let upstream = app(json!({ "servers": ["10.0.0.1:80"], "host": host }));
        let selected = pick(&upstream);
        upstream.host_for("client.example", selected.server()).to_owned()
    };
    assert_eq!(host(json!("client")), "client.example");
    assert_eq!(host(json!("server")), "10.0.0.1:80");
    assert_eq!(host(json!({ "name": "app.internal" })), "app.internal");
}

// Nothing listens: the time of `connect` is kept by Pingora, and no name was looked up on the way.
#[tokio::test]
async fn a_refused_connection_is_a_connect_error() {
    let free = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let peer = peer(json!({ "servers": [free.to_string()] }));
    let connector = pingora_core::connectors::http::Connector::new(None);
    let error = connector.get_http_session(&*peer).await.err().unwrap();
    assert_eq!(
        super::super::Failure::of(&error),
        Some(super::super::Failure::ConnectError)
    );
}
