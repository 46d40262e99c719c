//! Certificates of clients as written: who signs them, which are revoked, whom they may name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::{TextError, text_type};

/// Certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientAuth {
    /// Whether a client without a certificate is let in. One whose certificate is not good never is.
    pub mode: ClientAuthMode,
    /// Certificates of the authorities that sign those of clients (PEM). Changed files are picked up without a reload.
    pub ca: PathBuf,
    /// Revocation lists (PEM or DER). With one of them, every authority in a chain needs one that has not expired. Changed
    /// files are picked up without a reload.
    #[serde(default)]
    pub crl: Vec<PathBuf>,
    /// Names of which a certificate must have one: a subject alternative name, `*.` and one label, or a URI up to `/*`.
    pub allowed_sans: Option<Vec<SanPattern>>,
}

/// Whether a client without a certificate is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuthMode {
    /// It is, and has no identity.
    Optional,
    /// It is not.
    Required,
}

/// A pattern of subject alternative names: `api.example.com`, `*.example.com`, `spiffe://example.com/payments/*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SanPattern {
    /// This name, without regard to case in ASCII.
    Exact(Box<str>),
    /// One label more than this, which begins with a dot.
    Wildcard(Box<str>),
    /// Everything that begins so and goes on; it ends with a slash.
    Prefix(Box<str>),
}

impl SanPattern {
    /// Whether a name is one of these.
    pub fn matches(&self, san: &str) -> bool {
        match self {
            Self::Exact(name) => name.eq_ignore_ascii_case(san),
            Self::Wildcard(suffix) => san
                .find('.')
                .and_then(|dot| san.split_at_checked(dot))
                .is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(suffix)),
            Self::Prefix(prefix) => san.len() > prefix.len() && san.starts_with(&**prefix),
        }
    }
}

impl FromStr for SanPattern {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let wrong = |message: &str| {
            let help = "write api.example.com, *.example.com or spiffe://example.com/payments/*";
            Err(TextError::new(format!("`{text}`: {message}")).help(help))
        };
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return wrong("a subject alternative name has printable ASCII characters and no spaces");
        }
        let pattern = match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(suffix), _) if suffix.starts_with('.') && suffix.len() > 1 => Self::Wildcard(suffix.into()),
            (None, Some(prefix)) if prefix.ends_with('/') && prefix.contains("://") => Self::Prefix(prefix.into()),
            (None, None) => Self::Exact(text.into()),
            _ => return wrong("`*` stands for the first label of a host or for the end of a URI's path"),
        };
        match &pattern {
            Self::Exact(rest) | Self::Wildcard(rest) | Self::Prefix(rest) if rest.contains('*') => {
                wrong("`*` may stand in one place only")
            }
            _ => Ok(pattern),
        }
    }
}

impl fmt::Display for SanPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

text_type!(
    SanPattern,
    "a subject alternative name such as api.example.com, *.example.com or spiffe://example.com/*",
    "api.example.com",
    "^[!-~]+$"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names_one_label_or_the_rest_of_a_path() {
        for (pattern, san, expected) in [
            ("api.example.com", "API.example.com", true),
            ("api.example.com", "xapi.example.com", false),
            ("*.example.com", "a.Example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "example.com", false),
            ("spiffe://td/ns/*", "spiffe://td/ns/a/b", true),
            ("spiffe://td/ns/*", "spiffe://td/ns/", false),
            ("spiffe://td/ns/*", "spiffe://td/nsx", false),
        ] {
            let parsed: SanPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(san), expected, "{pattern} {san}");
            assert_eq!(parsed.to_string(), pattern);
        }
        for wrong in [
            "",
            "*",
            "a.*",
            "*example.com",
            "*.",
            "spiffe://td*",
            "a b",
            "*.a.*",
            "/*",
            "spiffe://*/a/*",
        ] {
            assert!(wrong.parse::<SanPattern>().is_err(), "{wrong}");
        }
    }
}
