//! Opening connections: TCP, and TLS over it with the one configuration that all connections of an upstream share, so that
//! sessions are resumed whatever CA or client certificate it names.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::protocols::l4::ext::set_tcp_keepalive;
use pingora_error::{Error, ErrorType, OrErr, Result};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::response::Scanner;

/// Opens connections of one upstream.
#[derive(Debug)]
pub(in crate::upstream) struct Dialer {
    tls: Option<TlsDial>,
    keepalive: TcpKeepalive,
}

/// What TLS needs.
#[derive(Debug)]
pub(in crate::upstream) struct TlsDial {
    pub(in crate::upstream) config: Arc<ClientConfig>,
    pub(in crate::upstream) name: ServerName<'static>,
}

/// A connection to a server.
#[derive(Debug)]
pub(in crate::upstream) struct Wire {
    pub(super) io: Io,
    pub(super) scanner: Scanner,
}

/// The two kinds of stream: TCP, and TLS over it.
pub(super) type Io = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Dialer {
    pub(in crate::upstream) fn new(tls: Option<TlsDial>, keepalive: TcpKeepalive) -> Self {
        Self { tls, keepalive }
    }

    /// Opens a connection. How long that may take is the caller's to bound.
    pub(in crate::upstream) async fn dial(&self, address: SocketAddr) -> Result<Box<Wire>> {
        let tcp = TcpStream::connect(address).await.map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::ConnectionRefused => ErrorType::ConnectRefused,
                io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorType::ConnectNoRoute,
                _ => ErrorType::ConnectError,
            };
            Error::because(kind, format!("connecting to {address}"), error)
        })?;
        tcp.set_nodelay(true)
            .or_err(ErrorType::ConnectError, "setting nodelay")?;
        set_tcp_keepalive(&tcp, &self.keepalive)?;
        let io = match &self.tls {
            None => Either::Left(tcp),
            Some(tls) => Either::Right(Box::new(tls.handshake(tcp, address).await?)),
        };
        Ok(Box::new(Wire {
            io,
            scanner: Scanner::new(),
        }))
    }
}

impl Wire {
    /// Whether HTTP/2 was agreed on (RFC 7301).
    pub(in crate::upstream) fn speaks_http2(&self) -> bool {
        match &self.io {
            Either::Left(_) => false,
            Either::Right(tls) => tls.get_ref().1.alpn_protocol() == Some(b"h2"),
        }
    }
}

impl TlsDial {
    async fn handshake(&self, tcp: TcpStream, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let connector = TlsConnector::from(Arc::clone(&self.config));
        let connected = connector.connect(self.name.clone(), tcp).await;
        connected.and_then(still_valid).map_err(|error| {
            let certificate = matches!(tls_error(&error), Some(rustls::Error::InvalidCertificate(_)));
            let kind = if certificate {
                ErrorType::InvalidCert
            } else {
                ErrorType::TLSHandshakeFailure
            };
            Error::because(kind, format!("TLS with {address}"), error)
        })
    }
}

/// A resumed session brings no certificate: that of the first handshake must still be valid.
fn still_valid(stream: TlsStream<TcpStream>) -> io::Result<TlsStream<TcpStream>> {
    let session = stream.get_ref().1;
    if session.handshake_kind() != Some(rustls::HandshakeKind::Resumed) {
        return Ok(stream);
    }
    let leaf = session.peer_certificates().and_then(<[_]>::first);
    let valid = leaf.and_then(|der| X509Certificate::from_der(der).ok());
    if valid.is_some_and(|(_, certificate)| certificate.validity().is_valid()) {
        return Ok(stream);
    }
    let expired = rustls::Error::InvalidCertificate(rustls::CertificateError::Expired);
    Err(io::Error::new(io::ErrorKind::InvalidData, expired))
}

/// What TLS itself says in an error of a stream.
pub(super) fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// Whether an idle connection is still there and quiet: the server has neither closed it nor said anything.
pub(super) fn is_quiet(stream: &mut Io) -> bool {
    let mut byte = [0];
    match stream {
        Either::Left(tcp) => {
            matches!(tcp.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
        }
        // Session tickets come while idle; reading takes them in.
        Either::Right(tls) => {
            let mut context = Context::from_waker(std::task::Waker::noop());
            Pin::new(tls)
                .poll_read(&mut context, &mut ReadBuf::new(&mut byte))
                .is_pending()
        }
    }
}
