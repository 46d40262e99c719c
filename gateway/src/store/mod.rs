//! The embedded store: what must survive a crash and changes at run time, as rows of a key and a value in tables. What rows
//! mean is their owners' affair. It is not read while requests are served: an owner keeps its rows in memory, as a [`Rows`].
//!
//! ```text
//! Store::open(directory, vault)        every row is read and checked; a damaged file is refused
//! store.attach(Table::X, rows)         rows.apply(key, Some(value)) for each, and from now on for each that is written
//! store.write(changes).await           all of `changes` or none; when it returns they are on the disk and in `rows`
//! ```
//!
//! One file of the state folder, `store`: sealed frames, each with the changes of one write, appended by one thread and
//! written to the disk before a write is acknowledged. Frames that are outdated are left out when the file is written anew.
//! A log fits what is asked: rows are only read whole, every byte is authenticated, and a hand-over to a new process has two
//! readers for a moment. Keys are sealed as values are; secrets are not to be keys nevertheless: use a keyed hash.

mod error;
mod frame;
mod lock;
mod log;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use portcullis_bundles::seal::Vault;
use tokio::sync::oneshot;

pub use self::error::StoreError;
pub use self::frame::{Change, MAX_KEY, MAX_VALUE};
pub use self::lock::{Lock, lock_alone, lock_shared};

use self::log::Log;
use self::writer::{Order, Writer};

/// The file in the state folder.
pub const FILE: &str = "store";
/// Writes that wait for the disk at most. More are refused.
const MOST_WAITING: usize = 1_024;

/// Whose rows they are. A number that was given once is never given to another table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Keys of callers, as keyed hashes.
    ApiKeys = 1,
}

impl Table {
    const fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::ApiKeys),
            _ => None,
        }
    }
}

/// The rows of a table, in memory.
pub trait Rows: Send + Sync + 'static {
    /// A row is there (`value`) or gone (`None`). May be told again of what it knows. An error at the start refuses the
    /// start: such a row was written by something else.
    fn apply(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), String>;
}

/// The store of one state folder.
#[derive(Clone)]
pub struct Store {
    orders: SyncSender<Order>,
}

impl Store {
    /// Opens the store of a folder, with every row read and checked. This is I/O.
    pub fn open(directory: &Path, vault: Arc<Vault>) -> Result<Self, StoreError> {
        let (orders, received) = sync_channel(MOST_WAITING);
        let writer = Writer::open(directory, vault, received)?;
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| StoreError::io("start the writer of", &directory.join(FILE), error))?;
        Ok(Self { orders })
    }

    /// Tells `rows` of every row of a table, and keeps them told. One owner a table: a later one takes its place. To be
    /// called where waiting is allowed, not from a task.
    pub fn attach(&self, table: Table, rows: Arc<dyn Rows>) -> Result<(), StoreError> {
        let (done, told) = oneshot::channel();
        self.send(Order::Attach { table, rows, done })?;
        told.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    /// Writes all of the changes or none. When this returns, they survive a loss of power and the owner of the rows knows
    /// them. What is not acknowledged may have been written or not.
    pub async fn write(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let written = self.begin(changes)?;
        written.await.unwrap_or(Err(StoreError::Closed))
    }

    /// The same, where waiting is allowed.
    pub fn write_blocking(&self, changes: Vec<Change>) -> Result<(), StoreError> {
        let written = self.begin(changes)?;
        written.blocking_recv().unwrap_or(Err(StoreError::Closed))
    }

    fn begin(&self, changes: Vec<Change>) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        frame::check(&changes)?;
        let (done, written) = oneshot::channel();
        self.send(Order::Write { changes, done })?;
        Ok(written)
    }

    /// Lets another process write: what was asked so far is written first, and later writes are refused.
    pub fn release(&self) {
        let (done, released) = oneshot::channel();
        if self.send(Order::Release { done }).is_ok() {
            let _ = released.blocking_recv();
        }
    }

    fn send(&self, order: Order) -> Result<(), StoreError> {
        self.orders.try_send(order).map_err(|error| match error {
            TrySendError::Full(_) => StoreError::Busy,
            TrySendError::Disconnected(_) => StoreError::Closed,
        })
    }
}

/// Writes a folder's store anew, sealed as `vault` seals now. For a folder that no other process writes to.
pub fn seal_anew(directory: &Path, vault: &Vault) -> Result<(), StoreError> {
    let path = directory.join(FILE);
    if !path.exists() {
        return Ok(());
    }
    let Some(_lock) = lock::writer(directory)? else {
        return Err(StoreError::Elsewhere);
    };
    Log::open(directory, vault, true)?.compact(vault)
}
