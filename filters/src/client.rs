//! Who is at the other end, as the listener and the trusted proxies tell it. No lookups here.

use std::net::IpAddr;

use crate::mtls::spiffe;

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
    pub sans: Vec<San>,
    /// The distinguished name, such as `CN=app, O=Example`.
    pub subject: Box<str>,
    /// The distinguished name of who signed it.
    pub issuer: Box<str>,
    /// The serial number in lower-case hexadecimal digits.
    pub serial: Box<str>,
    /// SHA-256 of the certificate in lower-case hexadecimal digits.
    pub fingerprint: Box<str>,
    /// The certificate itself (DER).
    pub der: Box<[u8]>,
}

/// A subject alternative name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct San {
    /// What kind of name it is.
    pub kind: SanKind,
    /// The name; that of a host in lower case.
    pub text: Box<str>,
}

/// Kinds of subject alternative names, in the order in which they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SanKind {
    /// A URI.
    Uri,
    /// A host name.
    Dns,
    /// An e-mail address.
    Email,
    /// An IP address.
    Ip,
}

impl ClientCertificate {
    /// The names of a kind.
    pub fn names(&self, kind: SanKind) -> impl Iterator<Item = &str> {
        let of_it = self.sans.iter().filter(move |san| san.kind == kind);
        of_it.map(|san| &*san.text)
    }

    /// The SPIFFE ID: the only URI, when it is one. With two of them nobody knows whom it names (SPIFFE X.509-SVID, 2).
    pub fn spiffe(&self) -> Option<&str> {
        let mut uris = self.names(SanKind::Uri);
        match (uris.next(), uris.next()) {
            (Some(uri), None) => Some(uri).filter(|uri| spiffe::is_id(uri)),
            _ => None,
        }
    }
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
