//! TLS: versions, certificates by name, protocols, what a failed handshake is called, resumption.

use std::io;

use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

/// A client that trusts exactly `certificates`. No `versions` = all.
pub(super) fn client(
    certificates: &[&CertificateFiles],
    alpn: &[&str],
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for files in certificates {
        roots
            .add(CertificateDer::from_pem_file(&files.certificate).unwrap())
            .unwrap();
    }
    let versions = if versions.is_empty() {
        rustls::ALL_VERSIONS
    } else {
        versions
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

pub(super) async fn handshake(
    tcp: TcpStream,
    config: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connect = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
    timeout(PATIENCE, connect).await.expect("the handshake ends")
}

async fn secure(folder: &Path, edit: impl FnOnce(&mut ListenerTls)) -> (Running, CertificateFiles) {
    let files = certificate(folder, "a", &["a.test"]);
    let mut tls = ListenerTls::new(vec![files.clone()]);
    edit(&mut tls);
    (
        start(
            EdgePolicy {
                handshake_timeout: Duration::from_secs(1),
                ..long()
            },
            |it| it.tls = Some(tls),
        )
        .await,
        files,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn speaks_both_versions_and_tells_what_was_agreed() {
    let folder = tempfile::tempdir().unwrap();
    let (running, files) = secure(folder.path(), |_| {}).await;
    for (version, name, cipher) in [(&TLS12, "TLSv1.2", "TLS_ECDHE_ECDSA"), (&TLS13, "TLSv1.3", "TLS_AES")] {
        let config = client(&[&files], &["http/1.1"], &[version]);
        let mut stream = handshake(running.connect().await, &config, "a.test").await.unwrap();
        let answer = get(&mut stream, "/facts").await;
        let facts = format!("tls={name} {cipher}");
        assert!(
            answer.contains(&facts) && answer.contains("sni=Some(\"a.test\") alpn=Some(\"http/1.1\")"),
            "{answer}"
        );
    }
    // No ALPN: HTTP/1.1.
    let mut stream = handshake(running.connect().await, &client(&[&files], &[], &[]), "a.test")
        .await
        .unwrap();
    assert!(get(&mut stream, "/facts").await.contains("protocol=Http1 requests=1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn speaks_the_protocols_it_is_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let (running, files) = secure(folder.path(), |tls| tls.alpn = vec![Alpn::Http11]).await;
    let config = client(&[&files], &["h2", "http/1.1"], &[]);
    let mut stream = handshake(running.connect().await, &config, "a.test").await.unwrap();
    assert!(get(&mut stream, "/facts").await.contains("alpn=Some(\"http/1.1\")"));
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_handshakes_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let (running, files) = secure(folder.path(), |tls| tls.min_version = TlsVersion::V1_3).await;
    let other = certificate(folder.path(), "other", &["a.test"]);
    for (config, event) in [
        (
            client(&[&files], &[], &[&TLS12]),
            "handshake_failed no_common_parameters",
        ),
        (client(&[&files], &["imap"], &[]), "handshake_failed no_common_protocol"),
        (client(&[&other], &[], &[]), "handshake_failed client_alert"),
    ] {
        let result = handshake(running.connect().await, &config, "a.test").await;
        // In TLS 1.3 the client is done before the server has heard its alert.
        assert!(result.is_err(), "{event}");
        running.events.wait_for(event).await;
    }
    let mut plain = running.connect().await;
    plain
        .write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await
        .unwrap();
    closed(&mut plain).await;
    running.events.wait_for("handshake_failed not_tls").await;

    let mut silent = running.connect().await;
    closed(&mut silent).await;
    running.events.wait_for("handshake_failed timeout").await;

    let mut leaver = running.connect().await;
    leaver.write_all(b"\x16\x03\x01\x01\x00").await.unwrap();
    drop(leaver);
    running.events.wait_for("handshake_failed closed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_chooses_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let first = certificate(folder.path(), "first", &["first.test"]);
    let exact = certificate(folder.path(), "exact", &["b.example.test"]);
    let wild = certificate(folder.path(), "wild", &["*.example.test"]);
    let tls = ListenerTls::new(vec![first.clone(), exact.clone(), wild.clone()]);
    let running = start(long(), |listener| listener.tls = Some(tls)).await;
    for (name, files) in [
        ("first.test", &first),
        ("b.example.test", &exact),
        ("c.example.test", &wild),
        ("unknown.test", &first),
    ] {
        let mut config = ClientConfig::clone(&client(&[&first, &exact, &wild], &[], &[]));
        let seen = Arc::new(Mutex::new(None));
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(Anyone(seen.clone())));
        handshake(running.connect().await, &Arc::new(config), name)
            .await
            .unwrap();
        let expected = CertificateDer::from_pem_file(&files.certificate).unwrap();
        assert_eq!(seen.lock().unwrap().as_deref(), Some(&*expected), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_comes_back_without_a_full_handshake() {
    let folder = tempfile::tempdir().unwrap();
    let (running, files) = secure(folder.path(), |_| {}).await;
    for version in [&TLS12, &TLS13] {
        let config = client(&[&files], &["http/1.1"], &[version]);
        for expected in [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed] {
            let mut stream = handshake(running.connect().await, &config, "a.test").await.unwrap();
            get(&mut stream, "/").await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(expected), "{version:?}");
        }
        // Not even when the certificate is another one in the meantime.
        certificate(folder.path(), "a", &["a.test"]);
        running
            .handles
            .prepare(std::slice::from_ref(&running.listener))
            .unwrap()
            .commit();
        let mut stream = handshake(running.connect().await, &config, "a.test").await.unwrap();
        get(&mut stream, "/").await;
        assert_eq!(
            stream.get_ref().1.handshake_kind(),
            Some(rustls::HandshakeKind::Resumed),
            "{version:?}"
        );
    }
}

/// Accepts every certificate and remembers it.
#[derive(Debug)]
struct Anyone(Arc<Mutex<Option<Vec<u8>>>>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> std::result::Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        *self.0.lock().unwrap() = Some(certificate.to_vec());
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> std::result::Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_wait_for_a_slot_and_silent_clients_take_none() {
    let folder = tempfile::tempdir().unwrap();
    let files = certificate(folder.path(), "a", &["a.test"]);
    let tls = crate::listener::tls::LoadedTls::load(
        &ListenerTls::new(vec![files.clone()]),
        None,
        std::time::SystemTime::now(),
    )
    .unwrap();
    let policy = |handshakes| {
        EdgePolicy::new(
            &Limits {
                handshakes,
                ..Limits::default()
            },
            &[],
        )
    };
    let (one, two) = (policy(1).handshakes, policy(2).handshakes);
    let config = client(&[&files], &[], &[]);
    let shake = async |slots: &HandshakeSlots, within: Duration| {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("a.test").unwrap();
        let connect = TlsConnector::from(Arc::clone(&config)).connect(name, theirs);
        let deadline = tokio::time::Instant::now() + within;
        let (accepted, _client) = tokio::join!(tls.accept(ours, slots, deadline), timeout(within, connect));
        accepted.map(|(_, facts)| facts.version)
    };
    let (silent, _open) = tokio::io::duplex(64);
    let far = tokio::time::Instant::now() + PATIENCE;
    let waiting = tls.accept(silent, &one, far);
    tokio::select! {
        _ = waiting => panic!("a silent client is waited for"),
        done = shake(&one, PATIENCE) => assert_eq!(done.unwrap(), "TLSv1.3"),
    }
    let taken = (one.take().await, two.take().await);
    assert_eq!(
        shake(&one, Duration::from_millis(300)).await.unwrap_err(),
        HandshakeFailure::Busy
    );
    assert_eq!(shake(&two, PATIENCE).await.unwrap(), "TLSv1.3");
    drop(taken);
    assert_eq!(shake(&one, PATIENCE).await.unwrap(), "TLSv1.3");
}
