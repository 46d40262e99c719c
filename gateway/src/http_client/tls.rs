//! TLS for our own fetches: versions 1.2 and 1.3, certificates always verified, against the public roots or a CA file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use tokio::io::AsyncReadExt;

use super::FetchError;

/// Largest CA file.
const MOST: u64 = 1 << 20;

static PUBLIC: OnceLock<Arc<ClientConfig>> = OnceLock::new();

/// Settings that trust the certificates in `ca`, or the public roots. The file is read each time: a fetch is rare, and a
/// CA may be renewed.
pub(super) async fn config(ca: Option<&Path>) -> Result<Arc<ClientConfig>, FetchError> {
    let Some(path) = ca else {
        if let Some(known) = PUBLIC.get() {
            return Ok(Arc::clone(known));
        }
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        let built = build(roots)?;
        return Ok(Arc::clone(PUBLIC.get_or_init(|| built)));
    };
    let pem = read(path)
        .await
        .map_err(|error| FetchError::Ca(format!("{}: {error}", path.display())))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| FetchError::Ca(format!("{}: {error}", path.display())))?;
        roots
            .add(certificate)
            .map_err(|error| FetchError::Ca(format!("{}: {error}", path.display())))?;
    }
    if roots.is_empty() {
        return Err(FetchError::Ca(format!("{} holds no certificate", path.display())));
    }
    build(roots)
}

async fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    let file = tokio::fs::File::open(path).await?;
    if file.take(MOST + 1).read_to_end(&mut pem).await? as u64 > MOST {
        return Err(std::io::Error::other("larger than 1 MiB"));
    }
    Ok(pem)
}

fn build(roots: RootCertStore) -> Result<Arc<ClientConfig>, FetchError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| FetchError::Tls(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
