//! Every key of `listeners`, and whom `trusted_proxies` believes. Certificates that change while connections go on are
//! shown beside the listener's code and not here.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::sync::Arc;

use http::Request;
use portcullis_e2e::gateway::{Builder, Gateway, PATIENCE, wait};
use portcullis_e2e::h1::{self, Connection};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;
use portcullis_e2e::tls::Authority;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const SITE: &str = "sites: [{ hosts: [\"*\"], routes: [{ respond: { status: 200, body: here } }] }]\n";

/// The default listener of the harness and one more.
fn with_listener(more: &str) -> Builder {
    Builder::new(&format!(
        "listeners: [{{ name: public, address: \"{{public}}\" }}, {more}]\ntrusted_proxies: [127.0.0.0/8]\n{SITE}"
    ))
}

/// A listener with TLS whose files are `NAME.crt` and `NAME.key`.
fn tls(name: &str, address: SocketAddr, more: &str) -> String {
    format!(
        "{{ name: {name}, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/{name}.crt\", key: \"{{dir}}/{name}.key\" }}]{more} }} }}"
    )
}

#[test]
fn address() {
    let (one, other) = (ports::free(), ports::free());
    for (here, elsewhere) in [(one, other), (other, one)] {
        let _gateway = with_listener(&format!("{{ name: second, address: \"{here}\" }}")).start();
        wait("the second listener", || std::net::TcpStream::connect(here).is_ok());
        assert_eq!(h1::get(here, "a", "/", &[]).text(), "here");
        assert!(std::net::TcpStream::connect(elsewhere).is_err(), "{elsewhere}");
    }
}

#[test]
fn name() {
    let address = ports::free();
    for name in ["second", "inner"] {
        let gateway = with_listener(&format!("{{ name: {name}, address: \"{address}\" }}")).start();
        wait("the second listener", || std::net::TcpStream::connect(address).is_ok());
        h1::get(address, "a", "/", &[]);
        assert_eq!(gateway.access_log(1)[0]["listener"], name);
        let series = format!("portcullis_connections_accepted_total{{listener=\"{name}\"}}");
        assert!(gateway.metric(&series) >= 1.0);
        let (_, status) = gateway.admin("GET", "/-/status", "");
        assert!(status.contains(&format!("\"name\":\"{name}\"")), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn h2c() {
    let address = ports::free();
    for (h2c, spoken) in [(true, true), (false, false)] {
        let _gateway = with_listener(&format!("{{ name: second, address: \"{address}\", h2c: {h2c} }}")).start();
        wait("the second listener", || std::net::TcpStream::connect(address).is_ok());
        assert_eq!(prior_knowledge(address).await.is_some(), spoken, "{h2c}");
        assert_eq!(
            h1::get(address, "a", "/", &[]).text(),
            "here",
            "HTTP/1.1 is spoken either way"
        );
    }
}

#[test]
fn compat() {
    let address = ports::free();
    let chunks = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n";
    let lengths = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc";
    let forms = [
        ("bare_lf", "GET / HTTP/1.1\nHost: a\r\n\n"),
        ("leading_empty_lines", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("duplicate_content_length", lengths),
        ("padded_chunk_size", chunks),
    ];
    let origin = Origin::start("ok");
    for granted in forms.map(|(name, _)| name).into_iter().chain([""]) {
        let gateway = Builder::new(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: old, address: \"{address}\", compat: [{granted}] }}]\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            origin.address
        ));
        let _gateway = gateway.start();
        wait("the second listener", || std::net::TcpStream::connect(address).is_ok());
        for (name, request) in forms {
            let before = origin.seen().len();
            let answer = Connection::open(address).ask(request).expect("an answer");
            let expected = if name == granted { 200 } else { 400 };
            assert_eq!(answer.status, expected, "{name} where {granted} is granted");
            if expected == 200 {
                let seen = &origin.seen()[before];
                assert!(
                    seen.head.lines().count() > 3 && !seen.head.replace("\r\n", "").contains('\n'),
                    "{}",
                    seen.head
                );
                assert!(seen.all("content-length").len() <= 1, "{}", seen.head);
            }
        }
    }
}

/// The status that a client gets who speaks HTTP/2 at once.
async fn prior_knowledge(address: SocketAddr) -> Option<u16> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await.ok()?;
    tokio::spawn(connection);
    let request = Request::get("http://a/").body(()).expect("a request");
    let (answer, _) = client.ready().await.ok()?.send_request(request, true).ok()?;
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("in time").ok()?;
    Some(answer.status().as_u16())
}

#[test]
fn proxy_protocol() {
    let v1 = b"PROXY TCP4 192.0.2.1 192.0.2.9 1000 80\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([192, 0, 2, 2, 192, 0, 2, 9, 3, 232, 0, 80]);
    let addresses = [ports::free(), ports::free(), ports::free(), ports::free()];
    let kinds = ["off", "v1", "v2", "any"];
    let listeners: Vec<String> = addresses
        .iter()
        .zip(kinds)
        .map(|(address, kind)| format!("{{ name: \"l-{kind}\", address: \"{address}\", proxy_protocol: \"{kind}\" }}"))
        .collect();
    let gateway = with_listener(&listeners.join(", ")).start();
    for address in addresses {
        wait("the listeners", || std::net::TcpStream::connect(address).is_ok());
    }
    let ask = |place: usize, header: &[u8]| {
        let mut connection = Connection::open(addresses[place]);
        connection.send(header);
        connection.ask(GET).map_or(0, |answer| answer.status)
    };
    let table =
        [0, 1, 2, 3].map(|place| [ask(place, b""), ask(place, &v1), ask(place, &v2)].map(|status| status == 200));
    assert_eq!(
        table,
        [
            [true, false, false],
            [false, true, false],
            [false, false, true],
            [false, true, true]
        ],
        "{kinds:?}: no header, version 1, version 2"
    );
    // Two of the refused ones were read as requests, and have lines too.
    let answered = gateway.access_log(7);
    let clients = |listener: &str| -> Vec<&str> {
        let lines = answered
            .iter()
            .filter(|line| line["listener"] == listener && line["status"] == 200);
        lines.filter_map(|line| line["client"].as_str()).collect()
    };
    assert_eq!(clients("l-any"), ["192.0.2.1", "192.0.2.2"]);
    assert_eq!(clients("l-off"), ["127.0.0.1"]);
}

#[test]
fn sources() {
    let lists = [
        "allow: [127.0.0.0/8]",
        "allow: [192.0.2.0/24]",
        "deny: [127.0.0.1]",
        "allow: [127.0.0.0/8], deny: [127.0.0.1]",
    ];
    let addresses = [ports::free(), ports::free(), ports::free(), ports::free()];
    let listener = |(place, list): (usize, &str), proxy: &str| {
        let address = addresses[place];
        format!("{{ name: \"l-{place}\", address: \"{address}\"{proxy}, sources: {{ {list} }} }}")
    };
    let listeners: Vec<String> = lists.into_iter().enumerate().map(|it| listener(it, "")).collect();
    let gateway = with_listener(&listeners.join(", ")).start();
    let ask = |place: usize, before: &str| {
        let mut connection = Connection::open(addresses[place]);
        connection.send(before);
        connection.ask(GET).is_some()
    };
    wait("the listeners", || ask(0, ""));
    assert_eq!([0, 1, 2, 3].map(|place| ask(place, "")), [true, false, false, false]);
    for place in [1, 2, 3] {
        let mut connection = Connection::open(addresses[place]);
        assert_eq!(connection.next_bytes(), None, "closed, and not answered");
        let series = format!("portcullis_connections_refused_total{{listener=\"l-{place}\",reason=\"source_denied\"}}");
        wait("both to be counted", || gateway.metric(&series) >= 2.0);
    }

    // Behind a proxy the client counts, and a proxy that is denied is not listened to.
    let listeners: Vec<String> = lists
        .into_iter()
        .enumerate()
        .map(|it| listener(it, ", proxy_protocol: v1"))
        .collect();
    gateway.write_config(&format!(
        "listeners: [{{ name: public, address: \"{}\" }}, {}]\ntrusted_proxies: [127.0.0.0/8]\n{SITE}",
        gateway.public,
        listeners.join(", ")
    ));
    assert_eq!(gateway.reload().0, 200);
    let header = |client: &str| format!("PROXY TCP4 {client} 192.0.2.9 1000 80\r\n");
    assert_eq!(
        [0, 1, 2, 3].map(|place| ask(place, &header("192.0.2.7"))),
        [false, true, false, false]
    );
    assert_eq!([0, 1].map(|place| ask(place, &header("127.0.0.5"))), [true, false]);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_certificates() {
    let authority = Authority::new();
    let (a, b) = (ports::free(), ports::free());
    let builder = with_listener(&format!("{}, {}", tls("a", a, ""), tls("b", b, "")));
    authority.issue(builder.dir(), "a", &["a.example.com"]);
    authority.issue(builder.dir(), "b", &["b.example.com"]);
    let (mixed_certificate, mixed_key) = (
        std::fs::read(builder.dir().join("a.crt")).expect("a.crt"),
        std::fs::read(builder.dir().join("b.key")).expect("b.key"),
    );
    let _gateway = builder.start();
    for (address, host, served) in [
        (a, "a.example.com", true),
        (a, "b.example.com", false),
        (b, "b.example.com", true),
        (b, "a.example.com", false),
    ] {
        let connected = authority.connect(address, host, &["http/1.1"]).await;
        assert_eq!(connected.is_ok(), served, "{host} at {address}");
    }
    let mixed = with_listener(&tls("a", ports::free(), ""))
        .file("a.crt", mixed_certificate)
        .file("a.key", mixed_key);
    let refused = mixed.start_expecting_refusal();
    assert!(refused.contains("a.key"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_alpn() {
    let authority = Authority::new();
    let addresses = [ports::free(), ports::free(), ports::free()];
    let listeners = [
        tls("a", addresses[0], ""),
        tls("b", addresses[1], ", alpn: [http/1.1]"),
        tls("c", addresses[2], ", alpn: [http/1.1, h2]"),
    ];
    let builder = with_listener(&listeners.join(", "));
    for name in ["a", "b", "c"] {
        authority.issue(builder.dir(), name, &["a.example.com"]);
    }
    let _gateway = builder.start();
    for (address, offered, agreed) in [
        (addresses[0], &["h2", "http/1.1"][..], Some("h2")),
        (addresses[1], &["h2", "http/1.1"], Some("http/1.1")),
        (addresses[2], &["h2", "http/1.1"], Some("http/1.1")),
        (addresses[2], &["h2"], Some("h2")),
        (addresses[1], &["h2"], None),
    ] {
        let connected = authority.connect(address, "a.example.com", offered).await;
        let protocol = connected
            .ok()
            .and_then(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(
            protocol.as_deref(),
            agreed.map(str::as_bytes),
            "{address} was offered {offered:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_min_version() {
    let authority = Authority::new();
    let (lax, strict) = (ports::free(), ports::free());
    let listeners = [
        tls("a", lax, ", min_version: \"1.2\""),
        tls("b", strict, ", min_version: \"1.3\""),
    ];
    let builder = with_listener(&listeners.join(", "));
    for name in ["a", "b"] {
        authority.issue(builder.dir(), name, &["a.example.com"]);
    }
    let gateway = builder.start();
    for (address, version, served) in [
        (lax, &TLS12, true),
        (lax, &TLS13, true),
        (strict, &TLS12, false),
        (strict, &TLS13, true),
    ] {
        assert_eq!(speaks(&authority, address, version).await, served, "{version:?}");
    }
    let series = "portcullis_tls_handshake_failures_total{listener=\"b\",reason=\"no_common_parameters\"}";
    wait(series, || gateway.metric(series) >= 1.0);
}

async fn speaks(authority: &Authority, address: SocketAddr, version: &'static SupportedProtocolVersion) -> bool {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("a certificate");
    roots.add(certificate).expect("the authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(address).await.expect("a connection");
    let name = ServerName::try_from("a.example.com").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
}

#[test]
fn trusted_proxies() {
    let spoofed = [("X-Forwarded-For", "203.0.113.9"), ("X-Forwarded-Proto", "https")];
    for (trusted, client, proto, status) in [
        ("", "127.0.0.1", "http", 403),
        ("trusted_proxies: [192.0.2.0/24]\n", "127.0.0.1", "http", 403),
        ("trusted_proxies: [127.0.0.1]\n", "203.0.113.9", "https", 200),
    ] {
        let origin = Origin::start("ok");
        let gateway = Gateway::start(&format!(
            "{trusted}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}, {{ match: {{ path: /known }}, filters: [{{ ip_access: {{ allow: [203.0.113.9] }} }}], respond: {{ status: 200 }} }}] }}]\n",
            origin.address
        ));
        assert_eq!(h1::get(gateway.public, "a", "/", &spoofed).status, 200);
        assert_eq!(gateway.access_log(1)[0]["client"], client, "{trusted}");
        let seen = &origin.seen()[0];
        assert_eq!(seen.all("x-forwarded-proto"), [proto], "{trusted}");
        let first = seen.all("x-forwarded-for").join(", ");
        assert!(first.starts_with(client), "{trusted}: {first}");
        assert_eq!(
            h1::get(gateway.public, "a", "/known", &spoofed).status,
            status,
            "{trusted}"
        );
    }
}
