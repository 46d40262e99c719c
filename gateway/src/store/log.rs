//! The store's file: read whole, appended to, written anew. One process at a time may change it; who that is, is not known
//! here.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write as _};
use std::path::{Path, PathBuf};

use portcullis_bundles::seal::Vault;
use portcullis_bundles::store::{Disk as _, RealDisk};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::frame::{self, BEGIN, Change, HEAD, ID};
use super::{FILE, StoreError, Table};

/// Largest file.
const MAX_FILE: u64 = 1 << 30;
/// A smaller file is not written anew.
const SMALL: u64 = 4 << 20;

/// What is asked of the open file, so that tests can put one in that fails.
pub(super) trait Medium: Send {
    /// Writes at the end.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns once everything is on the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Where a row that is there was written last.
#[derive(Debug, Clone, Copy)]
struct Place {
    frame: u64,
    bytes: u64,
}

/// The file and what is known of it. Values are not kept.
pub(super) struct Log {
    path: PathBuf,
    id: [u8; ID],
    /// `None`: there is no file yet, and it is another process's to make one.
    medium: Option<Box<dyn Medium>>,
    /// The bytes that are right.
    length: u64,
    /// Frames in the file.
    frames: u64,
    index: HashMap<(Table, Box<[u8]>), Place>,
    /// Bytes of the rows that are there.
    live: u64,
    /// The file is not written anew before it has this length.
    compact_at: u64,
    broken: bool,
}

impl Log {
    /// Reads and checks the file. `owner`: makes it when it is not there, and cuts off what was never acknowledged.
    pub(super) fn open(directory: &Path, vault: &Vault, owner: bool) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        if owner && !path.exists() {
            create(&path, &fresh_id(&path)?)?;
        }
        let mut log = Self {
            path,
            id: [0; ID],
            medium: None,
            length: 0,
            frames: 0,
            index: HashMap::new(),
            live: 0,
            compact_at: SMALL,
            broken: false,
        };
        if !log.path.exists() {
            return Ok(log);
        }
        let Scanned { id, length, is_torn } = scan(&log.path, vault, |frame, changes| {
            for change in changes {
                log_row(&mut log.index, &mut log.live, frame, &change);
            }
            log.frames = frame + 1;
        })?;
        (log.id, log.length) = (id, length);
        if owner {
            let file = OpenOptions::new().append(true).open(&log.path);
            let mut file = file.map_err(|error| StoreError::io("open", &log.path, error))?;
            if is_torn {
                tracing::warn!(path = %log.path.display(), length, "the store ends in a write that was never acknowledged; it is cut off");
                Medium::truncate(&mut file, length)
                    .and_then(|()| file.sync_all())
                    .map_err(|error| StoreError::io("cut", &log.path, error))?;
            }
            log.medium = Some(Box::new(file));
        }
        Ok(log)
    }

    /// Appends writes, each whole or not at all. When this returns, they survive a loss of power.
    pub(super) fn append(&mut self, vault: &Vault, writes: &[&[Change]]) -> Result<(), StoreError> {
        if self.broken {
            return Err(StoreError::Broken);
        }
        let mut bytes = Vec::new();
        for (number, changes) in (self.frames..).zip(writes) {
            seal_frame(vault, &self.id, number, changes, &mut bytes)?;
        }
        let grown = self.length + bytes.len() as u64;
        if grown > MAX_FILE {
            return Err(StoreError::Full(MAX_FILE));
        }
        let Some(medium) = &mut self.medium else {
            return Err(StoreError::Elsewhere);
        };
        if let Err(error) = medium.append(&bytes) {
            // A part may have been written: it must not stand before what is appended next.
            self.broken = medium.truncate(self.length).is_err();
            return Err(StoreError::io("append to", &self.path, error));
        }
        if let Err(error) = medium.sync() {
            // The system may have dropped what it could not write and call the next attempt a success.
            self.broken = true;
            return Err(StoreError::io("sync", &self.path, error));
        }
        for changes in writes {
            for change in *changes {
                log_row(&mut self.index, &mut self.live, self.frames, change);
            }
            self.frames += 1;
        }
        self.length = grown;
        Ok(())
    }

    /// The rows of a table.
    pub(super) fn rows(&self, vault: &Vault, table: Option<Table>) -> Result<Vec<Change>, StoreError> {
        let mut rows = Vec::new();
        if self.path.exists() {
            scan(&self.path, vault, |frame, changes| {
                let wanted = changes.into_iter().filter(|change| {
                    let key = (change.table, change.key.clone());
                    let place = self.index.get(&key);
                    table.is_none_or(|table| change.table == table) && place.is_some_and(|place| place.frame == frame)
                });
                rows.extend(wanted.filter(|change| change.value.is_some()));
            })?;
        }
        Ok(rows)
    }

    /// The keys of a table.
    pub(super) fn keys(&self, table: Table) -> impl Iterator<Item = &[u8]> {
        let keys = self.index.keys().filter(move |(of, _)| *of == table);
        keys.map(|(_, key)| &**key)
    }

    /// Whether most of the file is outdated.
    pub(super) fn wants_compaction(&self) -> bool {
        self.medium.is_some() && self.length >= self.compact_at && self.length / 2 > self.live
    }

    /// Writes the file anew with the rows that are there. On an error the old one stays in use.
    pub(super) fn compact(&mut self, vault: &Vault) -> Result<(), StoreError> {
        self.compact_at = self.length.saturating_mul(2).max(SMALL);
        let id = fresh_id(&self.path)?;
        let mut bytes = frame::begin(&id);
        for (number, changes) in (0..).zip(frame::pieces(self.rows(vault, None)?)) {
            seal_frame(vault, &id, number, &changes, &mut bytes)?;
        }
        replace(&self.path, &bytes)?;
        // The old file is not appended to any more, whatever happens now.
        self.medium = None;
        self.broken = true;
        let directory = self.path.parent().unwrap_or(Path::new(".")).to_owned();
        *self = Self::open(&directory, vault, true)?;
        self.compact_at = self.length.saturating_mul(2).max(SMALL);
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn put_medium(&mut self, medium: Box<dyn Medium>) {
        self.medium = Some(medium);
    }
}

fn log_row(index: &mut HashMap<(Table, Box<[u8]>), Place>, live: &mut u64, frame: u64, change: &Change) {
    let key = (change.table, change.key.clone());
    let before = match &change.value {
        Some(_) => {
            let bytes = change.bytes() as u64;
            *live += bytes;
            index.insert(key, Place { frame, bytes })
        }
        None => index.remove(&key),
    };
    *live -= before.map_or(0, |before| before.bytes.min(*live));
}

fn seal_frame(
    vault: &Vault,
    id: &[u8; ID],
    number: u64,
    changes: &[Change],
    out: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let sealed = vault.seal(&frame::name(id, number), frame::encode(id, number, changes))?;
    let length = u32::try_from(sealed.len()).map_err(|_| StoreError::TooLarge("a write to the store is too large"))?;
    out.extend_from_slice(&frame::head(id, number, length));
    out.extend_from_slice(&sealed);
    Ok(())
}

/// What a file was found to be.
struct Scanned {
    id: [u8; ID],
    /// The bytes that are right.
    length: u64,
    /// Whether it ends in a frame that was being written.
    is_torn: bool,
}

/// Reads every frame.
fn scan(path: &Path, vault: &Vault, mut each: impl FnMut(u64, Vec<Change>)) -> Result<Scanned, StoreError> {
    let at_file = |error| StoreError::io("read", path, error);
    let file = File::open(path).map_err(at_file)?;
    let whole = file.metadata().map_err(at_file)?.len();
    let mut file = BufReader::with_capacity(256 << 10, file.take(MAX_FILE + 1));
    let damaged = |at: u64, why: &str| StoreError::Damaged {
        path: path.to_owned(),
        at,
        why: why.to_owned(),
    };
    let mut begin = [0; BEGIN];
    read_up_to(&mut file, &mut begin).map_err(at_file)?;
    let id = frame::id_of(&begin).ok_or_else(|| damaged(0, "it does not begin as a store does"))?;
    let mut scanned = Scanned {
        id,
        length: BEGIN as u64,
        is_torn: false,
    };
    for number in 0.. {
        let at = scanned.length;
        let mut head = [0; HEAD];
        let read = read_up_to(&mut file, &mut head).map_err(at_file)?;
        if read < HEAD {
            scanned.is_torn = read > 0;
            break;
        }
        let Some(length) = frame::length_of(&id, number, head) else {
            // A file may have grown before what was to be written there was.
            scanned.is_torn = head == [0; HEAD] && only_zeros(&mut file).map_err(at_file)?;
            if scanned.is_torn {
                break;
            }
            return Err(damaged(at, "it holds no frame there"));
        };
        let end = at + HEAD as u64 + u64::from(length);
        if end > whole {
            scanned.is_torn = true;
            break;
        }
        let mut sealed = vec![0; length as usize];
        file.read_exact(&mut sealed).map_err(at_file)?;
        let text = vault.unseal(&frame::name(&id, number), sealed);
        let text = text.map_err(|error| damaged(at, &error.to_string()))?;
        let changes = frame::decode(&id, number, &text).ok_or_else(|| damaged(at, "its digest is wrong"))?;
        each(number, changes);
        scanned.length = end;
    }
    Ok(scanned)
}

fn read_up_to(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

fn only_zeros(file: &mut impl Read) -> io::Result<bool> {
    let mut buffer = [0; 4096];
    loop {
        let read = read_up_to(file, &mut buffer)?;
        if read == 0 {
            return Ok(true);
        }
        if buffer.iter().take(read).any(|byte| *byte != 0) {
            return Ok(false);
        }
    }
}

fn fresh_id(path: &Path) -> Result<[u8; ID], StoreError> {
    let mut id = [0; ID];
    SystemRandom::new()
        .fill(&mut id)
        .map_err(|_| StoreError::io("create", path, io::Error::other("the system gives no random bytes")))?;
    Ok(id)
}

fn create(path: &Path, id: &[u8; ID]) -> Result<(), StoreError> {
    replace(path, &frame::begin(id))
}

/// Replaces the file whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    RealDisk
        .replace(path, bytes)
        .map_err(|error| StoreError::io("write", path, error))
}
