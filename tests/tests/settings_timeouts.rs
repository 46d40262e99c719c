//! The timeouts of an upstream, with two values each: the short one ends what the long one waits for. What is told to the
//! client in every case is shown elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use portcullis_e2e::gateway::{Builder, Gateway, PATIENCE, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::tls::Authority;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

/// Longer than every short timeout of these tests, shorter than every long one.
const PAUSE: Duration = Duration::from_millis(1500);

/// Two upstreams of the same server, each with a route of its own: `/short` and `/long`.
fn configuration(server: SocketAddr, key: &str, short: &str, more: &str) -> String {
    format!(
        "upstreams:\n  short: {{ servers: [\"{server}\"], retry: {{ attempts: 1 }}, timeouts: {{ {key}: {short} }}{more} }}\n  long: {{ servers: [\"{server}\"], retry: {{ attempts: 1 }}, timeouts: {{ {key}: 60s }}{more} }}\nlimits: {{ request_body_bytes: 1GiB }}\nsites: [{{ hosts: [\"*\"], routes: [{{ match: {{ path: /short }}, proxy: {{ upstream: short }} }}, {{ match: {{ path: /long }}, proxy: {{ upstream: long }} }}] }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn connect() {
    let authority = Authority::new();
    // Connections are made by the kernel; nobody answers their handshakes yet.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("its address");
    let tls = ", tls: { server_name: app.internal, ca: \"{dir}/ca.pem\" }";
    let builder = Builder::new(&configuration(server, "connect", "300ms", tls)).file("ca.pem", authority.pem());
    authority.issue(builder.dir(), "server", &["app.internal"]);
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_file(builder.dir().join("server.crt")).expect("a certificate")],
            PrivateKeyDer::from_pem_file(builder.dir().join("server.key")).expect("a key"),
        )
        .expect("a certificate with its key");
    let gateway = Arc::new(builder.start());
    let ask = |path: &'static str| {
        let address = gateway.public;
        tokio::task::spawn_blocking(move || h1::get(address, "a", path, &[]))
    };
    let refused = ask("/short").await.expect("an answer");
    assert_eq!(
        (refused.status, refused.reason().as_str()),
        (504, "upstream_connect_timeout")
    );
    let waiting = ask("/long");
    tokio::time::sleep(PAUSE).await;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
                // The first is the one that was given up.
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut [0; 4096]).await;
            });
        }
    });
    assert_eq!(waiting.await.expect("an answer").status, 200);
}

#[test]
fn read() {
    let origin = Origin::with(|_| {
        sleep(PAUSE);
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = Gateway::start(&configuration(origin.address, "read", "300ms", ""));
    let refused = h1::get(gateway.public, "a", "/short", &[]);
    assert_eq!((refused.status, refused.reason().as_str()), (504, "upstream_timeout"));
    assert_eq!(h1::get(gateway.public, "a", "/long", &[]).status, 200);
}

#[test]
fn write() {
    // Far more than the sockets on the way can hold.
    const LENGTH: usize = 64 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let gateway = Gateway::start(&configuration(
        listener.local_addr().expect("its address"),
        // After a write that failed, an answer is still waited for: the server may have given one early.
        "read: 10s, write",
        "300ms",
        "",
    ));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                sleep(PAUSE);
                let (mut total, mut chunk) = (0, vec![0; 1 << 20]);
                while total < LENGTH {
                    match stream.read(&mut chunk) {
                        Ok(count) if count > 0 => total += count,
                        _ => return,
                    }
                }
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            });
        }
    });
    let body = vec![b'x'; LENGTH];
    for (path, status, reason) in [("/short", 504, Some("upstream_timeout")), ("/long", 200, None)] {
        let mut connection = Connection::open(gateway.public);
        connection.send(format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\nConnection: close\r\n\r\n"
        ));
        connection.send(&body);
        // The answer may be lost when the connection is closed while the body is still coming.
        let _ = connection.read(false);
        wait("its line in the access log", || {
            gateway.access_log(1).iter().any(|line| line["path"] == path)
        });
        let logged = gateway.access_log(1);
        let line = logged.iter().find(|line| line["path"] == path).expect("its line");
        assert_eq!(
            (line["status"].as_u64(), line["reason"].as_str()),
            (Some(status), reason),
            "{line}"
        );
    }
}

#[test]
fn idle() {
    let (opened, closed) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let server = listener.local_addr().expect("its address");
    let (opens, closes) = (Arc::clone(&opened), Arc::clone(&closed));
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            opens.fetch_add(1, Ordering::SeqCst);
            let closes = Arc::clone(&closes);
            std::thread::spawn(move || {
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
                closes.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let gateway = Gateway::start(&configuration(server, "idle", "300ms", ""));
    let count = || (opened.load(Ordering::SeqCst), closed.load(Ordering::SeqCst));
    let ask = |path: &str| assert_eq!(h1::get(gateway.public, "a", path, &[]).status, 200);
    for round in 1..=2 {
        ask("/short");
        wait("the end of the idle connection", || count() == (round, round));
    }
    ask("/long");
    sleep(PAUSE);
    ask("/long");
    assert_eq!(count(), (3, 2), "kept and used again");
}

#[tokio::test(flavor = "multi_thread")]
async fn tunnel() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = listener.local_addr().expect("its address");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
                    return;
                };
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() && socket.send(message).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    // A tunnel is not ended by the timeout of answers.
    let gateway = Gateway::start(&configuration(server, "read: 300ms, tunnel", "300ms", ""));
    for (path, stays) in [("short", false), ("long", true)] {
        let url = format!("ws://{}/{path}", gateway.public);
        let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.expect("a WebSocket");
        tokio::time::sleep(PAUSE).await;
        let sent = socket.send(Message::text("hello")).await.is_ok();
        let echo = tokio::time::timeout(PATIENCE, socket.next()).await.expect("in time");
        let echoed = sent && matches!(echo, Some(Ok(message)) if message.is_text());
        assert_eq!(echoed, stays, "{path}");
    }
}
