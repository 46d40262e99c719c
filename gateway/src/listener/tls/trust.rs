//! Certificates of clients: whom they must be signed by, and what they say of the client.
//!
//! A handshake verifies the chain it is shown. A resumed session shows none, so the chain that it began with is verified
//! again, by the authorities and revocation lists of now. Sessions are also bound to what is asked here: after a change of
//! authorities they are not even resumed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use portcullis_config::listener::{ClientAuth, ClientAuthMode, SanPattern};
use portcullis_filters::client::{ClientCertificate, San, SanKind};
use ring::digest::{Context, SHA256, digest};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, HandshakeKind, RootCertStore, ServerConnection,
    SignatureScheme,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::certificate;
use super::error::TlsError;
use super::sessions::Binding;

/// Most certificates that a client may show, and most bytes of them.
const MOST_CERTIFICATES: usize = 10;
const MOST_BYTES: usize = 16 << 10;
/// Most subject alternative names that are kept, and most bytes of each text: one more than a SPIFFE ID has, so that what
/// was cut off is none.
const MOST_SANS: usize = 32;
const LONGEST: usize = 2049;

/// What a listener asks of certificates of clients.
#[derive(Debug)]
pub(super) struct Trust {
    verifier: Arc<Verifier>,
    binding: Binding,
}

/// rustls's verifier, with bounds before it and names behind it.
#[derive(Debug)]
struct Verifier {
    inner: Arc<dyn ClientCertVerifier>,
    allowed: Option<Vec<SanPattern>>,
}

impl Trust {
    /// Reads authorities and revocation lists. Blocks on the disk.
    pub(super) fn load(auth: &ClientAuth, provider: &Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let mut binding = Context::new(&SHA256);
        binding.update(format!("{:?} {:?}", auth.mode, auth.allowed_sans).as_bytes());
        let authorities = certificate::chain(&auth.ca)?;
        let mut digests: Vec<_> = authorities.iter().map(|der| digest(&SHA256, der)).collect();
        digests.sort_by(|a, b| a.as_ref().cmp(b.as_ref()));
        for digest in &digests {
            binding.update(digest.as_ref());
        }
        let mut roots = RootCertStore::empty();
        for der in authorities {
            roots.add(der).map_err(|error| TlsError::BadCertificate {
                file: auth.ca.clone(),
                reason: error.to_string(),
            })?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority { file: auth.ca.clone() });
        }
        let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        for file in &auth.crl {
            builder = builder.with_crls(revocation_lists(file)?);
        }
        builder = builder.enforce_revocation_expiration();
        if auth.mode == ClientAuthMode::Optional {
            builder = builder.allow_unauthenticated();
        }
        let inner = builder.build().map_err(|error| TlsError::RevocationLists {
            reason: error.to_string(),
        })?;
        let mut bytes = Binding::default();
        bytes.copy_from_slice(binding.finish().as_ref());
        Ok(Self {
            verifier: Arc::new(Verifier {
                inner,
                allowed: auth.allowed_sans.clone(),
            }),
            binding: bytes,
        })
    }

    /// Names what is asked.
    pub(super) fn binding(&self) -> Binding {
        self.binding
    }

    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        Arc::clone(&self.verifier) as _
    }

    /// Verifies the client of a resumed session once more.
    pub(super) fn verify_again(&self, session: &ServerConnection) -> Result<(), Error> {
        if session.handshake_kind() != Some(HandshakeKind::Resumed) {
            return Ok(());
        }
        match session.peer_certificates().and_then(<[_]>::split_first) {
            Some((leaf, rest)) => self
                .verifier
                .verify_client_cert(leaf, rest, UnixTime::now())
                .map(|_| ()),
            None if self.verifier.client_auth_mandatory() => Err(Error::NoCertificatesPresented),
            None => Ok(()),
        }
    }
}

fn revocation_lists(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let bytes = certificate::read(file)?;
    if !bytes.starts_with(b"0") {
        let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(&bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| certificate::broken(file, &error))?;
        if !lists.is_empty() {
            return Ok(lists);
        }
    } else if x509_parser::revocation_list::CertificateRevocationList::from_der(&bytes).is_ok() {
        return Ok(vec![CertificateRevocationListDer::from(bytes)]);
    }
    Err(TlsError::NoRevocationList { file: file.to_owned() })
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let bytes = intermediates.iter().map(|der| der.len()).sum::<usize>() + end_entity.len();
        if intermediates.len() >= MOST_CERTIFICATES || bytes > MOST_BYTES {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        if let Some(allowed) = &self.allowed {
            let certificate = identity(end_entity).ok_or(CertificateError::BadEncoding)?;
            let is_allowed = |san: &str| allowed.iter().any(|pattern| pattern.matches(san));
            if !certificate.sans.iter().any(|san| is_allowed(&san.text)) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// What a certificate says of its holder. `None`: it is broken.
pub(super) fn identity(der: &CertificateDer<'_>) -> Option<ClientCertificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let alternative = certificate.subject_alternative_name().ok()?;
    let mut sans: Vec<San> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(san)
        .collect();
    // URIs come first: that there are two of them is not lost.
    sans.sort_by_key(|san| san.kind);
    sans.truncate(MOST_SANS);
    Some(ClientCertificate {
        sans,
        subject: short(&certificate.subject().to_string()),
        issuer: short(&certificate.issuer().to_string()),
        serial: hex(certificate.raw_serial()),
        fingerprint: hex(digest(&SHA256, der).as_ref()),
        der: der.as_ref().into(),
    })
}

/// A name that says who somebody is.
fn san(name: &GeneralName<'_>) -> Option<San> {
    let (kind, text) = match name {
        GeneralName::URI(uri) => (SanKind::Uri, short(uri)),
        GeneralName::DNSName(host) => (SanKind::Dns, short(&host.to_ascii_lowercase())),
        GeneralName::RFC822Name(mail) => (SanKind::Email, short(mail)),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(|it| IpAddr::from(Ipv4Addr::from(it)));
            let six = <[u8; 16]>::try_from(*bytes).map(|it| IpAddr::from(Ipv6Addr::from(it)));
            (SanKind::Ip, four.or(six).ok()?.to_string().into())
        }
        _ => return None,
    };
    Some(San { kind, text })
}

fn short(text: &str) -> Box<str> {
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}

fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes.iter().take(LONGEST / 2) {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(digit.into(), 16));
        }
    }
    text.into()
}
