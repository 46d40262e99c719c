//! Lists, and who may say what of an address. Databases are tried on whole gateways, with files of their own.

use std::sync::Arc;

use portcullis_config::key::Key;

use super::{AsnTypes, GeoIp, TorExits};
use crate::attributes;
use crate::testing::RequestBuilder;

fn value(request: &RequestBuilder, key: &str) -> Option<String> {
    let key: Key = key.parse().unwrap();
    request.with(&mut request.facts(), |request| {
        let value = attributes::text(request, &key).unwrap();
        value.map(std::borrow::Cow::into_owned)
    })
}

fn all(request: &RequestBuilder) -> [Option<String>; 4] {
    ["ip:country", "ip:asn", "ip:type", "ip:tor"].map(|key| value(request, key))
}

fn texts(values: [Option<&str>; 4]) -> [Option<String>; 4] {
    values.map(|value| value.map(str::to_owned))
}

fn lists(trusted_headers: bool) -> Arc<GeoIp> {
    Arc::new(GeoIp {
        asn_types: Some(Arc::new(AsnTypes::parse("72 business\n62 hosting\n").unwrap())),
        tor_exits: Some(Arc::new(TorExits::parse("192.0.2.9\n2001:db8::/64\n").unwrap())),
        trusted_headers,
        ..GeoIp::default()
    })
}

#[test]
fn kinds_are_read_as_a_list_or_as_a_map_of_nginx() {
    for text in [
        "72 business\n62\thosting",
        "# kinds\ndefault unknown;\n72 business;\n\nAS62 hosting ; # x\n62 hosting",
    ] {
        let types = AsnTypes::parse(text).unwrap();
        assert_eq!(
            [72, 62, 7].map(|number| types.of(number)),
            [Some("business"), Some("hosting"), None]
        );
        assert_eq!(types.other(), "unknown");
    }
    assert_eq!(AsnTypes::parse("default isp;").unwrap().other(), "isp");
    for (text, line, why) in [
        ("72 busyness", 1, "no kind of network"),
        ("\n72", 2, "has no kind"),
        ("x72 isp", 1, "no number"),
        ("-1 isp", 1, "no number"),
        ("4294967296 isp", 1, "no number"),
        ("72 isp x", 1, "one or two words"),
        ("72 isp\n# x\n72 hosting", 3, "two kinds"),
    ] {
        let error = AsnTypes::parse(text).unwrap_err();
        assert!(error.line == line && error.why.contains(why), "{text}: {error}");
    }
}

#[test]
fn exits_are_addresses_or_networks() {
    let text = "# exits\ndefault 0;\n192.0.2.9\n192.0.2.10 1;\n198.51.100.0/24;\n2001:db8::7\n2001:db8:1::/48 1\n198.51.100.7\n";
    let exits = TorExits::parse(text).unwrap();
    for (address, expected) in [
        ("192.0.2.8", false),
        ("192.0.2.9", true),
        ("192.0.2.10", true),
        ("192.0.2.11", false),
        ("198.51.99.255", false),
        ("198.51.100.0", true),
        ("198.51.100.255", true),
        ("198.51.101.0", false),
        ("::ffff:192.0.2.9", true),
        ("2001:db8::7", true),
        ("2001:db8::8", false),
        ("2001:db8:1:ffff::1", true),
        ("2001:db8:2::", false),
        ("::", false),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
    ] {
        assert_eq!(exits.contains(address.parse().unwrap()), expected, "{address}");
    }
    assert!(!TorExits::parse("").unwrap().contains("192.0.2.9".parse().unwrap()));
    let everything = TorExits::parse("::/0\n").unwrap();
    assert!(everything.contains("192.0.2.9".parse().unwrap()));
    for (text, line, why) in [
        ("exit.example", 1, "neither an address nor a network"),
        ("192.0.2.9 0", 1, "`0` behind"),
        ("default 1", 1, "`1`"),
        ("192.0.2.9 1 1", 1, "one or two words"),
    ] {
        let error = TorExits::parse(text).unwrap_err();
        let told = error.why.contains(why) || text == "default 1";
        assert!(error.line == line && told, "{text}: {error}");
    }
}

#[test]
fn nothing_is_known_without_a_source() {
    let request = RequestBuilder::get("/")
        .header("x-asn", "72")
        .header("x-tor-exit", "1")
        .via("10.0.0.1");
    assert_eq!(all(&request), texts([None; 4]));
    assert_eq!(all(&request.geoip(Arc::default())), texts([None; 4]));
}

#[test]
fn strangers_and_proxies_that_may_not_are_not_believed() {
    let request = RequestBuilder::get("/")
        .header("x-country-code", "DE")
        .header("x-asn", "72")
        .header("x-asn-type", "isp")
        .header("x-tor-exit", "1");
    let nothing = texts([None, None, Some("unknown"), Some("false")]);
    assert_eq!(all(&request.clone().geoip(lists(true))), nothing);
    assert_eq!(all(&request.clone().via("10.0.0.1").geoip(lists(false))), nothing);
    let believed = texts([Some("DE"), Some("72"), Some("business"), Some("true")]);
    assert_eq!(all(&request.via("10.0.0.1").geoip(lists(true))), believed);
}

#[test]
fn what_proxies_say_has_a_form() {
    let said = |name: &str, values: &[&str]| {
        let request = RequestBuilder::get("/").via("10.0.0.1").geoip(lists(true));
        all(&values
            .iter()
            .fold(request, |request, value| request.header(name, value)))
    };
    for (value, expected) in [
        ("de", Some("DE")),
        (" DE ", Some("DE")),
        ("DEU", None),
        ("D1", None),
        ("", None),
    ] {
        assert_eq!(said("x-country-code", &[value])[0].as_deref(), expected, "{value}");
    }
    for (value, number, kind) in [
        ("62", Some("62"), "hosting"),
        ("AS62", Some("62"), "hosting"),
        ("as062", Some("62"), "hosting"),
        ("4294967295", Some("4294967295"), "unknown"),
        ("4294967296", None, "unknown"),
        ("+62", None, "unknown"),
        ("AS", None, "unknown"),
        ("", None, "unknown"),
    ] {
        let [_, asn, is, _] = said("x-asn", &[value]);
        assert_eq!((asn.as_deref(), is.as_deref()), (number, Some(kind)), "{value}");
    }
    assert_eq!(said("x-asn-type", &["isp"])[2].as_deref(), Some("isp"));
    assert_eq!(said("x-asn-type", &["spaceship"])[2].as_deref(), Some("unknown"));
    for (value, expected) in [
        ("1", "true"),
        ("TRUE", "true"),
        ("yes", "true"),
        ("0", "false"),
        ("maybe", "false"),
    ] {
        assert_eq!(said("x-tor-exit", &[value])[3].as_deref(), Some(expected), "{value}");
    }
    assert_eq!(said("x-asn", &["62", "72"])[1], None, "one of them may be the client's");
}

#[test]
fn no_field_takes_an_exit_off_the_list() {
    for address in ["192.0.2.9", "2001:db8::1"] {
        let request = RequestBuilder::get("/")
            .ip(address)
            .header("x-tor-exit", "0")
            .geoip(lists(true));
        assert_eq!(value(&request, "ip:tor").as_deref(), Some("true"));
        assert_eq!(value(&request.via("10.0.0.1"), "ip:tor").as_deref(), Some("true"));
    }
}

#[test]
fn an_address_is_looked_up_once() {
    let request = RequestBuilder::get("/").geoip(lists(false));
    let mut facts = request.facts();
    let key: Key = "ip:tor".parse().unwrap();
    request.with(&mut facts, |request| {
        assert!(request.facts.located.get().is_none(), "nobody asked");
        assert!(attributes::equals(request, &key, "false").unwrap());
        assert!(request.facts.located.get().is_some());
    });
}
