//! Servers of upstreams, how one is chosen, what is spoken to it and what is tried again: every key with two values that
//! lead to other servers or other answers. Health and timeouts have files of their own.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use http::Response;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1;
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;
use portcullis_e2e::tls::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

/// Each upstream has a route of its own: its name.
fn configuration(upstreams: &[(&str, String)]) -> String {
    let written: Vec<String> = upstreams
        .iter()
        .map(|(name, keys)| format!("  {name}: {{ {keys} }}\n"))
        .collect();
    let routes: Vec<String> = upstreams
        .iter()
        .map(|(name, _)| format!("{{ match: {{ path: /{name} }}, proxy: {{ upstream: {name} }} }}"))
        .collect();
    format!(
        "upstreams:\n{}sites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
        written.concat(),
        routes.join(", ")
    )
}

fn named(names: &[&'static str]) -> Vec<Origin> {
    names.iter().map(|name| Origin::start(name)).collect()
}

/// Asks as often as told; how many answers each name gave.
fn shares(gateway: &Gateway, path: &str, times: usize, names: &[&str]) -> Vec<usize> {
    let said: Vec<String> = (0..times)
        .map(|_| h1::get(gateway.public, "a", path, &[]).text())
        .collect();
    names
        .iter()
        .map(|name| said.iter().filter(|text| text == name).count())
        .collect()
}

#[test]
fn address_weight_and_backup() {
    let names = ["a", "b"];
    let origins = named(&names);
    let (a, b, gone) = (origins[0].address, origins[1].address, ports::free());
    let gateway = Gateway::start(&configuration(&[
        ("first", format!("servers: [{{ address: \"{a}\" }}]")),
        ("second", format!("servers: [{{ address: \"{b}\" }}]")),
        ("even", format!("servers: [\"{a}\", \"{b}\"]")),
        (
            "uneven",
            format!("servers: [\"{a}\", {{ address: \"{b}\", weight: 3 }}]"),
        ),
        (
            "spare",
            format!("servers: [\"{a}\", {{ address: \"{b}\", backup: true }}]"),
        ),
        (
            "needed",
            format!("servers: [\"{gone}\", {{ address: \"{b}\", backup: true }}]"),
        ),
    ]));
    for (path, expected) in [
        ("/first", [40, 0]),
        ("/second", [0, 40]),
        ("/even", [20, 20]),
        ("/uneven", [10, 30]),
        ("/spare", [40, 0]),
        ("/needed", [0, 40]),
    ] {
        assert_eq!(shares(&gateway, path, 40, &names), expected, "{path}");
    }
}

#[test]
fn balance() {
    let gate = Arc::new((Mutex::new(false), Condvar::new()));
    let origin = || {
        let gate = Arc::clone(&gate);
        Origin::with(move |seen| {
            let mut open = gate.0.lock().expect("the gate");
            while seen.target().ends_with("?held") && !*open {
                open = gate.1.wait(open).expect("the gate");
            }
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
        })
    };
    let origins = [origin(), origin()];
    let servers = format!("servers: [\"{}\", \"{}\"]", origins[0].address, origins[1].address);
    let kinds = ["round_robin", "least_connections", "random_two"];
    let gateway = Gateway::start(&configuration(
        &kinds.map(|kind| (kind, format!("{servers}, balance: {kind}"))),
    ));
    let asked = |target: &str| {
        let count = |origin: &Origin| origin.seen().iter().filter(|seen| seen.target() == target).count();
        origins.each_ref().map(count)
    };
    let in_flight = |upstream: &str| {
        let series = |origin: &Origin| {
            let labels = format!("server=\"{}\",upstream=\"{upstream}\"", origin.address);
            gateway.metric(&format!("portcullis_upstream_server_in_flight{{{labels}}}"))
        };
        origins.iter().filter(|origin| series(origin) > 0.5).count()
    };
    let mut holding = Vec::new();
    for (kind, expected) in kinds.into_iter().zip([[5, 5], [0, 10], [0, 10]]) {
        let (path, held) = (format!("/{kind}"), format!("/{kind}?held"));
        let (address, target) = (gateway.public, held.clone());
        holding.push(std::thread::spawn(move || h1::get(address, "a", &target, &[]).status));
        wait("the request that stays", || asked(&held).contains(&1));
        for _ in 0..10 {
            // The one before is over for the gateway too.
            wait("one request in flight", || in_flight(kind) == 1);
            assert_eq!(h1::get(gateway.public, "a", &path, &[]).status, 200);
        }
        let (busy, counts) = (asked(&held), asked(&path));
        let of_the_busy = usize::from(busy == [0, 1]);
        assert_eq!([counts[of_the_busy], counts[1 - of_the_busy]], expected, "{kind}");
    }
    *gate.0.lock().expect("the gate") = true;
    gate.1.notify_all();
    for held in holding {
        assert_eq!(held.join().expect("the client"), 200);
    }
}

#[test]
fn key_of_consistent_hash() {
    let origins = named(&["1", "2", "3", "4"]);
    let servers: Vec<String> = origins.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    let upstream = |key: &str| {
        format!(
            "servers: [{}], balance: {{ consistent_hash: {{ key: \"header:{key}\" }} }}",
            servers.join(", ")
        )
    };
    let gateway = Gateway::start(&configuration(&[("by-a", upstream("x-a")), ("by-b", upstream("x-b"))]));
    let servers_asked = |path: &str, varied: &str, fixed: &str| -> usize {
        let said = (0..40).map(|number| {
            let value = format!("value-{number}");
            h1::get(gateway.public, "a", path, &[(varied, &value), (fixed, "the-same")]).text()
        });
        said.collect::<BTreeSet<String>>().len()
    };
    assert!(servers_asked("/by-a", "x-a", "x-b") > 1);
    assert_eq!(servers_asked("/by-a", "x-b", "x-a"), 1);
    assert_eq!(servers_asked("/by-b", "x-a", "x-b"), 1);
    assert!(servers_asked("/by-b", "x-b", "x-a") > 1);
}

#[test]
fn host() {
    let origin = Origin::with(|seen| {
        let host = seen.all("host").join(",");
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}", host.len()).into_bytes()
    });
    let servers = format!("servers: [\"{}\"]", origin.address);
    let gateway = Gateway::start(&configuration(&[
        ("client", servers.clone()),
        ("server", format!("{servers}, host: server")),
        ("name", format!("{servers}, host: {{ name: app.internal }}")),
        ("other", format!("{servers}, host: {{ name: \"other.internal:8080\" }}")),
    ]));
    for (path, expected) in [
        ("/client", "shop.example.com"),
        ("/server", &origin.address.to_string()),
        ("/name", "app.internal"),
        ("/other", "other.internal:8080"),
    ] {
        assert_eq!(h1::get(gateway.public, "shop.example.com", path, &[]).text(), expected);
    }
}

#[test]
fn retry_attempts() {
    let broken: Vec<Origin> = (0..4).map(|_| Origin::with(|_| Vec::new())).collect();
    let servers: Vec<String> = broken.iter().map(|origin| format!("\"{}\"", origin.address)).collect();
    let upstream = |attempts: usize| {
        format!(
            "servers: [{}], passive_health: {{ failures: 0 }}, retry: {{ attempts: {attempts} }}",
            servers.join(", ")
        )
    };
    let gateway = Gateway::start(&configuration(&[("one", upstream(1)), ("three", upstream(3))]));
    for (path, attempts) in [("/one", 1), ("/three", 3)] {
        assert_eq!(h1::get(gateway.public, "a", path, &[]).status, 502);
        let seen = broken.iter().flat_map(Origin::seen);
        assert_eq!(seen.filter(|seen| seen.target() == path).count(), attempts);
    }
}

#[test]
fn retry_on() {
    let (broken, good) = (Origin::with(|_| Vec::new()), Origin::start("good"));
    let slow = Origin::with(|_| {
        std::thread::sleep(Duration::from_secs(2));
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    // The backup is asked only when the first attempt has failed.
    let upstream = |first: SocketAddr, on: &str| {
        format!(
            "servers: [\"{first}\", {{ address: \"{}\", backup: true }}], passive_health: {{ failures: 0 }}, timeouts: {{ read: 300ms }}, retry: {{ on: [{on}] }}",
            good.address
        )
    };
    let gateway = Gateway::start(&configuration(&[
        ("broken-reset", upstream(broken.address, "reset")),
        ("broken-timeout", upstream(broken.address, "timeout, connect_error")),
        ("slow-reset", upstream(slow.address, "reset, connect_error")),
        ("slow-timeout", upstream(slow.address, "timeout")),
    ]));
    for (path, status) in [
        ("/broken-reset", 200),
        ("/broken-timeout", 502),
        ("/slow-reset", 504),
        ("/slow-timeout", 200),
    ] {
        assert_eq!(h1::get(gateway.public, "a", path, &[]).status, status, "{path}");
    }
}

/// An HTTP/2 server (prior knowledge) that counts connections and requests. `/held` is answered once it is told to.
struct Http2 {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    release: Arc<Notify>,
}

impl Http2 {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let server = Self {
            address: listener.local_addr().expect("its address"),
            connections: Arc::default(),
            requests: Arc::default(),
            release: Arc::default(),
        };
        let connections = Arc::clone(&server.connections);
        let (requests, release) = (Arc::clone(&server.requests), Arc::clone(&server.release));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, release) = (Arc::clone(&requests), Arc::clone(&release));
                let connections = Arc::clone(&connections);
                tokio::spawn(async move {
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    let mut counted = false;
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        if !counted {
                            connections.fetch_add(1, Ordering::SeqCst);
                            counted = true;
                        }
                        let (requests, release) = (Arc::clone(&requests), Arc::clone(&release));
                        tokio::spawn(async move {
                            let released = release.notified();
                            requests.fetch_add(1, Ordering::SeqCst);
                            if request.uri().path() != "/warm" {
                                released.await;
                            }
                            let _ = respond.send_response(Response::new(()), true);
                        });
                    }
                });
            }
        });
        server
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2_streams() {
    const AT_ONCE: usize = 4;
    for (streams, shared) in [(1, false), (100, true)] {
        let server = Http2::start().await;
        let gateway = Gateway::start(&format!(
            "upstreams: {{ app: {{ servers: [\"{}\"], protocol: http2, pool: {{ h2_streams: {streams} }} }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            server.address
        ));
        let ask = |path: &'static str| {
            let address = gateway.public;
            tokio::task::spawn_blocking(move || h1::get(address, "a", path, &[]).status)
        };
        assert_eq!(ask("/warm").await.expect("an answer"), 200);
        let asking: Vec<_> = (0..AT_ONCE).map(|_| ask("/held")).collect();
        let requests = Arc::clone(&server.requests);
        let arrived = tokio::task::spawn_blocking(move || {
            wait("the requests", || requests.load(Ordering::SeqCst) == 1 + AT_ONCE);
        });
        arrived.await.expect("all requests at the server");
        // The connection of the first request may not be back in the pool yet, so one more than needed is as good.
        let connections = server.connections.load(Ordering::SeqCst);
        assert_eq!(
            connections < AT_ONCE,
            shared,
            "{streams} at once: {connections} connections"
        );
        server.release.notify_waiters();
        for answer in asking {
            assert_eq!(answer.await.expect("an answer"), 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol() {
    let (http1, http2) = (Origin::start("one"), Http2::start().await);
    let gateway = Gateway::start(&configuration(&[
        ("warm", format!("servers: [\"{}\"], protocol: http2", http2.address)),
        ("wrong", format!("servers: [\"{}\"], protocol: http1", http2.address)),
        ("one", format!("servers: [\"{}\"], protocol: http1", http1.address)),
        ("mistaken", format!("servers: [\"{}\"], protocol: http2", http1.address)),
    ]));
    for (path, answered) in [("/warm", true), ("/wrong", false), ("/one", true), ("/mistaken", false)] {
        let address = gateway.public;
        let status = tokio::task::spawn_blocking(move || h1::get(address, "a", path, &[]).status);
        assert_eq!(status.await.expect("an answer") == 200, answered, "{path}");
    }
}

/// A TLS server with `server.crt`. With `clients` it wants a certificate of that authority.
async fn tls_server(dir: &std::path::Path, clients: Option<&Authority>) -> SocketAddr {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("versions");
    let config = match clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            let pem = authority.pem();
            roots
                .add(CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate"))
                .expect("the authority");
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().expect("a verifier"))
        }
    };
    let chain = vec![CertificateDer::from_pem_file(dir.join("server.crt")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(dir.join("server.key")).expect("a key");
    let config = config.with_single_cert(chain, key).expect("a certificate with its key");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).await.is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn tls() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().expect("a temporary folder");
    authority.issue(files.path(), "server", &["app.internal"]);
    authority.issue(files.path(), "client", &["edge.internal"]);
    other.issue(files.path(), "stranger", &["edge.internal"]);
    std::fs::write(files.path().join("ca.pem"), authority.pem()).expect("ca.pem");
    std::fs::write(files.path().join("other.pem"), other.pem()).expect("other.pem");
    let open = tls_server(files.path(), None).await;
    let closed = tls_server(files.path(), Some(&authority)).await;
    let dir = files.path().display();
    let upstream = |server: SocketAddr, name: &str, keys: &str| {
        let keys = keys.replace("DIR", &dir.to_string());
        format!("servers: [\"{server}\"], tls: {{ server_name: {name}{keys} }}")
    };
    let ca = ", ca: \"DIR/ca.pem\"";
    let own = |name: &str| format!("{ca}, certificate: \"DIR/{name}.crt\", key: \"DIR/{name}.key\"");
    let cases = [
        ("right", upstream(open, "app.internal", ca), true),
        ("public-authorities", upstream(open, "app.internal", ""), false),
        (
            "other-authority",
            upstream(open, "app.internal", ", ca: \"DIR/other.pem\""),
            false,
        ),
        ("other-name", upstream(open, "other.internal", ca), false),
        ("no-certificate", upstream(closed, "app.internal", ca), false),
        ("certificate", upstream(closed, "app.internal", &own("client")), true),
        ("stranger", upstream(closed, "app.internal", &own("stranger")), false),
    ];
    let upstreams: Vec<(&str, String)> = cases.iter().map(|(name, keys, _)| (*name, keys.clone())).collect();
    let gateway = Gateway::start(&configuration(&upstreams));
    for (name, _, answered) in &cases {
        let (address, path) = (gateway.public, format!("/{name}"));
        let status = tokio::task::spawn_blocking(move || h1::get(address, "a", &path, &[]).status);
        assert_eq!(status.await.expect("an answer") == 200, *answered, "{name}");
    }
    let mixed = own("client").replace("client.key", "stranger.key");
    let refused = Builder::new(&configuration(&[("mixed", upstream(closed, "app.internal", &mixed))]));
    let refused = refused.start_expecting_refusal();
    assert!(refused.contains("stranger.key"), "{refused}");
}
