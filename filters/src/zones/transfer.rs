//! Buckets and circuit breakers on their way to a new process: the whole of what a restart would otherwise refill or close.
//!
//! The bytes hold the instance's random bytes, so they are secrets: whoever carries them keeps them from others.

use std::sync::Arc;

use super::build::ZonesBuilder;
use super::{Entropy, OneShape, Zones};
use crate::buckets::{BUCKET_BYTES, BucketTable};
use crate::client::Now;
use crate::policy::Breakers;

/// Its last digits count up with the format. 03 says before each zone what kind it is; 02 and 01 have buckets only, and 01 has
/// no windows.
const MAGIC: &[u8; 8] = b"PCZONE03";
const BEFORE: [&[u8; 8]; 2] = [b"PCZONE02", b"PCZONE01"];
/// A zone of buckets.
const BUCKETS: u8 = 1;
/// A zone of circuit breakers.
const BREAKERS: u8 = 2;
/// Longest name of a zone.
const MAX_NAME: usize = 4096;

/// What an import brought.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Zones.
    pub zones: usize,
    /// Buckets.
    pub buckets: usize,
    /// Circuit breakers.
    pub breakers: usize,
}

/// Why nothing was imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// Not what [`Zones::export`] writes.
    #[error("not an export of zones of this version")]
    Foreign,
    /// It ends too early or says what cannot be.
    #[error("the export is damaged")]
    Damaged,
}

impl Zones {
    /// Every circuit breaker that counts and every bucket that is not full, in at most about `max_bytes`. Small zones come
    /// first, and what does not fit is left out: those start anew in the new process.
    pub fn export(&self, now: Now, max_bytes: usize) -> Vec<u8> {
        self.export_lasting(now, 0, max_bytes)
    }

    /// The same without those that will be full `lasting_ns` from now: they are not worth being kept.
    pub fn export_lasting(&self, now: Now, lasting_ns: u64, max_bytes: usize) -> Vec<u8> {
        let mut tables: Vec<(&Arc<str>, Arc<BucketTable>)> = self.each_kept::<BucketTable>().collect();
        tables.sort_by_key(|(_, table)| table.len());
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(self.entropy.hash_key);
        out.extend(self.entropy.jitter_salt);
        out.extend(now.unix_ms.to_le_bytes());
        for (name, breakers) in self.each_kept::<Breakers>().filter(|(name, _)| name.len() <= MAX_NAME) {
            let room = max_bytes.saturating_sub(out.len() + name.len() + 17);
            let mut bytes = Vec::new();
            if breakers.export(now.monotonic_ns, room, &mut bytes) > 0 {
                out.push(BREAKERS);
                put(&mut out, name.as_bytes());
                put(&mut out, &bytes);
            }
        }
        for (name, table) in tables {
            let room = max_bytes.saturating_sub(out.len() + name.len() + 25) / BUCKET_BYTES;
            if name.len() > MAX_NAME || room == 0 {
                continue;
            }
            let mut buckets = Vec::new();
            if table.export(now, lasting_ns, room, &mut buckets) > 0 {
                out.push(BUCKETS);
                put(&mut out, name.as_bytes());
                out.extend(length(table.capacity()).to_le_bytes());
                put(&mut out, &buckets);
            }
        }
        out
    }

    /// The zones that an instance starts with, from what another exported. Its random bytes are taken over with them.
    pub fn import(export: &[u8], now: Now) -> Result<(Self, Imported), ImportError> {
        Self::import_after(export, None, now)
    }

    /// The same, when it is known how long ago that was; else the wall clock tells.
    pub fn import_after(export: &[u8], elapsed: Option<u64>, now: Now) -> Result<(Self, Imported), ImportError> {
        let before = || BEFORE.iter().find_map(|magic| export.strip_prefix(*magic));
        let tagged = export.strip_prefix(MAGIC);
        let rest = tagged.or_else(before).ok_or(ImportError::Foreign)?;
        let (hash_key, rest) = rest.split_first_chunk::<16>().ok_or(ImportError::Damaged)?;
        let (jitter_salt, rest) = rest.split_first_chunk::<16>().ok_or(ImportError::Damaged)?;
        let (exported_ms, mut rest) = rest.split_first_chunk::<8>().ok_or(ImportError::Damaged)?;
        let elapsed_ms = now.unix_ms.saturating_sub(u64::from_le_bytes(*exported_ms));
        let elapsed_ns = elapsed.unwrap_or_else(|| elapsed_ms.saturating_mul(1_000_000));
        let entropy = Entropy {
            hash_key: *hash_key,
            jitter_salt: *jitter_salt,
        };
        let mut builder = ZonesBuilder::from(&Self::new(entropy));
        let mut imported = Imported::default();
        while let Some((first, tail)) = rest.split_first() {
            let kind = if tagged.is_some() { *first } else { BUCKETS };
            rest = if tagged.is_some() { tail } else { rest };
            zone(kind, &mut rest, &mut builder, (elapsed_ns, now), &mut imported).ok_or(ImportError::Damaged)?;
        }
        let mut zones = builder.finish();
        zones.generation = 0;
        zones.by_id.values_mut().for_each(|zone| zone.used = 0);
        Ok((zones, imported))
    }
}

/// Reads one zone. `None`: it is damaged.
fn zone(
    kind: u8,
    rest: &mut &[u8],
    builder: &mut ZonesBuilder,
    (elapsed_ns, now): (u64, Now),
    imported: &mut Imported,
) -> Option<()> {
    let name = std::str::from_utf8(take(rest)?).ok()?;
    match kind {
        BUCKETS => {
            let (capacity, tail) = rest.split_first_chunk::<8>()?;
            *rest = tail;
            let buckets = take(rest)?;
            let capacity = usize::try_from(u64::from_le_bytes(*capacity)).ok()?;
            let table = builder.open::<BucketTable>(name, &capacity).ok()?;
            imported.buckets += table.import(buckets, elapsed_ns, now);
        }
        BREAKERS => {
            let bytes = take(rest)?;
            let breakers = builder.open::<Breakers>(name, &OneShape).ok()?;
            imported.breakers += breakers.import(bytes, elapsed_ns, now.monotonic_ns)?;
        }
        _ => return None,
    }
    imported.zones += 1;
    Some(())
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(length(bytes.len()).to_le_bytes());
    out.extend(bytes);
}

fn take<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, tail) = rest.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (bytes, tail) = tail.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

fn length(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
