//! Why the store cannot be opened or written.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_bundles::seal::SealError;

/// Why the store cannot be opened or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the state folder's disk is full: cannot {action} {}: {source}", path.display())]
    DiskFull {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// Another input or output error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },
    /// The file is not what was written.
    #[error(
        "{} is damaged at byte {at}: {why}. Starting without it would forget what was revoked. Restore the state folder \
         from a backup; or, to begin anew on purpose, remove the file and every key and session with it",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// A row cannot be sealed.
    #[error("cannot seal a row: {0}")]
    Seal(Arc<SealError>),
    /// A row makes no sense to its owner.
    #[error("a row of the store cannot be used: {0}")]
    Row(String),
    /// A key, a value or a write is larger than may be.
    #[error("{0}")]
    TooLarge(&'static str),
    /// The file is as large as it may be.
    #[error("the store is full: {0} bytes")]
    Full(u64),
    /// Too many writes wait for the disk.
    #[error("too many writes wait for the disk")]
    Busy,
    /// Another process writes the store.
    #[error("another process writes the store of this folder")]
    Elsewhere,
    /// The disk failed in a way after which nothing can be promised any more.
    #[error("the store's disk has failed before; nothing is written until the next start")]
    Broken,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, kind, source) = (path.to_owned(), source.kind(), Arc::new(source));
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { action, path, source },
            _ => Self::Io { action, path, source },
        }
    }
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        Self::Seal(Arc::new(error))
    }
}
