//! The only writer of answers that are ours: refusals as problem+json (RFC 9457), replies of filters, redirects and
//! fixed responses. It decides nothing.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;
use pingora_proxy::Session;
use portcullis_config::site::Refusals;
use portcullis_filters::facts::HeaderEdits;
use portcullis_filters::verdict::{Denial, Reply, Shape};

use crate::exchange::Exchange;
use crate::forward;
use crate::problem;

/// Largest rest of a request body that is read and thrown away so that the connection can be kept.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(2);

/// An answer that is ours.
#[derive(Debug)]
pub struct Answer {
    header: ResponseHeader,
    body: Bytes,
    /// Close the connection after it.
    close: bool,
}

impl Answer {
    /// An answer with a body of this media type.
    pub fn new(status: StatusCode, content_type: &str, body: Bytes) -> Result<Self> {
        let mut header = ResponseHeader::build(status, Some(8))?;
        if !body.is_empty() {
            header.insert_header(header::CONTENT_TYPE, content_type)?;
        }
        Ok(Self {
            header,
            body,
            close: false,
        })
    }

    /// A refusal.
    pub fn refusal(denial: &Denial, request_id: &str, form: Refusals) -> Result<Self> {
        let (media_type, body) = match (denial.shape, form) {
            (Shape::Anthropic, _) => ("application/json", anthropic(denial, request_id)),
            (Shape::OpenAi, _) | (Shape::Problem, Refusals::Openai) => ("application/json", openai(denial)),
            (Shape::Problem, Refusals::Problem) => (problem::MEDIA_TYPE, problem(denial, request_id)),
        };
        let mut answer = Self::new(denial.status, media_type, body)?;
        answer.header.insert_header(header::CACHE_CONTROL, "no-store")?;
        if let Some(seconds) = denial.retry_after {
            answer.header.insert_header(header::RETRY_AFTER, seconds)?;
        }
        for (name, value) in &denial.headers {
            answer.header.append_header(name.clone(), value.clone())?;
        }
        Ok(answer)
    }

    /// A refusal as a gRPC client reads it: trailers only, status 200.
    pub fn grpc_refusal(denial: &Denial) -> Result<Self> {
        let mut header = ResponseHeader::build(StatusCode::OK, Some(6))?;
        header.insert_header(header::CONTENT_TYPE, "application/grpc")?;
        header.insert_header(HeaderName::from_static("grpc-status"), grpc_code(denial.status))?;
        header.insert_header(HeaderName::from_static("grpc-message"), denial.reason.0)?;
        if let Some(seconds) = denial.retry_after {
            header.insert_header(header::RETRY_AFTER, seconds)?;
        }
        Ok(Self {
            header,
            body: Bytes::new(),
            close: false,
        })
    }

    /// A filter's own reply.
    pub fn reply(reply: &Reply) -> Result<Self> {
        let mut header = ResponseHeader::build(reply.status, Some(8))?;
        for (name, value) in &reply.headers {
            header.append_header(name.clone(), value.clone())?;
        }
        Ok(Self {
            header,
            body: reply.body.clone(),
            close: false,
        })
    }

    /// "It may pass", from a listener that only decides.
    pub fn pass() -> Result<Self> {
        Self::new(StatusCode::OK, "", Bytes::new())?
            .with(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// Makes filters' changes to the header.
    pub fn edit(&mut self, edits: &HeaderEdits) -> Result<()> {
        forward::edit_response(&mut self.header, edits)
    }

    /// Replaces the status.
    pub fn set_status(&mut self, status: StatusCode) -> Result<()> {
        self.header.set_status(status)
    }

    /// Adds a header field.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Result<Self> {
        self.header.insert_header(name, value)?;
        Ok(self)
    }

    /// Closes the connection after the answer, because what follows on it cannot be told apart.
    #[must_use]
    pub fn closing(mut self, close: bool) -> Self {
        self.close |= close;
        self
    }

    /// The answer's head, for the response phase of the chain.
    pub fn header(&self) -> &ResponseHeader {
        &self.header
    }

    /// The answer's body.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Writes the answer, with what the filters add to it.
    pub async fn write(mut self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        forward::edit_response(&mut self.header, &exchange.facts.response_headers)?;
        self.header.insert_header(forward::X_REQUEST_ID, exchange.id.as_str())?;
        exchange.add_hsts(&mut self.header)?;
        let status = self.header.status;
        let bodiless = status.is_informational() || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if !bodiless {
            self.header.insert_header(header::CONTENT_LENGTH, self.body.len())?;
        }
        if self.close {
            session.set_keepalive(None);
        }
        session.as_mut().set_total_drain_timeout(Some(DRAIN));
        exchange.answered(status);
        let header_only = bodiless || self.body.is_empty() || session.req_header().method == Method::HEAD;
        session
            .write_response_header(Box::new(self.header), header_only)
            .await?;
        if !header_only {
            exchange.response_bytes += self.body.len() as u64;
            session.write_response_body(Some(self.body), true).await?;
        }
        Ok(())
    }
}

/// The body of a refusal.
fn problem(denial: &Denial, request_id: &str) -> Bytes {
    problem::body(denial.status, denial.reason.0, denial.detail.as_deref(), request_id)
}

/// The body of a refusal as the API of OpenAI has it. Clients decide by `type` and `code` whether they try again.
fn openai(denial: &Denial) -> Bytes {
    let reason = denial.reason.0;
    let (kind, code, begins) = match denial.status.as_u16() {
        401 => ("authentication_error", reason, "Not authenticated"),
        403 => ("permission_error", reason, "Not permitted"),
        429 => ("rate_limit_error", "rate_limit_exceeded", "Rate limit exceeded"),
        500.. => ("server_error", reason, "The request could not be served"),
        _ => ("invalid_request_error", reason, "The request is not accepted"),
    };
    let mut message = format!("{begins}: {reason}");
    if let Some(detail) = &denial.detail {
        message = format!("{message} ({detail})");
    }
    let body = serde_json::json!({ "error": { "message": message, "type": kind, "param": null, "code": code } });
    format!("{body}\n").into()
}

/// The body of a refusal as clients of Anthropic's API read it.
fn anthropic(denial: &Denial, request_id: &str) -> Bytes {
    let kind = match denial.status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        StatusCode::PAYLOAD_TOO_LARGE => "request_too_large",
        _ => "invalid_request_error",
    };
    let message = match denial.status {
        StatusCode::TOO_MANY_REQUESTS => format!("Rate limit exceeded: {}", denial.reason),
        _ => format!("The request is not accepted: {}", denial.reason),
    };
    let error = serde_json::json!({ "type": kind, "message": message });
    let body = serde_json::json!({ "type": "error", "error": error, "request_id": request_id });
    format!("{body}\n").into()
}

/// The gRPC status of an HTTP status, as the gRPC specification maps them.
const fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        413 | 429 => 8,
        502..=504 => 14,
        _ => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_filters::verdict::Reason;

    #[test]
    fn a_refusal_is_a_problem() {
        let denial = Denial::new(StatusCode::FORBIDDEN, Reason("ip_denied")).detail("not from \"here\"");
        let body = problem(&denial, "r-1");
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "about:blank", "title": "Forbidden", "status": 403, "reason": "ip_denied",
                "detail": "not from \"here\"", "request_id": "r-1",
            })
        );
    }

    #[test]
    fn a_refusal_as_openai_has_it() {
        for (status, reason, kind, code) in [
            (401, "token_missing", "authentication_error", "token_missing"),
            (403, "ip_denied", "permission_error", "ip_denied"),
            (404, "no_route", "invalid_request_error", "no_route"),
            (429, "tpm_exceeded", "rate_limit_error", "rate_limit_exceeded"),
            (503, "overloaded", "server_error", "overloaded"),
        ] {
            let denial = Denial::new(StatusCode::from_u16(status).unwrap(), Reason(reason)).detail("why");
            let body: serde_json::Value = serde_json::from_slice(&openai(&denial)).unwrap();
            let error = &body["error"];
            assert_eq!(
                (&error["type"], &error["code"]),
                (&kind.into(), &code.into()),
                "{status}"
            );
            assert!(
                error["message"]
                    .as_str()
                    .unwrap()
                    .ends_with(&format!(": {reason} (why)")),
                "{body}"
            );
        }
    }

    #[test]
    fn a_grpc_client_gets_a_status() {
        let answer = Answer::grpc_refusal(&Denial::new(StatusCode::UNAUTHORIZED, Reason("token_missing"))).unwrap();
        assert_eq!(answer.header().status, StatusCode::OK);
        assert_eq!(answer.header().headers["grpc-status"], "16");
        assert_eq!(answer.header().headers["grpc-message"], "token_missing");
    }
}
