//! Buckets on their way to another process, as bytes. The monotonic clock of the other process may have another origin
//! (after a reboot), so times travel as ages.

use super::arithmetic::Bucket;
use super::shard::Entry;
use super::table::BucketTable;
use crate::client::Now;

/// Bytes of one bucket.
pub const BUCKET_BYTES: usize = 16 + 16 + 8 + 8;

impl BucketTable {
    /// Appends every bucket that is not full, at most `most`, and says how many.
    pub fn export(&self, now: Now, most: usize, out: &mut Vec<u8>) -> usize {
        let mut count = 0;
        self.entries(most, now.monotonic_ns, &mut |entry| {
            out.extend(entry.key.to_le_bytes());
            out.extend(entry.bucket.level.to_le_bytes());
            out.extend(now.monotonic_ns.saturating_sub(entry.bucket.at).to_le_bytes());
            out.extend(entry.full_at.saturating_sub(now.monotonic_ns).to_le_bytes());
            count += 1;
        });
        count
    }

    /// Takes buckets over that [`Self::export`] wrote `elapsed_ns` ago, and says how many. Keys that are in use here
    /// keep their bucket.
    pub fn import(&self, buckets: &[u8], elapsed_ns: u64, now: Now) -> usize {
        let records = buckets.chunks_exact(BUCKET_BYTES).filter_map(decode);
        records
            .filter(|record| self.adopt(record.entry(elapsed_ns, now.monotonic_ns)))
            .count()
    }
}

struct Record {
    key: u128,
    level: u128,
    age_ns: u64,
    full_after_ns: u64,
}

impl Record {
    /// When the process started before the bucket was last used (as after a reboot), the time before the start is lost:
    /// the bucket refills less than it should, never more.
    fn entry(&self, elapsed_ns: u64, now: u64) -> Entry {
        let at = now.saturating_sub(self.age_ns.saturating_add(elapsed_ns));
        let full_at = now.saturating_add(self.full_after_ns.saturating_sub(elapsed_ns));
        Entry {
            key: self.key,
            bucket: Bucket { level: self.level, at },
            full_at,
        }
    }
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let (key, rest) = bytes.split_first_chunk::<16>()?;
    let (level, rest) = rest.split_first_chunk::<16>()?;
    let (age, rest) = rest.split_first_chunk::<8>()?;
    let (full, _) = rest.split_first_chunk::<8>()?;
    Some(Record {
        key: u128::from_le_bytes(*key),
        level: u128::from_le_bytes(*level),
        age_ns: u64::from_le_bytes(*age),
        full_after_ns: u64::from_le_bytes(*full),
    })
}
