//! What an error of a connection means: Pingora passes it on with words of its own around it. Nothing is decided here.

use std::io;

use pingora_error::Error;
use rustls::CertificateError;

use super::super::response::Fault;

/// How a server's answer broke the rules, if that is what the error is about.
pub fn fault_of(error: &Error) -> Option<Fault> {
    inner(error)?.downcast_ref().copied()
}

/// The stable reason code of an error about a server's certificate.
pub fn certificate_reason(error: &Error) -> Option<&'static str> {
    let rustls::Error::InvalidCertificate(error) = inner(error)?.downcast_ref()? else {
        return None;
    };
    Some(match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "upstream_certificate_expired",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "upstream_certificate_name"
        }
        _ => "upstream_certificate_untrusted",
    })
}

fn inner(error: &Error) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
    error.root_cause().downcast_ref::<io::Error>()?.get_ref()
}
