//! The way to the upstream: which server, with which header, and whether to try again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Version, header};
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorType, OkOrErr, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use portcullis_filters::attributes;
use portcullis_filters::request::Request;
use portcullis_filters::verdict::{Denial, Reason, Stop};
use smallvec::SmallVec;

use super::{Exchange, chain_of, head};
use crate::forward;
use crate::snapshot::Action;
use crate::upstream::response::{Expect, Fault};
use crate::upstream::{
    Call, Choice, Failure, Outcome, Replay, Selected, Upstream, fault_of, hash_key, is_idempotent, may_retry,
};

/// The way of a request to an upstream and back.
#[derive(Default)]
pub struct Leg {
    selected: Option<Selected>,
    /// The way to it, with HTTP/1.
    pub(super) call: Option<Arc<Call>>,
    /// What may be answered.
    expect: Expect,
    tried: SmallVec<[usize; 4]>,
    /// Attempts so far.
    pub attempts: u32,
    /// When the current attempt began.
    pub began: Option<Instant>,
    /// How long it took to get a connection.
    pub connect: Option<Duration>,
    /// From the attempt's begin to the answer's header.
    pub first_byte: Option<Duration>,
    /// Whether the connection had been used before.
    pub reused: bool,
    /// A byte of the request may have reached a server.
    sent: bool,
    /// The status that the upstream gave.
    pub status: Option<StatusCode>,
    /// The place among those that wait for the upstream.
    pub(super) slot: Option<crate::overload::Slot>,
}

impl Leg {
    /// The address of the server that was tried last.
    pub fn server(&self) -> Option<&Selected> {
        self.selected.as_ref()
    }
}

impl Exchange {
    /// Chooses a server. This is the gate before the upstream: without every mandatory receipt nobody passes.
    pub async fn choose_server(&mut self, session: &Session) -> Result<Box<HttpPeer>> {
        self.prove()?;
        let snapshot = Arc::clone(&self.snapshot);
        let upstream = self
            .upstream(&snapshot)
            .or_err(ErrorType::InternalError, "the route has no upstream")?;
        self.leg.expect = expect(session);
        if self.leg.expect.upgrade && !upstream.can_upgrade() {
            return Err(self.fail(StatusCode::NOT_IMPLEMENTED, "websocket_unsupported"));
        }
        let hash = upstream.hash_key().and_then(|key| self.hash(session, key));
        if let Some(last) = self.leg.selected.take() {
            self.leg.tried.push(last.index());
        }
        let Some(selected) = upstream.select(Choice {
            hash,
            tried: &self.leg.tried,
        }) else {
            return Err(self.fail(StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable"));
        };
        selected.agree().await;
        let (peer, call) = selected.peer(self.leg.expect);
        if let (Some(call), Some(connection)) = (&call, &self.connection)
            && let Some(brake) = connection.brake()
        {
            call.share(brake.clone());
        }
        if let (Some(call), true) = (&call, self.may_be_cut()) {
            call.listen();
        }
        self.leg.call = call;
        self.leg.attempts += 1;
        // What was read of the body is sent again from its beginning.
        self.request_bytes = 0;
        if let Some(held) = &mut self.held {
            held.again();
        }
        self.leg.began = Some(Instant::now());
        self.leg.selected = Some(selected);
        Ok(peer)
    }

    /// Refuses unless every mandatory link has left its receipt.
    fn prove(&mut self) -> Result<()> {
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(());
        }
        tracing::error!(request_id = self.id.as_str(), %missing, "mandatory filters did not run; the request is refused");
        Err(self.fail(StatusCode::INTERNAL_SERVER_ERROR, super::MISSING_RECEIPT))
    }

    pub(super) fn upstream<'s>(&self, snapshot: &'s crate::snapshot::Snapshot) -> Option<&'s Upstream> {
        match snapshot.gateway.route(self.route?)?.action {
            Action::Proxy { upstream, .. } => snapshot.gateway.upstreams.get(upstream).map(|upstream| &**upstream),
            Action::Decide | Action::Redirect { .. } | Action::Respond { .. } => None,
        }
    }

    /// The hash of the request's key, where it has one.
    fn hash(&mut self, session: &Session, key: &portcullis_config::key::Key) -> Option<u64> {
        let (target, client) = (self.target.as_ref()?, self.client.as_ref()?);
        let request = session.req_header();
        let head = head(
            (&request.method, &request.headers),
            target,
            client,
            (&self.snapshot, self.route),
            self.now,
        );
        let policy = self
            .snapshot
            .policy
            .view(self.snapshot.gateway.expired, self.now.unix());
        let request = Request {
            head: &head,
            facts: &mut self.facts,
            policy,
        };
        attributes::text(&request, key)
            .ok()
            .flatten()
            .map(|value| hash_key(value.as_bytes()))
    }

    /// A connection is there.
    pub fn connected(&mut self, reused: bool, digest: Option<&Digest>) -> Result<()> {
        self.leg.reused = self.leg.call.as_ref().map_or(reused, |call| call.is_reused());
        self.leg.connect = self.leg.began.map(|began| began.elapsed());
        if self.leg.call.is_some() {
            return Ok(());
        }
        // Pingora's connector takes TLS 1.2 too. Nothing of the request was sent yet.
        let version = digest
            .and_then(|digest| digest.ssl_digest.as_deref())
            .map(|ssl| &*ssl.version);
        match self.upstream(&self.snapshot) {
            Some(upstream) if !upstream.takes_version(version) => {
                Err(self.fail(StatusCode::BAD_GATEWAY, "upstream_tls_version"))
            }
            _ => Ok(()),
        }
    }

    /// Makes the header that goes upstream.
    pub fn prepare_upstream(&mut self, session: &Session, request: &mut RequestHeader) -> Result<()> {
        self.prove()?;
        let (Some(target), Some(client)) = (&self.target, &self.client) else {
            return Error::e_explain(ErrorType::InternalError, "a request without a target");
        };
        let rewrite = match self.route().map(|route| &route.action) {
            Some(Action::Proxy { rewrite, .. }) => rewrite.as_ref(),
            _ => None,
        };
        forward::set_target(request, target, self.query_to_forward().as_deref(), rewrite)?;
        forward::join_cookies(request)?;
        forward::join_lengths(request)?;
        forward::set_forwarded(request, client, target, self.id.as_str())?;
        if let Some(span) = &self.span {
            span.inject(request)?;
        }
        forward::edit_request(request, &self.facts.request_headers)?;
        if let (Some(upstream), Some(selected)) = (self.upstream(&self.snapshot), &self.leg.selected) {
            let host = upstream.host_for(&target.authority, selected.server());
            forward::set_host(request, host)?;
        }
        if session.as_http1().is_some() && session.req_header().headers.contains_key(header::EXPECT) {
            // We have told the client to go on; the upstream has nothing left to agree to.
            request.remove_header(&header::EXPECT);
        }
        if request.headers.contains_key(header::UPGRADE) && !Self::is_websocket(session) {
            // Pingora looks at Upgrade alone, and sends both.
            request.remove_header(&header::UPGRADE);
            request.remove_header(&header::CONNECTION);
        }
        self.leg.sent = true;
        Ok(())
    }

    /// Whether a filter may end the answer before its end: one that asked for the body reads the answer too.
    fn may_be_cut(&self) -> bool {
        self.facts.body.is_some()
    }

    /// A piece of the request's body, on its way up.
    pub fn request_body(&mut self, chunk: &mut Option<Bytes>, last: bool) -> Result<()> {
        if let Some(held) = &mut self.held {
            held.put_back(chunk);
        }
        let received = chunk.as_ref().map_or(0, Bytes::len);
        self.request_bytes += received as u64;
        match &self.body_watch {
            Some(_) if last => self.body_watch = None,
            Some(watch) => watch.received(received),
            None => {}
        }
        if self.request_bytes > self.snapshot.gateway.config.limits.request_body_bytes.get() {
            return Err(self.fail(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"));
        }
        let judged = match &mut self.chain {
            Some(state) => chain_of(&self.snapshot, self.route).on_request_body(state, chunk, last),
            None => Ok(()),
        };
        if last && chunk.as_ref().is_some_and(Bytes::is_empty) {
            // Pingora writes it as a chunk, which ends the body, and then ends the body.
            *chunk = None;
        }
        judged.map_err(|stop| self.stopped(stop))
    }

    #[allow(clippy::unnecessary_box_returns)] // Pingora's errors are boxes.
    /// The chain ended the exchange after the request phase.
    pub(super) fn stopped(&mut self, stop: Stop) -> Box<Error> {
        let denial = match stop {
            Stop::Deny(denial) => denial,
            Stop::Reply(reply) => Denial::new(reply.status, Reason("replaced_by_filter")),
        };
        let error = Error::explain(ErrorType::HTTPStatus(denial.status.as_u16()), denial.reason.0);
        self.denial = Some(denial);
        error
    }

    #[allow(clippy::unnecessary_box_returns)]
    /// A failure with a status and a reason; `fail_to_proxy` answers it.
    pub(super) fn fail(&mut self, status: StatusCode, reason: &'static str) -> Box<Error> {
        self.denial = Some(Denial::new(status, Reason(reason)));
        Error::explain(ErrorType::HTTPStatus(status.as_u16()), reason)
    }

    /// An attempt failed: reports it and says whether it is tried again.
    pub fn attempt_failed(&mut self, session: &Session, error: &mut Error, connected: bool) {
        error.set_retry(false);
        if self.cut.is_some() {
            // We hung up.
            return;
        }
        if fault_of(error).is_some() {
            // The same question would get the same answer.
            if let Some(selected) = &self.leg.selected {
                selected.report(Outcome::Malformed);
            }
            return;
        }
        let Some(failure) = Failure::of(error) else { return };
        if let Some(selected) = &self.leg.selected {
            selected.report(Outcome::from(failure));
            if !connected {
                selected.forget_protocol();
            }
        }
        let Some(retry) = self.upstream(&self.snapshot).map(Upstream::retry) else {
            return;
        };
        let replay = Replay {
            idempotent: is_idempotent(&session.req_header().method),
            header_sent: connected && self.leg.sent,
            body_replayable: !session.as_ref().retry_buffer_truncated(),
        };
        if session.response_written().is_none() && may_retry(retry, self.leg.attempts, failure, replay) {
            error.set_retry(true);
        }
    }

    /// What is wrong with an answer that its bytes do not show, or that came by HTTP/2.
    pub(super) fn check_answer(&self, response: &ResponseHeader) -> Result<(), Fault> {
        let over_http1 = response.version <= Version::HTTP_11;
        if over_http1 && self.leg.call.is_none() {
            // HTTP/2 was agreed on, or nothing else would do.
            if let Some(selected) = &self.leg.selected {
                selected.forget_protocol();
            }
            return Err(Fault::Protocol);
        }
        let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
        let websocket = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"websocket");
        match response.status.as_u16() {
            101 if !(over_http1 && self.leg.expect.upgrade) => Err(Fault::SwitchUnasked),
            101 if !response.headers.get(header::UPGRADE).is_some_and(websocket) => Err(Fault::SwitchUnasked),
            100..=599 => Ok(()),
            _ => Err(Fault::Status),
        }
        .and_then(|()| {
            if switches {
                Ok(())
            } else {
                forward::check_connection(response)
            }
        })
    }

    /// Whether an answer of this status has no body.
    pub(super) fn has_no_body(&self, status: StatusCode) -> bool {
        self.leg.expect.head || matches!(status.as_u16(), 204 | 304)
    }

    /// The upstream's answer has begun.
    pub fn upstream_answered(&mut self, status: StatusCode) {
        self.leg.first_byte = self.leg.began.map(|began| began.elapsed());
        self.leg.status = Some(status);
        self.leave_place(status);
        if let Some(selected) = &self.leg.selected {
            selected.report(Outcome::of_status(status.as_u16()));
        }
    }
}

/// What a server may answer to this request.
fn expect(session: &Session) -> Expect {
    let request = session.req_header();
    Expect {
        head: request.method == Method::HEAD,
        upgrade: Exchange::is_websocket(session),
        chunked: !request.headers.contains_key(header::CONTENT_LENGTH),
    }
}
