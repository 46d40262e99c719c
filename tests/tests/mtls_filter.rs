//! The `mtls` filter behind a listener that takes certificates but does not ask for them: which clients reach a route, and
//! what the origin hears of them. Which certificates are good is shown elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::origin::Origin;
use portcullis_e2e::ports;
use portcullis_e2e::tls::{Authority, connect, get};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::ClientConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::{TLS12, TLS13};

const HOST: &str = "a.example.com";

struct World {
    gateway: Gateway,
    address: SocketAddr,
    servers: Authority,
    clients: Authority,
    origin: Origin,
}

/// Each variant of the filter has a path of its own.
fn world(variants: &[(&str, &str)]) -> World {
    let (servers, clients, address, origin) = (Authority::new(), clients(), ports::free(), Origin::start("ok"));
    let routes: Vec<_> = variants
        .iter()
        .map(|(name, keys)| {
            format!("{{ match: {{ path: /{name} }}, filters: [{{ mtls: {{ {keys} }} }}], proxy: {{ upstream: app }} }}")
        })
        .collect();
    let builder = Builder::new("").file("clients.crt", clients.pem());
    servers.issue(builder.dir(), "a", &[HOST]);
    let gateway = builder
        .with_yaml(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: mtls, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}], client_auth: {{ mode: optional, ca: \"{{dir}}/clients.crt\" }} }} }}]\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{}] }}]\n",
            origin.address,
            routes.join(", ")
        ))
        .start();
    wait("the listener", || std::net::TcpStream::connect(address).is_ok());
    World {
        gateway,
        address,
        servers,
        clients,
        origin,
    }
}

fn clients() -> Authority {
    Authority::with(|params| params.distinguished_name.push(DnType::CommonName, "Clients"))
}

fn text(name: &str) -> Ia5String {
    Ia5String::try_from(name).expect("a name")
}

impl World {
    /// A client whose certificate has these names, and the certificate.
    fn client(&self, sans: &[SanType]) -> (Arc<ClientConfig>, Vec<u8>) {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.subject_alt_names = sans.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let pem = self.clients.sign(&params, &key);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).expect("DER");
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let builder = self
            .servers
            .client_with(&[&TLS12, &TLS13], rustls::crypto::ring::default_provider());
        let config = builder.with_client_auth_cert(vec![der.clone()], private);
        (Arc::new(config.expect("a certificate of the client")), der.to_vec())
    }

    /// The status, and the reason of a refusal.
    async fn ask(&self, config: &Arc<ClientConfig>, path: &str) -> String {
        let mut stream = connect(config, self.address, HOST).await.expect("a handshake");
        let answer = get(&mut stream, HOST, path).await;
        let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        match serde_json::from_str::<serde_json::Value>(body) {
            Ok(problem) => format!("{status} {}", problem["reason"].as_str().unwrap_or_default()),
            Err(_) => status,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fv_04_a_route_is_for_those_whom_it_names() {
    let world = world(&[
        ("any", ""),
        ("optional", "optional: true"),
        ("spiffe", "allow: [{ spiffe: [\"spiffe://example.com/ns/prod/*\"] }]"),
        ("uri", "allow: [{ uri: [\"https://example.com/app\"] }]"),
        ("dns", "allow: [{ dns: [\"*.clients.example.com\"] }]"),
        ("email", "allow: [{ email: [\"*@example.com\"] }]"),
        ("issuer", "allow: [{ issuer: [\"CN=Clients\"] }]"),
        ("other", "allow: [{ issuer: [\"CN=Others\"] }]"),
        (
            "fingerprint",
            "allow: [{ fingerprint: [\"0000000000000000000000000000000000000000000000000000000000000000\"] }]",
        ),
    ]);
    let nobody = Arc::new(world.servers.client(&[]));
    let spiffe = world
        .client(&[SanType::URI(text("spiffe://example.com/ns/prod/api"))])
        .0;
    let many = [
        SanType::URI(text("https://example.com/app")),
        SanType::DnsName(text("x.clients.example.com")),
        SanType::Rfc822Name(text("ops@example.com")),
    ];
    let named = world.client(&many).0;
    let (missing, refused) = ("403 client_certificate_missing", "403 client_certificate_not_allowed");
    for (path, expected) in [
        ("/any", [missing, "200", "200"]),
        ("/optional", ["200", "200", "200"]),
        ("/spiffe", [missing, "200", refused]),
        ("/uri", [missing, refused, "200"]),
        ("/dns", [missing, refused, "200"]),
        ("/email", [missing, refused, "200"]),
        ("/issuer", [missing, "200", "200"]),
        ("/other", [missing, refused, refused]),
        ("/fingerprint", [missing, refused, refused]),
    ] {
        for (config, expected) in [&nobody, &spiffe, &named].into_iter().zip(expected) {
            assert_eq!(world.ask(config, path).await, expected, "{path}");
        }
    }
    drop(world.gateway);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_origin_hears_who_it_is() {
    let world = world(&[
        (
            "told",
            "headers: { x-client: spiffe, x-issuer: issuer }, client_cert: true",
        ),
        ("untold", ""),
    ]);
    let (client, der) = world.client(&[SanType::URI(text("spiffe://example.com/api"))]);
    assert_eq!(world.ask(&client, "/told").await, "200");
    assert_eq!(world.ask(&client, "/untold").await, "200");
    let seen = world.origin.seen();
    assert_eq!(seen[0].all("x-client"), ["spiffe://example.com/api"]);
    assert_eq!(seen[0].all("x-issuer"), ["CN=Clients"]);
    assert_eq!(seen[0].all("client-cert"), [format!(":{}:", STANDARD.encode(der))]);
    assert_eq!(seen[1].all("client-cert"), [""; 0]);
}
