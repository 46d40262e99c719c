//! Buckets on their way to another process, as bytes. The monotonic clock of the other process may have another origin
//! (after a reboot), so times travel as ages.

use super::bucket::{Bucket, Packed};
use super::shard::Entry;
use super::table::BucketTable;
use crate::client::Now;

/// Bytes of one bucket.
pub const BUCKET_BYTES: usize = 16 + 16 + 16 + 8 + 8;

impl BucketTable {
    /// Appends every bucket that will not be full `lasting_ns` from now, at most `most`, and says how many.
    pub fn export(&self, now: Now, lasting_ns: u64, most: usize, out: &mut Vec<u8>) -> usize {
        let mut count = 0;
        self.entries(most, now.monotonic_ns.saturating_add(lasting_ns), &mut |entry| {
            let (key, bucket) = (entry.key, entry.bucket);
            let packed = bucket.packed(now.monotonic_ns);
            out.extend(key.to_le_bytes());
            out.extend(packed.level.to_le_bytes());
            out.extend(packed.refill.to_le_bytes());
            out.extend(packed.burst.to_le_bytes());
            out.extend(packed.span_ns.to_le_bytes());
            count += 1;
        });
        count
    }

    /// Takes buckets over that [`Self::export`] wrote `elapsed_ns` ago, and says how many. Keys that are in use here
    /// keep their bucket.
    ///
    /// When this process can know of less time than has passed (its clock began after the bucket was last used), the time
    /// before is lost: the bucket refills less than it should, never more.
    pub fn import(&self, buckets: &[u8], elapsed_ns: u64, now: Now) -> usize {
        let entries = buckets
            .chunks_exact(BUCKET_BYTES)
            .filter_map(|bytes| decode(bytes, elapsed_ns, now));
        entries.filter(|entry| self.adopt(*entry)).count()
    }
}

fn decode(bytes: &[u8], elapsed_ns: u64, now: Now) -> Option<Entry> {
    let (key, rest) = bytes.split_first_chunk::<16>()?;
    let (level, rest) = rest.split_first_chunk::<16>()?;
    let (refill, rest) = rest.split_first_chunk::<16>()?;
    let (burst, rest) = rest.split_first_chunk::<8>()?;
    let (span, _) = rest.split_first_chunk::<8>()?;
    let packed = Packed {
        level: i128::from_le_bytes(*level),
        refill: u128::from_le_bytes(*refill),
        burst: u64::from_le_bytes(*burst),
        span_ns: u64::from_le_bytes(*span),
    };
    Some(Entry {
        key: u128::from_le_bytes(*key),
        bucket: Bucket::unpacked(&packed, elapsed_ns, now.monotonic_ns)?,
    })
}
