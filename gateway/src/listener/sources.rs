//! From where a listener takes connections: asked before anything is read or answered.
//!
//! Who the client is (behind a PROXY header, or not) is known elsewhere.

use std::net::IpAddr;

use portcullis_config::listener::Sources as Config;
use portcullis_filters::ip_access::networks::Networks;

/// The networks of one listener.
#[derive(Debug, Default)]
pub(super) struct Sources {
    allow: Networks,
    deny: Networks,
}

impl Sources {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            allow: Networks::new(config.allow.iter().copied()),
            deny: Networks::new(config.deny.iter().copied()),
        }
    }

    /// Whether a client may connect.
    pub(super) fn permit(&self, client: IpAddr) -> bool {
        !self.deny(client) && (self.allow.is_empty() || self.allow.has(client))
    }

    /// Whether an address is denied by name. A proxy in front need not be among the clients that are allowed.
    pub(super) fn deny(&self, address: IpAddr) -> bool {
        !self.deny.is_empty() && self.deny.has(address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(allow: &[&str], deny: &[&str]) -> Sources {
        let networks = |list: &[&str]| list.iter().map(|network| network.parse().unwrap()).collect();
        Sources::new(&Config {
            allow: networks(allow),
            deny: networks(deny),
        })
    }

    #[test]
    fn deny_wins_and_an_allow_list_is_complete() {
        let table = [
            (sources(&[], &[]), [true, true, true]),
            (sources(&[], &["10.0.0.0/8"]), [false, false, true]),
            (sources(&["10.0.0.0/8"], &[]), [true, true, false]),
            (sources(&["10.0.0.0/8"], &["10.1.0.0/16"]), [false, true, false]),
        ];
        for (sources, expected) in table {
            let found =
                ["10.1.0.1", "::ffff:10.2.0.1", "2001:db8::1"].map(|address| sources.permit(address.parse().unwrap()));
            assert_eq!(found, expected, "{sources:?}");
        }
    }
}
