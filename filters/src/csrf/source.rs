//! Where a request comes from, by what only browsers write and no page can: `Sec-Fetch-Site` (Fetch Metadata), `Origin`
//! (RFC 6454) and `Referer`. Tokens are [`super::token`]'s.

use http::header::{CONNECTION, ORIGIN, REFERER, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::cors::origin::Origin;
use crate::request::Head;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What a request's header says of the page that sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The page is of the same origin, or there is none: the user typed the address.
    Own,
    /// The page is of an origin that is allowed.
    Allowed,
    /// A page of another origin.
    Foreign(Why),
    /// Nothing is said: no browser, or a very old one.
    Unsaid,
}

/// By which field a page is foreign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// `Sec-Fetch-Site`.
    Site,
    /// `Origin` or `Referer`.
    Origin,
}

/// Whether a request changes nothing (RFC 9110, 9.2.1). The handshake of a WebSocket is a GET, and opens a way to change
/// everything.
pub fn is_safe(head: &Head<'_>) -> bool {
    let safe = matches!(
        *head.method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
    );
    safe && !is_upgrade(head.headers)
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    let asks = |value: &HeaderValue| {
        let mut words = value.as_bytes().split(|byte| *byte == b',');
        words.any(|word| word.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    headers.contains_key(UPGRADE) || headers.get_all(CONNECTION).iter().any(asks)
}

/// Judges a request's source. What is there more than once is foreign: it cannot be known who wrote which.
pub fn judge(head: &Head<'_>, allowed: &[Origin]) -> Source {
    let origin = one(head.headers, &ORIGIN);
    if let One::Value(origin) = origin
        && allowed.iter().any(|allowed| allowed.allows(origin))
    {
        return Source::Allowed;
    }
    match one(head.headers, &SEC_FETCH_SITE) {
        One::Value(b"same-origin" | b"none") => return Source::Own,
        One::Value(_) | One::Several => return Source::Foreign(Why::Site),
        One::Absent => {}
    }
    match origin {
        One::Value(origin) if is_own(origin, head) => Source::Own,
        One::Value(_) | One::Several => Source::Foreign(Why::Origin),
        One::Absent => by_referer(head, allowed),
    }
}

fn by_referer(head: &Head<'_>, allowed: &[Origin]) -> Source {
    match one(head.headers, &REFERER) {
        One::Absent => Source::Unsaid,
        One::Several => Source::Foreign(Why::Origin),
        One::Value(referer) => match origin_of(referer) {
            Some(origin) if is_own(origin, head) => Source::Own,
            Some(origin) if allowed.iter().any(|allowed| allowed.allows(origin)) => Source::Allowed,
            _ => Source::Foreign(Why::Origin),
        },
    }
}

/// Whether an origin is the one that the request was sent to: scheme, host and port.
fn is_own(origin: &[u8], head: &Head<'_>) -> bool {
    let (scheme, default) = if head.client.tls {
        (&b"https://"[..], &b":443"[..])
    } else {
        (&b"http://"[..], &b":80"[..])
    };
    let own = head.authority.as_bytes();
    let own = own.strip_suffix(default).unwrap_or(own);
    !own.is_empty()
        && origin
            .strip_prefix(scheme)
            .is_some_and(|authority| authority.eq_ignore_ascii_case(own))
}

/// The origin of a URL: everything before the path.
fn origin_of(url: &[u8]) -> Option<&[u8]> {
    let scheme = url.windows(3).position(|three| three == b"://")?;
    let from = scheme + 3;
    let rest = url.get(from..)?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    url.get(..end.map_or(url.len(), |end| from + end))
}

enum One<'h> {
    Absent,
    Value(&'h [u8]),
    Several,
}

fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> One<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => One::Absent,
        (Some(value), None) => One::Value(value.as_bytes()),
        (Some(_), Some(_)) => One::Several,
    }
}
