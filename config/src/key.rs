//! Keys (descriptors): what of a request a limit, a hash or a kill switch goes by, such as `jwt:sub` or `ip:address`.

/// `source:name`. Names of headers are compared without regard to case and `-` equals `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// A scalar claim of the verified token, by exact top-level name.
    Jwt(Box<str>),
    /// A request header: the first value. Lower-case, hyphens.
    Header(http::HeaderName),
    /// A query parameter: the first value, percent-decoded.
    Query(Box<str>),
    /// What the connection tells of the client.
    Ip(IpAttribute),
    /// What the User-Agent tells of the client.
    Ua(UaAttribute),
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

/// `ua:NAME`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum UaAttribute {
    Bot,
    BotCategory,
}
