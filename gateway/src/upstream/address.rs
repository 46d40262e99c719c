//! Addresses of servers as written: `ip:port` is ready, `name:port` waits for the resolver.
//! This file only reads text; it never asks a name server.

use std::net::SocketAddr;

/// Where a server is, as far as its text tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// An address that needs no resolver.
    Ip(SocketAddr),
    /// A host name to be resolved in the background.
    Name {
        /// The name, as written.
        host: Box<str>,
        /// The port.
        port: u16,
    },
}

/// What is wrong with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// `10.0.0.1`
    #[error("it has no port: write `host:port`")]
    NoPort,
    /// `host:http`, `host:0`, `host:70000`
    #[error("its port is not a number from 1 to 65535")]
    BadPort,
    /// `::1:80`
    #[error("an IPv6 address needs brackets: write `[2001:db8::1]:80`")]
    Brackets,
    /// `10.0.0.256:80`, `a b:80`
    #[error("it is neither an IP address nor a host name")]
    BadHost,
}

impl Target {
    /// Reads `ip:port`, `[ip6]:port` or `name:port`.
    pub(super) fn parse(text: &str) -> Result<Self, AddressError> {
        let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
        if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
            return Err(AddressError::Brackets);
        }
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::BadPort);
        }
        let port: u16 = port.parse().map_err(|_| AddressError::BadPort)?;
        if port == 0 {
            return Err(AddressError::BadPort);
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        if is_host_name(host) {
            Ok(Self::Name {
                host: host.into(),
                port,
            })
        } else {
            Err(AddressError::BadHost)
        }
    }
}

// A last label of digits only is a mistyped IPv4 address (the URL standard says the same).
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let last_is_number = name
        .rsplit('.')
        .next()
        .is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    !name.is_empty() && name.len() <= 253 && !last_is_number && name.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    !label.is_empty()
        && label.len() <= 63
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!(
            Target::parse("127.0.0.1:80"),
            Ok(Target::Ip("127.0.0.1:80".parse().unwrap()))
        );
        assert_eq!(Target::parse("[::1]:80"), Ok(Target::Ip("[::1]:80".parse().unwrap())));
        for name in [
            "localhost:9000",
            "my_app.svc.cluster.local.:1",
            "a-b.c:65535",
            "10.0.0.1.nip.io:80",
        ] {
            assert!(matches!(Target::parse(name), Ok(Target::Name { .. })), "{name}");
        }
    }

    #[test]
    fn wrong_addresses_are_named() {
        for (text, error) in [
            ("10.0.0.1", AddressError::NoPort),
            ("", AddressError::NoPort),
            ("a:", AddressError::BadPort),
            ("a:0", AddressError::BadPort),
            ("a:+80", AddressError::BadPort),
            ("a:65536", AddressError::BadPort),
            ("a:http", AddressError::BadPort),
            ("::1:80", AddressError::Brackets),
            ("10.0.0.256:80", AddressError::BadHost),
            ("10.1:80", AddressError::BadHost),
            ("[::1%eth0]:80", AddressError::BadHost),
            (":80", AddressError::BadHost),
            ("a b:80", AddressError::BadHost),
            ("a..b:80", AddressError::BadHost),
            ("-a:80", AddressError::BadHost),
            ("http://a:80", AddressError::Brackets),
            ("a/b:80", AddressError::BadHost),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }
}
