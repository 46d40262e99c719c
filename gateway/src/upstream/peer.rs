//! Peers: what Pingora's connector is told about a server. Made once for each upstream, completed with an address for each attempt.
//! Names are never resolved here, verification is never off, and connections of different trust never share a pool.

use std::hash::Hasher;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use portcullis_config::upstream::{Upstream as Written, UpstreamProtocol};
use siphasher::sip::SipHasher13;

use super::tls::Tls;

/// Probes of idle connections: found dead within about a minute and a half, before most firewalls forget the flow.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: usize = 3;

/// What the attempt is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerUse {
    /// A request as usual.
    Request,
    /// A WebSocket handshake: HTTP/1.1 even where the upstream may speak HTTP/2, which has no such upgrade here.
    Upgrade,
}

/// A peer without an address.
#[derive(Debug)]
pub(super) struct PeerTemplate {
    peer: HttpPeer,
    protocol: UpstreamProtocol,
    tunnel: Duration,
}

impl PeerTemplate {
    pub(super) fn new(written: &Written, tls: Option<&Tls>) -> Self {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let name = tls.map(|tls| tls.name.clone()).unwrap_or_default();
        let mut peer = HttpPeer::new(nowhere, tls.is_some(), name);
        peer.group_key = group_key(written.protocol, tls);
        peer.client_cert_key = tls.and_then(|tls| tls.client.clone());
        let options = &mut peer.options;
        options.ca = tls.and_then(|tls| tls.ca.clone());
        options.total_connection_timeout = Some(written.timeouts.connect.get());
        options.read_timeout = Some(written.timeouts.read.get());
        options.write_timeout = Some(written.timeouts.write.get());
        options.idle_timeout = Some(written.timeouts.idle.get());
        options.verify_cert = true;
        options.verify_hostname = true;
        options.alpn = match written.protocol {
            UpstreamProtocol::Http1 => ALPN::H1,
            UpstreamProtocol::Http2 => ALPN::H2,
            UpstreamProtocol::Auto => ALPN::H2H1,
        };
        options.max_h2_streams = usize::try_from(written.pool.h2_streams).unwrap_or(usize::MAX).max(1);
        // Strips hop-by-hop fields and whatever `Connection` nominates; of upgrades only WebSocket passes.
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
        options.tcp_keepalive = Some(TcpKeepalive {
            idle: KEEPALIVE_IDLE,
            interval: KEEPALIVE_INTERVAL,
            count: KEEPALIVE_PROBES,
            #[cfg(target_os = "linux")]
            user_timeout: Duration::ZERO,
        });
        Self {
            peer,
            protocol: written.protocol,
            tunnel: written.timeouts.tunnel.get(),
        }
    }

    pub(super) fn peer(&self, address: SocketAddr, purpose: PeerUse) -> Box<HttpPeer> {
        let mut peer = Box::new(self.peer.clone());
        peer._address = pingora_core::protocols::l4::socket::SocketAddr::Inet(address);
        if purpose == PeerUse::Upgrade {
            peer.options.read_timeout = Some(self.tunnel);
            if self.protocol == UpstreamProtocol::Auto {
                peer.options.alpn = ALPN::H1;
            }
        }
        peer
    }
}

// Pingora's pool tells connections apart by address, SNI and serials of client certificates, but not by CA, protocol or
// the certificates themselves. Fixed keys: the pool survives a reload that changes nothing.
fn group_key(protocol: UpstreamProtocol, tls: Option<&Tls>) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_u8(match protocol {
        UpstreamProtocol::Http1 => 1,
        UpstreamProtocol::Http2 => 2,
        UpstreamProtocol::Auto => 3,
    });
    for part in tls.map(|tls| tls.identity.as_slice()).unwrap_or_default() {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    hasher.finish()
}
