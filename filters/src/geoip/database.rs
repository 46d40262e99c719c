//! Databases in MaxMind's format (MaxMind DB 2.0), held in memory: countries and autonomous systems.

use std::fmt;
use std::net::IpAddr;

use maxminddb::{PathElement, Reader, WithinOptions};

/// Most networks that are looked at to find out whether a database tells what it is there for.
const LOOKED_AT: usize = 100_000;

/// Why a file is no database of what it should tell.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It is none at all.
    #[error("it is no database in MaxMind's format: {0}")]
    Unreadable(maxminddb::MaxMindDbError),
    /// It is about something else.
    #[error("its type is `{kind}`, and nothing in it tells {wanted}")]
    Otherwise {
        /// Its type, as it says itself.
        kind: String,
        /// What it should tell.
        wanted: &'static str,
    },
}

/// Countries of networks.
pub struct Countries(Database);

/// Autonomous systems of networks.
pub struct Asns(Database);

type Database = Reader<Vec<u8>>;

const COUNTRY: [PathElement<'static>; 2] = [PathElement::Key("country"), PathElement::Key("iso_code")];
const REGISTERED: [PathElement<'static>; 2] = [PathElement::Key("registered_country"), PathElement::Key("iso_code")];
const NUMBER: [PathElement<'static>; 1] = [PathElement::Key("autonomous_system_number")];

impl Countries {
    /// Of a file's bytes.
    pub fn read(bytes: Vec<u8>) -> Result<Self, DatabaseError> {
        let database = open(bytes, "a country (`country.iso_code`)", &[&COUNTRY, &REGISTERED])?;
        Ok(Self(database))
    }

    /// When it was made: seconds since 1970.
    pub fn built(&self) -> u64 {
        self.0.metadata().build_epoch
    }

    /// The code (ISO 3166) of the country of an address: where it is, else where it is registered.
    pub fn code(&self, address: IpAddr) -> Option<[u8; 2]> {
        let found = self.0.lookup(address).ok()?;
        let at = |path| found.decode_path::<&str>(path).ok().flatten();
        code(at(&COUNTRY).or_else(|| at(&REGISTERED))?)
    }
}

impl Asns {
    /// Of a file's bytes.
    pub fn read(bytes: Vec<u8>) -> Result<Self, DatabaseError> {
        let wanted = "an autonomous system (`autonomous_system_number`)";
        Ok(Self(open(bytes, wanted, &[&NUMBER])?))
    }

    /// When it was made: seconds since 1970.
    pub fn built(&self) -> u64 {
        self.0.metadata().build_epoch
    }

    /// The number of the autonomous system of an address.
    pub fn number(&self, address: IpAddr) -> Option<u32> {
        let found = self.0.lookup(address).ok()?;
        found.decode_path::<u32>(&NUMBER).ok().flatten()
    }
}

/// Two letters, in upper case.
pub(super) fn code(text: &str) -> Option<[u8; 2]> {
    let bytes = <[u8; 2]>::try_from(text.as_bytes()).ok()?;
    let letters = bytes.iter().all(u8::is_ascii_alphabetic);
    letters.then(|| bytes.map(|byte| byte.to_ascii_uppercase()))
}

/// A database in which something is at one of these paths.
fn open(bytes: Vec<u8>, wanted: &'static str, paths: &[&[PathElement<'_>]]) -> Result<Database, DatabaseError> {
    let database = Reader::from_source(bytes).map_err(DatabaseError::Unreadable)?;
    let tells = {
        let networks = database
            .networks(WithinOptions::default())
            .map_err(DatabaseError::Unreadable)?;
        let mut looked_at = networks.take(LOOKED_AT);
        looked_at.any(|network| {
            let is_there = |path: &&[PathElement<'_>], network: &maxminddb::LookupResult<'_, Vec<u8>>| {
                matches!(network.decode_path::<serde::de::IgnoredAny>(path), Ok(Some(_)))
            };
            network.is_ok_and(|network| paths.iter().any(|path| is_there(path, &network)))
        })
    };
    if tells {
        return Ok(database);
    }
    Err(DatabaseError::Otherwise {
        kind: database.metadata().database_type.clone(),
        wanted,
    })
}

impl fmt::Debug for Countries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, &self.0)
    }
}

impl fmt::Debug for Asns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, &self.0)
    }
}

fn describe(f: &mut fmt::Formatter<'_>, database: &Database) -> fmt::Result {
    f.write_str(&database.metadata().database_type)
}
