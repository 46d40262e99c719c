//! Certificates, authorities of clients and ticket keys are replaced while clients come and go, with new handshakes and
//! resumed ones: none of them fails.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis_e2e::gateway::{Builder, replace, wait};
use portcullis_e2e::ports;
use portcullis_e2e::tls::{Authority, connect, get};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, HandshakeKind, SupportedProtocolVersion};

const HOST: &str = "a.example.com";
const ROUNDS: u8 = 5;

/// Settings of a client with a certificate of `clients`, which resumes its sessions.
fn client(servers: &Authority, clients: &Authority, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let chain = CertificateDer::from_pem_slice(clients.sign(&params, &key).as_bytes()).expect("a certificate");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    let builder = servers.client_with(&[version], rustls::crypto::ring::default_provider());
    Arc::new(builder.with_client_auth_cert(vec![chain], key).expect("a certificate"))
}

/// How a connection began that was answered.
async fn ask(config: &Arc<ClientConfig>, address: SocketAddr) -> Option<HandshakeKind> {
    let mut stream = connect(config, address, HOST).await.ok()?;
    let answer = get(&mut stream, HOST, "/").await;
    answer.contains("here").then(|| stream.get_ref().1.handshake_kind())?
}

#[derive(Default)]
struct Tally {
    full: AtomicU64,
    resumed: AtomicU64,
    failed: AtomicU64,
    stop: AtomicBool,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_handshake_fails_while_everything_is_replaced() {
    let (servers, clients, address) = (Authority::new(), Authority::new(), ports::free());
    let builder = Builder::new("")
        .file("clients.crt", clients.pem())
        .file("new.key", [1; 80])
        .file("old.key", [0; 80]);
    servers.issue(builder.dir(), "a", &[HOST]);
    let gateway = builder
        .with_yaml(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: mtls, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}], client_auth: {{ mode: required, ca: \"{{dir}}/clients.crt\" }}, session: {{ ticket_keys: [\"file:{{dir}}/new.key\", \"file:{{dir}}/old.key\"] }} }} }}]\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200, body: here }} }}] }}]\n"
        ))
        .start();
    wait("the listener", || std::net::TcpStream::connect(address).is_ok());

    let tally = Arc::new(Tally::default());
    let mut tasks = Vec::new();
    for version in [&TLS12, &TLS13] {
        let config = client(&servers, &clients, version);
        let tally = Arc::clone(&tally);
        tasks.push(tokio::spawn(async move {
            while !tally.stop.load(Relaxed) {
                let count = match ask(&config, address).await {
                    Some(HandshakeKind::Resumed) => &tally.resumed,
                    Some(_) => &tally.full,
                    None => &tally.failed,
                };
                count.fetch_add(1, Relaxed);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }));
    }
    let others = [Authority::new(), Authority::new()];
    for round in 0..ROUNDS {
        let before = tally.full.load(Relaxed) + tally.resumed.load(Relaxed);
        // The authority stays, and another one comes or goes beside it.
        let authorities = clients.pem() + &others[usize::from(round % 2)].pem();
        replace(&gateway.path("clients.crt"), authorities.as_bytes());
        replace(&gateway.path("old.key"), &[round + 1; 80]);
        replace(&gateway.path("new.key"), &[round + 2; 80]);
        let next = tempfile::tempdir().expect("a folder");
        servers.issue(next.path(), "a", &[HOST]);
        // Between the two the pair does not fit, and what was served stays.
        for file in ["a.crt", "a.key"] {
            let content = std::fs::read(next.path().join(file)).expect("a new file");
            replace(&gateway.path(file), &content);
        }
        let served = CertificateDer::from_pem_file(gateway.path("a.crt")).expect("the new certificate");
        let mut seen = false;
        for _ in 0..600 {
            let fresh = client(&servers, &clients, &TLS13);
            let stream = connect(&fresh, address, HOST).await.expect("a connection");
            seen = stream
                .get_ref()
                .1
                .peer_certificates()
                .is_some_and(|chain| chain[0] == served);
            if seen {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(seen, "round {round}: the new certificate is served");
        wait("clients that go on", || {
            tally.full.load(Relaxed) + tally.resumed.load(Relaxed) >= before + 20
        });
    }
    tally.stop.store(true, Relaxed);
    for task in tasks {
        task.await.expect("a client");
    }
    let (full, resumed) = (tally.full.load(Relaxed), tally.resumed.load(Relaxed));
    assert_eq!(
        tally.failed.load(Relaxed),
        0,
        "of {full} new handshakes and {resumed} resumed ones"
    );
    assert!(full >= 2 && resumed >= 20, "{full} {resumed}");
}
