//! Refusals in the form of RFC 9457: the body that every refusal has, and the whole answer to a request that never became
//! one of Pingora's. Why something is refused is not decided here.

use std::fmt::Write as _;

use bytes::Bytes;
use http::{StatusCode, header};
use pingora_core::protocols::http::date::get_cached_date;
use pingora_error::Result;
use pingora_http::ResponseHeader;
use portcullis_filters::verdict::{Denial, Reason};

use crate::strict::Case;

/// The media type of a refusal.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The reason when work waits too long for a worker.
pub const OVERLOADED: &str = "overloaded";

/// The methods that are served in principle, for answers of 405 (RFC 9110, 15.5.6).
pub const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// The body of a refusal.
pub fn body(status: StatusCode, reason: &str, detail: Option<&str>, request_id: &str) -> Bytes {
    let mut body = serde_json::Map::new();
    body.insert("type".into(), "about:blank".into());
    body.insert("title".into(), status.canonical_reason().unwrap_or("Refused").into());
    body.insert("status".into(), status.as_u16().into());
    body.insert("reason".into(), reason.into());
    if let Some(detail) = detail {
        body.insert("detail".into(), detail.into());
    }
    body.insert("request_id".into(), request_id.into());
    let mut text = serde_json::Value::Object(body).to_string();
    text.push('\n');
    text.into()
}

/// What a case's answer says: the rule in words, and where it stands.
pub fn detail(case: Case) -> String {
    let row = case.row();
    format!("{} ({})", row.says, row.rfc)
}

/// The body of the refusal of a request that breaks the form of one.
pub fn of(case: Case, request_id: &str) -> Bytes {
    body(status(case), case.reason(), Some(&detail(case)), request_id)
}

/// A refusal as filters make them.
impl From<Case> for Denial {
    fn from(case: Case) -> Self {
        Self::new(status(case), Reason(case.reason())).detail(detail(case))
    }
}

/// The status of a case.
pub fn status(case: Case) -> StatusCode {
    StatusCode::from_u16(case.row().status).unwrap_or(StatusCode::BAD_REQUEST)
}

/// Head and body of the answer, for Pingora to write.
pub fn answer(case: Case, request_id: &str) -> Result<(ResponseHeader, Bytes)> {
    let (status, body) = (status(case), of(case, request_id));
    let mut head = ResponseHeader::build(status, Some(8))?;
    head.insert_header(header::CONTENT_TYPE, MEDIA_TYPE)?;
    head.insert_header(header::CONTENT_LENGTH, body.len())?;
    head.insert_header(header::CACHE_CONTROL, "no-store")?;
    head.insert_header("x-request-id", request_id)?;
    if status == StatusCode::METHOD_NOT_ALLOWED {
        head.insert_header(header::ALLOW, METHODS)?;
    }
    Ok((head, body))
}

/// The whole answer over HTTP/1.1, which ends the connection. `head_only`: to a HEAD request.
pub fn http1(case: Case, request_id: &str, head_only: bool) -> Vec<u8> {
    let (status, body) = (status(case), of(case, request_id));
    let mut answer = match status {
        StatusCode::METHOD_NOT_ALLOWED => head(
            status,
            request_id,
            body.len(),
            format_args!("Connection: close\r\nAllow: {METHODS}\r\n"),
        ),
        _ => head(status, request_id, body.len(), format_args!("Connection: close\r\n")),
    };
    if !head_only {
        answer.extend_from_slice(&body);
    }
    answer
}

/// The whole answer over HTTP/1.1 to a request that there is no time for; the connection is kept.
pub fn overloaded(request_id: &str, retry_after: u32) -> Vec<u8> {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    let body = body(status, OVERLOADED, None, request_id);
    let more = format_args!("Retry-After: {retry_after}\r\n");
    let mut answer = head(status, request_id, body.len(), more);
    answer.extend_from_slice(&body);
    answer
}

/// An answer's head over HTTP/1.1. `more`: further fields, whole lines.
fn head(status: StatusCode, request_id: &str, length: usize, more: std::fmt::Arguments<'_>) -> Vec<u8> {
    let mut head = String::with_capacity(320 + length);
    let date = get_cached_date();
    // Writing to a String cannot fail.
    let _ = write!(
        head,
        "HTTP/1.1 {} {}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nX-Request-Id: {request_id}\r\nDate: {}\r\n{more}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Refused"),
        date.to_str().unwrap_or_default(),
    );
    head.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strict::TABLE;

    #[test]
    fn every_case_has_its_answer() {
        let mut all = String::new();
        for row in &TABLE {
            let answer = http1(row.case, "r-1", false);
            let answer = String::from_utf8(answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let lines: Vec<&str> = head.split("\r\n").filter(|line| !line.starts_with("Date: ")).collect();
            assert!(
                lines.contains(&format!("Content-Length: {}", body.len()).as_str()),
                "{head}"
            );
            assert!(
                lines.contains(&"Connection: close") && !head.contains("Server"),
                "{head}"
            );
            serde_json::from_str::<serde_json::Value>(body).unwrap();
            let _ = write!(all, "{}\n{body}", lines[0]);
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/refusals.txt");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(path, &all).unwrap();
        }
        assert_eq!(
            all,
            std::fs::read_to_string(path).unwrap(),
            "run with UPDATE_GOLDEN=1 and look at what changed"
        );
    }

    #[test]
    fn who_there_is_no_time_for_may_come_again() {
        let answer = String::from_utf8(overloaded("r-1", 2)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let length = format!("Content-Length: {}", body.len());
        for line in [
            "HTTP/1.1 503 Service Unavailable",
            "Retry-After: 2",
            "X-Request-Id: r-1",
            &length,
        ] {
            assert!(head.lines().any(|there| there == line), "{line}: {head}");
        }
        assert!(!head.contains("Connection"), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(
            (&problem["reason"], &problem["request_id"]),
            (&"overloaded".into(), &"r-1".into())
        );
    }

    #[test]
    fn a_head_request_gets_no_body() {
        let answer = String::from_utf8(http1(Case::Connect, "r-1", true)).unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 405 Method Not Allowed\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        assert!(answer.contains(&format!("Allow: {METHODS}\r\n")), "{answer}");
    }
}
