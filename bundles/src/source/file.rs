//! A bundle in a file. Kubernetes mounts a ConfigMap's file as a link through `..data` to a dated directory and swaps
//! `..data`: the name stays, the file behind it is another one. The fingerprint is therefore that of the file behind
//! all links.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A bundle's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    path: PathBuf,
}

/// Changes whenever the file behind the path is replaced or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    resolved: PathBuf,
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is too large.
    #[error("{} has more than {max} bytes, which policy.max_bytes allows", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound.
        max: u64,
    },
    /// It is a directory, a socket or the like.
    #[error("{} is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl FileSource {
    /// The file at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path as configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The fingerprint of what is there now.
    pub fn fingerprint(&self) -> Result<Fingerprint, FileError> {
        let resolved = fs::canonicalize(&self.path).map_err(|source| self.error(source))?;
        let metadata = fs::metadata(&resolved).map_err(|source| self.error(source))?;
        Ok(Fingerprint::of(resolved, &metadata))
    }

    /// Reads the file with its fingerprint. If it is written to meanwhile, the bytes may be torn: their signature will
    /// say so, and the fingerprint, taken before, will have changed at the next look.
    pub fn read(&self, max_bytes: u64) -> Result<(Vec<u8>, Fingerprint), FileError> {
        let resolved = fs::canonicalize(&self.path).map_err(|source| self.error(source))?;
        // Asked before it is opened: opening a pipe would wait for a writer.
        if !fs::metadata(&resolved).map_err(|source| self.error(source))?.is_file() {
            return Err(FileError::NotAFile {
                path: self.path.clone(),
            });
        }
        let file = File::open(&resolved).map_err(|source| self.error(source))?;
        let metadata = file.metadata().map_err(|source| self.error(source))?;
        let fingerprint = Fingerprint::of(resolved, &metadata);
        let mut bytes = Vec::with_capacity(usize::try_from(metadata.len().min(max_bytes)).unwrap_or(0));
        let mut limited = file.take(max_bytes.saturating_add(1));
        limited.read_to_end(&mut bytes).map_err(|source| self.error(source))?;
        if bytes.len() as u64 > max_bytes {
            return Err(FileError::TooLarge {
                path: self.path.clone(),
                max: max_bytes,
            });
        }
        Ok((bytes, fingerprint))
    }

    fn error(&self, source: io::Error) -> FileError {
        FileError::Io {
            path: self.path.clone(),
            source,
        }
    }
}

impl Fingerprint {
    fn of(resolved: PathBuf, metadata: &Metadata) -> Self {
        Self {
            resolved,
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
