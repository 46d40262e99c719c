//! Who the client is: the connection's peer, or what trusted proxies say in `Forwarded` (RFC 7239) and
//! `X-Forwarded-For`. Headers of anybody else are not even looked at.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};
use ipnet::IpNet;
use portcullis_filters::client::Client;

/// `X-Forwarded-For`.
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// `X-Forwarded-Proto`.
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// `X-Forwarded-Host`.
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Most addresses of a forwarding header that are looked at.
const MAX_HOPS: usize = 32;

/// `trusted_proxies`, ready to be asked.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Of these networks, overlapping ones merged.
    pub fn new(networks: &[IpNet]) -> Self {
        Self(IpNet::aggregate(&networks.to_vec()))
    }

    /// Whether headers of this peer are believed.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// The client of a request that came over a connection with this peer.
pub fn identify(peer: IpAddr, tls: bool, headers: &HeaderMap, trusted: &TrustedProxies) -> Client {
    let peer = peer.to_canonical();
    let peer_is_trusted = trusted.contains(peer);
    if !peer_is_trusted {
        return Client {
            address: peer,
            peer,
            peer_is_trusted,
            tls,
        };
    }
    let address = forwarded_for(headers, trusted).unwrap_or(peer);
    let tls = forwarded_tls(headers).unwrap_or(tls);
    Client {
        address,
        peer,
        peer_is_trusted,
        tls,
    }
}

/// The client of a request that a trusted peer describes. `source` is the other end of the connection that it came in on,
/// where the peer tells it. `Forwarded` counts for nothing: those who ask for decisions do not write it, so it is the
/// client's own.
pub fn described(
    peer: IpAddr,
    source: Option<IpAddr>,
    tls: Option<bool>,
    headers: &HeaderMap,
    trusted: &TrustedProxies,
) -> Client {
    let peer = peer.to_canonical();
    let nearest = source.map_or(peer, |source| source.to_canonical());
    let address = if trusted.contains(nearest) {
        believed(x_forwarded_for(headers), trusted).unwrap_or(nearest)
    } else {
        nearest
    };
    Client {
        address,
        peer,
        peer_is_trusted: true,
        tls: tls.or_else(|| forwarded_tls(headers)).unwrap_or(false),
    }
}

/// Whether `X-Forwarded-Proto` says that the client uses TLS.
fn forwarded_tls(headers: &HeaderMap) -> Option<bool> {
    let schemes = headers.get(X_FORWARDED_PROTO)?.to_str().ok()?;
    let last = schemes.rsplit(',').next()?;
    Some(last.trim().eq_ignore_ascii_case("https"))
}

/// The last address that no trusted proxy has; when all are trusted, the first.
fn forwarded_for(headers: &HeaderMap, trusted: &TrustedProxies) -> Option<IpAddr> {
    if !headers.contains_key(header::FORWARDED) {
        return believed(x_forwarded_for(headers), trusted);
    }
    let mut hops: Vec<Option<IpAddr>> = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        let text = value.to_str().unwrap_or("");
        hops.extend(text.split(',').take(MAX_HOPS).map(forwarded_element));
    }
    believed(hops, trusted)
}

/// The hops of `X-Forwarded-For`, nearest last. `None`: what stands there is no address.
fn x_forwarded_for(headers: &HeaderMap) -> Vec<Option<IpAddr>> {
    let mut hops = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        let text = value.to_str().unwrap_or("");
        hops.extend(text.split(',').take(MAX_HOPS).map(|hop| address(hop.trim())));
    }
    hops
}

/// The last hop that no trusted proxy has, as far back as can be believed.
fn believed(hops: Vec<Option<IpAddr>>, trusted: &TrustedProxies) -> Option<IpAddr> {
    let mut known = None;
    for hop in hops.into_iter().rev().take(MAX_HOPS) {
        // What is no address (`unknown`, an obfuscated name) ends what can be believed.
        let Some(hop) = hop else { break };
        known = Some(hop);
        if !trusted.contains(hop) {
            break;
        }
    }
    known
}

/// `for=` of one element of `Forwarded`.
fn forwarded_element(element: &str) -> Option<IpAddr> {
    element.split(';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("for")
            .then(|| address(value.trim().trim_matches('"')))
            .flatten()
    })
}

/// An address with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    bare.parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
        .map(|ip| ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn client(peer: &str, headers: &[(&'static str, &'static str)]) -> Client {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let trusted = TrustedProxies::new(&["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()]);
        identify(peer.parse().unwrap(), false, &map, &trusted)
    }

    #[track_caller]
    fn is(peer: &str, headers: &[(&'static str, &'static str)], address: &str) {
        assert_eq!(
            client(peer, headers).address,
            address.parse::<IpAddr>().unwrap(),
            "{headers:?}"
        );
    }

    #[test]
    fn strangers_are_not_believed() {
        is(
            "192.0.2.9",
            &[("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.1")],
            "192.0.2.9",
        );
        assert!(!client("192.0.2.9", &[("x-forwarded-proto", "https")]).tls);
    }

    #[test]
    fn the_last_hop_that_is_not_ours() {
        is("10.0.0.1", &[], "10.0.0.1");
        is("10.0.0.1", &[("x-forwarded-for", "203.0.113.1")], "203.0.113.1");
        is(
            "10.0.0.1",
            &[("x-forwarded-for", "6.6.6.6, 203.0.113.1, 10.2.3.4")],
            "203.0.113.1",
        );
        is(
            "10.0.0.1",
            &[("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "203.0.113.1:443")],
            "203.0.113.1",
        );
        is("10.0.0.1", &[("x-forwarded-for", "10.1.1.1, 10.2.2.2")], "10.1.1.1");
        is(
            "10.0.0.1",
            &[("x-forwarded-for", "6.6.6.6, unknown, 10.2.2.2")],
            "10.2.2.2",
        );
        is(
            "::ffff:10.0.0.1",
            &[(
                "forwarded",
                "for=\"[2001:db8:cafe::17]:4711\", for=203.0.113.7;proto=https",
            )],
            "203.0.113.7",
        );
        is(
            "2001:db8::1",
            &[("forwarded", "for=\"[2001:dead::17]:4711\"")],
            "2001:dead::17",
        );
        assert!(client("10.0.0.1", &[("x-forwarded-proto", "https")]).tls);
    }
}
