//! Peers: what Pingora's connector is told about a server. Made once for each upstream, completed with an address for each attempt.
//! Names are never resolved here, verification is never off, and connections of different upstreams or trust never share a pool.

use std::hash::Hasher;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::connectors::L4Connect;
use pingora_core::protocols::TcpKeepalive;
use pingora_core::upstreams::peer::{ALPN, HttpPeer, HttpUpstreamRequestPolicy};
use portcullis_config::upstream::{Upstream as Written, UpstreamProtocol};
use siphasher::sip::SipHasher13;

use super::endpoint::{Chosen, Endpoint};
use super::response::Expect;
use super::tls::Tls;
use super::wire::{Call, Dialer, Line, TlsDial};

/// Probes of idle connections: found dead within about a minute and a half, before most firewalls forget the flow.
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(60),
    interval: Duration::from_secs(10),
    count: 3,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};

/// How connections of an upstream are made, without an address.
#[derive(Debug)]
pub(super) struct PeerTemplate {
    /// For HTTP/2, which is Pingora's to connect.
    http2: HttpPeer,
    /// For HTTP/1: our own connections, TLS included, so Pingora is told of none.
    http1: HttpPeer,
    dialer: Arc<Dialer>,
    /// With `protocol: auto`: offers both.
    choice: Option<Dialer>,
    /// What connections must have in common to be used for one another.
    key: u64,
    protocol: UpstreamProtocol,
    connect: Duration,
    idle: Duration,
    tunnel: Duration,
}

impl PeerTemplate {
    pub(super) fn new(name: &str, written: &Written, tls: Option<&Tls>) -> Self {
        let key = group_key(name, written.protocol, tls);
        let dial = tls.map(|tls| TlsDial {
            config: Arc::clone(&tls.http1),
            name: tls.check_name.clone(),
        });
        let choice = tls.filter(|_| written.protocol == UpstreamProtocol::Auto).map(|tls| {
            let both = TlsDial {
                config: Arc::clone(&tls.check),
                name: tls.check_name.clone(),
            };
            Dialer::new(Some(both), KEEPALIVE)
        });
        Self {
            http2: http2(key, written, tls),
            http1: http1(key, written),
            dialer: Arc::new(Dialer::new(dial, KEEPALIVE)),
            choice,
            key,
            protocol: written.protocol,
            connect: written.timeouts.connect.get(),
            idle: written.timeouts.idle.get(),
            tunnel: written.timeouts.tunnel.get(),
        }
    }

    /// What Pingora is told; with HTTP/1 also our own way to the server, which knows what became of it.
    pub(super) fn peer(&self, endpoint: &Endpoint, expect: Expect) -> (Box<HttpPeer>, Option<Arc<Call>>) {
        let by_http2 = match self.protocol {
            UpstreamProtocol::Http1 => false,
            UpstreamProtocol::Http2 => true,
            UpstreamProtocol::Auto => !expect.upgrade && endpoint.chosen() != Chosen::Http1,
        };
        let mut peer = Box::new(if by_http2 {
            self.http2.clone()
        } else {
            self.http1.clone()
        });
        peer._address = pingora_core::protocols::l4::socket::SocketAddr::Inet(endpoint.address);
        if by_http2 {
            return (peer, None);
        }
        let line = self.line(endpoint);
        let call = Arc::new(Call::new(line, expect, self.idle));
        let connect: Arc<dyn L4Connect + Send + Sync> = Arc::clone(&call) as _;
        peer.options.custom_l4 = Some(connect);
        if expect.upgrade {
            peer.options.read_timeout = Some(self.tunnel);
        }
        (peer, Some(call))
    }

    /// Asks a server with a choice what it speaks, unless that is known. A connection that turns out to be one for HTTP/1 is
    /// kept for the request that waits. What goes wrong here will go wrong again, and be told, when that request connects.
    pub(super) async fn agree(&self, endpoint: &Endpoint) {
        let Some(choice) = &self.choice else { return };
        if endpoint.chosen() != Chosen::Unknown {
            return;
        }
        if let Ok(Ok(wire)) = tokio::time::timeout(self.connect, choice.dial(endpoint.address)).await {
            if wire.speaks_http2() {
                endpoint.choose(Chosen::Http2);
            } else {
                self.line(endpoint).park(wire, self.idle);
                endpoint.choose(Chosen::Http1);
            }
        }
    }

    fn line(&self, endpoint: &Endpoint) -> Arc<Line> {
        endpoint.line(self.key, || Line::new(Arc::clone(&self.dialer), endpoint.address))
    }
}

fn http2(key: u64, written: &Written, tls: Option<&Tls>) -> HttpPeer {
    let name = tls.map(|tls| tls.name.clone()).unwrap_or_default();
    let mut peer = common(key, tls.is_some(), name, written);
    peer.client_cert_key = tls.and_then(|tls| tls.client.clone());
    let options = &mut peer.options;
    options.ca = tls.and_then(|tls| tls.ca.clone());
    options.alpn = match written.protocol {
        UpstreamProtocol::Http1 => ALPN::H1,
        UpstreamProtocol::Http2 => ALPN::H2,
        UpstreamProtocol::Auto => ALPN::H2H1,
    };
    options.max_h2_streams = usize::try_from(written.pool.h2_streams).unwrap_or(usize::MAX).max(1);
    options.tcp_keepalive = Some(KEEPALIVE);
    peer
}

fn http1(key: u64, written: &Written) -> HttpPeer {
    let mut peer = common(key, false, String::new(), written);
    peer.options.alpn = ALPN::H1;
    peer
}

fn common(key: u64, tls: bool, name: String, written: &Written) -> HttpPeer {
    let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let mut peer = HttpPeer::new(nowhere, tls, name);
    peer.group_key = key;
    let options = &mut peer.options;
    options.total_connection_timeout = Some(written.timeouts.connect.get());
    options.read_timeout = Some(written.timeouts.read.get());
    options.write_timeout = Some(written.timeouts.write.get());
    options.idle_timeout = Some(written.timeouts.idle.get());
    options.verify_cert = true;
    options.verify_hostname = true;
    // Strips hop-by-hop fields and whatever `Connection` nominates; of upgrades only WebSocket passes.
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::standard();
    peer
}

// Pingora's pool tells connections apart by address, SNI and serials of client certificates, but not by upstream, CA, protocol
// or the certificates themselves. Fixed keys: the pools survive a reload that changes nothing.
fn group_key(name: &str, protocol: UpstreamProtocol, tls: Option<&Tls>) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write_usize(name.len());
    hasher.write(name.as_bytes());
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
