//! The files of a state folder, all of them at once: sealing what is in the clear, sealing anew after a rotation, and
//! finding out that something is sealed. What else may lie in the folder is nobody's and is not touched.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::envelope;
use super::key::StateKeys;
use super::keyring::{self, Ring};
use super::{KEYRING, SealError, VaultError};
use crate::store::{Disk as _, RealDisk};

/// Files of a state folder, whoever writes them.
const FILES: [&str; 8] = [
    "last-good",
    "floor",
    "kill-switches",
    "kill-document",
    "counters",
    "rollout",
    "record",
    "record-key",
];
/// Its folders. Everything in the folders in them is sealed.
const FOLDERS: [&str; 1] = ["events"];
/// Largest file.
const MAX_BYTES: usize = 1 << 30;

/// The names of the files that are there, as paths in the folder.
fn names(directory: &Path) -> Result<Vec<String>, VaultError> {
    let mut names: Vec<String> = FILES.iter().map(|name| (*name).to_owned()).collect();
    for folder in FOLDERS {
        for inner in list(&directory.join(folder))? {
            let inner = format!("{folder}/{inner}");
            for file in list(&directory.join(&inner))? {
                // What begins with a dot was never finished.
                if !file.starts_with('.') {
                    names.push(format!("{inner}/{file}"));
                }
            }
        }
    }
    names.retain(|name| directory.join(name).is_file());
    Ok(names)
}

fn list(directory: &Path) -> Result<Vec<String>, VaultError> {
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    RealDisk.names(directory).map_err(|error| io("list", directory, error))
}

/// A first key ring, durable before anything is sealed with it.
pub(super) fn begin(directory: &Path, keys: &StateKeys) -> Result<Ring, VaultError> {
    RealDisk
        .make_directory(directory)
        .map_err(|error| io("create", directory, error))?;
    require_clear(directory)?;
    let path = directory.join(KEYRING);
    let ring = Ring::fresh().map_err(|why| VaultError::Seal { path, why })?;
    keyring::write(directory, &ring, &keys.key)?;
    Ok(ring)
}

/// Refuses a folder in which something is sealed.
pub(super) fn require_clear(directory: &Path) -> Result<(), VaultError> {
    let ring = directory.join(KEYRING);
    if ring.exists() {
        let why = SealError::NoKey;
        return Err(VaultError::Seal { path: ring, why });
    }
    for name in names(directory)? {
        let path = directory.join(name);
        let mut begin = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(64).read_to_end(&mut begin));
        read.map_err(|error| io("read", &path, error))?;
        if envelope::is_sealed(&begin) {
            let why = SealError::NoRing;
            return Err(VaultError::Seal { path, why });
        }
    }
    Ok(())
}

/// Seals every file that is not sealed with the current key; those in the clear too, while the ring takes them up.
pub(super) fn seal_all(directory: &Path, ring: &Ring) -> Result<(), VaultError> {
    for name in names(directory)? {
        let path = directory.join(&name);
        let at = |why| VaultError::Seal {
            path: path.clone(),
            why,
        };
        let bytes = RealDisk
            .read(&path, MAX_BYTES)
            .map_err(|error| io("read", &path, error))?;
        if ring.is_current(&bytes) {
            continue;
        }
        let plain = ring.open(&name, bytes).map_err(at)?;
        let sealed = envelope::seal(ring.current(), &name, &plain).map_err(at)?;
        replace(&path, &sealed)?;
    }
    Ok(())
}

/// Replaces a file whole. When this returns it survives a loss of power.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), VaultError> {
    RealDisk.replace(path, bytes).map_err(|error| io("write", path, error))
}

pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> VaultError {
    let path: PathBuf = path.to_owned();
    VaultError::Io { action, path, source }
}
