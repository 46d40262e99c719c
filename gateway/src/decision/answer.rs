//! From a decision to what the peer is told: a status and fields over HTTP, a message over gRPC. Nothing is decided here.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_filters::facts::{HeaderEdit, HeaderEdits};
use portcullis_filters::verdict::{Denial, Reason, Reply};

use super::Protocol;
use super::ext_authz::{self, Misunderstood};
use crate::exchange::Exchange;
use crate::forward;
use crate::respond::Answer;

/// Why a request is refused.
const REASON: HeaderName = HeaderName::from_static("x-portcullis-reason");
/// The status that nginx cannot be told otherwise.
const STATUS: HeaderName = HeaderName::from_static("x-portcullis-status");
/// The fields that Envoy is to take away from the request, over HTTP.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// The reason when a filter answers in a way that the protocol has no word for.
const NOT_EXPRESSIBLE: Reason = Reason("answer_not_expressible");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// Whether a request may pass, and the answer that it gets if not.
#[derive(Debug)]
pub struct Decision {
    /// It may.
    pub passes: bool,
    /// What the client is answered if it may not, and what the peer is told if it may.
    pub answer: Answer,
    reason: Option<Reason>,
}

impl Decision {
    /// It may pass.
    pub fn pass() -> Result<Self> {
        Ok(Self {
            passes: true,
            answer: Answer::pass()?,
            reason: None,
        })
    }

    /// It may not.
    pub fn refusal(answer: Answer, reason: Reason) -> Self {
        Self {
            passes: false,
            answer,
            reason: Some(reason),
        }
    }

    /// A filter answers it.
    pub fn reply(reply: &Reply) -> Result<Self> {
        Ok(Self {
            passes: false,
            answer: Answer::reply(reply)?,
            reason: None,
        })
    }
}

/// The decision over HTTP. 2xx is "yes" and nothing else is.
pub fn of_http(protocol: Protocol, decision: Decision, exchange: &mut Exchange) -> Result<Answer> {
    let Decision {
        passes,
        mut answer,
        mut reason,
    } = decision;
    if passes {
        let edits = &exchange.facts.request_headers;
        answer.edit(&for_upstream(edits))?;
        return match removed(edits) {
            Some(names) if protocol == Protocol::ExtAuthz => answer.with(TO_REMOVE, names),
            _ => Ok(answer),
        };
    }
    if answer.header().status.is_success() {
        // A preflight's answer, say. Told as it is, it would let the request itself through.
        let denial = Denial::new(StatusCode::FORBIDDEN, NOT_EXPRESSIBLE)
            .detail("a filter answers this itself, with a status that would mean that it may pass");
        answer = Answer::refusal(&denial, exchange.id.as_str(), exchange.refusals())?;
        reason = Some(denial.reason);
        exchange.denial = Some(denial);
    }
    // Fairvisor Edge keeps it to itself, unless somebody debugs.
    if let Some(reason) = reason.filter(|_| exchange.live.edge_mode().is_none()) {
        answer = answer.with(REASON, HeaderValue::from_static(reason.0))?;
    }
    if protocol == Protocol::AuthRequest {
        let status = answer.header().status;
        answer = answer.with(STATUS, HeaderValue::from(status.as_u16()))?;
        if status != StatusCode::UNAUTHORIZED {
            answer.set_status(StatusCode::FORBIDDEN)?;
        }
    }
    Ok(answer)
}

/// What filters set for the upstream. What they remove cannot be told like this.
fn for_upstream(edits: &HeaderEdits) -> HeaderEdits {
    let mut told = HeaderEdits::default();
    for edit in edits.iter() {
        if !matches!(edit, HeaderEdit::Remove(_)) {
            told.push(edit.clone());
        }
    }
    told
}

/// The names of fields that filters take away from the request.
fn removed(edits: &HeaderEdits) -> Option<HeaderValue> {
    let names = edits.iter().filter_map(|edit| match edit {
        HeaderEdit::Remove(name) => Some(name.as_str()),
        HeaderEdit::Set(..) | HeaderEdit::Append(..) => None,
    });
    let names = names.collect::<Vec<_>>().join(",");
    HeaderValue::from_str(&names).ok().filter(|names| !names.is_empty())
}

/// Writes the decision as gRPC's message.
pub async fn write_grpc(session: &mut Session, decision: Decision, exchange: &Exchange) -> Result<()> {
    let message = if decision.passes {
        ext_authz::ok(&exchange.facts, exchange.parameters_to_remove())
    } else {
        let mut header = decision.answer.header().clone();
        forward::edit_response(&mut header, &exchange.facts.response_headers)?;
        header.insert_header(forward::X_REQUEST_ID, exchange.id.as_str())?;
        ext_authz::denied(&header, decision.answer.body())
    };
    let mut header = ResponseHeader::build(StatusCode::OK, Some(2))?;
    header.insert_header(header::CONTENT_TYPE, GRPC)?;
    session.write_response_header(Box::new(header), false).await?;
    session
        .write_response_body(Some(ext_authz::framed(&message)), false)
        .await?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    session.as_mut().write_response_trailers(trailers).await
}

/// The answer to a question that was none: a header alone, as gRPC has it.
pub fn of_misunderstood(misunderstood: Misunderstood) -> Result<Answer> {
    let message = HeaderValue::from_static(misunderstood.message);
    Answer::new(StatusCode::OK, "", Bytes::new())?
        .with(header::CONTENT_TYPE, GRPC)?
        .with(GRPC_STATUS, HeaderValue::from(u16::from(misunderstood.code)))?
        .with(GRPC_MESSAGE, message)
}
