//! The first look at a request: its target, host and framing, normalised once. What two readers could understand
//! differently is refused here, before anything is routed.

use std::borrow::Cow;

use http::{Method, Version, header};
use pingora_http::RequestHeader;
use portcullis_config::path::{self, PathError};

use crate::strict::{Case, TABLE, target};

/// What a request asks for, in one form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

/// Whether a refusal for this reason leaves open where the request ends: the connection is closed then.
pub fn leaves_framing_in_doubt(reason: &str) -> bool {
    TABLE.iter().any(|row| row.closes && row.reason == reason)
}

const fn of_path(error: PathError) -> Case {
    match error {
        PathError::NotAbsolute => Case::PathNotAbsolute,
        PathError::BrokenEscape => Case::PathBrokenEscape,
        PathError::EncodedSlash => Case::PathEncodedSlash,
        PathError::EncodedNul => Case::PathEncodedNul,
        PathError::NotUtf8 => Case::PathNotUtf8,
        PathError::ForbiddenCharacter => Case::PathForbiddenCharacter,
        PathError::AmbiguousDotSegment => Case::PathAmbiguousDotSegment,
    }
}

/// Reads the target of a request. What the form of an HTTP/1 request allows was held against its bytes before
/// ([`crate::strict`]); that of HTTP/2 is checked here, as far as it is not the framing's own.
pub fn read(request: &RequestHeader) -> Result<Target, Case> {
    delivery(request)?;
    if request.method == Method::TRACE {
        return Err(Case::Trace);
    }
    let raw = std::str::from_utf8(request.raw_path()).map_err(|_| Case::PathNotUtf8)?;
    let (target_authority, rest) = target::split(raw, request.method.as_str())?;
    resolve(rest, authority(request, target_authority)?)
}

/// Reads the target of a request that somebody describes: the same rules, whatever they were told in.
pub fn described(method: &Method, raw: &str, host: &str) -> Result<Target, Case> {
    match *method {
        Method::TRACE => return Err(Case::Trace),
        Method::CONNECT => return Err(Case::Connect),
        _ => {}
    }
    let (target_authority, rest) = target::split(raw, method.as_str())?;
    match (target_authority, host) {
        (_, "") => Err(Case::HostInvalid),
        (Some(target), host) if !target.eq_ignore_ascii_case(host) => Err(Case::HostMismatch),
        _ => resolve(rest, host.to_ascii_lowercase()),
    }
}

/// Refuses what makes the end of a request, or what its sender waits for, a matter of opinion.
pub fn delivery(request: &RequestHeader) -> Result<(), Case> {
    framing(request)?;
    expectation(request)
}

/// Path and query behind an authority, in one form.
fn resolve(rest: &str, authority: String) -> Result<Target, Case> {
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if query.is_some_and(|query| query.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#')) {
        return Err(Case::QueryForbiddenCharacter);
    }
    let path = if path == "*" {
        Cow::Borrowed("*")
    } else {
        path::normalize(path).map_err(of_path)?
    };
    Ok(Target {
        host: host_of(&authority)?,
        authority: authority.into(),
        path: path.into(),
        query: query.map(Into::into),
    })
}

/// The one authority of a request: from its target, `:authority` and Host, which must agree.
pub fn authority(request: &RequestHeader, from_target: Option<&str>) -> Result<String, Case> {
    let mut hosts = request.headers.get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err(Case::HostRepeated),
        (Some(host), None) => Some(host.to_str().map_err(|_| Case::HostInvalid)?.trim()),
        (None, None) => None,
    };
    let from_target = from_target.or_else(|| request.uri.authority().map(http::uri::Authority::as_str));
    match (from_target, host) {
        (_, Some("")) => Err(Case::HostInvalid),
        // A Host must be there even where the target has one (RFC 9112, 3.2).
        (_, None) if request.version == Version::HTTP_11 => Err(Case::HostMissing),
        (Some(target), Some(host)) if !target.eq_ignore_ascii_case(host) => Err(Case::HostMismatch),
        (Some(authority), _) | (None, Some(authority)) => Ok(authority.to_ascii_lowercase()),
        (None, None) if request.version <= Version::HTTP_10 => Ok(String::new()),
        (None, None) => Err(Case::HostMissing),
    }
}

/// The host of an authority. None was sent with HTTP/1.0 only.
fn host_of(authority: &str) -> Result<Box<str>, Case> {
    match authority {
        "" => Ok("".into()),
        _ => target::host(authority).map(Into::into).ok_or(Case::HostInvalid),
    }
}

/// Refuses what makes the end of the request's body a matter of opinion (RFC 9112, 6.3; RFC 9113, 8.1.1).
fn framing(request: &RequestHeader) -> Result<(), Case> {
    let headers = &request.headers;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let coding = headers.get(header::TRANSFER_ENCODING);
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    if coding.is_some() {
        return Err(Case::LengthAndCoding);
    }
    if request.version < Version::HTTP_2 {
        // Equal lengths are one where the listener lets them pass.
        return Ok(());
    }
    if lengths.next().is_some() {
        return Err(Case::LengthRepeated);
    }
    let digits = length.as_bytes();
    if !(1..=19).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Case::LengthMalformed);
    }
    Ok(())
}

/// Only one expectation is known (RFC 9110, 10.1.1), and HTTP/1.0 has none.
fn expectation(request: &RequestHeader) -> Result<(), Case> {
    let known = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if request.version > Version::HTTP_10 && !request.headers.get_all(header::EXPECT).iter().all(known) {
        return Err(Case::Expectation);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
