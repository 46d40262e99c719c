//! Sources of what is known of addresses, and keys that have none.

use super::check::Check;
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::geoip::GeoIp;
use crate::key::Key;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    if let Some(geoip) = &check.config.geoip {
        sources(check, check.at(root, "geoip"), geoip);
    }
}

fn sources(check: &mut Check<'_>, node: NodeId, geoip: &GeoIp) {
    for (key, file) in [
        ("country", &geoip.country),
        ("asn", &geoip.asn),
        ("asn_types", &geoip.asn_types),
        ("tor_exits", &geoip.tor_exits),
    ] {
        check.file(node, key, file.as_deref());
    }
    if geoip.files().next().is_none() && !geoip.trusted_headers {
        let help = "name a file in `country`, `asn`, `asn_types` or `tor_exits`, or say `trusted_headers: true`";
        check.report_key(codes::MISSING_KEY, node, "nothing would be known of any address", help);
    }
    if geoip.asn_types.is_some() && geoip.asn.is_none() && !geoip.trusted_headers {
        let message = "`asn_types` needs the number of an autonomous system, and nothing tells it";
        let help = "add `asn`, a database in MaxMind's format, or `trusted_headers: true`";
        check.report_key(codes::CONFLICTING_KEYS, check.at(node, "asn_types"), message, help);
    }
}

/// Reports a key at `node` that could never have a value.
pub(super) fn known(check: &mut Check<'_>, node: NodeId, key: &Key) {
    let Key::Ip(attribute) = key else { return };
    let tells = |geoip: &GeoIp| geoip.tells(*attribute);
    let root = check.document.root();
    if *attribute != crate::key::IpAttribute::Address
        && !check.config.geoip.as_ref().is_some_and(tells)
        && check.is_whole(root, "geoip")
    {
        let message = format!("`{key}` would never have a value: `geoip` has no source for it");
        let help = "name a file for it in `geoip`, or let trusted proxies say it";
        check.report_with(codes::MISSING_KEY, node, message, help);
    }
}
