//! The request that a peer describes in header fields, read by the rules that every request is read by. What is missing,
//! empty or there twice is refused: whoever asks about nothing gets no "yes".

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, Method, StatusCode};
use pingora_http::RequestHeader;
use portcullis_filters::verdict::{Denial, Reason};

use super::protocol::{Protocol, behind_prefix};
use crate::client::{X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::intake::{self, Target};
use crate::strict::target;

/// The reason when a part of the description is missing or empty.
const MISSING: Reason = Reason("description_missing");
/// The reason when a part of the description is there twice.
const REPEATED: Reason = Reason("description_repeated");
/// The reason when a part of the description cannot be what it says.
pub(super) const MALFORMED: Reason = Reason("description_malformed");

/// A request that a peer describes.
#[derive(Debug)]
pub struct Described {
    /// How it was described.
    pub protocol: Protocol,
    /// Its method.
    pub method: Method,
    /// What it asks for.
    pub target: Target,
    /// Its header fields. `None`: those that came with the question.
    pub headers: Option<HeaderMap>,
    /// The other end of the connection that it came in on, where the peer tells it.
    pub source: Option<IpAddr>,
    /// Whether it came over TLS. `None`: `X-Forwarded-Proto` says, if anything does.
    pub tls: Option<bool>,
}

/// The fields that describe a request.
struct Fields {
    method: HeaderName,
    target: HeaderName,
    host: HeaderName,
}

const ORIGINAL: Fields = Fields {
    method: HeaderName::from_static("x-original-method"),
    target: HeaderName::from_static("x-original-uri"),
    host: HeaderName::from_static("x-original-host"),
};

const FORWARDED: Fields = Fields {
    method: HeaderName::from_static("x-forwarded-method"),
    target: HeaderName::from_static("x-forwarded-uri"),
    host: X_FORWARDED_HOST,
};

impl Described {
    /// The request that header fields describe: for every protocol but gRPC, whose description is the body.
    /// `own_host`: a description without a host is about the host that is asked.
    pub fn by_header(protocol: Protocol, request: &RequestHeader, own_host: bool) -> Result<Self, Denial> {
        let headers = &request.headers;
        let fields = match protocol {
            Protocol::Decision | Protocol::AuthRequest => &ORIGINAL,
            Protocol::ForwardAuth => {
                // Nobody may be told twice over what the scheme is.
                if headers.contains_key(X_FORWARDED_PROTO) {
                    only(headers, &X_FORWARDED_PROTO)?;
                }
                &FORWARDED
            }
            Protocol::ExtAuthz | Protocol::Grpc => return Self::behind_prefix(protocol, request),
        };
        let method = method(only(headers, &fields.method)?)?;
        let target = only(headers, &fields.target)?;
        let host = if own_host && !headers.contains_key(&fields.host) {
            Cow::Owned(intake::authority(request, None)?)
        } else {
            Cow::Borrowed(only(headers, &fields.host)?)
        };
        Self::with_its_fields(protocol, method, target, &host)
    }

    /// The request itself, behind a prefix.
    fn behind_prefix(protocol: Protocol, request: &RequestHeader) -> Result<Self, Denial> {
        let raw = std::str::from_utf8(request.raw_path()).unwrap_or_default();
        let (authority, rest) = target::split(raw, request.method.as_str())?;
        let host = intake::authority(request, authority)?;
        let method = method(request.method.as_str())?;
        Self::with_its_fields(protocol, method, behind_prefix(rest).unwrap_or_default(), &host)
    }

    /// A request whose fields came with the question.
    fn with_its_fields(protocol: Protocol, method: Method, target: &str, host: &str) -> Result<Self, Denial> {
        Ok(Self {
            protocol,
            target: intake::described(&method, target, host)?,
            method,
            headers: None,
            source: None,
            tls: None,
        })
    }
}

/// The one value of a field, which is text and not empty.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, Denial> {
    let refused = |reason, what: &str| Denial::new(StatusCode::BAD_REQUEST, reason).detail(format!("{name} {what}"));
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next().filter(|value| !value.is_empty()) else {
        return Err(refused(MISSING, "is missing or empty"));
    };
    if values.next().is_some() {
        return Err(refused(REPEATED, "is there more than once"));
    }
    std::str::from_utf8(value.as_bytes()).map_err(|_| refused(MALFORMED, "is not UTF-8"))
}

/// A method. They are case-sensitive (RFC 9110, 9.1), and `get` is none that any policy names.
pub(super) fn method(text: &str) -> Result<Method, Denial> {
    let upper = !text.bytes().any(|byte| byte.is_ascii_lowercase());
    Method::from_bytes(text.as_bytes())
        .ok()
        .filter(|_| upper)
        .ok_or_else(|| {
            let detail = "a method is a token in upper-case letters";
            Denial::new(StatusCode::BAD_REQUEST, MALFORMED).detail(detail)
        })
}
