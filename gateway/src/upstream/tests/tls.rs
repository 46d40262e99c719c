//! TLS to servers, with real handshakes: the checks and Pingora's connector trust the same, and pools stay apart.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use pingora_core::connectors::http::Connector;
use pingora_core::protocols::http::client::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::super::response::Expect;
use super::super::{Call, Failure};
use super::checks::watch;
use super::files::Files;
use super::*;

/// A server that speaks what ALPN chooses and counts connections.
struct Origin {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    resumed: Arc<AtomicUsize>,
}

async fn origin(files: Option<&Files>, mutual: bool, alpn: &[&str]) -> Origin {
    let acceptor = files.map(|files| TlsAcceptor::from(Arc::new(server_config(files, mutual, alpn))));
    let plain_h2 = acceptor.is_none();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = Origin {
        address: listener.local_addr().unwrap(),
        connections: Arc::default(),
        resumed: Arc::default(),
    };
    let (connections, resumed) = (Arc::clone(&origin.connections), Arc::clone(&origin.resumed));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, connections, resumed) = (acceptor.clone(), Arc::clone(&connections), Arc::clone(&resumed));
            tokio::spawn(async move {
                let Some(acceptor) = acceptor else {
                    return serve(stream, plain_h2, &connections).await;
                };
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                if stream.get_ref().1.handshake_kind() == Some(rustls::HandshakeKind::Resumed) {
                    resumed.fetch_add(1, Ordering::SeqCst);
                }
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                serve(stream, h2, &connections).await;
            });
        }
    });
    origin
}

fn server_config(files: &Files, mutual: bool, alpn: &[&str]) -> ServerConfig {
    let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let builder = if mutual {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(files.path("ca.pem")).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(files.path("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(files.path("server.key")).unwrap();
    let mut config = builder.with_single_cert(chain, key).unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    config
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, h2: bool, connections: &AtomicUsize) {
    connections.fetch_add(1, Ordering::SeqCst);
    if h2 {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let status = if request.uri().path() == HEALTH { 200 } else { 404 };
            let answer = http::Response::builder().status(status).body(()).unwrap();
            let _ = respond.send_response(answer, true);
        }
        return;
    }
    let mut seen = [0; 4096];
    while stream.read(&mut seen).await.is_ok_and(|read| read > 0) {
        if stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .await
            .is_err()
        {
            return;
        }
    }
}

fn shape(origin: &Origin, tls: Value, protocol: &str) -> Value {
    json!({ "servers": [origin.address.to_string()], "tls": tls, "protocol": protocol, "health": quick_health() })
}

/// What a check says, and what a request would meet.
async fn both(shape: Value) -> (Verdict, Result<&'static str, Failure>, String) {
    let upstreams = compile(json!({ "app": shape }));
    let selected = pick(&only(&upstreams));
    selected.agree().await;
    let (peer, _) = selected.peer(Expect::default());
    let (upstream, _tasks, _stop) = watch(upstreams);
    eventually("checked", || verdict(&upstream, 0) != Verdict::Unknown).await;
    let reason = upstream.status().servers[0].reason.clone().unwrap_or_default();
    let connected = connect(&Connector::new(None), &peer).await;
    (verdict(&upstream, 0), connected, reason)
}

async fn connect(connector: &Connector, peer: &HttpPeer) -> Result<&'static str, Failure> {
    match connector.get_http_session(peer).await {
        Ok((HttpSession::H2(_), _)) => Ok("h2"),
        Ok(_) => Ok("h1"),
        Err(error) => Err(Failure::of(&error).expect("a failure of the server")),
    }
}

#[tokio::test]
async fn the_right_ca_and_name() {
    let files = Files::new();
    for (protocol, alpn, spoken) in [
        ("http1", vec!["h2", "http/1.1"], "h1"),
        ("http2", vec!["h2"], "h2"),
        ("auto", vec!["h2", "http/1.1"], "h2"),
        ("auto", vec!["http/1.1"], "h1"),
        ("auto", vec![], "h1"),
    ] {
        let origin = origin(Some(&files), false, &alpn).await;
        let (verdict, connected, reason) = both(shape(&origin, files.tls(), protocol)).await;
        assert_eq!(
            (verdict, connected),
            (Verdict::Up, Ok(spoken)),
            "{protocol} {alpn:?} {reason}"
        );
    }
}

#[tokio::test]
async fn another_ca_or_name_is_refused() {
    let (files, other) = (Files::new(), Files::new());
    let origin = origin(Some(&files), false, &[]).await;
    let mut other_name = files.tls();
    other_name["server_name"] = json!("other.internal");
    for tls in [other.tls(), other_name] {
        let (verdict, connected, reason) = both(shape(&origin, tls, "http1")).await;
        assert_eq!(
            (verdict, connected),
            (Verdict::Down, Err(Failure::ConnectError)),
            "{reason}"
        );
        assert!(
            reason.starts_with("health check: TLS: invalid peer certificate"),
            "{reason}"
        );
    }
    assert_eq!(origin.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_client_certificate_is_presented() {
    let files = Files::new();
    let origin = origin(Some(&files), true, &["http/1.1"]).await;
    let (verdict, connected, reason) = both(shape(&origin, files.mutual_tls(), "http1")).await;
    assert_eq!((verdict, connected), (Verdict::Up, Ok("h1")), "{reason}");
    let (verdict, ..) = both(shape(&origin, files.tls(), "http1")).await;
    assert_eq!(verdict, Verdict::Down, "without one the server hangs up");
}

#[tokio::test]
async fn http2_with_prior_knowledge() {
    let origin = origin(None, false, &[]).await;
    let mut shape = json!({ "servers": [origin.address.to_string()], "protocol": "http2", "health": quick_health() });
    let (verdict, connected, reason) = both(shape.clone()).await;
    assert_eq!((verdict, connected), (Verdict::Up, Ok("h2")), "{reason}");
    shape["health"]["path"] = json!("/other");
    let (verdict, _, reason) = both(shape).await;
    assert_eq!((verdict, reason.as_str()), (Verdict::Down, "health check: status 404"));
}

// A connection that was made under one CA must not serve an upstream that trusts another, nor itself after a reload.
#[tokio::test]
async fn an_idle_connection_is_not_reused_under_other_trust() {
    let (files, other) = (Files::new(), Files::new());
    let origin = origin(Some(&files), false, &["http/1.1"]).await;
    let config = |tls: Value| json!({ "app": shape(&origin, tls, "http1") });
    let first = compile(config(files.tls()));
    assert_eq!(exchange(&first).await, Ok(false));
    assert_eq!(exchange(&first).await, Ok(true), "it was kept");
    let distrustful = try_compile(config(other.tls()), &first).unwrap();
    assert_eq!(exchange(&distrustful).await, Err(Failure::ConnectError));
    let again = try_compile(config(files.tls()), &distrustful).unwrap();
    assert_eq!(exchange(&again).await, Ok(false), "the pool went with the trust");
    let same = try_compile(config(files.tls()), &again).unwrap();
    assert_eq!(
        exchange(&same).await,
        Ok(true),
        "a reload that changes nothing keeps it"
    );
}

/// One request as Pingora would make it; whether its connection had been used before.
async fn exchange(upstreams: &Upstreams) -> Result<bool, Failure> {
    let selected = pick(&only(upstreams));
    let (peer, call) = selected.peer(Expect::default());
    let connector = Connector::new(None);
    let session = connector.get_http_session(&*peer).await;
    let (mut session, _) = session.map_err(|error| Failure::of(&error).expect("a failure of the server"))?;
    request(&mut session).await;
    connector.release_http_session(session, &*peer, None).await;
    Ok(call.is_some_and(|call: Arc<Call>| call.is_reused()))
}

#[tokio::test]
async fn sessions_are_resumed_with_a_ca_and_a_client_certificate_of_its_own() {
    let files = Files::new();
    let origin = origin(Some(&files), true, &["http/1.1"]).await;
    let mut shape = shape(&origin, files.mutual_tls(), "http1");
    shape["timeouts"] = json!({ "idle": "1ms" });
    shape.as_object_mut().unwrap().remove("health");
    let upstreams = compile(json!({ "app": shape }));
    for round in 0..3 {
        assert_eq!(exchange(&upstreams).await, Ok(false), "nothing stays idle");
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(origin.resumed.load(Ordering::SeqCst), round);
    }
}

async fn request(session: &mut HttpSession) {
    let mut header = pingora_http::RequestHeader::build("GET", b"/", None).unwrap();
    header.insert_header("Host", "app.internal").unwrap();
    session.write_request_header(Box::new(header)).await.unwrap();
    session.finish_request_body().await.unwrap();
    session.read_response_header().await.unwrap();
    if let HttpSession::H1(session) = session {
        session.respect_keepalive();
    }
    while session.read_response_body().await.unwrap().is_some() {}
}
