//! State at rest: files of the state folder are sealed with AES-256-GCM under data keys, and the data keys under the state
//! key that the configuration refers to. What the files hold is their owners' affair; nothing here is done per request.
//!
//! A sealed file names its data key, has a random salt and nonce of its own, and its name in the folder is part of what is
//! authenticated, so that no byte can be changed and no file can stand in for another. Data keys are in one small file, the
//! key ring, sealed with the state key: another state key is one file replaced.

mod envelope;
mod folder;
mod key;
mod keyring;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

pub use key::{KeyError, KeyId, StateKey, StateKeys};
pub use keyring::{FILE as KEYRING, MOST_KEYS};

use keyring::Ring;

/// Seals and opens the files of one state folder.
#[derive(Debug)]
pub struct Vault {
    /// `None`: there is no state key, and state is in the clear.
    ring: Option<RwLock<Arc<Ring>>>,
}

/// Why something cannot be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It is sealed, and there is no key.
    #[error("it is sealed, and the configuration has no `state.key`")]
    NoKey,
    /// The folder was sealed with another state key.
    #[error("it is sealed with the state key {found}, and the configuration has {ours}")]
    OtherKey {
        /// The id of the key it was sealed with.
        found: KeyId,
        /// The ids of the configured keys.
        ours: String,
    },
    /// It names a data key that the key ring does not have.
    #[error("it is sealed with the data key {0}, which the key ring of this folder does not have")]
    UnknownKey(KeyId),
    /// It is not what was sealed.
    #[error("it is not what was sealed: a byte was changed, or it was sealed as another file")]
    Damaged,
    /// It is in the clear where everything is sealed.
    #[error("it is in the clear, in a folder whose files are sealed: somebody else has written it")]
    Clear,
    /// The key ring is gone.
    #[error("it is sealed, and the key ring of the folder (`{KEYRING}`) is missing")]
    NoRing,
    /// The key ring has no room for another data key.
    #[error(
        "the key ring has {MOST_KEYS} data keys: rotate the key once while no gateway runs, which seals all files anew"
    )]
    RingFull,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoEntropy,
}

/// Why a state folder cannot be opened, or its key not rotated.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// A file cannot be opened or sealed.
    #[error("{}: {why}", path.display())]
    Seal {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: SealError,
    },
    /// A file cannot be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing in the folder is sealed.
    #[error("nothing in {} is sealed: it is when a gateway with `state.key` starts", .0.display())]
    NothingSealed(PathBuf),
}

impl Vault {
    /// State in the clear, whatever is in the folder.
    pub const fn clear() -> Self {
        Self { ring: None }
    }

    /// Opens a folder's state. With keys, what is in the clear is sealed, once; without, a sealed folder is refused.
    /// `also` seals what is not a file of its own, through the vault that it is given.
    pub fn open<E: From<VaultError>>(
        directory: &Path,
        keys: Option<&StateKeys>,
        also: impl FnOnce(&Self) -> Result<(), E>,
    ) -> Result<Self, E> {
        let Some(keys) = keys else {
            folder::require_clear(directory)?;
            return Ok(Self::clear());
        };
        let mut ring = match keyring::read(directory, keys)? {
            Some(ring) => ring,
            None => folder::begin(directory, keys)?,
        };
        if ring.is_taking_up() {
            folder::seal_all(directory, &ring)?;
            also(&Self::of(ring.clone()))?;
            ring.taken_up();
            keyring::write(directory, &ring, &keys.key)?;
        }
        Ok(Self::of(ring))
    }

    /// The state of a folder that is only looked at: nothing is written, and what is in the clear stays so.
    pub fn look(directory: &Path, keys: Option<&StateKeys>) -> Result<Self, VaultError> {
        let ring = match keys {
            Some(keys) => keyring::read(directory, keys)?,
            None => None,
        };
        match ring {
            Some(ring) => Ok(Self::of(ring)),
            None => folder::require_clear(directory).map(|()| Self::clear()),
        }
    }

    fn of(ring: Ring) -> Self {
        Self {
            ring: Some(RwLock::new(Arc::new(ring))),
        }
    }

    /// Whether what is written is sealed.
    pub const fn is_sealed(&self) -> bool {
        self.ring.is_some()
    }

    /// What to write in a file: `plain`, sealed where there is a key. `name`: the file's path in the state folder, or
    /// another text that says what this is and that nothing else has.
    pub fn seal(&self, name: &str, plain: Vec<u8>) -> Result<Vec<u8>, SealError> {
        match self.ring() {
            Some(ring) => envelope::seal(ring.current(), name, &plain),
            None => Ok(plain),
        }
    }

    /// What a file of this name holds.
    pub fn unseal(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
        match self.ring() {
            Some(ring) => ring.open(name, bytes),
            None if envelope::is_sealed(&bytes) => Err(SealError::NoKey),
            None => Ok(bytes),
        }
    }

    /// Puts the folder under `keys.key` with a new data key, which everything written from now on is sealed with. When
    /// this returns, the old state key is not needed any more. False: state is in the clear, and there is nothing to do.
    pub fn rotate(&self, directory: &Path, keys: &StateKeys) -> Result<bool, VaultError> {
        let Some(held) = &self.ring else { return Ok(false) };
        let mut held = held.write().unwrap_or_else(PoisonError::into_inner);
        let mut ring = Ring::clone(&held);
        let at_ring = |why| VaultError::Seal {
            path: directory.join(KEYRING),
            why,
        };
        ring.add_key().map_err(at_ring)?;
        keyring::write(directory, &ring, &keys.key)?;
        *held = Arc::new(ring);
        Ok(true)
    }

    fn ring(&self) -> Option<Arc<Ring>> {
        let ring = self.ring.as_ref()?;
        Some(Arc::clone(&ring.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// Rotates the key of a folder that no gateway uses, and seals all of its files anew: the data keys of before are gone
/// then. `also` seals anew what is not a file of its own; it is done before they go.
pub fn rotate_offline<E: From<VaultError>>(
    directory: &Path,
    keys: &StateKeys,
    also: impl FnOnce(&Vault) -> Result<(), E>,
) -> Result<(), E> {
    if !directory.join(KEYRING).exists() {
        folder::require_clear(directory)?;
        return Err(VaultError::NothingSealed(directory.to_owned()).into());
    }
    let vault = Vault::open::<VaultError>(directory, Some(keys), |_| Ok(()))?;
    vault.rotate(directory, keys)?;
    let Some(ring) = vault.ring() else { return Ok(()) };
    folder::seal_all(directory, &ring)?;
    also(&vault)?;
    Ok(keyring::write(directory, &ring.only_current(), &keys.key)?)
}
