//! The state folder of a gateway: where it is, and the vault through which everything in it is read and written. What the
//! files mean is their owners' affair.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use portcullis_bundles::seal::{KeyError, SealError, StateKeys, Vault, VaultError, rotate_offline};
use portcullis_bundles::store::{Disk as _, RealDisk, Store, StoreError as FileError};
use portcullis_config::gateway::Config;
use portcullis_config::state::State;

use crate::store::{self, Lock, StoreError, lock_alone, lock_shared};

/// What the counters of a hand-over are sealed as. They lie beside the upgrade socket.
pub const HAND_OVER: &str = "hand-over counters";
/// Largest file.
const MAX_BYTES: usize = 1 << 30;

/// The state folder in use.
#[derive(Debug)]
pub struct StateFolder {
    directory: PathBuf,
    written: State,
    vault: Arc<Vault>,
    /// Nobody seals the folder's files anew while it is used.
    _lock: Option<Lock>,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A key cannot be read.
    #[error("state.key: {0}")]
    Key(#[from] KeyError),
    /// The folder cannot be opened with it.
    #[error("the state folder cannot be used: {0}")]
    Vault(#[from] VaultError),
    /// Its store cannot.
    #[error("the state folder cannot be used: {0}")]
    Store(#[from] StoreError),
    /// There is none, or no key.
    #[error("the configuration has no `{0}`")]
    Unconfigured(&'static str),
    /// Its key is being rotated.
    #[error("the key of {} is being rotated by another process", .0.display())]
    BeingRotated(PathBuf),
    /// A gateway uses the folder.
    #[error("a gateway runs with {}: rotate its key through its admin listener (`--admin`), or stop it first", .0.display())]
    InUse(PathBuf),
}

/// Two are the same where they are of the same folder: a process seals it in one way only.
impl PartialEq for StateFolder {
    fn eq(&self, other: &Self) -> bool {
        self.directory == other.directory
    }
}

/// The keys that a configuration refers to.
pub fn keys(written: &State) -> Result<Option<StateKeys>, KeyError> {
    let key = written.key.as_ref();
    key.map(|key| StateKeys::resolve(key, &written.previous_keys))
        .transpose()
}

impl StateFolder {
    /// Opens the folder of a configuration; `before` goes on where it is the same. Files in the clear are sealed where the
    /// configuration has a key.
    pub fn open(config: &Config, before: Option<&Arc<Self>>) -> Result<Option<Arc<Self>>, StateError> {
        let Some(directory) = config.state_dir() else {
            return Ok(None);
        };
        let keys = keys(&config.state)?;
        if let Some(before) = before.filter(|before| before.directory == directory) {
            // The next start must find the key that this one seals with.
            Vault::look(directory, keys.as_ref())?;
            return Ok(Some(Arc::clone(before)));
        }
        let mut lock = None;
        if keys.is_some() {
            let made = RealDisk.make_directory(directory);
            made.map_err(|error| StoreError::io("create", directory, error))?;
            let taken = lock_shared(directory)?;
            lock = Some(taken.ok_or_else(|| StateError::BeingRotated(directory.to_owned()))?);
        }
        let vault = Vault::open::<StateError>(directory, keys.as_ref(), |vault| {
            Ok(store::seal_anew(directory, vault)?)
        })?;
        Ok(Some(Arc::new(Self {
            directory: directory.to_owned(),
            written: config.state.clone(),
            vault: Arc::new(vault),
            _lock: lock,
        })))
    }

    /// A folder in the clear.
    #[cfg(test)]
    pub(crate) fn clear(directory: &Path) -> Arc<Self> {
        Arc::new(Self {
            directory: directory.to_owned(),
            written: State::default(),
            vault: Arc::new(Vault::clear()),
            _lock: None,
        })
    }

    /// The folder.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What its files are sealed with.
    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    /// Whether a start would seal otherwise than this process does.
    pub fn needs_restart(&self, now: &State) -> bool {
        self.written.key.is_some() != now.key.is_some()
    }

    /// The bundle's files in it.
    pub fn files(&self) -> Result<Store, FileError> {
        Store::open(&self.directory).map(|store| store.with_vault(Arc::clone(&self.vault)))
    }

    /// What a file holds.
    pub fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        read(&self.directory, name, &self.vault)
    }

    /// Replaces a file whole.
    pub fn replace(&self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        RealDisk.make_directory(&self.directory)?;
        let sealed = self.vault.seal(name, bytes).map_err(io::Error::other)?;
        RealDisk.replace(&self.directory.join(name), &sealed)
    }

    /// Puts the folder of a running gateway under the key that the configuration refers to by now.
    pub fn rotate(&self, now: &State) -> Result<(), StateError> {
        let keys = keys(now)?.ok_or(StateError::Unconfigured("state.key"))?;
        if self.vault.rotate(&self.directory, &keys)? {
            return Ok(());
        }
        Err(VaultError::NothingSealed(self.directory.clone()).into())
    }
}

/// What a file of a folder holds.
pub fn read(directory: &Path, name: &str, vault: &Vault) -> io::Result<Vec<u8>> {
    let bytes = RealDisk.read(&directory.join(name), MAX_BYTES)?;
    vault.unseal(name, bytes).map_err(io::Error::other)
}

/// Seals a text for the next process, where there is a key.
pub fn seal_for_next(folder: Option<&StateFolder>, bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
    match folder {
        Some(folder) => folder.vault.seal(HAND_OVER, bytes),
        None => Ok(bytes),
    }
}

/// The text that the process before has left.
pub fn unseal_from_last(folder: Option<&StateFolder>, bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
    match folder {
        Some(folder) => folder.vault.unseal(HAND_OVER, bytes),
        None => Ok(bytes),
    }
}

/// Puts the folder of a configuration under another key while no gateway uses it, and seals everything in it anew.
pub fn rotate(config: &Config) -> Result<PathBuf, StateError> {
    let directory = config.state_dir().ok_or(StateError::Unconfigured("state.dir"))?;
    let keys = keys(&config.state)?.ok_or(StateError::Unconfigured("state.key"))?;
    if !directory.exists() {
        return Err(VaultError::NothingSealed(directory.to_owned()).into());
    }
    let Some(_lock) = lock_alone(directory)? else {
        return Err(StateError::InUse(directory.to_owned()));
    };
    rotate_offline(directory, &keys, |vault| {
        store::seal_anew(directory, vault).map_err(StateError::from)
    })?;
    Ok(directory.to_owned())
}
