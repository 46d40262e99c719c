//! Exact token buckets by key: the algorithm under `rate_limit` and `policy`. Who is counted, and what becomes of an
//! answer, is theirs.

mod arithmetic;
mod key;
mod shard;
mod table;
#[cfg(test)]
mod tests;
mod transfer;

pub use arithmetic::{Cost, MAX_TOKENS, Params, Taken};
pub use key::{BucketKey, KeyHasher};
pub use table::{BucketTable, Charge};
pub use transfer::BUCKET_BYTES;
