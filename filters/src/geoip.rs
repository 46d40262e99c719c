//! What is known of the address of a request: its country, its network, the network's kind, and whether it is a Tor exit.
//!
//! The files are read by whoever holds this; here they are parsed from their bytes and asked, at most once a request and only
//! when something goes by it. Header fields count where the configuration says so and a trusted proxy sends them.

mod database;
mod lists;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use portcullis_config::key::IpAttribute;

use crate::request::Head;

pub use database::{Asns, Countries, DatabaseError};
pub use lists::{AsnTypes, ListError, TorExits};

/// In which trusted proxies tell the country.
pub const X_COUNTRY_CODE: HeaderName = HeaderName::from_static("x-country-code");
/// In which trusted proxies tell the number of the autonomous system.
pub const X_ASN: HeaderName = HeaderName::from_static("x-asn");
/// In which trusted proxies tell the kind of the autonomous system.
pub const X_ASN_TYPE: HeaderName = HeaderName::from_static("x-asn-type");
/// In which trusted proxies tell that it is a Tor exit.
pub const X_TOR_EXIT: HeaderName = HeaderName::from_static("x-tor-exit");

/// Everything that addresses are looked up in.
#[derive(Debug, Clone, Default)]
pub struct GeoIp {
    /// Countries.
    pub countries: Option<Arc<Countries>>,
    /// Autonomous systems.
    pub asns: Option<Arc<Asns>>,
    /// Kinds of autonomous systems.
    pub asn_types: Option<Arc<AsnTypes>>,
    /// Tor exits.
    pub tor_exits: Option<Arc<TorExits>>,
    /// Whether trusted proxies may say what the files do not.
    pub trusted_headers: bool,
}

/// What is known of the address of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Located {
    country: Option<[u8; 2]>,
    asn: Option<Digits>,
    kind: Option<&'static str>,
    tor: Option<bool>,
}

/// A number as text, without a place of its own in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digits {
    bytes: [u8; 10],
    len: u8,
}

impl GeoIp {
    /// Looks a request's client up.
    pub fn locate(&self, head: &Head<'_>) -> Located {
        let address = head.client.address.to_canonical();
        let headers = (self.trusted_headers && head.client.peer_is_trusted).then_some(head.headers);
        let told = |name: &HeaderName| headers.and_then(|headers| only(headers, name));
        let asn = self.asns.as_deref().and_then(|asns| asns.number(address));
        let asn = asn.or_else(|| told(&X_ASN).and_then(number));
        let country = self.countries.as_deref().and_then(|known| known.code(address));
        Located {
            country: country.or_else(|| told(&X_COUNTRY_CODE).and_then(database::code)),
            asn: asn.map(Digits::of),
            kind: self.kind(asn, told),
            tor: self.tor(head, told),
        }
    }

    fn kind<'h>(&self, asn: Option<u32>, told: impl Fn(&HeaderName) -> Option<&'h str>) -> Option<&'static str> {
        if self.asn_types.is_none() && !self.trusted_headers {
            return None;
        }
        let listed = self.asn_types.as_deref().zip(asn);
        let listed = listed.and_then(|(types, asn)| types.of(asn));
        let known = listed.or_else(|| lists::kind(told(&X_ASN_TYPE)?));
        known.or_else(|| Some(self.asn_types.as_deref().map_or(lists::UNKNOWN, AsnTypes::other)))
    }

    /// Whoever says yes is right: an exit cannot send the field to be taken for none.
    fn tor<'h>(&self, head: &Head<'_>, told: impl Fn(&HeaderName) -> Option<&'h str>) -> Option<bool> {
        if self.tor_exits.is_none() && !self.trusted_headers {
            return None;
        }
        let exits = self.tor_exits.as_deref();
        let listed = exits.is_some_and(|exits| exits.contains(head.client.address));
        Some(listed || told(&X_TOR_EXIT).is_some_and(is_true))
    }
}

impl Located {
    /// What is known of the address, as text. The address itself is not among it.
    pub fn text(&self, attribute: IpAttribute) -> Option<&str> {
        match attribute {
            IpAttribute::Address => None,
            IpAttribute::Country => std::str::from_utf8(self.country.as_ref()?).ok(),
            IpAttribute::Asn => self.asn.as_ref()?.as_str(),
            IpAttribute::Type => self.kind,
            IpAttribute::Tor => self.tor.map(|tor| if tor { "true" } else { "false" }),
        }
    }
}

impl Digits {
    fn of(number: u32) -> Self {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(number).as_bytes();
        let mut bytes = [0; 10];
        for (to, from) in bytes.iter_mut().zip(text) {
            *to = *from;
        }
        Self {
            bytes,
            len: u8::try_from(text.len()).unwrap_or(0),
        }
    }

    fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(self.bytes.get(..usize::from(self.len))?).ok()
    }
}

/// The value of a field that is there once. One that is there twice may be partly the client's.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.to_str().ok()?.trim()),
        _ => None,
    }
}

/// `64496` or `AS64496`.
fn number(text: &str) -> Option<u32> {
    let bare = match text.split_at_checked(2) {
        Some((letters, digits)) if letters.eq_ignore_ascii_case("AS") => digits,
        _ => text,
    };
    if !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    bare.parse().ok()
}

fn is_true(text: &str) -> bool {
    ["1", "true", "yes"].iter().any(|yes| text.eq_ignore_ascii_case(yes))
}
