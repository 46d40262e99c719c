//! The PROXY protocol, versions 1 and 2, as the HAProxy project defines it: who the client behind a load balancer is.
//!
//! [`parse`] is a pure function over the bytes that have come so far; `read` feeds it from a socket. Whether a peer may
//! say such a thing at all is not decided here.

mod read;
mod v1;
mod v2;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;

use portcullis_config::listener::ProxyProtocol;

pub(super) use read::{ReadError, read};

/// The longest header of either version that is read. Version 2 could be 64 KiB long; what is in use stays far below.
pub const MAX_HEADER: usize = 4096;

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Fine so far, but there must be more.
    Incomplete,
    /// A whole header.
    Complete {
        /// How many bytes of the input it is. What follows belongs to the client.
        length: usize,
        /// Whom the connection is from.
        origin: Origin,
    },
}

/// Whom a connection is from, according to its PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A client of the proxy.
    Client {
        /// The client's address.
        source: SocketAddr,
        /// The address the client connected to.
        destination: SocketAddr,
    },
    /// The proxy itself, or somebody it cannot name: the addresses of the TCP connection stand.
    Connection,
}

/// Why a PROXY header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ProxyError {
    /// There is none.
    #[error("no PROXY header")]
    Missing,
    /// It is of a version that this listener does not take.
    #[error("a PROXY header of a version that this listener does not accept")]
    Version,
    /// It breaks the format.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// It is longer than we read.
    #[error("PROXY header too long")]
    TooLong,
}

/// Parses the header that `input` must begin with. `accepted` says which versions may come; with
/// [`ProxyProtocol::Off`] none may.
pub fn parse(input: &[u8], accepted: ProxyProtocol) -> Result<Parsed, ProxyError> {
    let (take_v1, take_v2) = match accepted {
        ProxyProtocol::Off => (false, false),
        ProxyProtocol::V1 => (true, false),
        ProxyProtocol::V2 => (false, true),
        ProxyProtocol::Any => (true, true),
    };
    if begins(input, v1::PREFIX) {
        if !take_v1 {
            return Err(ProxyError::Version);
        }
        return if input.len() < v1::PREFIX.len() {
            Ok(Parsed::Incomplete)
        } else {
            v1::parse(input)
        };
    }
    if begins(input, v2::SIGNATURE) {
        // The signature's first bytes are an empty line: too little to call it the wrong version.
        if input.len() < v2::SIGNATURE.len() {
            return Ok(Parsed::Incomplete);
        }
        return if take_v2 {
            v2::parse(input)
        } else {
            Err(ProxyError::Version)
        };
    }
    Err(ProxyError::Missing)
}

/// Whether `input` and `start` agree as far as both go. Nothing agrees with everything, so wait with empty input.
fn begins(input: &[u8], start: &[u8]) -> bool {
    input.iter().zip(start).all(|(a, b)| a == b)
}
