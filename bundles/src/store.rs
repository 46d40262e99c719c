//! What survives a restart: the version floor, the last good bundle, what is tried beside it, and kill switches set at run
//! time.
//!
//! A promise is made only after fsync; a file is replaced whole or not at all; and a file that cannot be read or is not
//! what was written stops the start rather than being forgotten, for with it the floor would be forgotten too. Whether a
//! bundle is good is not decided here.

mod disk;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::{RuntimeSwitch, RuntimeSwitches};
use crate::seal::{SealError, Vault};
use crate::version::Floor;

pub use disk::{Disk, RealDisk};
use record::Kind;

/// The state directory.
pub struct Store {
    directory: PathBuf,
    disk: Box<dyn Disk>,
    vault: Arc<Vault>,
}

/// What was found in it.
#[derive(Debug, Default)]
pub struct State {
    /// The bundle accepted last, with its signatures, and the floor it set.
    pub last_good: Option<LastGood>,
    /// Kill switches set at run time.
    pub switches: RuntimeSwitches,
    /// The kill-switch document accepted last, with its signatures, and the floor it set.
    pub kill_document: Option<LastGood>,
    /// What is tried beside the last good bundle.
    pub rollout: Rollout,
}

/// What is tried beside the bundle in force, and what was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rollout {
    /// The bundle that is tried, with its signatures.
    pub tried: Option<LastGood>,
    /// The last one that was rolled back. It is not tried again.
    pub rolled_back: Option<Floor>,
}

/// A bundle or a document that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastGood {
    /// Its version and digest: nothing below is accepted.
    pub floor: Floor,
    /// Its bytes as received. They must be verified again before they are used.
    pub bytes: Vec<u8>,
}

/// Why the state cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full.
    #[error("the state directory's disk is full: cannot {action} {}: {source}", path.display())]
    Full {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file system is read-only, or the user may not write to it.
    #[error("the state directory cannot be written: cannot {action} {}: {source}", path.display())]
    ReadOnly {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another input or output error.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file is not what was written.
    #[error(
        "{} is damaged: {why}. Starting without it would forget which bundle versions were accepted. \
         Restore the state directory from a backup; or, to begin anew on purpose, check the bundle with \
         `portcullis bundle inspect` and remove {}",
        path.display(), directory.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// The state directory.
        directory: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be opened with the keys that there are, or cannot be sealed.
    #[error("{}: {why}", path.display())]
    Sealed {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: SealError,
    },
    /// Another process has accepted a later version in the meantime.
    #[error("version {wanted} is not above version {found}, which another process has accepted in the meantime")]
    Behind {
        /// The version to be written.
        wanted: u64,
        /// The version found.
        found: u64,
    },
}

impl StoreError {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "state-disk-full",
            Self::ReadOnly { .. } => "state-read-only",
            Self::Io { .. } => "state-io",
            Self::Corrupt { .. } => "state-corrupt",
            Self::Sealed { .. } => "state-sealed",
            Self::Behind { .. } => "state-behind",
        }
    }

    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full { action, path, source },
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
                Self::ReadOnly { action, path, source }
            }
            _ => Self::Io { action, path, source },
        }
    }
}

const LAST_GOOD: &str = "last-good";
const FLOOR: &str = "floor";
const SWITCHES: &str = "kill-switches";
const KILL_DOCUMENT: &str = "kill-document";
const COUNTERS: &str = "counters";
const ROLLOUT: &str = "rollout";

impl Store {
    /// Opens the state directory; makes it (mode 0700) when it is not there.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_on(directory, Box::new(RealDisk))
    }

    /// As [`Self::open`], on another disk.
    pub fn open_on(directory: impl Into<PathBuf>, disk: Box<dyn Disk>) -> Result<Self, StoreError> {
        let directory = directory.into();
        disk.make_directory(&directory)
            .map_err(|error| StoreError::io("create", &directory, error))?;
        let vault = Arc::new(Vault::clear());
        let store = Self { directory, disk, vault };
        store.remove_left_overs()?;
        Ok(store)
    }

    /// Seals what is written from now on, and opens what is read.
    #[must_use]
    pub fn with_vault(mut self, vault: Arc<Vault>) -> Self {
        self.vault = vault;
        self
    }

    /// Removes what processes that were killed while they wrote have left behind.
    fn remove_left_overs(&self) -> Result<(), StoreError> {
        let names = self.disk.names(&self.directory);
        for name in names.map_err(|error| StoreError::io("list", &self.directory, error))? {
            let writer = [LAST_GOOD, FLOOR, SWITCHES, KILL_DOCUMENT, COUNTERS, ROLLOUT]
                .iter()
                .find_map(|file| {
                    let rest = name.strip_prefix('.')?.strip_prefix(file)?;
                    rest.strip_prefix('.')?.parse::<u32>().ok()
                });
            if writer.is_some_and(|process| process != std::process::id() && !self.disk.is_running(process)) {
                // Not being able to is no reason not to start: reading does not need it.
                let _ = self.disk.remove(&self.directory.join(name));
            }
        }
        Ok(())
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads everything. No files: the first start.
    pub fn load(&self) -> Result<State, StoreError> {
        let last_good = self.last_good()?;
        let floor = self.floor()?;
        match (&last_good, floor) {
            (None, Some(floor)) => {
                let why = format!("it is missing, although version {} was accepted", floor.version);
                return Err(self.corrupt(LAST_GOOD, why));
            }
            (Some(last), Some(floor)) if last.floor.version < floor.version => {
                let why = format!(
                    "it holds version {}, although version {} was accepted",
                    last.floor.version, floor.version
                );
                return Err(self.corrupt(LAST_GOOD, why));
            }
            // A floor behind the bundle: the process ended between the two writes. The bundle's own counts.
            _ => {}
        }
        let mut rollout = self.rollout()?;
        // The process ended between the two writes of a bundle that has proven itself.
        let above = |floor: Floor| {
            last_good
                .as_ref()
                .is_some_and(|last| floor.version > last.floor.version)
        };
        rollout.tried = rollout.tried.filter(|tried| above(tried.floor));
        Ok(State {
            switches: self.switches()?,
            kill_document: self.kept(KILL_DOCUMENT, Kind::KillDocument)?,
            rollout,
            last_good,
        })
    }

    /// Writes a bundle that was accepted, as received, and its floor. When this returns, it survives a loss of power.
    pub fn commit(&self, floor: Floor, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(found) = self.last_good()?.map(|last| last.floor)
            && found != floor
            && found.version >= floor.version
        {
            return Err(StoreError::Behind {
                wanted: floor.version,
                found: found.version,
            });
        }
        // In this order: a floor without its bundle would be damage, a bundle without its floor is not.
        self.write(LAST_GOOD, Kind::LastGood, &record::with_header(&floor, bytes))?;
        self.write(FLOOR, Kind::Floor, &record::with_header(&floor, b""))
    }

    /// Writes a kill-switch document that was accepted, as received. When this returns, it survives a loss of power. One
    /// file holds the document and its floor, so that neither is ever without the other.
    pub fn commit_kill_document(&self, floor: Floor, bytes: &[u8]) -> Result<(), StoreError> {
        if let Some(found) = self.kept(KILL_DOCUMENT, Kind::KillDocument)?.map(|last| last.floor)
            && found != floor
            && found.version >= floor.version
        {
            return Err(StoreError::Behind {
                wanted: floor.version,
                found: found.version,
            });
        }
        self.write(KILL_DOCUMENT, Kind::KillDocument, &record::with_header(&floor, bytes))
    }

    /// Writes the kill switches set at run time.
    pub fn save_switches(&self, switches: &RuntimeSwitches) -> Result<(), StoreError> {
        let list: Vec<&RuntimeSwitch> = switches.iter().collect();
        let list = serde_json::to_vec(&list)
            .map_err(|error| StoreError::io("encode", &self.directory.join(SWITCHES), error.into()))?;
        self.write(SWITCHES, Kind::Switches, &list)
    }

    /// Writes what is tried and what was rolled back.
    pub fn save_rollout(&self, rollout: &Rollout) -> Result<(), StoreError> {
        let body = record::of_rollout(rollout);
        let body = body.map_err(|error| StoreError::io("encode", &self.directory.join(ROLLOUT), error.into()))?;
        self.write(ROLLOUT, Kind::Rollout, &body)
    }

    fn rollout(&self) -> Result<Rollout, StoreError> {
        let Some(body) = self.read(ROLLOUT, Kind::Rollout)? else {
            return Ok(Rollout::default());
        };
        record::rollout_of(&body).map_err(|error| self.corrupt(ROLLOUT, error.to_string()))
    }

    /// Writes counters, whatever they are made of.
    pub fn save_counters(&self, counters: &[u8]) -> Result<(), StoreError> {
        self.write(COUNTERS, Kind::Counters, counters)
    }

    /// The counters that were written last.
    pub fn counters(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(COUNTERS, Kind::Counters)
    }

    fn last_good(&self) -> Result<Option<LastGood>, StoreError> {
        self.kept(LAST_GOOD, Kind::LastGood)
    }

    fn kept(&self, name: &str, kind: Kind) -> Result<Option<LastGood>, StoreError> {
        let Some(body) = self.read(name, kind)? else {
            return Ok(None);
        };
        let (floor, bytes) = record::split_header(&body).map_err(|error| self.corrupt(name, error.to_string()))?;
        Ok(Some(LastGood {
            floor,
            bytes: bytes.to_vec(),
        }))
    }

    fn floor(&self) -> Result<Option<Floor>, StoreError> {
        let Some(body) = self.read(FLOOR, Kind::Floor)? else {
            return Ok(None);
        };
        let (floor, _) = record::split_header(&body).map_err(|error| self.corrupt(FLOOR, error.to_string()))?;
        Ok(Some(floor))
    }

    fn switches(&self) -> Result<RuntimeSwitches, StoreError> {
        let Some(body) = self.read(SWITCHES, Kind::Switches)? else {
            return Ok(RuntimeSwitches::default());
        };
        let list: Vec<RuntimeSwitch> =
            crate::json::from_slice(&body).map_err(|error| self.corrupt(SWITCHES, error.to_string()))?;
        RuntimeSwitches::from_list(list).map_err(|error| self.corrupt(SWITCHES, error.to_string()))
    }

    fn read(&self, name: &str, kind: Kind) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.directory.join(name);
        let bytes = match self.disk.read(&path, record::MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::io("read", &path, error)),
        };
        let bytes = self.vault.unseal(name, bytes).map_err(|why| match why {
            SealError::Damaged => self.corrupt(name, why.to_string()),
            why => StoreError::Sealed { path, why },
        })?;
        let body = record::decode(kind, bytes);
        body.map(Some).map_err(|error| self.corrupt(name, error.to_string()))
    }

    fn write(&self, name: &str, kind: Kind, body: &[u8]) -> Result<(), StoreError> {
        let path = self.directory.join(name);
        // The process id keeps two processes (a hand-over to a new binary) from writing to one file.
        let temporary = self.directory.join(format!(".{name}.{}", std::process::id()));
        let sealed = self.vault.seal(name, record::encode(kind, body));
        let sealed = sealed.map_err(|why| StoreError::Sealed {
            path: path.clone(),
            why,
        })?;
        let written = self.disk.write_new(&temporary, &sealed);
        let renamed = written
            .map_err(|error| StoreError::io("write", &temporary, error))
            .and_then(|()| {
                self.disk
                    .rename(&temporary, &path)
                    .map_err(|error| StoreError::io("replace", &path, error))
            });
        if renamed.is_err() {
            // Best effort: the next write takes the same name.
            let _ = self.disk.remove(&temporary);
        }
        renamed?;
        self.disk
            .sync_directory(&self.directory)
            .map_err(|error| StoreError::io("sync", &self.directory, error))
    }

    fn corrupt(&self, name: &str, why: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            path: self.directory.join(name),
            directory: self.directory.clone(),
            why: why.into(),
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.directory.display())
    }
}
