//! The files of `geoip`: read when a configuration is loaded, and not again while they are what they were. What is in them is
//! `portcullis_filters::geoip`'s.

use std::fmt::Display;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use portcullis_config::diagnostic::{Diagnostic, Diagnostics, codes};
use portcullis_config::document::Document;
use portcullis_config::geoip::GeoIp as Written;
use portcullis_filters::geoip::{AsnTypes, Asns, Countries, GeoIp, TorExits};

use crate::watch::Fingerprint;

/// Largest database.
const MOST_BYTES: u64 = 1 << 30;
/// Largest list.
const MOST_LIST_BYTES: u64 = 64 << 20;

/// What was read, and what the files looked like then.
#[derive(Debug, Default)]
pub struct GeoIpFiles {
    /// Everything in them.
    pub data: GeoIp,
    country: Fingerprint,
    asn: Fingerprint,
    asn_types: Fingerprint,
    tor_exits: Fingerprint,
}

/// A file, before it is read.
struct File<'a> {
    key: &'static str,
    path: Option<&'a Path>,
    most: u64,
}

impl GeoIpFiles {
    /// Reads the files that are not the same as in `previous`. What is wrong is added to `out`.
    pub fn read(written: &Written, previous: Option<&Self>, document: &Document, out: &mut Diagnostics) -> Self {
        let none = Self::default();
        let before = previous.unwrap_or(&none);
        let file = |key, path, most| File { key, path, most };
        let mut part = Part { document, out };
        let (countries, country) = part.read(
            &file("country", written.country.as_deref(), MOST_BYTES),
            (before.data.countries.as_ref(), &before.country),
            Countries::read,
        );
        let (asns, asn) = part.read(
            &file("asn", written.asn.as_deref(), MOST_BYTES),
            (before.data.asns.as_ref(), &before.asn),
            Asns::read,
        );
        let (types, asn_types) = part.read(
            &file("asn_types", written.asn_types.as_deref(), MOST_LIST_BYTES),
            (before.data.asn_types.as_ref(), &before.asn_types),
            |bytes| listed(bytes, AsnTypes::parse),
        );
        let (exits, tor_exits) = part.read(
            &file("tor_exits", written.tor_exits.as_deref(), MOST_LIST_BYTES),
            (before.data.tor_exits.as_ref(), &before.tor_exits),
            |bytes| listed(bytes, TorExits::parse),
        );
        Self {
            data: GeoIp {
                countries,
                asns,
                asn_types: types,
                tor_exits: exits,
                trusted_headers: written.trusted_headers,
            },
            country,
            asn,
            asn_types,
            tor_exits,
        }
    }
}

struct Part<'a> {
    document: &'a Document,
    out: &'a mut Diagnostics,
}

impl Part<'_> {
    /// A file's content, the one before where the file is the same, and what the file looks like.
    fn read<T, E: Display>(
        &mut self,
        file: &File<'_>,
        before: (Option<&Arc<T>>, &Fingerprint),
        parse: impl FnOnce(Vec<u8>) -> Result<T, E>,
    ) -> (Option<Arc<T>>, Fingerprint) {
        let Some(path) = file.path else {
            return (None, Fingerprint::default());
        };
        // Taken first: what is written to while it is read looks different at the next load.
        let looks = Fingerprint::of([path]);
        if let (Some(known), true) = (before.0, *before.1 == looks) {
            return (Some(Arc::clone(known)), looks);
        }
        let content = bytes(path, file.most).and_then(|bytes| parse(bytes).map_err(|error| error.to_string()));
        match content {
            Ok(content) => (Some(Arc::new(content)), looks),
            Err(why) => {
                let message = format!("{}: {why}", path.display());
                let place = format!("geoip.{}", file.key);
                let diagnostic = Diagnostic::new(codes::UNUSABLE_FILE, message);
                self.out.push(diagnostic.at_path(self.document, &place));
                (None, Fingerprint::default())
            }
        }
    }
}

fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(error.to_string()),
        Ok(read) if read as u64 > most => Err(format!("it is larger than {} MiB", most >> 20)),
        Ok(_) => Ok(bytes),
    }
}

fn listed<T, E: Display>(bytes: Vec<u8>, parse: impl FnOnce(&str) -> Result<T, E>) -> Result<T, String> {
    let text = String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    parse(&text).map_err(|error| error.to_string())
}
