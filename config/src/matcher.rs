//! Matchers as written: hosts.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::text::{TextError, text_type};

/// A host as written in `hosts:`, normalised to lower case (IDNA ASCII form), no port, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`
    Any,
    /// `*.example.com`: one or more labels before the suffix; holds `example.com`.
    Suffix(Box<str>),
    /// `api.example.com`, `192.0.2.1` or `[2001:db8::1]`.
    Exact(Box<str>),
}

impl HostPattern {
    /// Whether it covers a host: without port, without trailing dot, an IPv6 address in brackets. Case does not matter.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => {
                let labels = host
                    .len()
                    .checked_sub(suffix.len() + 1)
                    .and_then(|at| host.split_at_checked(at));
                labels.is_some_and(|(labels, rest)| {
                    let tail = rest
                        .strip_prefix('.')
                        .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix));
                    tail && !labels.is_empty() && !labels.starts_with('.')
                })
            }
        }
    }
}

impl FromStr for HostPattern {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if text.contains("//") || text.contains('/') {
            return Err(
                wrong(text, "a host has no scheme and no path").help("write the host only, such as api.example.com")
            );
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            let name = name(text, suffix)?;
            if name.parse::<Ipv4Addr>().is_ok() {
                return Err(wrong(text, "an address has no subdomains"));
            }
            return Ok(Self::Suffix(name.into_boxed_str()));
        }
        if let Some(inner) = text.strip_prefix('[') {
            return ipv6(text, inner);
        }
        if text.parse::<Ipv6Addr>().is_ok() {
            return Err(wrong(text, "an IPv6 address stands in brackets").help(format!("write \"[{text}]\"")));
        }
        if let Some((host, port)) = text.split_once(':') {
            let help = format!("write `{host}`; which port is served is said by `listeners`");
            return Err(wrong(text, &format!("a host has no port (`:{port}`)")).help(help));
        }
        name(text, text).map(|name| Self::Exact(name.into_boxed_str()))
    }
}

fn ipv6(text: &str, inner: &str) -> Result<HostPattern, TextError> {
    match inner.split_once(']') {
        Some((address, "")) => match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok(HostPattern::Exact(format!("[{address}]").into_boxed_str())),
            Err(_) => Err(wrong(text, "not an IPv6 address")),
        },
        Some((_, port)) if port.starts_with(':') => {
            Err(wrong(text, &format!("a host has no port (`{port}`)"))
                .help("which port is served is said by `listeners`"))
        }
        _ => Err(wrong(text, "not an IPv6 address")),
    }
}

/// A name or IPv4 address in lower case, without trailing dot.
fn name(text: &str, name: &str) -> Result<String, TextError> {
    if !name.is_ascii() {
        let help = "write international names in their ASCII form (punycode), such as xn--bcher-kva.example";
        return Err(wrong(text, "a host has ASCII letters only").help(help));
    }
    if name.contains('*') {
        return Err(wrong(text, "a `*` stands alone or as the whole first label").help("write `*` or `*.example.com`"));
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if name.is_empty() || name.len() > 253 {
        return Err(wrong(text, "a host has 1 to 253 characters"));
    }
    for label in name.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(wrong(text, "each part between dots has 1 to 63 characters"));
        }
        if let Some(c) = label
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
        {
            return Err(wrong(text, &format!("a host cannot hold {c:?}")));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(wrong(text, "no part between dots begins or ends with a hyphen"));
        }
    }
    let last = name.rsplit('.').next().unwrap_or_default();
    if last.bytes().all(|b| b.is_ascii_digit()) && name.parse::<Ipv4Addr>().is_err() {
        return Err(wrong(text, "it ends in a number and is no IPv4 address"));
    }
    Ok(name)
}

fn wrong(text: &str, why: &str) -> TextError {
    TextError::new(format!("`{text}`: {why}"))
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
            Self::Exact(name) => f.write_str(name),
        }
    }
}

text_type!(
    HostPattern,
    "a host such as api.example.com, *.example.com or *",
    "*",
    "^(\\*|(\\*\\.)?[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])$"
);

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_are_normalised() {
        for (text, normal) in [
            ("*", "*"),
            ("API.Example.com.", "api.example.com"),
            ("*.Example.COM", "*.example.com"),
            ("my_service", "my_service"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(parse(text).to_string(), normal);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let long = format!("{}.com", "a".repeat(64));
        for text in [
            "",
            ".",
            "a..b",
            "*.",
            "*.*.com",
            "a.*.com",
            "*a.com",
            "bücher.example",
            "https://a.com",
            "a.com/x",
            "a.com:80",
            "2001:db8::1",
            "[::1]:80",
            "[::1",
            "[x]",
            "-a.com",
            "a-.com",
            "a b",
            "1.2.3",
            "256.1.1.1",
            "*.1.2.3.4",
            &long,
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_suffix_covers_one_label_or_more_but_not_itself() {
        let pattern = parse("*.example.com");
        assert!(pattern.matches("a.example.com") && pattern.matches("A.b.EXAMPLE.com"));
        for host in [
            "example.com",
            ".example.com",
            "badexample.com",
            "com",
            "",
            "aéexample.com",
            ".a.example.com",
        ] {
            assert!(!pattern.matches(host), "{host}");
        }
        assert!(parse("*").matches("anything") && parse("a.b").matches("A.B") && !parse("a.b").matches("a.b.c"));
    }
}
