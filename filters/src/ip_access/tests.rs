//! What `ip_access` lets pass, and what of its configuration is refused.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::networks::Networks;
use crate::testing::{Bench, ENTROPY, RequestBuilder, try_bench};
use crate::zones::Zones;

fn status(config: &str, ip: &str) -> u16 {
    let bench = Bench::new(&format!("filters: [{{ ip_access: {config} }}]"));
    bench.send(&RequestBuilder::get("/").ip(ip)).status.as_u16()
}

#[test]
fn deny_wins_and_an_allow_list_is_complete() {
    for (config, ip, expected) in [
        ("{ allow: [10.0.0.0/8] }", "10.255.255.255", 200),
        ("{ allow: [10.0.0.0/8] }", "11.0.0.0", 403),
        ("{ deny: [10.0.0.0/8] }", "10.0.0.0", 403),
        ("{ deny: [10.0.0.0/8] }", "9.255.255.255", 200),
        ("{ deny: [10.0.0.0/8] }", "2001:db8::1", 200),
        ("{ allow: [10.1.1.1], deny: [10.0.0.0/8] }", "10.1.1.1", 403),
        ("{ allow: [10.0.0.0/8], deny: [10.1.1.1] }", "10.1.1.1", 403),
        ("{ allow: [10.0.0.0/8], deny: [10.1.1.1] }", "10.1.1.2", 200),
        ("{ allow: [0.0.0.0/0] }", "255.255.255.255", 200),
        ("{ allow: [0.0.0.0/0] }", "2001:db8::1", 403),
        ("{ allow: [\"::/0\"] }", "10.0.0.1", 403),
        ("{ allow: [\"::/0\"] }", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 200),
        ("{ deny: [192.0.2.1] }", "::ffff:192.0.2.1", 403),
        ("{ deny: [\"::ffff:192.0.2.0/120\"] }", "192.0.2.77", 403),
        ("{ deny: [\"::ffff:192.0.2.0/120\"] }", "192.0.3.0", 200),
        ("{ allow: [\"2001:db8::/127\"] }", "2001:db8::2", 403),
    ] {
        assert_eq!(status(config, ip), expected, "{config} {ip}");
    }
}

#[test]
fn the_source_is_the_client_or_the_peer() {
    let request = RequestBuilder::get("/").ip("203.0.113.1").via("10.0.0.7");
    for (source, expected) in [("client", 403), ("peer", 200)] {
        let bench = Bench::new(&format!(
            "filters: [{{ ip_access: {{ allow: [10.0.0.7], source: {source} }} }}]"
        ));
        assert_eq!(bench.send(&request).status, expected, "{source}");
    }
}

#[test]
fn shadow_and_receipts() {
    let bench = Bench::new("filters: [{ ip_access: { deny: [192.0.2.1], mode: shadow } }]");
    let answered = bench.send(&RequestBuilder::get("/"));
    assert_eq!(answered.status, 200);
    assert_eq!(answered.facts.decisions[0].reason.0, "ip_denied");
}

#[test]
fn configurations_that_are_refused() {
    for (config, message) in [
        ("{}", "neither `allow` nor `deny`"),
        ("{ allow: [], deny: [] }", "neither `allow` nor `deny`"),
        ("{ allow: [10.0.0.0/8], deny: [10.0.0.0/8] }", "both allowed and denied"),
        ("{ allow: [10.0.0.1/8] }", "bits beyond the prefix"),
        ("{ allow: [example.com] }", "not a network"),
        ("{ allow: [10.0.0.0/33] }", "not a network"),
        ("{ alow: [10.0.0.0/8] }", "alow"),
        ("{ deny: [10.0.0.1], source: header }", "header"),
    ] {
        let error = try_bench(&Zones::new(ENTROPY), &format!("filters: [{{ ip_access: {config} }}]")).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(message)),
            "{config}: {error:?}"
        );
    }
}

fn network() -> impl Strategy<Value = IpNet> {
    let v4 = (any::<u32>(), 0_u8..=32).prop_map(|(bits, length)| IpNet::new(IpAddr::from(bits.to_be_bytes()), length));
    // Near each other, so that networks touch and overlap.
    let v6 =
        (0_u128..4096, 112_u8..=128).prop_map(|(bits, length)| IpNet::new(IpAddr::from(bits.to_be_bytes()), length));
    prop_oneof![v4, v6].prop_map(|network| network.unwrap().trunc())
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
        (0_u128..4200).prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
        any::<u128>().prop_map(|bits| IpAddr::from(bits.to_be_bytes())),
    ]
}

proptest! {
    #[test]
    fn a_set_holds_what_its_networks_hold(networks in prop::collection::vec(network(), 0..40), address in address()) {
        let set = Networks::new(networks.iter().copied());
        let expected = networks.iter().any(|network| network.contains(&address.to_canonical()));
        prop_assert_eq!(set.has(address), expected);
        for network in &networks {
            prop_assert!(set.has(network.network()) && set.has(network.broadcast()));
        }
        prop_assert_eq!(set.is_empty(), networks.is_empty());
    }
}
