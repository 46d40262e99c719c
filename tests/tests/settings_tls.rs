//! Every key of a listener's `tls` beside those of certificates, ALPN and the lowest version: suites, groups, unknown
//! names, sessions. Client certificates have tests of their own.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis_e2e::gateway::{Builder, Gateway, replace, wait};
use portcullis_e2e::ports;
use portcullis_e2e::tls::{Authority, connect, get};
use rustls::crypto::ring::{cipher_suite, default_provider, kx_group};
use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConfig, HandshakeKind, SupportedCipherSuite, SupportedProtocolVersion};

const HOST: &str = "a.example.com";
const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: here } }] }]\n";

/// A gateway with one listener for each text, which adds to its `tls`.
fn start(authority: &Authority, kinds: &[&str]) -> (Gateway, Vec<SocketAddr>) {
    start_with(Builder::new(""), authority, kinds)
}

fn start_with(builder: Builder, authority: &Authority, kinds: &[&str]) -> (Gateway, Vec<SocketAddr>) {
    authority.issue(builder.dir(), "a", &[HOST]);
    let addresses: Vec<_> = kinds.iter().map(|_| ports::free()).collect();
    let mut listeners = vec!["{ name: public, address: \"{public}\" }".to_owned()];
    for (place, (address, more)) in addresses.iter().zip(kinds).enumerate() {
        listeners.push(format!(
            "{{ name: \"l{place}\", address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}]{more} }} }}"
        ));
    }
    let gateway = builder
        .with_yaml(&format!("listeners: [{}]\n{SITE}", listeners.join(", ")))
        .start();
    for address in &addresses {
        wait("the listeners", || std::net::TcpStream::connect(address).is_ok());
    }
    (gateway, addresses)
}

/// The suite and group that a client gets who offers these suites in this order.
async fn agreed(
    authority: &Authority,
    address: SocketAddr,
    suites: &[SupportedCipherSuite],
    groups: &[&'static dyn rustls::crypto::SupportedKxGroup],
) -> Option<(String, String)> {
    let mut provider = default_provider();
    if !suites.is_empty() {
        provider.cipher_suites = suites.to_vec();
    }
    if !groups.is_empty() {
        provider.kx_groups = groups.to_vec();
    }
    let versions: Vec<_> = [&TLS12, &TLS13]
        .into_iter()
        .filter(|version| provider.cipher_suites.iter().any(|suite| suite.version() == *version))
        .collect();
    let config = authority.client_with(&versions, provider).with_no_client_auth();
    let stream = connect(&Arc::new(config), address, HOST).await.ok()?;
    let session = stream.get_ref().1;
    let suite = session.negotiated_cipher_suite().expect("a suite").suite();
    let group = session.negotiated_key_exchange_group().expect("a group").name();
    Some((format!("{suite:?}"), format!("{group:?}")))
}

#[tokio::test(flavor = "multi_thread")]
async fn cipher_suites() {
    let authority = Authority::new();
    let ours = ", cipher_suites: [TLS_CHACHA20_POLY1305_SHA256, TLS_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]";
    let (gateway, addresses) = start(&authority, &["", ours]);
    let (aes, chacha) = (
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    );
    let older = cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256;
    for (place, offered, expected) in [
        (0, &[aes, chacha][..], Some("TLS13_AES_256_GCM_SHA384")),
        (0, &[chacha, aes], Some("TLS13_CHACHA20_POLY1305_SHA256")),
        (1, &[aes, chacha], Some("TLS13_CHACHA20_POLY1305_SHA256")),
        (1, &[aes], Some("TLS13_AES_256_GCM_SHA384")),
        (1, &[cipher_suite::TLS13_AES_128_GCM_SHA256], None),
        (0, &[older], Some("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")),
        (1, &[older], None),
    ] {
        let suite = agreed(&authority, addresses[place], offered, &[])
            .await
            .map(|(suite, _)| suite);
        assert_eq!(suite.as_deref(), expected, "listener {place}, offered {offered:?}");
    }
    let series = "portcullis_tls_handshake_failures_total{listener=\"l1\",reason=\"no_common_parameters\"}";
    wait(series, || gateway.metric(series) >= 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn groups() {
    let authority = Authority::new();
    let (_gateway, addresses) = start(&authority, &["", ", groups: [secp384r1]"]);
    for (place, offered, expected) in [
        (0, &[kx_group::X25519, kx_group::SECP384R1][..], Some("X25519")),
        (1, &[kx_group::X25519, kx_group::SECP384R1], Some("secp384r1")),
        (1, &[kx_group::X25519], None),
    ] {
        let group = agreed(&authority, addresses[place], &[], offered)
            .await
            .map(|(_, group)| group);
        assert_eq!(group.as_deref(), expected, "listener {place}, offered {offered:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_sni() {
    let authority = Authority::new();
    let (gateway, addresses) = start(&authority, &["", ", unknown_sni: reject"]);
    let mut silent = authority.client(&[]);
    silent.enable_sni = false;
    let (named, silent) = (Arc::new(authority.client(&[])), Arc::new(silent));
    for (place, config, host, alert) in [
        (0, &silent, HOST, false),
        (1, &named, HOST, false),
        (1, &named, "A.EXAMPLE.COM", false),
        (1, &silent, HOST, true),
        (1, &named, "b.example.com", true),
    ] {
        let error = connect(config, addresses[place], host).await.err();
        let rejected = error
            .as_ref()
            .and_then(|error| error.get_ref()?.downcast_ref::<rustls::Error>());
        let expected = rustls::Error::AlertReceived(AlertDescription::UnrecognisedName);
        assert_eq!(
            rejected,
            alert.then_some(&expected),
            "listener {place}, {host}: {error:?}"
        );
    }
    // The first certificate is served, which this client does not take for another name.
    let error = connect(&named, addresses[0], "b.example.com")
        .await
        .expect_err("another name");
    assert!(error.to_string().contains("not valid for"), "{error}");
    let series = "portcullis_tls_handshake_failures_total{listener=\"l1\",reason=\"unknown_name\"}";
    wait(series, || gateway.metric(series) >= 2.0);
}

/// Whether a session that began at one address is resumed at another.
async fn resumes(config: &Arc<ClientConfig>, from: SocketAddr, to: SocketAddr, pause: Duration) -> bool {
    let mut first = connect(config, from, HOST).await.expect("the first connection");
    assert!(get(&mut first, HOST, "/").await.contains("here"));
    tokio::time::sleep(pause).await;
    let mut second = connect(config, to, HOST).await.expect("the second connection");
    assert!(get(&mut second, HOST, "/").await.contains("here"));
    second.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
}

/// The same, with a client that knows no session yet and speaks one version.
async fn resumed(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    tickets: bool,
    (from, to): (SocketAddr, SocketAddr),
    pause: Duration,
) -> bool {
    let mut config = authority.client(&[version]);
    if !tickets {
        config.resumption = rustls::client::Resumption::in_memory_sessions(8)
            .tls12_resumption(rustls::client::Tls12Resumption::SessionIdOnly);
    }
    resumes(&Arc::new(config), from, to, pause).await
}

#[tokio::test(flavor = "multi_thread")]
async fn session_cache_and_tickets() {
    let authority = Authority::new();
    let kinds = [
        "",
        ", session: { tickets: false }",
        ", session: { cache: 0 }",
        ", session: { tickets: false, cache: 0 }",
    ];
    let (_gateway, addresses) = start(&authority, &kinds);
    for (place, expected) in [
        // TLS 1.3, TLS 1.2 with tickets, TLS 1.2 with session ids.
        (0, [true, true, true]),
        (1, [true, true, true]),
        (2, [true, true, false]),
        (3, [false, false, false]),
    ] {
        let here = (addresses[place], addresses[place]);
        let mut found = Vec::new();
        for (version, tickets) in [(&TLS13, true), (&TLS12, true), (&TLS12, false)] {
            found.push(resumed(&authority, version, tickets, here, Duration::ZERO).await);
        }
        assert_eq!(found, expected, "{}", kinds[place]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ticket_lifetime() {
    let authority = Authority::new();
    let (_gateway, addresses) = start(&authority, &["", ", session: { ticket_lifetime: 1s }"]);
    let pause = Duration::from_secs(3);
    for (address, expected) in [(addresses[0], true), (addresses[1], false)] {
        for version in [&TLS12, &TLS13] {
            let found = resumed(&authority, version, true, (address, address), pause).await;
            assert_eq!(found, expected, "{version:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn session_ticket_keys() {
    let authority = Authority::new();
    let keys = |list: &str| format!(", session: {{ ticket_keys: [{list}] }}");
    let (old, both, env) = (
        keys("\"file:{dir}/old.key\""),
        keys("\"file:{dir}/new.key\", \"file:{dir}/old.key\""),
        keys("\"env:TICKET_KEY\""),
    );
    let builder = Builder::new("")
        .file("old.key", [1; 80])
        .file("new.key", [2; 48])
        .environment(
            "TICKET_KEY",
            "AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD",
        );
    let (gateway, addresses) = start_with(builder, &authority, &[&old, &both, &env, ""]);
    let at = |from: usize, to: usize| (addresses[from], addresses[to]);
    for (from, to, expected) in [
        (0, 1, true),  // the second key decrypts
        (1, 0, false), // the first encrypts
        (0, 2, false),
        (2, 2, true),
        (3, 0, false),
        (3, 3, true),
    ] {
        for version in [&TLS12, &TLS13] {
            let found = resumed(&authority, version, true, at(from, to), Duration::ZERO).await;
            assert_eq!(found, expected, "{from} to {to}, {version:?}");
        }
    }
    // A key that is replaced is picked up by itself.
    let before = gateway.metric("portcullis_config_loads_total{result=\"ok\"}");
    replace(&gateway.path("old.key"), &[2; 48]);
    let config = || Arc::new(authority.client(&[&TLS13]));
    let mut found = false;
    for _ in 0..100 {
        found = resumes(&config(), addresses[1], addresses[0], Duration::ZERO).await;
        if found {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(found, "loads before: {before}");
    replace(&gateway.path("old.key"), b"too short");
    gateway.wait_for("/-/status", |_, body| body.contains("48 or 80"));
    assert!(
        resumes(&config(), addresses[1], addresses[0], Duration::ZERO).await,
        "the last good key stays"
    );
}
