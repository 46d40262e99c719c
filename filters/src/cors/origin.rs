//! Origins (RFC 6454, 6.2; Fetch, 3.2): as written in a configuration, and whether one that a browser sent is meant.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use portcullis_config::text::{TextError, from_text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

const EXPECTED: &str = "an origin such as https://app.example.com";
const SAMPLE: &str = "https://app.example.com";

/// Origins that are allowed, as written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// `*`
    Any,
    /// `https://app.example.com`, to the letter.
    Exact(Box<str>),
    /// `https://*.example.com:8443`: one or more labels in place of the star.
    Below {
        /// With its colon and slashes: `https://`.
        scheme: Box<str>,
        /// With its dot in front, and the port: `.example.com:8443`.
        suffix: Box<str>,
    },
}

impl Origin {
    /// Whether an `Origin` field's value is one of these.
    pub fn allows(&self, origin: &[u8]) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => exact.as_bytes() == origin,
            Self::Below { scheme, suffix } => {
                let labels = origin
                    .strip_prefix(scheme.as_bytes())
                    .and_then(|rest| rest.strip_suffix(suffix.as_bytes()));
                labels.is_some_and(|labels| labels.split(|byte| *byte == b'.').all(is_label))
            }
        }
    }
}

fn is_label(label: &[u8]) -> bool {
    !label.is_empty()
        && label
            .iter()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
}

impl FromStr for Origin {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = |why: &str, help: String| Err(TextError::new(format!("`{text}` {why}")).help(help));
        if text == "*" {
            return Ok(Self::Any);
        }
        if text == "null" {
            return wrong(
                "is the origin of every sandboxed page",
                "allow `*` without credentials, or real origins".into(),
            );
        }
        let Some((scheme, authority)) = text.split_once("://") else {
            return wrong(
                "has no scheme",
                format!("browsers send scheme, host and port: https://{text}"),
            );
        };
        if let Some((host, _)) = authority.split_once(['/', '?', '#']) {
            return wrong("has a path, which no origin has", format!("write {scheme}://{host}"));
        }
        let lower = text.to_ascii_lowercase();
        if text != lower {
            return wrong(
                "has capital letters, which browsers do not send",
                format!("write {lower}"),
            );
        }
        let (host, port) = split_port(authority);
        if let ("https", Some("443")) | ("http", Some("80")) = (scheme, port) {
            return wrong(
                "names the default port, which browsers do not send",
                format!("write {scheme}://{host}"),
            );
        }
        let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|number| number.to_string() == port));
        let scheme_is_good = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.'));
        let name = host.strip_prefix("*.").unwrap_or(host);
        if !port_is_good || !scheme_is_good || !is_host(name, host == name) {
            return wrong(
                "is not an origin",
                "write it like https://app.example.com or https://*.example.com".into(),
            );
        }
        Ok(match authority.strip_prefix('*') {
            Some(suffix) => Self::Below {
                scheme: format!("{scheme}://").into(),
                suffix: suffix.into(),
            },
            None => Self::Exact(text.into()),
        })
    }
}

/// Host and port. The colons of an IPv6 address are none of a port.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_host(host: &str, address: bool) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => address && inner.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.as_bytes().split(|byte| *byte == b'.').all(is_label),
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(exact) => f.write_str(exact),
            Self::Below { scheme, suffix } => write!(f, "{scheme}*{suffix}"),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, EXPECTED, SAMPLE)
    }
}

impl JsonSchema for Origin {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": EXPECTED, "examples": [SAMPLE, "https://*.example.com", "*"] })
    }
}
