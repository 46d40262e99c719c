//! The bounds that a connection lives under, ready for use: durations and counts instead of what was written.
//!
//! A reload swaps the whole of it; a connection keeps the one it was accepted with. No decision is taken here.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use portcullis_config::gateway::{Http2, Limits};

use super::arrivals::ArrivalRate;
use super::tls::HandshakeSlots;

/// What an HTTP/2 connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Policy {
    /// Streams at once.
    pub streams: u32,
    /// Streams that may come to nothing in a thousand seconds.
    pub resets_per_1000s: u64,
    /// How many of them may come at once.
    pub reset_burst: u32,
    /// Bytes of answers that are kept while the client does not take them, before other answers wait.
    pub response_buffer_bytes: u64,
}

impl From<&Http2> for Http2Policy {
    fn from(config: &Http2) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is positive"
        )]
        let resets_per_1000s = (config.resets.rate.per_second * 1000.0) as u64;
        Self {
            streams: config.streams,
            resets_per_1000s,
            reset_burst: config.resets.burst,
            response_buffer_bytes: config.response_buffer_bytes.get(),
        }
    }
}

/// Limits and trusted networks of every listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgePolicy {
    /// From accept to the end of the PROXY header and the TLS handshake.
    pub handshake_timeout: Duration,
    /// How many TLS handshakes may do their public-key work at once.
    pub handshakes: HandshakeSlots,
    /// From the first byte of a request to the end of its header. A new connection's clock starts at once.
    pub header_timeout: Duration,
    /// The longest pause inside a body, either way, and the window over which [`Self::min_rate`] is measured.
    pub body_idle_timeout: Duration,
    /// Bytes a second below which a body is cut, either way. 0 = off.
    pub min_rate: u32,
    /// How long a connection may wait for its next request.
    pub keepalive_timeout: Duration,
    /// Requests on one connection.
    pub keepalive_requests: u32,
    /// Connections at once, over all listeners.
    pub connections: u32,
    /// Connections at once from one client (an IPv6 /64 is one).
    pub connections_per_ip: u32,
    /// Connections at once from one IPv4 /24 or IPv6 /48.
    pub connections_per_prefix: u32,
    /// How fast one client may open connections.
    pub arrivals: ArrivalRate,
    /// The largest request header, in bytes.
    pub request_header_bytes: u32,
    /// Most fields in a request header.
    pub request_headers: u32,
    /// HTTP/2.
    pub h2: Http2Policy,
    /// Networks whose PROXY headers are believed and whose connections do not count as one client's.
    pub trusted_proxies: Vec<IpNet>,
}

impl EdgePolicy {
    /// From the configuration as written.
    pub fn new(limits: &Limits, trusted_proxies: &[IpNet]) -> Self {
        Self {
            handshake_timeout: limits.handshake_timeout.get(),
            handshakes: HandshakeSlots::new(limits.handshakes),
            header_timeout: limits.header_timeout.get(),
            body_idle_timeout: limits.body_idle_timeout.get(),
            min_rate: limits.min_rate,
            keepalive_timeout: limits.keepalive_timeout.get(),
            keepalive_requests: limits.keepalive_requests,
            connections: limits.connections,
            connections_per_ip: limits.connections_per_ip,
            connections_per_prefix: limits.connections_per_prefix(),
            arrivals: ArrivalRate::from(&limits.new_connections_per_ip),
            request_header_bytes: u32::try_from(limits.request_header_bytes.get()).unwrap_or(u32::MAX),
            request_headers: limits.request_headers,
            h2: Http2Policy::from(&limits.h2),
            trusted_proxies: trusted_proxies.to_vec(),
        }
    }

    /// Whether `address` is one of the trusted proxies. IPv4 in IPv6 clothes is IPv4.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.trusted_proxies.iter().any(|network| network.contains(&address))
    }
}

impl Default for EdgePolicy {
    fn default() -> Self {
        Self::new(&Limits::default(), &[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trusts_by_network_and_sees_through_mapped_addresses() {
        let policy = EdgePolicy::new(
            &Limits::default(),
            &["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
        );
        for address in ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"] {
            assert!(policy.trusts(address.parse().unwrap()), "{address}");
        }
        for address in ["11.1.2.3", "::ffff:11.1.2.3", "fe80::1", "::1"] {
            assert!(!policy.trusts(address.parse().unwrap()), "{address}");
        }
    }
}
