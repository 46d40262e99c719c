//! The key ring: the data keys of a state folder in one file, sealed with the state key. It is replaced whole or not at all.

use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use super::envelope::{self, DataKey};
use super::folder;
use super::key::{KeyId, StateKey, StateKeys};
use super::{SealError, VaultError};
use crate::store::{Disk as _, RealDisk};

/// The file.
pub const FILE: &str = "keyring";
/// Most data keys in it.
pub const MOST_KEYS: usize = 1_000;

const MAGIC: &str = "portcullis-keyring 1 ";
const LINE: usize = MAGIC.len() + 16 + 1;
const MAX_BYTES: usize = 1 << 20;

/// The data keys. The last one seals.
#[derive(Clone)]
pub(super) struct Ring {
    keys: Vec<DataKey>,
    current: DataKey,
    /// Files in the clear are still being sealed.
    taking_up: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    taking_up: bool,
    keys: Vec<WrittenKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenKey {
    id: String,
    key: String,
}

impl Drop for WrittenKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl Ring {
    /// The first of a folder.
    pub(super) fn fresh() -> Result<Self, SealError> {
        let current = DataKey::fresh()?;
        Ok(Self {
            keys: vec![current.clone()],
            current,
            taking_up: true,
        })
    }

    pub(super) const fn current(&self) -> &DataKey {
        &self.current
    }

    pub(super) const fn is_taking_up(&self) -> bool {
        self.taking_up
    }

    pub(super) fn taken_up(&mut self) {
        self.taking_up = false;
    }

    /// Another data key, which seals from now on.
    pub(super) fn add_key(&mut self) -> Result<(), SealError> {
        if self.keys.len() >= MOST_KEYS {
            return Err(SealError::RingFull);
        }
        self.current = DataKey::fresh()?;
        self.keys.push(self.current.clone());
        Ok(())
    }

    /// Without the keys of before.
    pub(super) fn only_current(&self) -> Self {
        Self {
            keys: vec![self.current.clone()],
            ..self.clone()
        }
    }

    /// Opens a file.
    pub(super) fn open(&self, name: &str, bytes: Vec<u8>) -> Result<Vec<u8>, SealError> {
        if !envelope::is_sealed(&bytes) {
            return if self.taking_up {
                Ok(bytes)
            } else {
                Err(SealError::Clear)
            };
        }
        let id = envelope::key_of(&bytes)?;
        let key = self.keys.iter().find(|key| key.id == id);
        envelope::open(key.ok_or(SealError::UnknownKey(id))?, name, bytes)
    }

    /// Whether a file need not be sealed anew.
    pub(super) fn is_current(&self, bytes: &[u8]) -> bool {
        envelope::key_of(bytes).is_ok_and(|id| id == self.current.id)
    }

    fn encode(&self, state_key: &StateKey) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.iter().map(|key| WrittenKey {
            id: key.id.to_string(),
            key: STANDARD.encode(key.bytes.as_slice()),
        });
        let written = Written {
            taking_up: self.taking_up,
            keys: keys.collect(),
        };
        let text = Zeroizing::new(serde_json::to_vec(&written).map_err(|_| SealError::Damaged)?);
        let line = format!("{MAGIC}{}\n", state_key.id());
        let mut file = line.clone().into_bytes();
        envelope::encrypt(state_key.bytes(), line.as_bytes(), &text, &mut file)?;
        Ok(file)
    }

    fn decode(mut file: Vec<u8>, keys: &StateKeys) -> Result<Self, SealError> {
        let body = file.split_off(LINE.min(file.len()));
        let id = file
            .strip_prefix(MAGIC.as_bytes())
            .and_then(|rest| rest.strip_suffix(b"\n"))
            .and_then(|id| std::str::from_utf8(id).ok())
            .and_then(|id| id.parse::<KeyId>().ok())
            .ok_or(SealError::Damaged)?;
        let state_key = keys.find(id).ok_or_else(|| SealError::OtherKey {
            found: id,
            ours: keys.ids(),
        })?;
        let text = Zeroizing::new(envelope::decrypt(state_key.bytes(), &file, body)?);
        let written: Written = serde_json::from_slice(&text).map_err(|_| SealError::Damaged)?;
        let keys = written.keys.iter().map(data_key).collect::<Option<Vec<_>>>();
        let keys = keys.ok_or(SealError::Damaged)?;
        Ok(Self {
            current: keys.last().cloned().ok_or(SealError::Damaged)?,
            keys,
            taking_up: written.taking_up,
        })
    }
}

fn data_key(written: &WrittenKey) -> Option<DataKey> {
    let decoded = Zeroizing::new(STANDARD.decode(&written.key).ok()?);
    let mut bytes = Zeroizing::new([0; 32]);
    if decoded.len() != bytes.len() {
        return None;
    }
    bytes.copy_from_slice(&decoded);
    let id = written.id.parse().ok()?;
    Some(DataKey { id, bytes })
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({})", self.current.id)
    }
}

/// The key ring of a folder, if it has one.
pub(super) fn read(directory: &Path, keys: &StateKeys) -> Result<Option<Ring>, VaultError> {
    let path = directory.join(FILE);
    let bytes = match RealDisk.read(&path, MAX_BYTES) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(folder::io("read", &path, error)),
    };
    Ring::decode(bytes, keys)
        .map(Some)
        .map_err(|why| VaultError::Seal { path, why })
}

/// Writes it. When this returns it survives a loss of power.
pub(super) fn write(directory: &Path, ring: &Ring, key: &StateKey) -> Result<(), VaultError> {
    let path = directory.join(FILE);
    let at = |why| VaultError::Seal {
        path: path.clone(),
        why,
    };
    let bytes = ring.encode(key).map_err(at)?;
    folder::replace(&path, &bytes)
}
