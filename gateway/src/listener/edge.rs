//! What happens to a connection between accept and HTTP, top down: admission, PROXY header, TLS, guard.
//!
//! Everything here is under the handshake timeout. What comes after is Pingora's, on a guarded stream.

use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddr;
use pingora_core::protocols::l4::stream::Stream as TcpStream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_http::ResponseHeader;
use pingora_proxy::{HttpProxy, ProxyHttp};
use portcullis_config::listener::ProxyProtocol;
use portcullis_config::site::Priority;
use tokio::time::timeout_at;

use crate::overload::{Overload, Pressure};

use super::admission::{Admission, Permit};
use super::connection::{Connection, Opening, TlsFacts};
use super::events::{Attempt, ConnectionEvents, HandshakeFailure, Refusal};
use super::guard::Guarded;
use super::handle::{ListenerHandle, ListenerState};
use super::policy::EdgePolicy;
use super::proxy_protocol::{self, Origin, ReadError};
use super::roster::Roster;
use super::serve::HttpConnection;
use super::transport::Transport;

/// What all listeners share.
pub struct EdgeShared {
    /// The limits and trusted networks that the next connection is accepted under.
    pub policy: Arc<ArcSwap<EdgePolicy>>,
    /// Who is told of connections.
    pub events: Arc<dyn ConnectionEvents>,
    /// How many connections are open.
    pub admission: Arc<Admission>,
    /// How much there is to do, and how much of it is refused.
    pub overload: Arc<Overload>,
    roster: Roster,
    ids: AtomicU64,
}

impl EdgeShared {
    /// With no connection open yet.
    pub fn new(policy: Arc<ArcSwap<EdgePolicy>>, events: Arc<dyn ConnectionEvents>) -> Self {
        Self {
            policy,
            events,
            admission: Arc::default(),
            overload: Arc::default(),
            roster: Roster::default(),
            ids: AtomicU64::new(1),
        }
    }
}

impl EdgeShared {
    /// Closes connections that wait for a request. How many.
    pub fn close_idle(&self) -> usize {
        self.roster.close_idle()
    }
}

/// The app of one listener's service: takes connections from accept to Pingora's HTTP.
pub struct Edge<P> {
    proxy: Arc<HttpProxy<P>>,
    listener: Arc<ListenerHandle>,
    shared: Arc<EdgeShared>,
}

/// Why a connection did not open.
enum Failure {
    Refused(Refusal),
    Handshake(HandshakeFailure),
}

impl From<Refusal> for Failure {
    fn from(reason: Refusal) -> Self {
        Self::Refused(reason)
    }
}

/// A connection on its way in.
struct Arrival<'a> {
    policy: Arc<EdgePolicy>,
    state: &'a ListenerState,
    attempt: Attempt,
    accepted_at: Instant,
}

#[async_trait]
impl<P> ServerApp for Edge<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let accepted_at = Instant::now();
        // The service has no TLS of Pingora's, so nothing else can be in there.
        let tcp = stream.into_any().downcast::<TcpStream>().ok()?;
        let state = self.listener.state();
        self.shared.overload.watch(state.info.index);
        let tcp_peer = canonical(tcp.get_socket_digest()?.peer_addr()?)?;
        let attempt = Attempt {
            listener: Arc::clone(&state.info),
            tcp_peer,
            peer: tcp_peer,
        };
        let policy = self.shared.policy.load_full();
        let mut arrival = Arrival {
            policy,
            state: &state,
            attempt,
            accepted_at,
        };
        let guarded = match self.open(&mut arrival, tcp).await {
            Ok(guarded) => guarded,
            Err(Failure::Refused(reason)) => {
                self.shared.events.refused(&arrival.attempt, reason);
                return None;
            }
            Err(Failure::Handshake(reason)) => {
                self.shared.events.handshake_failed(&arrival.attempt, reason);
                return None;
            }
        };
        let connection = Arc::clone(guarded.connection());
        let _enrolled = self.shared.roster.enter(&connection);
        let http = HttpConnection::new(Arc::clone(&self.proxy), connection, &self.shared, state.h2c);
        drop(state);
        Arc::new(http).serve(Box::new(guarded), shutdown).await;
        None
    }

    /// Nothing: Pingora's own clean-up would close idle connections at once, under the feet of clients that are about to
    /// use them. They are told by `Connection: close` or GOAWAY instead, and end with the process.
    async fn cleanup(&self) {}
}

impl<P> Edge<P> {
    pub(super) fn new(proxy: Arc<HttpProxy<P>>, listener: Arc<ListenerHandle>, shared: Arc<EdgeShared>) -> Self {
        Self {
            proxy,
            listener,
            shared,
        }
    }

    /// Whether there is room and time for a connection. One without TLS costs less than saying no to its requests.
    fn check_load(&self, state: &ListenerState) -> Result<(), Refusal> {
        let overload = &self.shared.overload;
        if overload.memory.pressure() > Pressure::None {
            return Err(Refusal::MemoryLow);
        }
        let late = || overload.is_blind() && overload.lag(state.info.index).refuses(Priority::Default);
        if state.tls.is_some() && late() {
            return Err(Refusal::Overloaded);
        }
        Ok(())
    }

    /// Lets the connection in, or says why not.
    async fn open(&self, arrival: &mut Arrival<'_>, mut tcp: Box<TcpStream>) -> Result<Guarded, Failure> {
        arrival.check_peer()?;
        self.check_load(arrival.state)?;
        let mut permit = self.shared.admission.enter(arrival.policy.connections)?;
        if arrival.state.proxy_protocol != ProxyProtocol::Off {
            arrival.identify(&mut tcp).await?;
        }
        arrival.check_client()?;
        arrival.claim(&mut permit)?;
        let local = tcp
            .get_socket_digest()
            .and_then(|digest| digest.local_addr().and_then(canonical));
        let (transport, tls) = arrival.secure(tcp).await.map_err(Failure::Handshake)?;
        let connection = Arc::new(Connection::new(Opening {
            id: self.shared.ids.fetch_add(1, Relaxed),
            listener: Arc::clone(&arrival.attempt.listener),
            peer: arrival.attempt.peer,
            tcp_peer: arrival.attempt.tcp_peer,
            local: local.ok_or(Failure::Handshake(HandshakeFailure::Closed))?,
            tls,
            accepted_at: arrival.accepted_at,
            policy: Arc::clone(&arrival.policy),
            compat: arrival.state.compat,
        }));
        let digest = digest(&connection).ok_or(Failure::Handshake(HandshakeFailure::Protocol))?;
        let events = Arc::clone(&self.shared.events);
        events.accepted(&connection);
        Ok(Guarded::new(transport, connection, events, digest, permit))
    }
}

impl Arrival<'_> {
    fn deadline(&self) -> tokio::time::Instant {
        (self.accepted_at + self.policy.handshake_timeout).into()
    }

    /// Whether anything may be read from the other end of the TCP connection. The client of a PROXY listener is not known yet.
    fn check_peer(&self) -> Result<(), Refusal> {
        let (sources, peer) = (&self.state.sources, self.attempt.tcp_peer.ip());
        let welcome = match self.state.proxy_protocol {
            ProxyProtocol::Off => sources.permit(peer),
            _ => !sources.deny(peer),
        };
        welcome.then_some(()).ok_or(Refusal::SourceDenied)
    }

    /// Whether the client that a PROXY header named may connect.
    fn check_client(&self) -> Result<(), Refusal> {
        let welcome =
            self.state.proxy_protocol == ProxyProtocol::Off || self.state.sources.permit(self.attempt.peer.ip());
        welcome.then_some(()).ok_or(Refusal::SourceDenied)
    }

    /// Learns from the PROXY header who the client is.
    async fn identify(&mut self, tcp: &mut TcpStream) -> Result<(), Refusal> {
        if !self.policy.trusts(self.attempt.tcp_peer.ip()) {
            return Err(Refusal::ProxyUntrusted);
        }
        let read = proxy_protocol::read(tcp, self.state.proxy_protocol);
        let origin = match timeout_at(self.deadline(), read).await {
            Ok(Ok(origin)) => origin,
            Ok(Err(ReadError::Header(error))) => return Err(Refusal::ProxyHeader(error)),
            Ok(Err(ReadError::Closed | ReadError::Io(_))) => return Err(Refusal::ProxyClosed),
            Err(_) => return Err(Refusal::ProxyTimeout),
        };
        if let Origin::Client { source, .. } = origin {
            self.attempt.peer = source;
            // So that Pingora's own idea of the client is the same.
            let digest = SocketDigest::from_raw_fd(tcp.as_raw_fd());
            let _ = digest.peer_addr.set(Some(PingoraAddr::Inet(source)));
            tcp.set_socket_digest(digest);
        }
        Ok(())
    }

    /// Counts the connection for its client. A trusted proxy stands for many and is not counted as one.
    fn claim(&self, permit: &mut Permit) -> Result<(), Refusal> {
        let client = self.attempt.peer.ip();
        if self.policy.trusts(client) {
            return Ok(());
        }
        permit.arrive(client, self.policy.arrivals, self.accepted_at)?;
        permit.claim(
            client,
            self.policy.connections_per_ip,
            self.policy.connections_per_prefix,
        )
    }

    /// Does the TLS handshake, if the listener has TLS.
    async fn secure(&self, tcp: Box<TcpStream>) -> Result<(Transport, Option<TlsFacts>), HandshakeFailure> {
        let Some(tls) = &self.state.tls else {
            return Ok((Transport::Plain(tcp), None));
        };
        let (stream, facts) = tls.accept(*tcp, &self.policy.handshakes, self.deadline()).await?;
        Ok((Transport::Tls(stream), Some(facts)))
    }
}

/// The one thing of Pingora's that goes with a connection into its requests and has room for something of ours.
fn digest(connection: &Arc<Connection>) -> Option<Arc<ProxyDigest>> {
    let response = ResponseHeader::build(http::StatusCode::OK, Some(0)).ok()?;
    Some(Arc::new(ProxyDigest::new(
        Box::new(response),
        Some(Box::new(Arc::clone(connection))),
    )))
}

fn canonical(address: &PingoraAddr) -> Option<SocketAddr> {
    let address = address.as_inet()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
