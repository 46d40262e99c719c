//! TLS to servers: reads the files that an upstream names, checks them whole, and makes from them both what Pingora's
//! connector wants and what the health checks want, so that both trust and present the same. Verification is always on.

use std::path::Path;
use std::sync::Arc;

use pingora_core::protocols::tls::CaType;
use pingora_core::utils::tls::{CertKey, WrappedX509};
use portcullis_config::listener::TlsVersion;
use portcullis_config::upstream::{UpstreamProtocol, UpstreamTls};
use rustls::client::{WantsClientCert, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::compile::Problem;
use super::san::AnyOf;

/// Protocol names of RFC 7301.
const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// TLS of one upstream, compiled.
pub(super) struct Tls {
    /// What is sent as SNI and verified. Never empty: Pingora would not verify then.
    pub(super) name: String,
    /// CAs of its own.
    pub(super) ca: Option<Arc<CaType>>,
    /// The client certificate.
    pub(super) client: Option<Arc<CertKey>>,
    /// The same for connections of our own, with HTTP/1.1 as the only protocol.
    pub(super) http1: Arc<ClientConfig>,
    /// And for the health checks.
    pub(super) check: Arc<ClientConfig>,
    pub(super) check_name: ServerName<'static>,
    /// Nothing older than TLS 1.3 will do.
    pub(super) tls13_only: bool,
    /// Everything that decides who is trusted and who we are: connections are pooled by it.
    pub(super) identity: Vec<Vec<u8>>,
}

/// The trust store of the operating system, read once a compile and only when an upstream needs it.
#[derive(Default)]
pub(super) struct SystemRoots(Option<Arc<RootCertStore>>);

impl SystemRoots {
    // The same loader as Pingora's connector, so that a check never trusts what a request would not.
    fn get(&mut self) -> Result<Arc<RootCertStore>, Problem> {
        if let Some(roots) = &self.0 {
            return Ok(Arc::clone(roots));
        }
        let mut store = RootCertStore::empty();
        pingora_rustls::load_platform_certs_incl_env_into_store(&mut store)
            .map_err(|error| Problem::SystemRoots(error.to_string()))?;
        if store.is_empty() {
            return Err(Problem::SystemRoots("it is empty".into()));
        }
        let store = Arc::new(store);
        self.0 = Some(Arc::clone(&store));
        Ok(store)
    }
}

impl Tls {
    pub(super) fn load(
        written: &UpstreamTls,
        protocol: UpstreamProtocol,
        system: &mut SystemRoots,
    ) -> Result<Self, Problem> {
        let name = written.server_name.clone();
        let check_name = ServerName::try_from(name.clone()).map_err(|_| Problem::ServerName { name: name.clone() })?;
        let mut identity = Vec::new();
        let (ca, roots) = match &written.ca {
            None => (None, system.get()?),
            Some(path) => {
                let ders = certificates(path)?;
                let roots = trust(path, &ders)?;
                let list = ders.iter().map(|der| parse(path, der)).collect::<Result<Vec<_>, _>>()?;
                identity.extend(ders.iter().map(|der| der.to_vec()));
                (Some(Arc::from(list)), Arc::new(roots))
            }
        };
        // Keeps "CA A, certificate B" apart from "CAs A and B, no certificate".
        identity.push(Vec::new());
        identity.push(written.min_version.to_string().into_bytes());
        identity.extend(written.san.iter().map(|name| name.clone().into_bytes()));
        identity.push(Vec::new());
        let pair = match (&written.certificate, &written.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
            _ => return Err(Problem::HalfAClientCertificate),
        };
        let mut client = None;
        let builder = client_config(roots, written)?;
        let mut check = match pair {
            None => builder.with_no_client_auth(),
            Some((certificate, key_path)) => {
                let (chain, key) = (certificates(certificate)?, private_key(key_path)?);
                chain.iter().try_for_each(|der| parse(certificate, der).map(drop))?;
                identity.extend(chain.iter().map(|der| der.to_vec()));
                let ders = chain.iter().map(|der| der.to_vec()).collect();
                client = Some(Arc::new(CertKey::new(ders, key.secret_der().to_vec())));
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| Problem::KeyPair {
                        certificate: certificate.into(),
                        key: key_path.into(),
                        error: error.to_string(),
                    })?
            }
        };
        check.alpn_protocols = alpn(protocol);
        let mut http1 = check.clone();
        http1.alpn_protocols = alpn(UpstreamProtocol::Http1);
        Ok(Self {
            name,
            ca,
            client,
            http1: Arc::new(http1),
            tls13_only: written.min_version == TlsVersion::V1_3,
            check: Arc::new(check),
            check_name,
            identity,
        })
    }
}

fn alpn(protocol: UpstreamProtocol) -> Vec<Vec<u8>> {
    match protocol {
        UpstreamProtocol::Http1 => vec![HTTP_1_1.to_vec()],
        UpstreamProtocol::Http2 => vec![H2.to_vec()],
        UpstreamProtocol::Auto => vec![H2.to_vec(), HTTP_1_1.to_vec()],
    }
}

/// Versions and verification: by `server_name`, or by the names that are listed.
fn client_config(
    roots: Arc<RootCertStore>,
    written: &UpstreamTls,
) -> Result<rustls::ConfigBuilder<ClientConfig, WantsClientCert>, Problem> {
    let provider = rustls::crypto::CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()));
    let versions: &[_] = match written.min_version {
        TlsVersion::V1_2 => &[&rustls::version::TLS13, &rustls::version::TLS12],
        TlsVersion::V1_3 => &[&rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(|error| Problem::Provider(error.to_string()))?;
    if written.san.is_empty() {
        return Ok(builder.with_root_certificates(roots));
    }
    let chain = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| Problem::Provider(error.to_string()))?;
    let verifier = Arc::new(AnyOf::new(chain, &written.san));
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier))
}

fn read(path: &Path) -> Result<Vec<u8>, Problem> {
    std::fs::read(path).map_err(|error| Problem::Read {
        path: path.into(),
        error: error.to_string(),
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let text = read(path)?;
    let list = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Problem::Certificate {
            path: path.into(),
            error: error.to_string(),
        })?;
    if list.is_empty() {
        let error = "it holds no PEM block `CERTIFICATE`".into();
        return Err(Problem::Certificate {
            path: path.into(),
            error,
        });
    }
    Ok(list)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    let text = zeroize::Zeroizing::new(read(path)?);
    let wrong = |error: String| Problem::Key {
        path: path.into(),
        error,
    };
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| wrong(error.to_string()))?;
    // Pingora guesses the kind of key from its bytes when it connects, and would panic there if it could not.
    PrivateKeyDer::try_from(key.secret_der()).map_err(|error| wrong(error.into()))?;
    Ok(key)
}

fn trust(path: &Path, ders: &[CertificateDer<'static>]) -> Result<RootCertStore, Problem> {
    let mut store = RootCertStore::empty();
    for der in ders {
        store.add(der.clone()).map_err(|error| Problem::Certificate {
            path: path.into(),
            error: error.to_string(),
        })?;
    }
    Ok(store)
}

// Pingora parses certificates with this parser and panics on what it cannot read: so it is asked here first.
fn parse(path: &Path, der: &CertificateDer<'_>) -> Result<WrappedX509, Problem> {
    WrappedX509::try_new(der.to_vec(), |bytes| {
        X509Certificate::from_der(bytes).map(|(_, certificate)| certificate)
    })
    .map_err(|error| Problem::Certificate {
        path: path.into(),
        error: error.to_string(),
    })
}
