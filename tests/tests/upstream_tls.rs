//! TLS to servers: who is trusted under which name, which versions, and that connections of one trust never serve another.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use portcullis_e2e::evil::{Evil, Script};
use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::h1;
use portcullis_e2e::tls::Authority;
use rcgen::{CertificateParams, KeyPair, SanType, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

const SPIFFE: &str = "spiffe://cluster.local/ns/shop/sa/cart";

/// A certificate NAME.crt with its key, changed by `shape`.
fn issue(authority: &Authority, dir: &Path, name: &str, hosts: &[&str], shape: impl FnOnce(&mut CertificateParams)) {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(hosts).expect("parameters");
    shape(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, authority.issuer()).expect("a certificate");
    std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).expect("the certificate");
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("the key");
}

/// A server with the certificate `name` that answers 200 over HTTP/1.1, or over HTTP/2 where that is agreed on.
async fn server(
    dir: &Path,
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
    alpn: &[&str],
) -> (SocketAddr, Arc<AtomicUsize>) {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = vec![CertificateDer::from_pem_file(dir.join(format!("{name}.crt"))).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("a key");
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate with its key");
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let connections = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, count) = (acceptor.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    return;
                };
                count.fetch_add(1, Ordering::SeqCst);
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    let Ok(mut connection) = h2::server::handshake(stream).await else {
                        return;
                    };
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let _ = respond.send_response(http::Response::new(()), true);
                    }
                    return;
                }
                let mut chunk = [0; 4096];
                while stream.read(&mut chunk).await.is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
                }
            });
        }
    });
    (address, connections)
}

/// A route for each upstream, at `/NAME`.
fn configuration(upstreams: &[(&str, String)]) -> String {
    let list: Vec<_> = upstreams
        .iter()
        .map(|(name, keys)| format!("  {name}: {{ {keys} }}\n"))
        .collect();
    let routes: Vec<_> = upstreams
        .iter()
        .map(|(name, _)| format!("  - {{ match: {{ path: /{name} }}, proxy: {{ upstream: {name} }} }}\n"))
        .collect();
    format!(
        "upstreams:\n{}sites:\n- hosts: [\"*\"]\n  routes:\n{}",
        list.concat(),
        routes.concat()
    )
}

async fn get(gateway: &Gateway, path: &str) -> (u16, String) {
    let (address, path) = (gateway.public, path.to_owned());
    let answer = tokio::task::spawn_blocking(move || h1::get(address, "a", &path, &[]));
    let answer = answer.await.expect("an answer");
    (answer.status, answer.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn subject_alternative_names_and_times() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().expect("a temporary folder");
    let dir = files.path();
    std::fs::write(dir.join("ca.pem"), authority.pem()).expect("ca.pem");
    let uri = |params: &mut CertificateParams| {
        params
            .subject_alt_names
            .push(SanType::URI(SPIFFE.try_into().expect("a URI")));
    };
    issue(&authority, dir, "plain", &["app.internal"], |_| {});
    issue(&authority, dir, "spiffe", &[], uri);
    issue(&other, dir, "stranger", &["app.internal"], uri);
    issue(&authority, dir, "expired", &["app.internal"], |params| {
        uri(params);
        params.not_after = date_time_ymd(2020, 1, 1);
    });
    issue(&authority, dir, "early", &["app.internal"], |params| {
        params.not_before = date_time_ymd(2200, 1, 1);
    });
    let mut upstreams = Vec::new();
    let mut cases = Vec::new();
    for (certificate, name, keys, expected) in [
        ("plain", "name", "", (200, "")),
        (
            "plain",
            "other-name",
            ", server_name: other.internal",
            (502, "upstream_certificate_name"),
        ),
        ("spiffe", "name-of-none", "", (502, "upstream_certificate_name")),
        ("spiffe", "uri", ", san: [\"URI\"]", (200, "")),
        ("spiffe", "any-of", ", san: [x.internal, 10.0.0.1, \"URI\"]", (200, "")),
        (
            "spiffe",
            "other-uri",
            ", san: [\"URIx\", \"URI/x\", app.internal]",
            (502, "upstream_certificate_name"),
        ),
        (
            "plain",
            "host",
            ", server_name: other.internal, san: [APP.internal]",
            (200, ""),
        ),
        (
            "plain",
            "instead",
            ", san: [\"URI\"]",
            (502, "upstream_certificate_name"),
        ),
        ("stranger", "stranger", "", (502, "upstream_certificate_untrusted")),
        (
            "stranger",
            "stranger-uri",
            ", san: [\"URI\"]",
            (502, "upstream_certificate_untrusted"),
        ),
        ("expired", "expired", "", (502, "upstream_certificate_expired")),
        (
            "expired",
            "expired-uri",
            ", san: [\"URI\"]",
            (502, "upstream_certificate_expired"),
        ),
        ("early", "early", "", (502, "upstream_certificate_expired")),
    ] {
        let (address, _) = server(dir, certificate, rustls::ALL_VERSIONS, &["http/1.1"]).await;
        let keys = keys.replace("URI", SPIFFE);
        let named = if keys.contains("server_name") {
            ""
        } else {
            ", server_name: app.internal"
        };
        let tls = format!("tls: {{ ca: \"{}/ca.pem\"{named}{keys} }}", dir.display());
        upstreams.push((
            name,
            format!("servers: [\"{address}\"], retry: {{ attempts: 1 }}, {tls}"),
        ));
        cases.push((name, expected));
    }
    let gateway = Gateway::start(&configuration(&upstreams));
    for (name, (status, reason)) in cases {
        assert_eq!(
            get(&gateway, &format!("/{name}")).await,
            (status, reason.to_owned()),
            "{name}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn min_version() {
    let authority = Authority::new();
    let files = tempfile::tempdir().expect("a temporary folder");
    let dir = files.path();
    std::fs::write(dir.join("ca.pem"), authority.pem()).expect("ca.pem");
    authority.issue(dir, "server", &["app.internal"]);
    let (old, _) = server(dir, "server", &[&rustls::version::TLS12], &["h2", "http/1.1"]).await;
    let (new, _) = server(dir, "server", &[&rustls::version::TLS13], &["h2", "http/1.1"]).await;
    let upstream = |address: SocketAddr, protocol: &str, version: &str| {
        format!(
            "servers: [\"{address}\"], protocol: {protocol}, retry: {{ attempts: 1 }}, \
             tls: {{ server_name: app.internal, ca: \"{}/ca.pem\"{version} }}",
            dir.display()
        )
    };
    let strict = ", min_version: \"1.3\"";
    let gateway = Gateway::start(&configuration(&[
        ("old", upstream(old, "http1", "")),
        ("old-h2", upstream(old, "http2", "")),
        ("new-strict", upstream(new, "http1", strict)),
        ("new-strict-h2", upstream(new, "http2", strict)),
        ("new-strict-auto", upstream(new, "auto", strict)),
        ("old-strict", upstream(old, "http1", strict)),
        ("old-strict-h2", upstream(old, "http2", strict)),
        ("old-strict-auto", upstream(old, "auto", strict)),
    ]));
    for (path, status) in [
        ("/old", 200),
        ("/old-h2", 200),
        ("/new-strict", 200),
        ("/new-strict-h2", 200),
        ("/new-strict-auto", 200),
        ("/old-strict", 502),
        ("/old-strict-h2", 502),
        ("/old-strict-auto", 502),
    ] {
        assert_eq!(get(&gateway, path).await.0, status, "{path}");
    }
    assert_eq!(get(&gateway, "/old-strict-h2").await.1, "upstream_tls_version");
}

#[test]
fn require_upstream_tls() {
    let plain = configuration(&[("plain", "servers: [\"127.0.0.1:9\"]".into())]);
    let refused = Builder::new(&format!("require_upstream_tls: true\n{plain}")).start_expecting_refusal();
    assert!(
        refused.contains("error[insecure]") && refused.contains("`plain`"),
        "{refused}"
    );
    let tls = configuration(&[(
        "tls",
        "servers: [\"127.0.0.1:9\"], tls: { server_name: a.internal }".into(),
    )]);
    let gateway = Gateway::start(&format!("require_upstream_tls: true\n{tls}"));
    gateway.write_config(&format!("require_upstream_tls: true\n{plain}"));
    assert_eq!(gateway.reload().0, 422, "nor by a reload");
    Gateway::start(&plain);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_replaced_ends_the_trust_in_open_connections() {
    let (authority, other) = (Authority::new(), Authority::new());
    let files = tempfile::tempdir().expect("a temporary folder");
    let dir = files.path();
    authority.issue(dir, "server", &["app.internal"]);
    std::fs::write(dir.join("ca.pem"), authority.pem()).expect("ca.pem");
    let (address, connections) = server(dir, "server", rustls::ALL_VERSIONS, &["http/1.1"]).await;
    let upstream = format!(
        "servers: [\"{address}\"], tls: {{ server_name: app.internal, ca: \"{}/ca.pem\" }}",
        dir.display()
    );
    let gateway = Gateway::start(&configuration(&[("app", upstream.clone()), ("twin", upstream)]));
    for _ in 0..3 {
        assert_eq!(get(&gateway, "/app").await.0, 200);
        // The connection is kept a moment after the client has its answer.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "it is used again");
    assert_eq!(get(&gateway, "/twin").await.0, 200);
    assert_eq!(connections.load(Ordering::SeqCst), 2, "another upstream has its own");
    replace(&dir.join("ca.pem"), other.pem().as_bytes());
    let handle = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        wait("the new CA", || {
            handle.block_on(get(&gateway, "/app")) == (502, "upstream_certificate_untrusted".into())
        });
    });
    replace(&dir.join("ca.pem"), authority.pem().as_bytes());
    tokio::task::block_in_place(|| wait("the old CA", || handle.block_on(get(&gateway, "/app")).0 == 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn auto_asks_once_and_keeps_to_it() {
    let authority = Authority::new();
    let files = tempfile::tempdir().expect("a temporary folder");
    let dir = files.path();
    authority.issue(dir, "server", &["app.internal"]);
    std::fs::write(dir.join("ca.pem"), authority.pem()).expect("ca.pem");
    let (old, to_old) = server(dir, "server", rustls::ALL_VERSIONS, &["http/1.1"]).await;
    let (new, to_new) = server(dir, "server", rustls::ALL_VERSIONS, &["h2", "http/1.1"]).await;
    let upstream = |address: SocketAddr| {
        let ca = dir.join("ca.pem");
        format!(
            "servers: [\"{address}\"], protocol: auto, tls: {{ server_name: app.internal, ca: \"{}\" }}",
            ca.display()
        )
    };
    let gateway = Gateway::start(&configuration(&[("old", upstream(old)), ("new", upstream(new))]));
    for _ in 0..4 {
        assert_eq!(get(&gateway, "/old").await.0, 200);
        assert_eq!(get(&gateway, "/new").await.0, 200);
    }
    assert_eq!(
        to_old.load(Ordering::SeqCst),
        1,
        "the connection that asked is the one that is used"
    );
    assert_eq!(to_new.load(Ordering::SeqCst), 2, "one that asked, one that is used");
}

#[test]
fn a_broken_trust_store_stops_nobody_who_does_not_need_it() {
    let evil = Evil::start(|_| Script::send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let plain = configuration(&[("plain", format!("servers: [\"{}\"]", evil.address))]);
    let files = tempfile::tempdir().expect("a temporary folder");
    let broken = files.path().join("broken.pem");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&broken, nonsense).expect("broken.pem");
    let broken = broken.display().to_string();
    for store in [broken.as_str(), "/nowhere/ca.pem", "/dev/null"] {
        let gateway = Builder::new(&plain).environment("SSL_CERT_FILE", store).start();
        assert_eq!(h1::get(gateway.public, "a", "/plain", &[]).status, 200, "{store}");
    }
    let public = configuration(&[(
        "public",
        "servers: [\"127.0.0.1:9\"], tls: { server_name: a.internal }".into(),
    )]);
    let refused = Builder::new(&public)
        .environment("SSL_CERT_FILE", &broken)
        .start_expecting_refusal();
    assert!(
        refused.contains("trust store") && !refused.contains("panicked"),
        "{refused}"
    );
}
