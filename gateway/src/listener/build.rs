//! From the configured listeners to the services that a Pingora server runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pingora_core::listeners::{L4BufferSettings, ListenerConfig, TcpSocketOptions};
use pingora_core::protocols::TcpKeepalive;
use pingora_core::server::configuration::ServerConf;
use pingora_core::services::listening::Service;
use pingora_proxy::{HttpProxy, ProxyHttp, http_proxy};
use portcullis_config::listener::Listener;

use super::edge::{Edge, EdgeShared};
use super::handle::ListenerHandles;

/// None: whoever reads from a connection (TLS, HTTP/1, HTTP/2) has a buffer of its own, and most connections idle most of
/// the time. Pingora's default would be 64 KiB for each.
const READ_BUFFER: usize = 0;

/// Finds clients whose network is gone within five minutes, even behind a request that waits for its answer.
const KEEPALIVE: TcpKeepalive = TcpKeepalive {
    idle: Duration::from_secs(100),
    interval: Duration::from_secs(30),
    count: 6,
    #[cfg(target_os = "linux")]
    user_timeout: Duration::ZERO,
};

/// The listeners of a gateway.
pub struct Listeners<P> {
    /// One for each listener, for `Server::add_service`.
    pub services: Vec<Service<Edge<P>>>,
    /// The one proxy behind all of them, with one pool of upstream connections.
    pub proxy: Arc<HttpProxy<P>>,
}

impl<P> Listeners<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Makes a service for each of `listeners`, whose `handles` were opened before. Binds nothing: the server does.
    pub fn build(
        conf: &Arc<ServerConf>,
        inner: P,
        listeners: &[Listener],
        handles: &ListenerHandles,
        shared: &Arc<EdgeShared>,
    ) -> Self {
        let proxy = Arc::new(http_proxy(conf, inner));
        let services = listeners.iter().zip(handles.iter()).map(|(listener, handle)| {
            let edge = Edge::new(Arc::clone(&proxy), Arc::clone(handle), Arc::clone(shared));
            let mut service = Service::new(format!("listener {}", listener.name), edge);
            let endpoint = ListenerConfig::tcp(listener.address.to_string())
                .tcp_socket_options(socket_options(listener.address, listeners))
                .l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
            service.add_listener(endpoint);
            service
        });
        Self {
            services: services.collect(),
            proxy,
        }
    }
}

fn socket_options(address: SocketAddr, listeners: &[Listener]) -> TcpSocketOptions {
    let mut options = TcpSocketOptions::default();
    options.tcp_keepalive = Some(KEEPALIVE);
    if let IpAddr::V6(ip) = address.ip() {
        // `[::]` takes IPv4 too, unless another listener is there for it.
        let v4_is_served = listeners
            .iter()
            .any(|it| it.address.is_ipv4() && it.address.port() == address.port());
        options.ipv6_only = Some(!ip.is_unspecified() || v4_is_served);
    }
    options
}
