//! Between a guarded connection and Pingora's HTTP: the options of this one connection, and when its requests end.

use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::BytesMut;
use http::Method;
use pingora_core::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};
use portcullis_config::site::Priority;
use tokio::io::{AsyncRead, AsyncWriteExt as _, ReadBuf};
use tokio::sync::watch;

use crate::overload::{self, Overload, Shed};
use crate::problem;
use crate::request_id::RequestId;
use crate::strict::Case;

use super::connection::{Connection, Protocol};
use super::edge::EdgeShared;
use super::events::{ConnectionEvents, Cut, EarlyReject, Rejected, RequestLine};
use super::guard::Guarded;
use super::policy::EdgePolicy;
use super::shed;

/// Requests of HTTP/2 that may still come when the last one was announced: they can be on their way.
const LATECOMERS: u64 = 1000;
/// Streams that the client has reset and we have not yet looked at (CVE-2023-44487).
const PENDING_RESETS: usize = 32;
/// Streams that we have reset for the client's errors before the connection goes (CVE-2025-8671).
const LOCAL_RESETS: usize = 128;
/// Bytes that may be on their way to us on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of responses that are kept for one stream while the client does not take them.
pub(super) const SEND_BUFFER: usize = 16 << 10;

/// As much of a header as is read at once. Most are shorter.
const READ: usize = 4 << 10;

/// Serves HTTP on one connection.
pub(super) struct HttpConnection<P> {
    proxy: Arc<HttpProxy<P>>,
    connection: Arc<Connection>,
    events: Arc<dyn ConnectionEvents>,
    overload: Arc<Overload>,
    options: HttpServerOptions,
    /// Tells Pingora to end a connection of HTTP/2 when its requests are done.
    retire: Option<watch::Sender<bool>>,
}

impl<P> HttpConnection<P> {
    /// `h2c`: HTTP/2 may be spoken without TLS.
    pub(super) fn new(proxy: Arc<HttpProxy<P>>, connection: Arc<Connection>, shared: &EdgeShared, h2c: bool) -> Self {
        let policy = connection.policy();
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        // Pingora counts the requests after the first.
        options.keepalive_request_limit = Some(policy.keepalive_requests.saturating_sub(1));
        let may_be_http2 = h2c || connection.protocol() == Protocol::Http2;
        Self {
            proxy,
            connection,
            events: Arc::clone(&shared.events),
            overload: Arc::clone(&shared.overload),
            options,
            retire: may_be_http2.then(|| watch::Sender::new(false)),
        }
    }

    /// Lets the requests that are here finish, and has the client come again for others (RFC 9113, section 6.8).
    fn retire(&self) {
        if let Some(retire) = &self.retire {
            retire.send_if_modified(|retired| !std::mem::replace(retired, true));
        }
    }

    /// An HTTP/2 request is done: how many more may there be?
    fn count(&self) {
        let limit = u64::from(self.connection.policy().keepalive_requests);
        let requests = self.connection.requests();
        if requests >= limit {
            self.retire();
        }
        if requests > limit.saturating_add(LATECOMERS) {
            self.connection.end(Cut::KeepaliveRequests);
        }
    }
}

impl<P> HttpConnection<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    /// Serves the connection to its end.
    pub(super) async fn serve(self: Arc<Self>, guarded: Box<Guarded>, shutdown: &ShutdownWatch) {
        let Some(retire) = &self.retire else {
            self.serve_http1(guarded, shutdown).await;
            return;
        };
        let (retired, mut shutdown) = (retire.subscribe(), shutdown.clone());
        let mut serving = self.process_new(guarded, &retired);
        tokio::select! {
            biased;
            _ = &mut serving => return,
            _ = shutdown.changed() => self.retire(),
        }
        serving.await;
    }

    /// What Pingora does for HTTP/1, except that what a request needs (half of a connection's memory and more) is only set up when
    /// its first bytes are here.
    async fn serve_http1(self: Arc<Self>, mut guarded: Box<Guarded>, shutdown: &ShutdownWatch) -> Option<()> {
        let mut settings = None;
        loop {
            let begun = self.next_request(&mut guarded, shutdown).await?;
            let mut session = ServerSession::new_http1(guarded);
            match settings.take() {
                None => {
                    session.set_keepalive((!*shutdown.borrow()).then_some(0));
                    session.set_keepalive_reuses_remaining(self.options.keepalive_request_limit);
                }
                Some(settings) => HttpPersistentSettings::apply_to_session(settings, &mut session),
            }
            // The guard never gives away a byte of the next request, so no other prefix is there.
            session.set_pipelined_prefix(begun);
            let (stream, kept) = self.process_new_http(session, shutdown).await?.consume();
            guarded = stream.into_any().downcast().ok()?;
            settings = kept;
        }
    }
}

impl<P> HttpConnection<P> {
    /// The beginning of the next request that there is time for. `None`: there will be none.
    async fn next_request(&self, guarded: &mut Guarded, shutdown: &ShutdownWatch) -> Option<BytesMut> {
        loop {
            let begun = first_bytes(guarded).await?;
            let lag = self.overload.lag(self.connection.listener().index);
            if !lag.is_late() || !self.overload.is_blind() || !shed::is_plain_get(&begun) || self.is_last(shutdown) {
                return Some(begun);
            }
            if !lag.refuses(Priority::Default) {
                self.connection.set_judged();
                return Some(begun);
            }
            self.shed(guarded, &begun).await?;
        }
    }

    /// Whether the connection ends with the next answer, which then says so.
    fn is_last(&self, shutdown: &ShutdownWatch) -> bool {
        let policy = self.connection.policy();
        *shutdown.borrow() || self.connection.requests() + 1 >= u64::from(policy.keepalive_requests)
    }

    /// Answers a request that there is no time for. `None`: the connection is gone.
    async fn shed(&self, guarded: &mut Guarded, request: &[u8]) -> Option<()> {
        let request_id = RequestId::new();
        self.overload.count(Shed::Lag);
        self.connection.request_header_done();
        self.events.early_reject(
            &self.connection,
            &Rejected {
                reason: EarlyReject::Overloaded,
                request_id: request_id.as_str(),
                line: RequestLine::read(request),
                took: Duration::ZERO,
            },
        );
        let answer = problem::overloaded(request_id.as_str(), overload::retry_after());
        guarded.write_all(&answer).await.ok()?;
        guarded.flush().await.ok()?;
        self.connection.request_finished();
        Some(())
    }

    /// Answers a request over HTTP/2 that no phase will see.
    async fn refuse(&self, session: &mut ServerSession, case: Case) {
        let request_id = RequestId::new();
        let request = session.req_header();
        let authority = request.uri.authority().map_or("", http::uri::Authority::as_str);
        let rejected = Rejected {
            reason: EarlyReject::Refused(case),
            request_id: request_id.as_str(),
            line: RequestLine {
                method: request.method.as_str(),
                target: authority.as_bytes(),
                version: "HTTP/2.0",
            },
            took: Duration::ZERO,
        };
        self.events.early_reject(&self.connection, &rejected);
        let answer = async {
            let (head, body) = problem::answer(case, request_id.as_str())?;
            session.write_error_response(head, body).await
        };
        if let Err(error) = answer.await {
            tracing::debug!(%error, "the refusal could not be written");
        }
    }
}

/// Waits for the next request, without a buffer. `None`: it does not come.
async fn first_bytes(guarded: &mut Guarded) -> Option<BytesMut> {
    poll_fn(|cx| {
        let mut bytes = [const { MaybeUninit::uninit() }; READ];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        Pin::new(&mut *guarded).poll_read(cx, &mut buffer).map(|read| {
            read.ok()?;
            let mut begun = BytesMut::with_capacity(READ);
            begun.extend_from_slice(buffer.filled());
            (!begun.is_empty()).then_some(begun)
        })
    })
    .await
}

fn h2_options(policy: &EdgePolicy) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(policy.h2.streams)
        .max_header_list_size(policy.request_header_bytes)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_concurrent_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

#[async_trait]
impl<P> HttpServerApp for HttpConnection<P>
where
    P: ProxyHttp + Send + Sync + 'static,
    P::CTX: Send + Sync,
{
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            // Pingora would answer it before any phase. What else it refuses there, it refuses before it comes here.
            if session.req_header().method == Method::CONNECT {
                self.refuse(&mut session, Case::Connect).await;
                return None;
            }
        } else if session.get_keepalive().is_some() {
            // No timer of Pingora's: the guarded stream times the header, and knows the configured limits.
            session.set_keepalive(Some(0));
        }
        let http2 = session.is_http2();
        let exchange = || self.proxy.process_new_http(session, shutdown);
        if http2 {
            self.connection.streams().run(exchange).await;
            self.count();
            return None;
        }
        let reused = exchange().await;
        if reused.is_some() {
            self.connection.request_finished();
        }
        reused
    }

    fn h2_options(&self) -> Option<H2Options> {
        Some(h2_options(self.connection.policy()))
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
