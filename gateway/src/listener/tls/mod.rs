//! TLS of a listener: certificates from disk, a `ServerConfig` from them, and how to know that the files changed.
//!
//! Loading touches nothing but the files it reads; what is served changes when the listener's state is swapped.

mod certificate;
mod error;
mod handshake;
mod ocsp;
mod parameters;
mod resolver;
mod sessions;
mod trust;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::SystemTime;

use portcullis_config::listener::{Alpn, ListenerTls, UnknownSni};
use rustls::ServerConfig;

use super::connection::TlsFacts;
use super::events::HandshakeFailure;
use resolver::{Resolver, Served};
use sessions::Sessions;
use trust::Trust;

pub use certificate::CertificateInfo;
pub use error::TlsError;
pub use handshake::HandshakeSlots;
pub use ocsp::{Staple, tend};

/// A listener's TLS, ready to serve.
#[derive(Debug)]
pub(super) struct LoadedTls {
    pub config: Arc<ServerConfig>,
    pub certificates: Vec<CertificateInfo>,
    /// Answers about certificates, to be kept fresh.
    pub staples: Vec<Arc<Staple>>,
    resolver: Arc<Resolver>,
    unknown_sni: UnknownSni,
    sessions: Sessions,
    trust: Option<Trust>,
}

impl LoadedTls {
    /// Reads the files that `tls` names and builds the configuration. Blocks on the disk. `before` is what is served now,
    /// whose sessions stay good.
    pub(super) fn load(tls: &ListenerTls, before: Option<&Self>, now: SystemTime) -> Result<Self, TlsError> {
        let provider = Arc::new(parameters::provider(tls));
        let mut resolver = Resolver::default();
        let mut certificates = Vec::with_capacity(tls.certificates.len());
        let known = before.map(|before| before.staples.as_slice()).unwrap_or_default();
        let mut staples = Vec::new();
        for files in &tls.certificates {
            let (key, info) = certificate::load(files, &provider, now)?;
            let staple = files.ocsp.as_ref();
            let staple = staple.map(|ocsp| Staple::open(ocsp, &key, &info, &provider, known));
            let staple = staple.transpose()?;
            if staple.is_none() && key.cert.first().is_some_and(|leaf| ocsp::must_staple(leaf)) {
                let certificate = info.file.display().to_string();
                tracing::warn!(
                    certificate,
                    "clients insist on an OCSP answer with this certificate (RFC 7633); add `ocsp`"
                );
            }
            staples.extend(staple.clone());
            resolver.add(Served { key, staple }, &info.names);
            certificates.push(info);
        }
        if certificates.is_empty() {
            return Err(TlsError::NoCertificates);
        }
        let resolver = Arc::new(resolver);
        let trust = tls.client_auth.as_ref();
        let trust = trust.map(|auth| Trust::load(auth, &provider)).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(parameters::versions(tls.min_version))
            .map_err(TlsError::Config)?;
        let builder = match &trust {
            Some(trust) => builder.with_client_cert_verifier(trust.verifier()),
            None => builder.with_no_client_auth(),
        };
        let mut config = builder.with_cert_resolver(Arc::clone(&resolver) as _);
        config.alpn_protocols = tls
            .alpn
            .iter()
            .map(|alpn| alpn_name(*alpn).as_bytes().to_vec())
            .collect();
        // Who writes suites down writes down which are better.
        config.ignore_client_order = tls.cipher_suites.is_some();
        let binding = trust.as_ref().map(Trust::binding).unwrap_or_default();
        let sessions = Sessions::open(&tls.session, binding, before.map(|before| &before.sessions))?;
        sessions.apply(&mut config);
        // A request in early data could be replayed (RFC 8446, section 8), and an answer before the handshake is
        // complete would go to somebody who has proved nothing.
        config.max_early_data_size = 0;
        config.send_half_rtt_data = false;
        Ok(Self {
            config: Arc::new(config),
            certificates,
            staples,
            resolver,
            unknown_sni: tls.unknown_sni,
            sessions,
            trust,
        })
    }

    /// Whether a client that asks for `name` is served.
    fn serves(&self, name: Option<&str>) -> bool {
        match self.unknown_sni {
            UnknownSni::Default => true,
            UnknownSni::Reject => name.is_some_and(|name| self.resolver.knows(name)),
        }
    }
}

fn alpn_name(alpn: Alpn) -> &'static str {
    match alpn {
        Alpn::H2 => "h2",
        Alpn::Http11 => "http/1.1",
    }
}

/// What a finished handshake agreed on.
fn facts(session: &rustls::ServerConnection, trust: Option<&Trust>) -> TlsFacts {
    let shown = session.peer_certificates().and_then(<[_]>::first);
    TlsFacts {
        client_auth: trust.is_some(),
        client: shown.and_then(trust::identity).map(Arc::new),
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            Some(rustls::ProtocolVersion::TLSv1_3) => "TLSv1.3",
            _ => "unknown",
        },
        cipher: session
            .negotiated_cipher_suite()
            .map_or("unknown", |suite| cipher_name(suite.suite())),
        server_name: session.server_name().map(Into::into),
        alpn: match session.alpn_protocol() {
            Some(b"h2") => Some("h2"),
            Some(b"http/1.1") => Some("http/1.1"),
            _ => None,
        },
    }
}

/// rustls gives the suites of TLS 1.3 names of its own.
fn cipher_name(suite: rustls::CipherSuite) -> &'static str {
    use rustls::CipherSuite as Suite;
    match suite {
        Suite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        Suite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        Suite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        other => other.as_str().unwrap_or("unknown"),
    }
}

/// Why `accept` failed.
fn failure(error: &std::io::Error) -> HandshakeFailure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    inner.map_or(HandshakeFailure::Closed, reason)
}

/// What is wrong with a client's certificate.
fn client_certificate(error: &rustls::CertificateError) -> HandshakeFailure {
    use rustls::CertificateError as Error;
    match error {
        Error::Expired | Error::ExpiredContext { .. } | Error::NotValidYet | Error::NotValidYetContext { .. } => {
            HandshakeFailure::ClientCertificateExpired
        }
        Error::Revoked => HandshakeFailure::ClientCertificateRevoked,
        Error::UnknownRevocationStatus | Error::ExpiredRevocationList | Error::ExpiredRevocationListContext { .. } => {
            HandshakeFailure::ClientCertificateUnchecked
        }
        _ => HandshakeFailure::ClientCertificateInvalid,
    }
}

fn reason(error: &rustls::Error) -> HandshakeFailure {
    use rustls::{Error, InvalidMessage};
    match error {
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType
            | InvalidMessage::UnknownProtocolVersion
            | InvalidMessage::MessageTooLarge
            | InvalidMessage::InvalidEmptyPayload,
        ) => HandshakeFailure::NotTls,
        Error::PeerIncompatible(_) => HandshakeFailure::NoCommonParameters,
        Error::NoCertificatesPresented => HandshakeFailure::ClientCertificateMissing,
        Error::InvalidCertificate(error) => client_certificate(error),
        Error::InvalidCertRevocationList(_) => HandshakeFailure::ClientCertificateUnchecked,
        Error::NoApplicationProtocol => HandshakeFailure::NoCommonProtocol,
        Error::AlertReceived(_) => HandshakeFailure::ClientAlert,
        _ => HandshakeFailure::Protocol,
    }
}
