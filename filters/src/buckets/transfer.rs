//! Buckets on their way to another process, as bytes. The monotonic clock of the other process may have another origin
//! (after a reboot), so times travel as ages.

use super::arithmetic::{Bucket, Params};
use super::shard::Entry;
use super::table::BucketTable;
use crate::client::Now;

/// Bytes of one bucket.
pub const BUCKET_BYTES: usize = 16 + 16 + 16 + 8 + 8;

impl BucketTable {
    /// Appends every bucket that is not full, at most `most`, and says how many.
    pub fn export(&self, now: Now, most: usize, out: &mut Vec<u8>) -> usize {
        let mut count = 0;
        self.entries(most, now.monotonic_ns, &mut |entry| {
            let (key, bucket) = (entry.key, entry.bucket);
            let params = bucket.params();
            out.extend(key.to_le_bytes());
            out.extend(bucket.level().to_le_bytes());
            out.extend(params.rate.to_le_bytes());
            out.extend(params.burst.to_le_bytes());
            out.extend(now.monotonic_ns.saturating_sub(bucket.at).to_le_bytes());
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
    let (rate, rest) = rest.split_first_chunk::<16>()?;
    let (burst, rest) = rest.split_first_chunk::<8>()?;
    let (age, _) = rest.split_first_chunk::<8>()?;
    let age_ns = u64::from_le_bytes(*age).saturating_add(elapsed_ns);
    let params = Params {
        rate: u128::from_le_bytes(*rate),
        burst: u64::from_le_bytes(*burst),
    };
    let at = now.monotonic_ns.saturating_sub(age_ns);
    (params.rate > 0).then_some(Entry {
        key: u128::from_le_bytes(*key),
        bucket: Bucket::new(u128::from_le_bytes(*level), params, at),
    })
}
