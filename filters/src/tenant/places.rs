//! The places of a request in which a tenant may be named, and what they say: those that the tenant is known from, and
//! those that must say the same. What becomes of a disagreement is the filter's.

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};

use super::body::{self, MemberPath, Said};
use super::pattern::{PathPattern, Pattern};
use super::scope::TenantId;
use crate::client::SanKind;
use crate::headers::names::is_twin;
use crate::request::{Head, Request, decoded};

/// Where the tenant is known from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    pub(super) claim: Option<Box<str>>,
    pub(super) certificate: Option<(SanKind, Pattern)>,
    pub(super) header: Option<HeaderName>,
    pub(super) host: Option<Pattern>,
}

/// Where a request may name a tenant.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) paths: Box<[PathPattern]>,
    pub(super) query: Box<[Box<str>]>,
    pub(super) headers: Box<[HeaderName]>,
    pub(super) host: Option<Pattern>,
    pub(super) body: Box<[MemberPath]>,
}

/// Why nobody can say whose a request is. The text names the place, for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unknown {
    /// Nothing names a tenant.
    Missing,
    /// What should be a name is none.
    Invalid(&'static str),
    /// Two places name two tenants.
    Other(&'static str),
}

/// Whether a body can be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodySays {
    Nothing,
    Other,
    Unreadable(&'static str),
}

impl Sources {
    /// The tenant, if all that name one agree.
    pub(super) fn find(&self, request: &Request<'_>) -> Result<TenantId, Unknown> {
        let mut known = request.facts.tenant.clone();
        let mut add = |place: &'static str, name: &str| {
            let found = TenantId::new(name).map_err(|_| Unknown::Invalid(place))?;
            match &known {
                Some(known) if *known != found => Err(Unknown::Other(place)),
                _ => {
                    known = Some(found);
                    Ok(())
                }
            }
        };
        if let (Some(name), Some(claims)) = (&self.claim, &request.facts.claims) {
            match claims.text(name) {
                Ok(Some(text)) => add("the claim", &text)?,
                Ok(None) => {}
                Err(_) => return Err(Unknown::Invalid("the claim")),
            }
        }
        if let (Some((kind, pattern)), Some(certificate)) = (&self.certificate, &request.facts.certificate) {
            for name in certificate.names(*kind).filter_map(|name| pattern.find(name)) {
                add("the certificate", name)?;
            }
        }
        if let Some(name) = self.header.as_ref().filter(|_| request.head.client.peer_is_trusted) {
            for value in request.head.headers.get_all(name) {
                let text = value.to_str().map_err(|_| Unknown::Invalid("the header field"))?;
                add("the header field", text)?;
            }
        }
        if let Some(label) = self.host.as_ref().and_then(|host| host.find(request.head.host)) {
            if label.contains('.') {
                return Err(Unknown::Invalid("the host"));
            }
            add("the host", label)?;
        }
        known.ok_or(Unknown::Missing)
    }
}

impl Places {
    /// The first place of the header that does not name this tenant.
    pub(super) fn differing(&self, head: &Head<'_>, tenant: &str) -> Option<&'static str> {
        let other_path = |pattern: &PathPattern| match pattern.find(head.path) {
            Ok(named) => named.is_some_and(|named| named != tenant),
            Err(_) => true,
        };
        if self.paths.iter().any(other_path) {
            return Some("the path");
        }
        if let Some(label) = self.host.as_ref().and_then(|host| host.find(head.host))
            && label != tenant
        {
            return Some("the host");
        }
        if self.query.iter().any(|name| names_other(head, name, tenant)) {
            return Some("the query");
        }
        let other_field = |name: &HeaderName| {
            let fields = head.headers.iter();
            let mut alike = fields.filter(|(sent, _)| is_twin(name.as_str(), sent.as_str()));
            alike.any(|(_, value)| value.as_bytes() != tenant.as_bytes())
        };
        self.headers.iter().any(other_field).then_some("a header field")
    }

    /// What a whole body says. An empty one says nothing.
    pub(super) fn look(&self, headers: &HeaderMap, text: &[u8], tenant: &str) -> BodySays {
        if text.is_empty() {
            return BodySays::Nothing;
        }
        if headers.contains_key(CONTENT_ENCODING) {
            return BodySays::Unreadable("it is compressed");
        }
        if !is_json(headers) {
            return BodySays::Unreadable("it is not said to be JSON");
        }
        match body::check(text, &self.body, tenant) {
            Said::Nothing => BodySays::Nothing,
            Said::Other => BodySays::Other,
            Said::Unreadable => BodySays::Unreadable("it is not JSON"),
        }
    }
}

/// Whether a parameter of this name has another value than the tenant's. `NAME[..]` is one of its values to some servers, `;`
/// is `&` to some, and names are compared without regard to case by some.
fn names_other(head: &Head<'_>, name: &str, tenant: &str) -> bool {
    let pairs = head.query.unwrap_or_default().split(['&', ';']);
    pairs.filter(|pair| !pair.is_empty()).any(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = decoded(key);
        let key = key.split('[').next().unwrap_or_default();
        key.trim().eq_ignore_ascii_case(name) && decoded(value) != tenant
    })
}

/// One `Content-Type`, `application/json` or another of JSON (RFC 6839, 3.1).
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let essence = value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = essence.trim_ascii().to_ascii_lowercase();
    essence == b"application/json" || (essence.starts_with(b"application/") && essence.ends_with(b"+json"))
}
