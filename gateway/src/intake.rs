//! The first look at a request: its target, host and framing, normalised once. What two readers could understand
//! differently is refused here, before anything is routed.

mod raw;

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, Method, StatusCode, Version, header};
use pingora_http::RequestHeader;
use portcullis_config::path::{self, PathError};
use portcullis_filters::verdict::{Denial, Reason};

/// What a request asks for, in one form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Lower-case, no port, no trailing dot. Empty for HTTP/1.0 without a Host.
    pub host: Box<str>,
    /// As it goes upstream when the client's host is kept: with the port, if one was sent.
    pub authority: Box<str>,
    /// Normalised, or `*` for `OPTIONS *`.
    pub path: Box<str>,
    /// Without the question mark, as sent.
    pub query: Option<Box<str>>,
}

/// Why a request is refused before it is routed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// The path is ambiguous or broken.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The target is neither a path, nor `http(s)://`, nor `*` with OPTIONS.
    #[error("the request target has no allowed form (RFC 9112, 3.2)")]
    TargetForm,
    /// The query has a control character or a space.
    #[error("the query has a character that RFC 3986 does not allow")]
    Query,
    /// HTTP/1.1 without Host.
    #[error("the request has no Host")]
    HostMissing,
    /// More than one Host, or one that is no host.
    #[error("the request's Host is repeated or malformed")]
    HostInvalid,
    /// Host and target name different hosts.
    #[error("Host and request target name different hosts")]
    HostMismatch,
    /// Content-Length and Transfer-Encoding together, or several of one.
    #[error("the request's framing is ambiguous")]
    Framing,
    /// A transfer coding other than `chunked`.
    #[error("the transfer coding is not known; only `chunked` is")]
    TransferCoding,
    /// A line of the header that does not end in CR LF.
    #[error("a line of the header ends in a bare line feed")]
    Line,
    /// TRACE.
    #[error("the method is not served here")]
    Method,
}

impl IntakeError {
    /// The stable code.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Path(error) => error.reason(),
            Self::TargetForm => "target_form",
            Self::Query => "query_forbidden_character",
            Self::HostMissing => "host_missing",
            Self::HostInvalid => "host_invalid",
            Self::HostMismatch => "host_mismatch",
            Self::Framing => "framing_ambiguous",
            Self::TransferCoding => "transfer_coding_unknown",
            Self::Line => "line_malformed",
            Self::Method => "method_not_served",
        }
    }

    /// Whether a refusal for this reason leaves open where the request ends: the connection is closed then.
    pub fn leaves_framing_in_doubt(reason: &str) -> bool {
        [Self::Framing, Self::TransferCoding, Self::Line]
            .into_iter()
            .any(|error| error.reason() == reason)
    }
}

impl From<IntakeError> for Denial {
    fn from(error: IntakeError) -> Self {
        let status = match error {
            IntakeError::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            IntakeError::Method => StatusCode::METHOD_NOT_ALLOWED,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, Reason(error.reason())).detail(error.to_string())
    }
}

/// Reads the target of a request. `raw_header` is its header as it came in, for HTTP/1.
pub fn read(request: &RequestHeader, raw_header: Option<&[u8]>) -> Result<Target, IntakeError> {
    raw_header.map_or(Ok(()), raw::check)?;
    framing(request, raw_header)?;
    if request.method == Method::TRACE {
        return Err(IntakeError::Method);
    }
    let raw = std::str::from_utf8(request.raw_path()).map_err(|_| IntakeError::Path(PathError::NotUtf8))?;
    let (target_authority, rest) = split_target(raw, &request.method)?;
    let authority = authority(request, target_authority)?;
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if query.is_some_and(|query| query.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#')) {
        return Err(IntakeError::Query);
    }
    let path = if path == "*" {
        Cow::Borrowed("*")
    } else {
        path::normalize(path)?
    };
    Ok(Target {
        host: host_of(&authority)?,
        authority: authority.into(),
        path: path.into(),
        query: query.map(Into::into),
    })
}

/// Authority and the rest of a target: origin-form, absolute-form, or `*` with OPTIONS.
fn split_target<'r>(raw: &'r str, method: &Method) -> Result<(Option<&'r str>, &'r str), IntakeError> {
    if raw.starts_with('/') || (raw == "*" && *method == Method::OPTIONS) {
        return Ok((None, raw));
    }
    let (scheme, rest) = raw.split_once("://").ok_or(IntakeError::TargetForm)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(IntakeError::TargetForm);
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).ok_or(IntakeError::TargetForm)?;
    if authority.is_empty() {
        return Err(IntakeError::HostInvalid);
    }
    match path {
        "" if *method == Method::OPTIONS => Ok((Some(authority), "*")),
        "" => Ok((Some(authority), "/")),
        _ if path.starts_with('/') => Ok((Some(authority), path)),
        _ => Err(IntakeError::TargetForm),
    }
}

/// The one authority of a request: from its target, `:authority` and Host, which must agree.
fn authority(request: &RequestHeader, from_target: Option<&str>) -> Result<String, IntakeError> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(IntakeError::HostInvalid),
        (Some(host), None) => Some(host.to_str().map_err(|_| IntakeError::HostInvalid)?.trim()),
        (None, None) => None,
    };
    let from_target = from_target.or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
    match (from_target, host) {
        (_, Some("")) => Err(IntakeError::HostInvalid),
        // A Host must be there even where the target has one (RFC 9112, 3.2).
        (_, None) if request.version == Version::HTTP_11 => Err(IntakeError::HostMissing),
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => Err(IntakeError::HostMismatch),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority.to_ascii_lowercase()),
        (None, None) if request.version <= Version::HTTP_10 => Ok(String::new()),
        (None, None) => Err(IntakeError::HostMissing),
    }
}

/// The host of an authority, checked: a name, an IPv4 address or an IPv6 address in brackets, and perhaps a port.
fn host_of(authority: &str) -> Result<Box<str>, IntakeError> {
    if authority.is_empty() {
        return Ok("".into());
    }
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, after) = rest.split_once(']').ok_or(IntakeError::HostInvalid)?;
        address
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| IntakeError::HostInvalid)?;
        let host = authority.get(..address.len() + 2).ok_or(IntakeError::HostInvalid)?;
        match after {
            "" => (host, None),
            _ => (host, Some(after.strip_prefix(':').ok_or(IntakeError::HostInvalid)?)),
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let name = host.strip_suffix('.').unwrap_or(host);
        if !is_name(name) {
            return Err(IntakeError::HostInvalid);
        }
        (name, port)
    };
    match port {
        Some(port) if port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) || port.parse::<u16>().is_err() => {
            Err(IntakeError::HostInvalid)
        }
        _ => Ok(host.into()),
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= 253
        && !name.is_empty()
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// Refuses what makes the end of the request's body a matter of opinion (RFC 9112, 6.3).
fn framing(request: &RequestHeader, raw_header: Option<&[u8]>) -> Result<(), IntakeError> {
    let headers = &request.headers;
    if several(headers, &header::CONTENT_LENGTH) || several(headers, &header::TRANSFER_ENCODING) {
        return Err(IntakeError::Framing);
    }
    if headers
        .get(header::CONTENT_LENGTH)
        .is_some_and(|length| !is_number(length.as_bytes()))
    {
        return Err(IntakeError::Framing);
    }
    let Some(coding) = headers.get(header::TRANSFER_ENCODING) else {
        return Ok(());
    };
    if request.version != Version::HTTP_11 {
        return Err(IntakeError::Framing);
    }
    if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err(IntakeError::TransferCoding);
    }
    // Pingora drops Content-Length beside Transfer-Encoding before any phase, so the bytes themselves are asked.
    let both = headers.contains_key(header::CONTENT_LENGTH)
        || raw_header.is_some_and(|raw| has_field(raw, &header::CONTENT_LENGTH));
    if both { Err(IntakeError::Framing) } else { Ok(()) }
}

fn several(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

fn is_number(value: &[u8]) -> bool {
    (1..=19).contains(&value.len()) && value.iter().all(u8::is_ascii_digit)
}

/// Whether a raw HTTP/1 header has a field of this name.
fn has_field(raw: &[u8], name: &HeaderName) -> bool {
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.split(|byte| *byte == b':')
            .next()
            .is_some_and(|found| found.eq_ignore_ascii_case(name.as_str().as_bytes()))
    })
}

#[cfg(test)]
mod tests;
