//! Keys of a request: the values that limits, kill switches, conditions and hashing go by.
//!
//! A value is text or missing. What can be neither (a claim that is a list, a query too long to be searched) is an error:
//! it is never taken for missing, since a limit must not be evaded by it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;

use http::HeaderName;
use portcullis_bundles::attributes::Attributes;
use portcullis_config::key::{IpAttribute, Key, MtlsAttribute, UaAttribute};

use crate::agents;
use crate::buckets::KeyHasher;
use crate::claims::NotScalar;
use crate::request::{Request, TooManyParameters, query_values};

/// Why a key has neither a value nor none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The claim is a list or a map.
    #[error(transparent)]
    NotScalar(#[from] NotScalar),
    /// The query has more parameters than are looked at.
    #[error(transparent)]
    TooManyParameters(#[from] TooManyParameters),
}

/// The value of a key as text; `None` when it is missing or empty. Claims are those of the verified token only.
pub fn text<'r>(request: &'r Request<'_>, key: &Key) -> Result<Option<Cow<'r, str>>, KeyError> {
    match key {
        Key::Jwt(name) => match &request.facts.claims {
            Some(claims) => Ok(claims.text(name)?),
            None => Ok(None),
        },
        Key::Header(name) => Ok(header(request, name)),
        Key::Query(name) => Ok(request.query(name)?),
        Key::Ip(IpAttribute::Address) => Ok(Some(Cow::Owned(request.head.client.address.to_canonical().to_string()))),
        // Refused when configuration and bundle are loaded, by `unsupported`.
        Key::Ip(_) => Ok(None),
        Key::Mtls(attribute) => Ok(certificate(request, *attribute).map(Cow::Borrowed)),
        Key::Ua(attribute) => Ok(agent(request, *attribute).map(Cow::Borrowed)),
    }
}

/// Adds the value of a key to those that a request is counted by. False: it is missing, and nothing was added.
///
/// An IPv6 address counts as its /64: a client has all of that to itself. Nothing is allocated for an address.
pub fn count_by(request: &Request<'_>, key: &Key, hasher: &mut KeyHasher) -> Result<bool, KeyError> {
    if *key == Key::Ip(IpAttribute::Address) {
        hasher.add_address(request.head.client.address);
        return Ok(true);
    }
    let value = text(request, key)?;
    if let Some(value) = &value {
        hasher.add(Some(value));
    }
    Ok(value.is_some())
}

/// The code of the diagnostic for a key that can have no value in this version.
pub const UNSUPPORTED_KEY: &str = "unsupported-key";

/// Why a key can have no value in this version. A limit that could never apply is refused when it is loaded.
pub fn unsupported(key: &Key) -> Option<&'static str> {
    match key {
        Key::Ip(IpAttribute::Country | IpAttribute::Asn | IpAttribute::Type | IpAttribute::Tor) => {
            Some("this version has no source of address data, so the key would never have a value")
        }
        Key::Ip(IpAttribute::Address) | Key::Jwt(_) | Key::Header(_) | Key::Query(_) | Key::Mtls(_) | Key::Ua(_) => {
            None
        }
    }
}

/// A request as policies and kill switches see it. The first key that is an error is kept.
pub struct RequestAttributes<'r, 'a> {
    request: &'r Request<'a>,
    error: Cell<Option<KeyError>>,
}

impl<'r, 'a> RequestAttributes<'r, 'a> {
    /// Of a request.
    pub fn new(request: &'r Request<'a>) -> Self {
        Self {
            request,
            error: Cell::new(None),
        }
    }

    /// The first key that was asked for and is an error.
    pub fn error(&self) -> Option<KeyError> {
        self.error.get()
    }
}

impl Attributes for RequestAttributes<'_, '_> {
    fn get(&self, key: &Key) -> Option<Cow<'_, str>> {
        text(self.request, key).unwrap_or_else(|error| {
            self.error.set(self.error.get().or(Some(error)));
            None
        })
    }

    fn each(&self, key: &Key, look: &mut dyn FnMut(&str)) {
        let mut look = |value: &str| {
            if !value.is_empty() {
                look(value);
            }
        };
        match key {
            Key::Header(name) => headers(self.request, name, &mut look),
            Key::Query(name) => {
                for value in query_values(self.request.head.query.unwrap_or_default(), name) {
                    match value {
                        Ok(value) => look(&value),
                        Err(error) => self.error.set(self.error.get().or(Some(error.into()))),
                    }
                }
            }
            Key::Mtls(MtlsAttribute::San) => {
                let certificate = self.request.facts.certificate.as_deref();
                certificate
                    .into_iter()
                    .flat_map(|one| &one.sans)
                    .for_each(|san| look(san));
            }
            Key::Jwt(_) | Key::Ip(_) | Key::Ua(_) | Key::Mtls(_) => {
                if let Some(value) = self.get(key) {
                    look(&value);
                }
            }
        }
    }

    fn path(&self) -> &str {
        self.request.head.path
    }

    fn claims_known(&self) -> bool {
        self.request.facts.claims.is_some()
    }
}

/// The first value of a header field whose name is this one when `-` equals `_`. `None` when it is missing or empty.
pub(crate) fn header<'r>(request: &'r Request<'_>, name: &HeaderName) -> Option<Cow<'r, str>> {
    let value = request.header(name).or_else(|| {
        // `-` equals `_`, and servers behind us may read one as the other.
        let dashed = name.as_str().contains('-');
        let alike = |sent: &&HeaderName| sent.as_str().contains('_') && is_alike(sent.as_str(), name.as_str());
        let other = dashed.then(|| request.head.headers.keys().find(alike)).flatten()?;
        request.header(other)
    })?;
    let text = readable(value.as_bytes());
    (!text.is_empty()).then_some(text)
}

/// Every value of the fields whose name is this one when `-` equals `_`, as they were sent, and the first one that filters
/// have put in their place.
fn headers(request: &Request<'_>, name: &HeaderName, look: &mut dyn FnMut(&str)) {
    if !request.facts.request_headers.is_empty()
        && let Some(value) = header(request, name)
    {
        look(&value);
    }
    if !name.as_str().contains('-') {
        let values = request.head.headers.get_all(name).iter();
        return values.for_each(|value| look(&readable(value.as_bytes())));
    }
    for (sent, value) in request.head.headers {
        if is_alike(sent.as_str(), name.as_str()) {
            look(&readable(value.as_bytes()));
        }
    }
}

fn is_alike(sent: &str, name: &str) -> bool {
    let folded = sent.bytes().map(|byte| if byte == b'_' { b'-' } else { byte });
    sent.len() == name.len() && folded.eq(name.bytes())
}

fn certificate<'r>(request: &'r Request<'_>, attribute: MtlsAttribute) -> Option<&'r str> {
    let certificate = request.facts.certificate.as_ref()?;
    let value = match attribute {
        MtlsAttribute::San => certificate.sans.first()?,
        MtlsAttribute::Subject => &certificate.subject,
        MtlsAttribute::Serial => &certificate.serial,
        MtlsAttribute::Fingerprint => &certificate.fingerprint,
    };
    (!value.is_empty()).then_some(value)
}

fn agent(request: &Request<'_>, attribute: UaAttribute) -> Option<&'static str> {
    let value = request
        .header(&http::header::USER_AGENT)
        .filter(|value| !value.is_empty())?;
    let category = agents::category(value.as_bytes());
    match attribute {
        UaAttribute::Bot => Some(if category.is_some() { "true" } else { "false" }),
        UaAttribute::BotCategory => category,
    }
}

/// Bytes as text. What is not UTF-8 is read as ISO-8859-1, so that different bytes stay different.
pub(crate) fn readable(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|byte| char::from(*byte)).collect()),
    }
}
