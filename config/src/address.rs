//! Addresses and networks as written, with errors that say what to write instead.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::de::{Deserialize, Deserializer};

use crate::text::{TextError, from_text, text_type};

/// A socket address to listen on.
struct Socket(SocketAddr);

impl FromStr for Socket {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        text.parse().map(Self).map_err(|_| {
            let error = TextError::new(format!("`{text}` is not an IP address and port"));
            match text.strip_prefix([':', '*']).map(|rest| rest.trim_start_matches(':')) {
                Some(port) if port.parse::<u16>().is_ok() => error.help(format!(
                    "write 0.0.0.0:{port} for all IPv4 addresses, [::]:{port} for all addresses"
                )),
                _ => error.help("write it like 127.0.0.1:8080 or [::1]:8080"),
            }
        })
    }
}

/// For `#[serde(deserialize_with)]` on a listening address.
pub(crate) fn socket<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    from_text::<D, Socket>(deserializer, "an address and port such as 0.0.0.0:8080", "127.0.0.1:1")
        .map(|socket| socket.0)
}

/// A network: `10.0.0.0/8`, or an address, which is the network of that one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network(pub IpNet);

impl FromStr for Network {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(IpNet::from(address)));
        }
        let network: IpNet = text.parse().map_err(|_| {
            TextError::new(format!("`{text}` is not a network"))
                .help("write it like 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1")
        })?;
        let trunc = network.trunc();
        if trunc != network {
            let message = format!("`{text}`: the address has bits beyond the prefix");
            return Err(
                TextError::new(message).help(format!("write {trunc} for the network, or the address without `/`"))
            );
        }
        Ok(Self(network))
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

text_type!(
    Network,
    "a network such as 10.0.0.0/8, 2001:db8::/32 or 192.0.2.1",
    "10.0.0.0/8",
    "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"
);

/// For `#[serde(deserialize_with)]` on a list of networks.
pub(crate) fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    Vec::<Network>::deserialize(deserializer).map(|networks| networks.into_iter().map(|network| network.0).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_whole_and_an_address_is_a_network_of_one() {
        assert_eq!("192.0.2.1".parse::<Network>().unwrap().to_string(), "192.0.2.1/32");
        assert_eq!("2001:db8::/32".parse::<Network>().unwrap().to_string(), "2001:db8::/32");
        for text in ["10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "example.com", ""] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
    }
}
