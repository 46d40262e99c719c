//! Who a server is by the names in its certificate other than the one it was asked for by: the subject alternative names that an
//! upstream lists, SPIFFE IDs among them. Chain, validity and signatures are verified as ever; only the name is another.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Accepts a certificate that has any of these names.
#[derive(Debug)]
pub(super) struct AnyOf {
    chain: Arc<WebPkiServerVerifier>,
    names: Box<[Name]>,
}

#[derive(Debug, PartialEq, Eq)]
enum Name {
    Uri(Box<str>),
    Ip(IpAddr),
    Dns(Box<str>),
}

impl AnyOf {
    /// `chain` verifies everything but the name.
    pub(super) fn new(chain: Arc<WebPkiServerVerifier>, names: &[String]) -> Self {
        let names = names.iter().map(|name| Name::read(name)).collect();
        Self { chain, names }
    }

    fn is_named(&self, certificate: &CertificateDer<'_>) -> bool {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
            return false;
        };
        let Ok(Some(list)) = parsed.subject_alternative_name() else {
            return false;
        };
        list.value
            .general_names
            .iter()
            .any(|found| self.names.iter().any(|name| name.is(found)))
    }
}

impl Name {
    fn read(text: &str) -> Self {
        match text.parse() {
            Ok(ip) => Self::Ip(ip),
            Err(_) if text.contains("://") => Self::Uri(text.into()),
            Err(_) => Self::Dns(text.trim_end_matches('.').into()),
        }
    }

    fn is(&self, found: &GeneralName<'_>) -> bool {
        match (self, found) {
            // A SPIFFE ID is compared as it stands.
            (Self::Uri(name), GeneralName::URI(found)) => **name == **found,
            (Self::Dns(name), GeneralName::DNSName(found)) => name.eq_ignore_ascii_case(found),
            (Self::Ip(IpAddr::V4(ip)), GeneralName::IPAddress(found)) => ip.octets() == **found,
            (Self::Ip(IpAddr::V6(ip)), GeneralName::IPAddress(found)) => ip.octets() == **found,
            _ => false,
        }
    }
}

impl ServerCertVerifier for AnyOf {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .chain
            .verify_server_cert(certificate, intermediates, name, ocsp, now);
        match verified {
            // The name is looked at last: everything else was right.
            Ok(_)
            | Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        if self.is_named(certificate) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(Error::InvalidCertificate(CertificateError::NotValidForName))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
