//! Keys (descriptors): what of a request a limit, a hash or a kill switch goes by, such as `jwt:sub` or `ip:address`.
//! Taking the value out of a request is not done here.

use std::fmt;
use std::str::FromStr;

use crate::diagnostic::suggest;
use crate::text::{TextError, text_type};

/// `source:name`. Names of headers are compared without regard to case and `-` equals `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A scalar claim of the verified token, by exact top-level name.
    Jwt(Box<str>),
    /// A request header: the first value. Lower-case, hyphens.
    Header(http::HeaderName),
    /// A query parameter: the first value, percent-decoded.
    Query(Box<str>),
    /// A cookie, by exact name: the first value, without the quotes around it.
    Cookie(Box<str>),
    /// What the connection tells of the client, and what is known of its address.
    Ip(IpAttribute),
    /// What the client's verified certificate tells.
    Mtls(MtlsAttribute),
    /// What the User-Agent tells of the client.
    Ua(UaAttribute),
    /// `route:name`: the route that the request took, by its name in logs and metrics.
    Route,
    /// `tenant:id`: whose request it is, as the `tenant` filter found out.
    Tenant,
}

/// `ip:NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum IpAttribute {
    Address,
    Country,
    Asn,
    Type,
    Tor,
}

/// `mtls:NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MtlsAttribute {
    /// The first subject alternative name: a URI before a host name before an e-mail address before an IP address.
    San,
    /// The first host name among the subject alternative names, in lower case.
    Dns,
    /// The first URI among the subject alternative names.
    Uri,
    /// The SPIFFE ID: the only URI among the subject alternative names, when its scheme is `spiffe`.
    Spiffe,
    /// The distinguished name.
    Subject,
    /// The serial number, hexadecimal.
    Serial,
    /// SHA-256 of the certificate, hexadecimal.
    Fingerprint,
}

/// `ua:NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum UaAttribute {
    Bot,
    BotCategory,
}

/// Kinds of networks, for `ip:type`.
pub const IP_TYPES: [&str; 6] = [
    "business",
    "education_research",
    "government_admin",
    "hosting",
    "isp",
    "unknown",
];

/// Kinds of bots, for `ua:bot_category`.
pub const BOT_CATEGORIES: [&str; 8] = [
    "ai_assistant_user",
    "ai_crawler",
    "archiver",
    "monitoring_uptime",
    "other_bot",
    "search_engine",
    "seo_research",
    "social_preview",
];

const SOURCES: [&str; 9] = [
    "jwt", "header", "query", "cookie", "ip", "mtls", "ua", "route", "tenant",
];
const IP: [(&str, IpAttribute); 5] = [
    ("address", IpAttribute::Address),
    ("country", IpAttribute::Country),
    ("asn", IpAttribute::Asn),
    ("type", IpAttribute::Type),
    ("tor", IpAttribute::Tor),
];
const MTLS: [(&str, MtlsAttribute); 7] = [
    ("san", MtlsAttribute::San),
    ("dns", MtlsAttribute::Dns),
    ("uri", MtlsAttribute::Uri),
    ("spiffe", MtlsAttribute::Spiffe),
    ("subject", MtlsAttribute::Subject),
    ("serial", MtlsAttribute::Serial),
    ("fingerprint", MtlsAttribute::Fingerprint),
];
const UA: [(&str, UaAttribute); 2] = [("bot", UaAttribute::Bot), ("bot_category", UaAttribute::BotCategory)];
const ROUTE: [(&str, ()); 1] = [("name", ())];
const TENANT: [(&str, ()); 1] = [("id", ())];

/// Longest name of a tenant, in bytes.
pub const MAX_TENANT: usize = 128;

/// Whether a text can be the name of a tenant. None of its bytes means anything in a path, a query, a header field, a log line
/// or a file name, so one tenant cannot be written as another.
pub fn is_tenant(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~:@|+=".contains(&byte);
    let right = (1..=MAX_TENANT).contains(&text.len()) && text.bytes().all(plain);
    right && text.bytes().any(|byte| byte != b'.')
}

impl IpAttribute {
    /// The name after `ip:`.
    pub fn name(self) -> &'static str {
        name_of(&IP, self)
    }
}

impl MtlsAttribute {
    /// The name after `mtls:`.
    pub fn name(self) -> &'static str {
        name_of(&MTLS, self)
    }
}

impl UaAttribute {
    /// The name after `ua:`.
    pub fn name(self) -> &'static str {
        name_of(&UA, self)
    }
}

fn name_of<T: Copy + PartialEq>(table: &[(&'static str, T)], attribute: T) -> &'static str {
    table
        .iter()
        .find(|(_, known)| *known == attribute)
        .map_or("", |(name, _)| name)
}

impl FromStr for Key {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let Some((source, name)) = text.split_once(':') else {
            let message = format!("`{text}` is not a key");
            return Err(TextError::new(message)
                .help("write a source and a name, such as jwt:sub, header:x-tenant or ip:address"));
        };
        if !SOURCES.contains(&source) {
            let message = format!("`{text}`: unknown source `{source}`");
            return Err(TextError::new(message).help(suggest(source, SOURCES)));
        }
        match source {
            "ip" => attribute(text, name, &IP).map(Self::Ip),
            "mtls" => attribute(text, name, &MTLS).map(Self::Mtls),
            "ua" => attribute(text, name, &UA).map(Self::Ua),
            "route" => attribute(text, name, &ROUTE).map(|()| Self::Route),
            "tenant" => attribute(text, name, &TENANT).map(|()| Self::Tenant),
            _ => named(text, source, name),
        }
    }
}

/// A key whose name is whatever the client or the issuer of its token calls it.
fn named(text: &str, source: &str, name: &str) -> Result<Key, TextError> {
    let dotted = source == "cookie";
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-') || (dotted && b == b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        let signs = if dotted { "`_`, `.` and `-`" } else { "`_` and `-`" };
        let message = format!("`{text}`: the name after `{source}:` may hold letters, digits, {signs} only");
        return Err(TextError::new(message));
    }
    match source {
        "jwt" => Ok(Key::Jwt(name.into())),
        "query" => Ok(Key::Query(name.into())),
        "cookie" => Ok(Key::Cookie(name.into())),
        _ => header(text, name),
    }
}

fn attribute<T: Copy>(text: &str, name: &str, table: &[(&'static str, T)]) -> Result<T, TextError> {
    let found = table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, attribute)| *attribute);
    found.ok_or_else(|| {
        let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
        TextError::new(format!("`{text}`: unknown name `{name}`")).help(suggest(name, names.iter().copied()))
    })
}

fn header(text: &str, name: &str) -> Result<Key, TextError> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let parsed = http::HeaderName::from_bytes(name.as_bytes());
    parsed
        .map(Key::Header)
        .map_err(|_| TextError::new(format!("`{text}`: `{name}` is not a header name")))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Jwt(name) => write!(f, "jwt:{name}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Query(name) => write!(f, "query:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Ip(attribute) => write!(f, "ip:{}", attribute.name()),
            Self::Mtls(attribute) => write!(f, "mtls:{}", attribute.name()),
            Self::Ua(attribute) => write!(f, "ua:{}", attribute.name()),
            Self::Route => f.write_str("route:name"),
            Self::Tenant => f.write_str("tenant:id"),
        }
    }
}

text_type!(
    Key,
    "a key such as jwt:sub, header:x-tenant, query:plan or ip:address",
    "ip:address",
    "^((jwt|header|query):[A-Za-z0-9_-]+|cookie:[A-Za-z0-9_.-]+|ip:(address|country|asn|type|tor)|mtls:(san|dns|uri|spiffe|subject|serial|fingerprint)|ua:(bot|bot_category)|route:name|tenant:id)$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_round_trip_and_header_names_are_folded() {
        for text in [
            "jwt:sub",
            "jwt:tenant_id",
            "query:Plan",
            "ip:address",
            "ip:tor",
            "mtls:san",
            "mtls:dns",
            "mtls:uri",
            "mtls:spiffe",
            "mtls:fingerprint",
            "cookie:__Host-session",
            "cookie:connect.sid",
            "route:name",
            "tenant:id",
            "ua:bot",
            "ua:bot_category",
        ] {
            assert_eq!(text.parse::<Key>().unwrap().to_string(), text);
        }
        assert_eq!(
            "header:X_Api_Key".parse::<Key>().unwrap().to_string(),
            "header:x-api-key"
        );
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "jwt",
            "jwt:",
            "jwt:a.b",
            "jwt:a b",
            "ip:addr",
            "ip:",
            "ua:x",
            "Jwt:sub",
            "cookie:",
            "cookie:a=b",
            "jwt:a.b.c",
            "route:",
            "route:id",
            "tenant:",
            "tenant:name",
            "header:ä",
            "jwt:a:b",
        ] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
        let error = "ip:adress".parse::<Key>().unwrap_err();
        assert_eq!(error.help.as_deref(), Some("did you mean `address`?"));
    }
}
