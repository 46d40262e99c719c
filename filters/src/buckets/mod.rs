//! Exact counters by key: what `rate_limit` and `policy` charge to. Who is counted, and what becomes of an answer, is
//! theirs.
//!
//! Every counter is a bucket of tokens that refills steadily ([`Params::new`]) or all at once when a window is over
//! ([`Params::window`]: a span of UTC, or one that begins with the first request). So limits of all kinds are charged in one
//! transaction, [`BucketTable::take_all`], and what is taken can be given back or corrected later by its [`Reserved`].

mod arithmetic;
mod bucket;
mod charge;
mod key;
mod shard;
mod sync;
mod table;
#[cfg(test)]
mod tests;
mod transfer;
mod window;

pub use arithmetic::{Cost, MAX_TOKENS, Params, Taken};
pub use charge::{Charge, NoRoom, Reserved};
pub use key::{BucketKey, KeyHasher, ScopedHasher};
pub use table::BucketTable;
pub use transfer::BUCKET_BYTES;
pub use window::Window;
