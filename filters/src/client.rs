//! Who is at the other end, as the listener and the trusted proxies tell it. No lookups here.

use std::net::IpAddr;

/// The client of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// The client's address: from a trusted proxy's header where there is one, else the connection's peer.
    pub address: IpAddr,
    /// The connection's peer (after a PROXY header).
    pub peer: IpAddr,
    /// Whether the connection's peer is in `trusted_proxies`.
    pub peer_is_trusted: bool,
    /// Whether the client spoke TLS, to us or (as a trusted proxy says) to a proxy before us.
    pub tls: bool,
}

/// A client's certificate, verified. Texts are as in the certificate and may be anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Subject alternative names: URIs, then host names, e-mail addresses, IP addresses.
    pub sans: Vec<Box<str>>,
    /// The distinguished name, such as `CN=app, O=Example`.
    pub subject: Box<str>,
    /// The serial number in lower-case hexadecimal digits.
    pub serial: Box<str>,
    /// SHA-256 of the certificate in lower-case hexadecimal digits.
    pub fingerprint: Box<str>,
}

/// The time of a request, read once when its header was complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Nanoseconds of a clock that never goes back; comparable within one boot of the machine.
    pub monotonic_ns: u64,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

impl Now {
    /// Seconds since 1970-01-01 UTC.
    pub const fn unix(self) -> i64 {
        (self.unix_ms / 1000).cast_signed()
    }
}
