//! Between a guarded connection and Pingora's HTTP: the options of this one connection, and when its requests end.

use std::sync::Arc;

use async_trait::async_trait;
use http::Method;
use pingora_core::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};

use super::connection::Connection;
use super::events::{ConnectionEvents, EarlyReject};
use super::policy::EdgePolicy;

/// Streams that a client may have open at once on one connection.
const STREAMS: u32 = 128;
/// Streams that the client has reset and we have not yet looked at (CVE-2023-44487).
const PENDING_RESETS: usize = 32;
/// Streams that we have reset for the client's errors before the connection goes (CVE-2025-8671).
const LOCAL_RESETS: usize = 128;
/// Bytes that may be on their way to us on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of responses that are kept for one stream while the client does not take them.
const SEND_BUFFER: usize = 128 << 10;

/// Serves HTTP on one connection.
pub(super) struct HttpConnection<P> {
    proxy: Arc<HttpProxy<P>>,
    connection: Arc<Connection>,
    events: Arc<dyn ConnectionEvents>,
    options: HttpServerOptions,
}

impl<P> HttpConnection<P> {
    /// `h2c`: HTTP/2 may be spoken without TLS.
    pub(super) fn new(
        proxy: Arc<HttpProxy<P>>,
        connection: Arc<Connection>,
        events: Arc<dyn ConnectionEvents>,
        h2c: bool,
    ) -> Self {
        let policy = connection.policy();
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        // Pingora counts the requests after the first.
        options.keepalive_request_limit = Some(policy.keepalive_requests.saturating_sub(1));
        options.h2_idle_timeout = Some(policy.keepalive_timeout);
        Self {
            proxy,
            connection,
            events,
            options,
        }
    }
}

fn h2_options(policy: &EdgePolicy) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(STREAMS)
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
            // Pingora answers it before any phase. What else it refuses there, it refuses before it comes here.
            if session.req_header().method == Method::CONNECT {
                self.events
                    .early_reject(&self.connection, EarlyReject::MethodNotAllowed);
            }
        } else if session.get_keepalive().is_some() {
            // No timer of Pingora's: the guarded stream times the header, and knows the configured limits.
            session.set_keepalive(Some(0));
        }
        let reused = self.proxy.process_new_http(session, shutdown).await;
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
