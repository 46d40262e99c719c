//! Keys of a request: the values that limits, kill switches, conditions and hashing go by.
//!
//! A value is text or missing. What can be neither (a claim that is a list, a query too long to be searched) is an error:
//! it is never taken for missing, since a limit must not be evaded by it.

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt::{self, Write as _};
use std::net::IpAddr;

use http::header::{COOKIE, USER_AGENT};
use http::{HeaderName, HeaderValue};
use portcullis_bundles::attributes::Attributes;
use portcullis_bundles::cookie;
use portcullis_config::geoip::GeoIp;
use portcullis_config::key::{IpAttribute, Key, MtlsAttribute, UaAttribute};

use crate::agents;
use crate::buckets::ScopedHasher;
use crate::claims::NotScalar;
use crate::client::{ClientCertificate, SanKind};
use crate::geoip::Located;
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
        Key::Cookie(name) => Ok(first_cookie(request, name)),
        Key::Ip(IpAttribute::Address) => Ok(Some(Cow::Owned(request.head.client.address.to_canonical().to_string()))),
        Key::Ip(attribute) => Ok(located(request)
            .and_then(|known| known.text(*attribute))
            .map(Cow::Borrowed)),
        Key::Mtls(attribute) => Ok(certificate(request, *attribute).map(Cow::Borrowed)),
        Key::Ua(attribute) => Ok(agent(request, *attribute).map(Cow::Borrowed)),
        Key::Route => Ok(request.head.route.map(Cow::Borrowed)),
        Key::Tenant => Ok(request
            .facts
            .tenant
            .as_ref()
            .map(|tenant| Cow::Borrowed(tenant.as_str()))),
    }
}

/// Whether the value of a key is this text. Nothing is allocated for an address.
pub fn equals(request: &Request<'_>, key: &Key, value: &str) -> Result<bool, KeyError> {
    if *key == Key::Ip(IpAttribute::Address) {
        return Ok(AddressText::of(request.head.client.address).as_str() == value);
    }
    Ok(text(request, key)?.as_deref() == Some(value))
}

/// Adds the value of a key to those that a request is counted by. False: it is missing, and nothing was added.
///
/// An IPv6 address counts as its /64: a client has all of that to itself. Nothing is allocated for an address.
pub fn count_by(request: &Request<'_>, key: &Key, hasher: &mut ScopedHasher) -> Result<bool, KeyError> {
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

/// The code of the diagnostic for a key that can have no value under this configuration.
pub const UNSUPPORTED_KEY: &str = "unsupported-key";

/// Why a key can have no value under a configuration with this `geoip`. A limit that could never apply is refused when it is
/// loaded.
pub fn unsupported(key: &Key, geoip: Option<&GeoIp>) -> Option<&'static str> {
    match key {
        Key::Ip(attribute) => {
            let is_told = *attribute == IpAttribute::Address || geoip.is_some_and(|geoip| geoip.tells(*attribute));
            let why = "`geoip` of the configuration has no source for it, so the key would never have a value";
            (!is_told).then_some(why)
        }
        Key::Jwt(_)
        | Key::Header(_)
        | Key::Query(_)
        | Key::Cookie(_)
        | Key::Mtls(_)
        | Key::Ua(_)
        | Key::Route
        | Key::Tenant => None,
    }
}

/// An address as text, without a place of its own in memory.
struct AddressText {
    bytes: [u8; 48],
    len: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut text = Self { bytes: [0; 48], len: 0 };
        // The longest address has 39 letters; what were longer would be cut off.
        let _ = write!(text, "{}", address.to_canonical());
        text
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or_default();
        std::str::from_utf8(bytes).unwrap_or_default()
    }
}

impl fmt::Write for AddressText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
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
            Key::Cookie(name) => cookies(self.request, name, &mut look),
            Key::Mtls(attribute) => {
                if let Some(certificate) = self.request.facts.certificate.as_deref() {
                    names(certificate, *attribute, &mut look);
                }
            }
            Key::Ip(IpAttribute::Address) => look(AddressText::of(self.request.head.client.address).as_str()),
            Key::Jwt(_) | Key::Ip(_) | Key::Ua(_) | Key::Route | Key::Tenant => {
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
        self.request.facts.claims.is_some() || self.request.facts.tenant.is_some()
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

/// The first value of a cookie. `None` when it is missing or empty.
fn first_cookie<'r>(request: &'r Request<'_>, name: &str) -> Option<Cow<'r, str>> {
    let facts = &*request.facts;
    let of = |field: &'r HeaderValue| cookie::values(field.as_bytes(), name).next();
    let value = if facts.request_headers.is_empty() {
        request.head.headers.get_all(COOKIE).iter().find_map(of)
    } else {
        let fields = facts.request_headers.all(request.head.headers, &COOKIE);
        fields.into_iter().find_map(of)
    };
    value.filter(|value| !value.is_empty()).map(readable)
}

/// Every value of a cookie, as they were sent, and the first one that filters have put in their place.
fn cookies(request: &Request<'_>, name: &str, look: &mut dyn FnMut(&str)) {
    if !request.facts.request_headers.is_empty()
        && let Some(value) = first_cookie(request, name)
    {
        look(&value);
    }
    for field in request.head.headers.get_all(COOKIE) {
        cookie::values(field.as_bytes(), name).for_each(|value| look(&readable(value)));
    }
}

/// What is known of the client's address. It is looked up once.
fn located<'r>(request: &'r Request<'_>) -> Option<&'r Located> {
    let geoip = request.head.geoip?;
    Some(request.facts.located.get_or_init(|| geoip.locate(request.head)))
}

fn certificate<'r>(request: &'r Request<'_>, attribute: MtlsAttribute) -> Option<&'r str> {
    let certificate = request.facts.certificate.as_ref()?;
    let value = match attribute {
        MtlsAttribute::San => &certificate.sans.first()?.text,
        MtlsAttribute::Dns => certificate.names(SanKind::Dns).next()?,
        MtlsAttribute::Uri => certificate.names(SanKind::Uri).next()?,
        MtlsAttribute::Spiffe => certificate.spiffe()?,
        MtlsAttribute::Subject => &certificate.subject,
        MtlsAttribute::Serial => &certificate.serial,
        MtlsAttribute::Fingerprint => &certificate.fingerprint,
    };
    (!value.is_empty()).then_some(value)
}

/// Every value that a certificate has of an attribute.
fn names(certificate: &ClientCertificate, attribute: MtlsAttribute, look: &mut dyn FnMut(&str)) {
    match attribute {
        MtlsAttribute::San => certificate.sans.iter().for_each(|san| look(&san.text)),
        MtlsAttribute::Dns => certificate.names(SanKind::Dns).for_each(look),
        MtlsAttribute::Uri => certificate.names(SanKind::Uri).for_each(look),
        MtlsAttribute::Spiffe => certificate.spiffe().into_iter().for_each(look),
        MtlsAttribute::Subject => look(&certificate.subject),
        MtlsAttribute::Serial => look(&certificate.serial),
        MtlsAttribute::Fingerprint => look(&certificate.fingerprint),
    }
}

fn agent(request: &Request<'_>, attribute: UaAttribute) -> Option<&'static str> {
    let value = request.header(&USER_AGENT).filter(|value| !value.is_empty())?;
    let category = if request.facts.request_headers.is_empty() {
        *request.facts.bot.get_or_init(|| agents::category(value.as_bytes()))
    } else {
        agents::category(value.as_bytes())
    };
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
