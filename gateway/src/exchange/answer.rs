//! The response phase: the upstream's answer on its way down, our own answers, and what becomes of failures.

use bytes::Bytes;
use http::StatusCode;
use pingora_error::{Error, ErrorSource, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::{FailToProxy, Session};
use portcullis_filters::response::Response;
use portcullis_filters::verdict::{Denial, Reason, Stop};

use crate::listener::Connection;

use super::hold::Held;
use super::{Exchange, chain_of, head, subject};
use crate::forward;
use crate::respond::Answer;
use crate::upstream::response::Fault;
use crate::upstream::{certificate_reason, fault_of};

/// Why an answer that a filter ended comes to no other end.
const ENDED: &str = "a filter ended the answer";

impl Exchange {
    /// Writes an answer that is ours, after the response phase of the chain.
    pub(super) async fn answer(&mut self, session: &mut Session, answer: Answer) -> Result<()> {
        let answer = match self.on_response(session, answer.header()) {
            Ok(()) => answer,
            Err(Stop::Reply(reply)) => Answer::reply(&reply)?,
            Err(Stop::Deny(denial)) => self.refusal(session, denial)?,
        };
        answer.write(session, self).await
    }

    /// The upstream's answer, before it goes down.
    pub fn upstream_response(&mut self, session: &Session, response: &mut ResponseHeader) -> Result<()> {
        if let Err(fault) = self.check_answer(response) {
            return Err(self.fail(StatusCode::BAD_GATEWAY, fault.reason()));
        }
        forward::make_canonical(response);
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS {
            return Ok(());
        }
        self.upstream_answered(response.status);
        if self.held.as_ref().is_some_and(Held::is_sent) {
            (self.held, self.facts.body) = (None, None);
        }
        self.bodiless = self.has_no_body(response.status);
        if let Err(stop) = self.on_response(session, response) {
            return Err(self.stopped(stop));
        }
        forward::edit_response(response, &self.facts.response_headers)?;
        response.insert_header("x-request-id", self.id.as_str())?;
        self.add_hsts(response)?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(connection)) = (response.status, &self.connection) {
            connection.set_tunnel();
        }
        self.answered(response.status);
        Ok(())
    }

    pub(super) fn on_response(&mut self, session: &Session, response: &ResponseHeader) -> Result<(), Stop> {
        let (Some(state), Some(target), Some(client)) = (&mut self.chain, &self.target, &self.client) else {
            return Ok(());
        };
        let (method, fields) = subject(session.req_header(), self.described.as_deref());
        let head = head((method, fields), target, client, (&self.snapshot, self.route), self.now);
        let (status, headers) = (response.status, &response.headers);
        let mut response = Response {
            head: &head,
            status,
            headers,
            facts: &mut self.facts,
        };
        let passed = chain_of(&self.snapshot, self.route).on_response(state, &mut response);
        self.add_debug();
        passed
    }

    /// A piece of the answer's body, on its way down.
    pub fn response_body(&mut self, session: &mut Session, chunk: &mut Option<Bytes>, last: bool) -> Result<()> {
        if self.bodiless && chunk.as_ref().is_some_and(|chunk| !chunk.is_empty()) {
            return Err(self.fail(StatusCode::BAD_GATEWAY, Fault::BodyForbidden.reason()));
        }
        if self.cut.is_some() {
            return self.after_cut(session, chunk, last);
        }
        if let Some(state) = &mut self.chain {
            if let Err(stop) = chain_of(&self.snapshot, self.route).on_response_body(state, chunk, last) {
                return Err(self.stopped(stop));
            }
            self.cut = state.ended();
        }
        let (bytes, before) = (chunk.as_ref().map_or(0, Bytes::len), self.response_bytes);
        self.response_bytes += bytes as u64;
        if session.is_http2() && bytes > 0 {
            if self.delivery.is_none() {
                self.delivery = self.connection.as_ref().and_then(Connection::deliver);
            }
            if let Some(delivery) = &mut self.delivery {
                delivery.hand(session, bytes);
            }
        }
        if self.cut.is_some() && !last {
            return self.let_go(session, chunk, before);
        }
        Ok(())
    }

    /// A filter ended the answer with this piece: the client gets it, and the upstream is let go at once. `before`: bytes that
    /// came before it.
    fn let_go(&mut self, session: &Session, chunk: &mut Option<Bytes>, before: u64) -> Result<()> {
        if let Some(call) = &self.leg.call {
            // Its next read fails, behind this piece.
            call.hang_up();
            return Ok(());
        }
        let delivered = session.response_written().is_some() && session.as_ref().body_bytes_sent() as u64 >= before;
        if !delivered {
            // Something before it is still to be written: see [`Self::after_cut`].
            return Ok(());
        }
        self.last_piece = chunk.take();
        Error::e_explain(ErrorType::InternalError, ENDED)
    }

    /// The upstream was not let go with the last piece. Once the client has that, so that nothing of it is lost, it is.
    fn after_cut(&mut self, session: &Session, chunk: &mut Option<Bytes>, last: bool) -> Result<()> {
        *chunk = None;
        let delivered = session.as_ref().body_bytes_sent() as u64 >= self.response_bytes;
        if last || !delivered {
            return Ok(());
        }
        Error::e_explain(ErrorType::InternalError, ENDED)
    }

    /// The exchange failed: answers with what went wrong while that is still possible.
    pub async fn failed(&mut self, session: &mut Session, error: &Error) -> FailToProxy {
        if self.cut.is_some() && error.esource() != &ErrorSource::Downstream {
            // The answer ends as if the upstream had ended it.
            let last = self.last_piece.take();
            let ended = session.write_response_body(last, true).await;
            return FailToProxy {
                error_code: self.status.map_or(0, |status| status.as_u16()),
                can_reuse_downstream: ended.is_ok(),
            };
        }
        let violation = self.connection.as_ref().and_then(|connection| connection.violation());
        let denial = self.denial.take().or_else(|| violation.map(Denial::from));
        let Some(denial) = denial.or_else(|| denial_of(error)) else {
            self.denial = Some(Denial::new(client_closed(), Reason("client_closed")));
            return FailToProxy {
                error_code: 0,
                can_reuse_downstream: false,
            };
        };
        let status = denial.status.as_u16();
        if session.response_written().is_some() {
            // Too late for another answer: the connection ends here, which the client notices.
            self.denial = Some(denial);
            return FailToProxy {
                error_code: status,
                can_reuse_downstream: false,
            };
        }
        let written = match self.refusal(session, denial) {
            Ok(answer) => self.answer(session, answer.closing(true)).await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            tracing::debug!(request_id = self.id.as_str(), %error, "the refusal could not be written");
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }
}

/// nginx's 499: the client was gone before the answer.
pub(super) fn client_closed() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// The refusal that an error of Pingora amounts to. `None`: the client is gone.
fn denial_of(error: &Error) -> Option<Denial> {
    if let Some(fault) = fault_of(error) {
        return Some(Denial::new(StatusCode::BAD_GATEWAY, Reason(fault.reason())));
    }
    if let Some(reason) = certificate_reason(error) {
        return Some(Denial::new(StatusCode::BAD_GATEWAY, Reason(reason)));
    }
    let (status, reason) = match (error.etype(), error.esource()) {
        (ErrorType::HTTPStatus(status), _) => (
            StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            "proxy_error",
        ),
        (ErrorType::WriteError | ErrorType::ConnectionClosed | ErrorType::WriteTimedout, ErrorSource::Downstream) => {
            return None;
        }
        (ErrorType::ReadTimedout, ErrorSource::Downstream) => (StatusCode::REQUEST_TIMEOUT, "body_timeout"),
        (ErrorType::ReadError, ErrorSource::Downstream) => return None,
        (_, ErrorSource::Downstream) => (StatusCode::BAD_REQUEST, "request_malformed"),
        (ErrorType::ConnectTimedout, _) => (StatusCode::GATEWAY_TIMEOUT, "upstream_connect_timeout"),
        (ErrorType::ReadTimedout | ErrorType::WriteTimedout, _) => (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout"),
        (ErrorType::ConnectRefused | ErrorType::ConnectNoRoute | ErrorType::ConnectError, _) => {
            (StatusCode::BAD_GATEWAY, "upstream_connect_error")
        }
        (ErrorType::TLSHandshakeFailure | ErrorType::TLSHandshakeTimedout | ErrorType::InvalidCert, _) => {
            (StatusCode::BAD_GATEWAY, "upstream_tls_error")
        }
        (_, ErrorSource::Upstream) => (StatusCode::BAD_GATEWAY, "upstream_error"),
        (_, ErrorSource::Internal | ErrorSource::Unset) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
    };
    Some(Denial::new(status, Reason(reason)))
}
