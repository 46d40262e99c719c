//! Pingora's phases, and the step of the exchange that each one is. No policy in here.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::protocols::http::v1::server::HttpSession;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use crate::exchange::Exchange;
use crate::listener::Connection;
use crate::live::Live;

/// The table of phases.
#[derive(Clone)]
pub struct Portcullis {
    live: Arc<Live>,
}

impl Portcullis {
    /// Judges requests by the current snapshot of `live`.
    pub fn new(live: Arc<Live>) -> Self {
        Self { live }
    }
}

#[async_trait]
impl ProxyHttp for Portcullis {
    // A pointer: Pingora's futures would carry copies of the whole.
    type CTX = Box<Exchange>;

    fn new_ctx(&self) -> Box<Exchange> {
        Box::new(Exchange::begin(&self.live))
    }

    /// No module of Pingora's runs: each would cost a box a request.
    fn init_downstream_modules(&self, _modules: &mut HttpModules) {}

    async fn early_request_filter(&self, session: &mut Session, _exchange: &mut Box<Exchange>) -> Result<()> {
        Connection::begin(session);
        // HTTP/1.0 ends with its answer, unless the client asks for more.
        if session.as_http1().is_none_or(HttpSession::will_keepalive) {
            session.set_keepalive(self.live.keepalive());
        }
        session.set_pipelining_enabled(true);
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Box<Exchange>) -> Result<bool> {
        exchange.receive(session).await
    }

    async fn upstream_peer(&self, session: &mut Session, exchange: &mut Box<Exchange>) -> Result<Box<HttpPeer>> {
        exchange.choose_server(session).await
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        exchange: &mut Box<Exchange>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange.attempt_failed(session, &mut error, false);
        error
    }

    async fn connected_to_upstream(
        &self,
        _session: &mut Session,
        reused: bool,
        _peer: &HttpPeer,
        _fd: std::os::fd::RawFd,
        digest: Option<&Digest>,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.connected(reused, digest)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.prepare_upstream(session, request)
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        chunk: &mut Option<Bytes>,
        last: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.request_body(chunk, last)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Box<Exchange>,
    ) -> Result<()> {
        exchange.upstream_response(session, response)
    }

    fn response_body_filter(
        &self,
        session: &mut Session,
        chunk: &mut Option<Bytes>,
        last: bool,
        exchange: &mut Box<Exchange>,
    ) -> Result<Option<Duration>> {
        exchange.response_body(session, chunk, last).map(|()| None)
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Box<Exchange>,
        _reused: bool,
    ) -> Box<Error> {
        exchange.attempt_failed(session, &mut error, true);
        error
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, exchange: &mut Box<Exchange>) -> FailToProxy {
        exchange.failed(session, error).await
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Box<Exchange>) {
        exchange.record(session, error);
    }

    /// Errors are in the access log, with their reason; a second line in the log tells nobody more.
    fn suppress_error_log(&self, _: &Session, _: &Box<Exchange>, _: &Error) -> bool {
        true
    }
}
