//! Absolute `http` and `https` URLs, taken apart once.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;
use http::uri::{Authority, PathAndQuery};

use super::FetchError;

/// An absolute URL without user information.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    pub(super) tls: bool,
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) authority: Authority,
    pub(super) path: PathAndQuery,
    /// Only loopback addresses may be connected to.
    pub(super) loopback_only: bool,
}

/// Longest URL.
const MOST: usize = 2048;

impl Url {
    /// A URL of something that is believed: `https`, or `http` on loopback only.
    pub fn parse(text: &str) -> Result<Self, FetchError> {
        let mut url = Self::parse_any(text)?;
        if !url.tls {
            if !is_loopback(&url.host) {
                return Err(FetchError::Plaintext);
            }
            url.loopback_only = true;
        }
        Ok(url)
    }

    /// A URL of something that is only told and never believed (a trace collector): plaintext may go anywhere.
    pub fn parse_any(text: &str) -> Result<Self, FetchError> {
        if text.len() > MOST {
            return Err(FetchError::Url("longer than 2048 bytes"));
        }
        if text.contains('#') {
            return Err(FetchError::Url("it has a fragment"));
        }
        let uri = Uri::from_str(text).map_err(|_| FetchError::Url("it does not follow RFC 3986"))?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(FetchError::Url("it begins with neither https:// nor http://")),
        };
        let parts = uri.into_parts();
        let authority = parts.authority.ok_or(FetchError::Url("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(FetchError::Url("it holds user information"));
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_ascii_lowercase();
        if host.is_empty() {
            return Err(FetchError::Url("it has no host"));
        }
        // `Uri` takes "host:" and "host:99999" for hosts without a port.
        let has_port = !authority.as_str().ends_with(authority.host());
        let port = match (authority.port_u16(), has_port) {
            (Some(0), _) | (None, true) => return Err(FetchError::Url("its port is not one")),
            (Some(port), _) => port,
            (None, false) => {
                if tls {
                    443
                } else {
                    80
                }
            }
        };
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self {
            tls,
            host,
            port,
            authority,
            path,
            loopback_only: false,
        })
    }

    /// The host, lower-case, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            if self.tls { "https" } else { "http" },
            self.authority,
            self.path
        )
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_on_loopback_only() {
        for good in [
            "https://id.example.com/jwks.json",
            "https://10.0.0.1:8443/a?b=c",
            "https://[2001:db8::1]/",
            "http://127.0.0.1:8080/jwks",
            "http://127.8.9.1/jwks",
            "http://[::1]:8080/jwks",
            "http://localhost/jwks",
            "http://LOCALHOST:81/jwks",
        ] {
            assert!(Url::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "http://id.example.com/jwks.json",
            "http://10.0.0.1/",
            "http://localhost.example.com/",
            "http://127.0.0.1.example.com/",
            "http://[::ffff:10.0.0.1]/",
            "http://2130706433/",
        ] {
            assert_eq!(Url::parse(bad), Err(FetchError::Plaintext), "{bad}");
            assert!(Url::parse_any(bad).is_ok(), "{bad}");
        }
    }

    #[test]
    fn what_is_no_url() {
        let long = format!("https://a/{}", "x".repeat(MOST));
        for bad in [
            "",
            "/jwks",
            "id.example.com/jwks",
            "ftp://id.example.com/",
            "file:///etc/passwd",
            "https://user:secret@id.example.com/",
            "https://id.example.com/#part",
            "https:///jwks",
            "https://id.example.com:99999/",
            "https://id.example.com:/",
            "https://id.example.com:0/",
            "https://id example.com/",
            "https://id.example.com/a b",
            "https://id.example.com/\r\nX: y",
            &long,
        ] {
            assert!(matches!(Url::parse(bad), Err(FetchError::Url(_))), "{bad}");
        }
    }

    #[test]
    fn parts() {
        let url = Url::parse("https://ID.Example.com:8443/a/b?c=d").unwrap();
        assert_eq!(
            (url.host(), url.port, url.tls, url.path.as_str()),
            ("id.example.com", 8443, true, "/a/b?c=d")
        );
        let url = Url::parse("https://[2001:db8::1]").unwrap();
        assert_eq!((url.host(), url.port, url.path.as_str()), ("2001:db8::1", 443, "/"));
    }
}
