//! What is known of addresses: the files that countries, networks and their kinds are looked up in, and whether a trusted
//! proxy may say it. Opening files is not done here.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::key::IpAttribute;

/// What is known of addresses, for the keys `ip:country`, `ip:asn`, `ip:type` and `ip:tor`. Each is told by one source at least, or
/// not at all. The files are watched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GeoIp {
    /// A database in MaxMind's format with countries, such as GeoLite2-Country.mmdb: `ip:country`.
    pub country: Option<PathBuf>,
    /// A database in MaxMind's format with autonomous systems, such as GeoLite2-ASN.mmdb: `ip:asn`.
    pub asn: Option<PathBuf>,
    /// A list with the number of an autonomous system and its kind in each line, such as `64496 hosting`: `ip:type`.
    pub asn_types: Option<PathBuf>,
    /// A list with the address of a Tor exit in each line: `ip:tor`.
    pub tor_exits: Option<PathBuf>,
    /// Whether trusted proxies may say it, in `X-Country-Code`, `X-ASN`, `X-ASN-Type` and `X-Tor-Exit`. They must overwrite these fields of their clients.
    pub trusted_headers: bool,
}

impl GeoIp {
    /// Whether anything tells this of an address.
    pub fn tells(&self, attribute: IpAttribute) -> bool {
        let file = match attribute {
            IpAttribute::Address => return true,
            IpAttribute::Country => &self.country,
            IpAttribute::Asn => &self.asn,
            IpAttribute::Type => &self.asn_types,
            IpAttribute::Tor => &self.tor_exits,
        };
        self.trusted_headers || file.is_some()
    }

    /// Its files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.country, &self.asn, &self.asn_types, &self.tor_exits];
        files.into_iter().flatten().map(PathBuf::as_path)
    }
}
