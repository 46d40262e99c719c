//! What happens to connections, told to whoever counts and logs it, with reasons that never change their names.
//!
//! Requests are not told here: they have phases and an access log. The exception is a request that is refused before
//! its first phase, which nobody else would see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::problem::OVERLOADED;
use crate::strict::{Case, TABLE};

use super::connection::{Connection, ListenerInfo};
use super::proxy_protocol::ProxyError;

/// Listens to the life of connections. Called on the worker that serves the connection: must not block.
pub trait ConnectionEvents: Send + Sync + 'static {
    /// The connection is open: admitted, its PROXY header read and its TLS handshake done.
    fn accepted(&self, connection: &Arc<Connection>) {
        let _ = connection;
    }
    /// The connection was closed before anything was spoken on it.
    fn refused(&self, attempt: &Attempt, reason: Refusal) {
        let _ = (attempt, reason);
    }
    /// The TLS handshake failed.
    fn handshake_failed(&self, attempt: &Attempt, reason: HandshakeFailure) {
        let _ = (attempt, reason);
    }
    /// A request ended before any phase saw it. There is no other record of it.
    fn early_reject(&self, connection: &Connection, rejected: &Rejected<'_>) {
        let _ = (connection, rejected);
    }
    /// The connection is gone. Comes once for each [`Self::accepted`].
    fn closed(&self, connection: &Connection, reason: CloseReason) {
        let _ = (connection, reason);
    }
}

/// Tells nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unobserved;

impl ConnectionEvents for Unobserved {}

/// A connection that never opened.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where it came in.
    pub listener: Arc<ListenerInfo>,
    /// The other end of the TCP connection.
    pub tcp_peer: SocketAddr,
    /// The client, as far as it is known: after the PROXY header, if there was one.
    pub peer: SocketAddr,
}

/// Why a connection was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The address is not one that the listener's `sources` let in.
    SourceDenied,
    /// `limits.connections` is reached.
    Connections,
    /// `limits.connections_per_ip` is reached.
    ConnectionsPerIp,
    /// The connections of the client's IPv4 /24 or IPv6 /48 have reached `limits.connections_per_prefix`.
    ConnectionsPerPrefix,
    /// The client opens connections faster than `limits.new_connections_per_ip`.
    NewConnectionsPerIp,
    /// A PROXY listener was reached by somebody outside of `trusted_proxies`.
    ProxyUntrusted,
    /// The PROXY header is missing or wrong.
    ProxyHeader(ProxyError),
    /// The PROXY header did not come in time.
    ProxyTimeout,
    /// The peer left before the PROXY header was complete.
    ProxyClosed,
    /// Work waits too long for a worker, and a handshake would be more of it: see `overload.lag`.
    Overloaded,
    /// Memory is low: see `overload.memory`.
    MemoryLow,
}

impl Refusal {
    /// Every value `as_str` gives.
    pub const NAMES: &'static [&'static str] = &[
        "source_denied",
        "connections",
        "connections_per_ip",
        "connections_per_prefix",
        "new_connections_per_ip",
        "proxy_untrusted",
        "proxy_missing",
        "proxy_version",
        "proxy_malformed",
        "proxy_too_long",
        "proxy_timeout",
        "proxy_closed",
        "overloaded",
        "memory_low",
    ];

    /// The stable name, for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SourceDenied => "source_denied",
            Self::Connections => "connections",
            Self::ConnectionsPerIp => "connections_per_ip",
            Self::ConnectionsPerPrefix => "connections_per_prefix",
            Self::NewConnectionsPerIp => "new_connections_per_ip",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyHeader(ProxyError::Missing) => "proxy_missing",
            Self::ProxyHeader(ProxyError::Version) => "proxy_version",
            Self::ProxyHeader(ProxyError::Malformed(_)) => "proxy_malformed",
            Self::ProxyHeader(ProxyError::TooLong) => "proxy_too_long",
            Self::ProxyTimeout => "proxy_timeout",
            Self::ProxyClosed => "proxy_closed",
            Self::Overloaded => "overloaded",
            Self::MemoryLow => "memory_low",
        }
    }
}

/// Why a TLS handshake failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HandshakeFailure {
    /// Not finished within `limits.handshake_timeout`.
    Timeout,
    /// It waited for one of `limits.handshakes` until `limits.handshake_timeout` was over.
    Busy,
    /// The client left.
    Closed,
    /// What came is not TLS.
    NotTls,
    /// The client asks for a name that no certificate covers, or for none, and `unknown_sni` is `reject`.
    UnknownName,
    /// No TLS version, cipher suite, group or signature scheme in common.
    NoCommonParameters,
    /// The client offers application protocols, and none of ours.
    NoCommonProtocol,
    /// The client sent an alert, as one does that does not trust the certificate.
    ClientAlert,
    /// The client showed no certificate, and `client_auth` requires one.
    ClientCertificateMissing,
    /// The client's certificate has expired or is not valid yet.
    ClientCertificateExpired,
    /// The client's certificate is revoked.
    ClientCertificateRevoked,
    /// Whether the client's certificate is revoked cannot be told: a list is missing or has expired.
    ClientCertificateUnchecked,
    /// The client's certificate is not good for anything else: its authority, purpose, names, signature, size.
    ClientCertificateInvalid,
    /// Anything else that breaks the TLS protocol.
    Protocol,
}

impl HandshakeFailure {
    /// Every value `as_str` gives.
    pub const NAMES: &'static [&'static str] = &[
        "timeout",
        "busy",
        "closed",
        "not_tls",
        "unknown_name",
        "no_common_parameters",
        "no_common_protocol",
        "client_alert",
        "client_certificate_missing",
        "client_certificate_expired",
        "client_certificate_revoked",
        "client_certificate_unchecked",
        "client_certificate_invalid",
        "protocol",
    ];

    /// The stable name, for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::UnknownName => "unknown_name",
            Self::NoCommonParameters => "no_common_parameters",
            Self::NoCommonProtocol => "no_common_protocol",
            Self::ClientAlert => "client_alert",
            Self::ClientCertificateMissing => "client_certificate_missing",
            Self::ClientCertificateExpired => "client_certificate_expired",
            Self::ClientCertificateRevoked => "client_certificate_revoked",
            Self::ClientCertificateUnchecked => "client_certificate_unchecked",
            Self::ClientCertificateInvalid => "client_certificate_invalid",
            Self::Protocol => "protocol",
        }
    }
}

/// A request that no phase saw.
#[derive(Debug, Clone, Copy)]
pub struct Rejected<'a> {
    /// Why.
    pub reason: EarlyReject,
    /// Names it, in the answer too if there was one.
    pub request_id: &'a str,
    /// What could be read of its request line.
    pub line: RequestLine<'a>,
    /// Since its first byte.
    pub took: Duration,
}

/// What can be read of a request line, however wrong it is. Empty where nothing can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestLine<'a> {
    /// The method, a token.
    pub method: &'a str,
    /// The target as it was sent.
    pub target: &'a [u8],
    /// The version, such as `HTTP/1.1`.
    pub version: &'a str,
}

impl<'a> RequestLine<'a> {
    /// Of the bytes of a request.
    pub fn read(bytes: &'a [u8]) -> Self {
        let line = bytes
            .split(|byte| *byte == b'\n')
            .map(<[u8]>::trim_ascii)
            .find(|line| !line.is_empty());
        let mut words = line
            .unwrap_or_default()
            .split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty());
        let text = |word: Option<&'a [u8]>| {
            let word = word.filter(|word| word.len() <= 32 && word.iter().all(u8::is_ascii_graphic));
            word.and_then(|word| std::str::from_utf8(word).ok()).unwrap_or_default()
        };
        Self {
            method: text(words.next()),
            target: words.next().unwrap_or_default(),
            version: text(words.next_back().filter(|word| word.starts_with(b"HTTP/"))),
        }
    }
}

/// Why a request ended before its first phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EarlyReject {
    /// It breaks the form of one, and was answered as the table says.
    Refused(Case),
    /// The client left in the middle of the header.
    ClosedInHeader,
    /// HTTP/2 was agreed on, and what came is no HTTP/2.
    Http2Preface,
    /// The server stopped while the header was coming in.
    Shutdown,
    /// There was no time for it: see `overload.lag`.
    Overloaded,
}

impl EarlyReject {
    /// Every value `as_str` gives.
    pub fn names() -> Vec<&'static str> {
        let mut names = vec!["closed_in_header", "http2_preface", "shutdown", OVERLOADED];
        for row in &TABLE {
            if !names.contains(&row.reason) {
                names.push(row.reason);
            }
        }
        names
    }

    /// The stable name, for logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused(case) => case.reason(),
            Self::ClosedInHeader => "closed_in_header",
            Self::Http2Preface => "http2_preface",
            Self::Shutdown => "shutdown",
            Self::Overloaded => OVERLOADED,
        }
    }

    /// The status of the answer, if there was one; 499 where the client did not wait for it.
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Refused(case) => Some(case.row().status),
            Self::ClosedInHeader => Some(499),
            Self::Overloaded => Some(503),
            Self::Http2Preface | Self::Shutdown => None,
        }
    }
}

/// Why an open connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client closed it.
    Client,
    /// We closed it, as HTTP asks us to.
    Server,
    /// The socket failed.
    Error,
    /// We cut it off.
    Cut(Cut),
}

impl CloseReason {
    /// Every value `as_str` gives.
    pub const NAMES: &'static [&'static str] = &[
        "client",
        "server",
        "error",
        "keepalive_timeout",
        "header_timeout",
        "body_idle_timeout",
        "body_min_rate",
        "send_idle_timeout",
        "send_min_rate",
        "requested",
        "memory_low",
        "http2_resets",
        "http2_frames",
        "http2_header_block",
        "http2_excess",
        "http2_protocol",
        "keepalive_requests",
    ];

    /// The stable name, for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Error => "error",
            Self::Cut(cut) => cut.as_str(),
        }
    }
}

/// Why we cut a connection off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// No next request within `limits.keepalive_timeout`.
    KeepaliveTimeout,
    /// A header took longer than `limits.header_timeout`.
    HeaderTimeout,
    /// A pause in a request body longer than `limits.body_idle_timeout`.
    BodyIdle,
    /// A request body slower than `limits.min_rate`.
    BodyRate,
    /// The client took nothing of a response for `limits.body_idle_timeout`.
    SendIdle,
    /// The client takes a response more slowly than `limits.min_rate`.
    SendRate,
    /// Somebody called [`Connection::cut`].
    Requested,
    /// It was idle, and memory is low.
    MemoryLow,
    /// HTTP/2: more streams given up, or broken so that we give them up, than `limits.h2.resets` allows.
    Http2Resets,
    /// HTTP/2: too many frames that ask for nothing and carry nothing.
    Http2Frames,
    /// HTTP/2: a header block larger than any header may be.
    Http2HeaderBlock,
    /// HTTP/2: one of the library's own bounds was passed, such as that on CONTINUATION frames.
    Http2Excess,
    /// HTTP/2: what the client sent breaks the protocol in a way that only ends with the connection.
    Http2Protocol,
    /// HTTP/2: the client goes on asking although it was told, after `limits.keepalive_requests`, to come again.
    KeepaliveRequests,
}

impl Cut {
    pub(super) const ALL: [Self; 14] = [
        Self::KeepaliveTimeout,
        Self::HeaderTimeout,
        Self::BodyIdle,
        Self::BodyRate,
        Self::SendIdle,
        Self::SendRate,
        Self::Requested,
        Self::MemoryLow,
        Self::Http2Resets,
        Self::Http2Frames,
        Self::Http2HeaderBlock,
        Self::Http2Excess,
        Self::Http2Protocol,
        Self::KeepaliveRequests,
    ];

    /// The stable name, for logs and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::KeepaliveTimeout => "keepalive_timeout",
            Self::HeaderTimeout => "header_timeout",
            Self::BodyIdle => "body_idle_timeout",
            Self::BodyRate => "body_min_rate",
            Self::SendIdle => "send_idle_timeout",
            Self::SendRate => "send_min_rate",
            Self::Requested => "requested",
            Self::MemoryLow => "memory_low",
            Self::Http2Resets => "http2_resets",
            Self::Http2Frames => "http2_frames",
            Self::Http2HeaderBlock => "http2_header_block",
            Self::Http2Excess => "http2_excess",
            Self::Http2Protocol => "http2_protocol",
            Self::KeepaliveRequests => "keepalive_requests",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_read_as_far_as_it_goes() {
        let read = |bytes: &'static str| {
            let RequestLine {
                method,
                target,
                version,
            } = RequestLine::read(bytes.as_bytes());
            (method, std::str::from_utf8(target).unwrap(), version)
        };
        assert_eq!(read("GET /a b HTTP/1.1\r\nHost: a\r\n"), ("GET", "/a", "HTTP/1.1"));
        assert_eq!(read("\r\nGET /a"), ("GET", "/a", ""));
        assert_eq!(read("\u{16}\u{3}\u{1} x"), ("", "x", ""));
        assert_eq!(read("GET"), ("GET", "", ""));
        assert_eq!(read(""), ("", "", ""));
    }

    #[test]
    fn every_cut_is_listed_once() {
        let names: Vec<_> = Cut::ALL.iter().map(|cut| CloseReason::Cut(*cut).as_str()).collect();
        assert_eq!(names, CloseReason::NAMES[3..]);
    }
}
