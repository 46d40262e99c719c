//! The buckets, from the very files that the gateway is built from, with the locks and atomics of a scheduler that tries
//! every order.

#[path = "../../src/buckets/arithmetic.rs"]
mod arithmetic;
#[path = "../../src/buckets/bucket.rs"]
mod bucket;
#[path = "../../src/buckets/charge.rs"]
mod charge;
#[path = "../../src/buckets/key.rs"]
mod key;
#[path = "../../src/buckets/shard.rs"]
mod shard;
#[path = "../../src/buckets/table.rs"]
mod table;
#[path = "../../src/buckets/window.rs"]
mod window;

mod sync {
    pub(super) use shuttle::sync::atomic::AtomicU64;
    pub(super) use shuttle::sync::{Mutex, MutexGuard};
}

pub use arithmetic::{Cost, Params};
pub use charge::{Charge, Reserved};
pub use key::KeyHasher;
pub use table::BucketTable;
pub use window::Window;
