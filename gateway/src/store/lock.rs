//! Who may write a state folder: locks that end with the process, however it ends.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::StoreError;

/// Held by every gateway that uses the folder.
const IN_USE: &str = "lock";
/// Held by the one that writes the store.
const WRITER: &str = "store.lock";

/// A lock, until it is dropped.
#[derive(Debug)]
pub struct Lock(#[allow(dead_code)] File);

/// Says that the folder is in use. `None`: somebody wants it alone.
pub fn lock_shared(directory: &Path) -> Result<Option<Lock>, StoreError> {
    take(directory, IN_USE, FlockOperation::NonBlockingLockShared)
}

/// The folder for one process alone. `None`: it is in use.
pub fn lock_alone(directory: &Path) -> Result<Option<Lock>, StoreError> {
    take(directory, IN_USE, FlockOperation::NonBlockingLockExclusive)
}

/// The right to write the store. `None`: another process has it.
pub(super) fn writer(directory: &Path) -> Result<Option<Lock>, StoreError> {
    take(directory, WRITER, FlockOperation::NonBlockingLockExclusive)
}

fn take(directory: &Path, name: &str, how: FlockOperation) -> Result<Option<Lock>, StoreError> {
    let path = directory.join(name);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| StoreError::io("open", &path, error))?;
    match flock(&file, how) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(StoreError::io("lock", &path, error.into())),
    }
}
