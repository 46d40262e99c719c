//! One client connection: who it is from, how it is protected and how far its current request has come.
//!
//! The request phases get at it with [`Connection::of`] and tell it where they are; the guarded stream reads that and
//! decides what silence means. Neither bytes nor timers live here.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use futures_util::task::AtomicWaker;
use pingora_core::protocols::Digest;
use pingora_http::RequestHeader;
use pingora_proxy::Session;
use portcullis_filters::client::ClientCertificate;

use crate::strict::{Case, Compat, Rules};
use crate::upstream::Brake;

use super::bodies::{Bodies, BodyWatch};
use super::body_end::{BodyEnd, LeftEnd};
use super::events::Cut;
use super::policy::EdgePolicy;
use super::streams::{Delivery, Streams};
use super::watch::Timing;

/// Names a listener in logs and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerInfo {
    /// Its place in the configuration.
    pub index: usize,
    /// Its name in the configuration.
    pub name: Arc<str>,
}

/// What the TLS handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// `TLSv1_2` or `TLSv1_3`.
    pub version: &'static str,
    /// The cipher suite by its IANA name.
    pub cipher: &'static str,
    /// The name the client asked for (RFC 6066), in lower case.
    pub server_name: Option<Box<str>>,
    /// The protocol agreed on by ALPN (RFC 7301): `h2` or `http/1.1`. `None`: the client offered none.
    pub alpn: Option<&'static str>,
    /// Whether clients are asked for certificates here.
    pub client_auth: bool,
    /// The client's certificate, verified.
    pub client: Option<Arc<ClientCertificate>>,
}

impl TlsFacts {
    /// Whether a request for `host` (lower-case, no port) belongs on this connection. Where clients are asked for
    /// certificates, only one for the name that the connection was opened with does, or for an address when there was none.
    pub fn covers(&self, host: &str) -> bool {
        if !self.client_auth || host.is_empty() {
            return true;
        }
        if let Some(name) = &self.server_name {
            return **name == *host;
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        bare.unwrap_or(host).parse::<IpAddr>().is_ok()
    }
}

/// Which HTTP is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
}

/// How far the current request of an HTTP/1 connection has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Between requests, or in the header of one.
    Header,
    /// The request phases have it.
    Exchange,
    /// Bytes are passed both ways without HTTP.
    Tunnel,
}

/// What is known when a connection opens.
#[derive(Debug)]
pub(super) struct Opening {
    pub id: u64,
    pub listener: Arc<ListenerInfo>,
    pub peer: SocketAddr,
    pub tcp_peer: SocketAddr,
    pub local: SocketAddr,
    pub tls: Option<TlsFacts>,
    pub accepted_at: Instant,
    pub policy: Arc<EdgePolicy>,
    pub compat: Compat,
}

/// An open client connection.
#[derive(Debug)]
pub struct Connection {
    opening: Opening,
    http2: AtomicU8,
    phase: AtomicU8,
    /// Counts the requests that ended: tells the guarded stream that a new wait has begun.
    epoch: AtomicU32,
    requests: AtomicU64,
    /// Whether it was decided that there is time for the next request.
    judged: AtomicBool,
    /// Bytes that had come when the wait for the next request began with none of it here.
    waiting_at: AtomicU64,
    /// How the current request of HTTP/1 breaks the form of one, found while its body was read.
    violation: AtomicU8,
    /// The end of a chunked body over HTTP/1.
    body_end: BodyEnd,
    received: AtomicU64,
    sent: AtomicU64,
    cut: AtomicU8,
    reader: AtomicWaker,
    bodies: Bodies,
    streams: Streams,
}

const NONE: u8 = u8::MAX;

impl Connection {
    pub(super) fn new(opening: Opening) -> Self {
        let http2 = opening.tls.as_ref().is_some_and(|tls| tls.alpn == Some("h2"));
        let streams = Streams::new(opening.accepted_at, opening.policy.h2.response_buffer_bytes);
        Self {
            opening,
            streams,
            http2: AtomicU8::new(u8::from(http2)),
            phase: AtomicU8::new(0),
            epoch: AtomicU32::new(0),
            requests: AtomicU64::new(0),
            judged: AtomicBool::new(false),
            waiting_at: AtomicU64::new(0),
            violation: AtomicU8::new(NONE),
            body_end: BodyEnd::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            cut: AtomicU8::new(NONE),
            reader: AtomicWaker::new(),
            bodies: Bodies::default(),
        }
    }

    /// The connection that a request came in on. `None` for a subrequest, which came in on none.
    pub fn of(session: &Session) -> Option<&Self> {
        session
            .digest()
            .and_then(Self::in_digest)
            .map(|connection| &**connection)
    }

    /// Like [`Self::of`], for keeping.
    pub fn shared(session: &Session) -> Option<Arc<Self>> {
        session.digest().and_then(Self::in_digest).cloned()
    }

    fn in_digest(digest: &Digest) -> Option<&Arc<Self>> {
        digest.proxy_digest.as_ref()?.user_data.as_ref()?.downcast_ref()
    }

    /// To be called first in `early_request_filter`: says that the header is in (see [`Self::request_header_done`]) and
    /// sets on the session the timeouts that only exist once it is.
    pub fn begin(session: &mut Session) -> Option<Arc<Self>> {
        let connection = Self::shared(session)?;
        connection.request_header_done();
        let idle = connection.policy().body_idle_timeout;
        if session.is_http2() {
            // A stream that may not be written to because the client opens no window: the socket is idle meanwhile,
            // so only the session sees it.
            session.set_write_timeout(Some(idle));
        } else {
            // Pingora's default would close a quiet WebSocket after a minute. The guarded stream still watches the
            // body of a request that only asks for an upgrade. Without a body there is nothing to time.
            let has_body = !session.is_body_empty();
            let watched = (has_body && !session.is_upgrade_req()).then_some(idle);
            session.set_read_timeout(watched);
        }
        session.set_total_drain_timeout(Some(idle));
        Some(connection)
    }

    /// To be called when the request's body is about to be read, and kept until it has been: only needed to time the bodies
    /// of HTTP/2, whose [`BodyWatch::received`] wants to be told of each piece. `None` where there is nothing to wait for:
    /// on HTTP/1, where it is timed anyway, without a body, and in gRPC, where the client may be silent for as long as
    /// it likes.
    pub fn watch_body(self: &Arc<Self>, session: &mut Session) -> Option<BodyWatch> {
        if !session.is_http2() || session.is_body_empty() || is_grpc(session.req_header()) {
            return None;
        }
        let id = self.bodies.add(Timing::from(self.policy()).pace(), Instant::now());
        // The guarded stream may be waiting for longer than this body may take.
        self.reader.wake();
        Some(BodyWatch::new(Arc::clone(self), id))
    }

    /// Leaves the end of a chunked HTTP/1 body unread until what comes back is dropped, so that all of its data can be looked
    /// at before Pingora finds it at its end.
    pub fn leave_body_end(self: &Arc<Self>) -> LeftEnd {
        LeftEnd::new(Arc::clone(self))
    }

    pub(super) fn body_end(&self) -> &BodyEnd {
        &self.body_end
    }

    /// To be called when the body of an answer begins, and kept until the exchange is over; [`Delivery::hand`] wants to be told
    /// of each piece. `None` on HTTP/1, where a client that does not read is noticed anyway.
    pub fn deliver(self: &Arc<Self>) -> Option<Delivery> {
        (self.protocol() == Protocol::Http2).then(|| Delivery::new(Arc::clone(self)))
    }

    /// Unique in this process.
    pub fn id(&self) -> u64 {
        self.opening.id
    }

    /// Where it came in.
    pub fn listener(&self) -> &Arc<ListenerInfo> {
        &self.opening.listener
    }

    /// The client: the address in the PROXY header if there was one, else [`Self::tcp_peer`].
    pub fn peer(&self) -> SocketAddr {
        self.opening.peer
    }

    /// The other end of the TCP connection. IPv4 in IPv6 clothes is IPv4.
    pub fn tcp_peer(&self) -> SocketAddr {
        self.opening.tcp_peer
    }

    /// Our end of the TCP connection.
    pub fn local(&self) -> SocketAddr {
        self.opening.local
    }

    /// What the TLS handshake agreed on; `None` on a plaintext connection.
    pub fn tls(&self) -> Option<&TlsFacts> {
        self.opening.tls.as_ref()
    }

    /// When the TCP connection was accepted.
    pub fn accepted_at(&self) -> Instant {
        self.opening.accepted_at
    }

    /// The limits it was accepted under.
    pub fn policy(&self) -> &EdgePolicy {
        &self.opening.policy
    }

    /// Which HTTP is spoken.
    pub fn protocol(&self) -> Protocol {
        if self.http2.load(Relaxed) == 0 {
            Protocol::Http1
        } else {
            Protocol::Http2
        }
    }

    /// Requests whose header was complete and whose phases began.
    pub fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    /// Bytes received, without those of TLS and of the PROXY header.
    pub fn bytes_received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Bytes sent, without those of TLS.
    pub fn bytes_sent(&self) -> u64 {
        self.sent.load(Relaxed)
    }

    /// The header of a request is complete: the header deadline is off until [`Self::request_finished`].
    pub fn request_header_done(&self) {
        self.requests.fetch_add(1, Relaxed);
        if self.protocol() == Protocol::Http1 {
            self.set_phase(Phase::Exchange);
        }
    }

    /// An HTTP/1 request has been answered and the connection waits for the next one. [`super::Edge`] calls it.
    pub fn request_finished(&self) {
        if self.protocol() == Protocol::Http1 {
            self.set_phase(Phase::Header);
            self.epoch.fetch_add(1, Relaxed);
        }
    }

    /// The connection carries something else than HTTP from here on: only a client that takes nothing is cut. An
    /// answer of 101 does this by itself.
    pub fn set_tunnel(&self) {
        if self.protocol() == Protocol::Http1 {
            self.set_phase(Phase::Tunnel);
        }
    }

    /// Whether it has become a tunnel.
    pub fn is_tunnel(&self) -> bool {
        self.phase() == Phase::Tunnel
    }

    /// Cuts the connection off, whatever it is doing.
    pub fn cut(&self) {
        self.end(Cut::Requested);
    }

    pub(super) fn end(&self, cut: Cut) {
        self.record_cut(cut);
        self.reader.wake();
    }

    pub(super) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// What those who read answers for it go by. `None` on HTTP/1, which takes one after the other.
    pub fn brake(&self) -> Option<&Brake> {
        (self.protocol() == Protocol::Http2).then(|| self.streams.brake())
    }

    pub(super) fn streams(&self) -> &Streams {
        &self.streams
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Header,
            1 => Phase::Exchange,
            _ => Phase::Tunnel,
        }
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    /// There is time for the next request, whatever it is.
    pub(super) fn set_judged(&self) {
        self.judged.store(true, Relaxed);
    }

    /// Whether it was decided, for this request, that there is time for it.
    pub fn take_judged(&self) -> bool {
        self.judged.load(Relaxed) && self.judged.swap(false, Relaxed)
    }

    /// The wait for the next HTTP/1 request begins, and nothing of it is here.
    pub(super) fn set_waiting(&self) {
        self.waiting_at.store(self.bytes_received(), Relaxed);
    }

    /// Whether nothing has come of the next request.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting_at.load(Relaxed) == self.bytes_received()
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    /// How the current request breaks the form of one, found while its body was read. The exchange is to be refused for
    /// that, and for nothing that follows from it.
    pub fn violation(&self) -> Option<Case> {
        Case::at(self.violation.load(Relaxed))
    }

    pub(super) fn set_violation(&self, case: Case) {
        self.violation.store(case as u8, Relaxed);
    }

    /// What its HTTP/1 requests are held against.
    pub(super) fn rules(&self) -> Rules {
        let policy = self.policy();
        Rules {
            header_bytes: usize::try_from(policy.request_header_bytes).unwrap_or(usize::MAX),
            fields: policy.request_headers,
            compat: self.opening.compat,
        }
    }

    pub(super) fn set_http2(&self) {
        self.http2.store(1, Relaxed);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Relaxed);
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Relaxed);
    }

    /// The first cut counts.
    pub(super) fn record_cut(&self, cut: Cut) {
        let _ = self.cut.compare_exchange(NONE, cut as u8, Relaxed, Relaxed);
    }

    pub(super) fn was_cut(&self) -> Option<Cut> {
        Cut::ALL.get(usize::from(self.cut.load(Relaxed))).copied()
    }

    /// Who is to be woken by [`Self::cut`].
    pub(super) fn reader(&self) -> &AtomicWaker {
        &self.reader
    }
}

fn is_grpc(request: &RequestHeader) -> bool {
    let value = request.headers.get(http::header::CONTENT_TYPE);
    value.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
