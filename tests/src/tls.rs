//! Certificates of a test's own authority, and TLS clients that trust only it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::WantsClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::gateway::PATIENCE;

/// An authority that only the test trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// A new one whose own certificate is unusual.
    pub fn with(edit: impl FnOnce(&mut CertificateParams)) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        edit(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Writes `NAME.crt` and `NAME.key` for these host names.
    pub fn issue(&self, dir: &Path, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        let params = CertificateParams::new(hosts).expect("parameters");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        std::fs::write(dir.join(format!("{name}.crt")), certificate.pem()).expect("the certificate");
        std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).expect("the key");
    }

    /// Whoever signs with it.
    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// Certificate and key made from these parameters, both PEM.
    pub fn sign(&self, params: &CertificateParams, key: &KeyPair) -> String {
        params.signed_by(key, &self.issuer).expect("a certificate").pem()
    }

    /// Settings of a client that trusts only this authority, with every version or those named.
    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_with(versions, rustls::crypto::ring::default_provider())
            .with_no_client_auth()
    }

    /// The same, with another choice of suites or groups, and with or without a certificate of its own.
    pub fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        provider: CryptoProvider,
    ) -> ConfigBuilder<ClientConfig, WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("the authority");
        let versions = if versions.is_empty() {
            rustls::ALL_VERSIONS
        } else {
            versions
        };
        ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
    }

    /// Connects with TLS; `alpn` is offered.
    pub async fn connect(
        &self,
        address: SocketAddr,
        host: &str,
        alpn: &[&str],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut config = self.client(&[]);
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        connect(&Arc::new(config), address, host).await
    }
}

/// Connects with TLS. Connections with the same settings resume each other's sessions.
pub async fn connect(
    config: &Arc<ClientConfig>,
    address: SocketAddr,
    host: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(host.to_owned()).expect("a name");
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::clone(config)).connect(name, stream).await
}

/// Sends a GET over HTTP/1.1 and reads the whole answer; empty when the connection ends without one.
pub async fn get(stream: &mut TlsStream<TcpStream>, host: &str, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = Vec::new();
    if stream.write_all(request.as_bytes()).await.is_ok() {
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    }
    String::from_utf8_lossy(&answer).into_owned()
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
