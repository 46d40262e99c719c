//! Batches on the disk, oldest first. A batch is written whole, under another name first, and renamed once it is on the disk; it is
//! removed once the control plane has it. Its bytes and its key never change, so whoever sends it twice sends the same.
//!
//! Two processes may have the same queue for a moment (a hand-over to a new binary): both may then send a batch, and its
//! key lets the control plane take it once.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read as _};
use std::path::PathBuf;
use std::sync::Arc;

use portcullis_bundles::digest::Digest;
use portcullis_bundles::store::{Disk as _, RealDisk};

use crate::state::StateFolder;

/// Most batches kept. When there are more, the oldest go.
const MOST_BATCHES: usize = 1_000;
/// Largest file that is taken for a batch.
const MOST_BYTES: u64 = 1 << 20;
/// The folder of all queues in the state folder.
const EVENTS: &str = "events";
/// What the names of batches end in.
const SUFFIX: &str = ".batch";

/// A batch as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::control_plane) struct Sealed {
    /// Its file.
    name: String,
    /// The idempotency key.
    pub(in crate::control_plane) key: String,
    /// The body.
    pub(in crate::control_plane) body: Vec<u8>,
    /// Events in it.
    pub(in crate::control_plane) events: u64,
}

/// The queue of one control plane.
#[derive(Debug)]
pub(super) struct Queue {
    directory: PathBuf,
    /// The folder as a part of names.
    own: String,
    folder: Arc<StateFolder>,
    names: VecDeque<String>,
    made: u64,
    most: usize,
}

impl Queue {
    /// Opens the queue of a control plane and a gateway's name in it. Queues of others are removed: what was meant for one
    /// control plane is not for another.
    pub(super) fn open(folder: Arc<StateFolder>, url: &str, edge_id: &str) -> io::Result<Self> {
        let parent = folder.directory().join(EVENTS);
        let own: String = Digest::of(format!("{url}\0{edge_id}").as_bytes()).to_string();
        let own: String = own.chars().take(16).collect();
        RealDisk.make_directory(&parent)?;
        for name in RealDisk.names(&parent)? {
            if name != own {
                tracing::warn!(name, "events for another control plane are removed");
                let _ = fs::remove_dir_all(parent.join(name));
            }
        }
        let directory = parent.join(&own);
        RealDisk.make_directory(&directory)?;
        let mut names: Vec<String> = RealDisk.names(&directory)?;
        names.retain(|name| {
            let left_over = name.strip_prefix('.').map(writer_of);
            if left_over.is_some_and(|process| !process.is_some_and(|process| RealDisk.is_running(process))) {
                let _ = fs::remove_file(directory.join(name));
            }
            left_over.is_none() && name.ends_with(SUFFIX)
        });
        names.sort_unstable();
        Ok(Self {
            directory,
            own,
            folder,
            names: names.into(),
            made: 0,
            most: MOST_BATCHES,
        })
    }

    /// Batches that wait.
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    /// Writes a batch; gives how many events had to go for it.
    pub(super) fn push(&mut self, unix_ms: u64, events: u64, key: &str, body: &[u8]) -> io::Result<u64> {
        let process = std::process::id();
        // Names sort by time, and no two processes or batches have the same.
        let name = format!("{unix_ms:015}-{process:010}-{:010}-{events}{SUFFIX}", self.made);
        self.made += 1;
        let mut file = Vec::with_capacity(key.len() + 1 + body.len());
        file.extend_from_slice(key.as_bytes());
        file.push(b'\n');
        file.extend_from_slice(body);
        RealDisk.make_directory(&self.directory)?;
        let temporary = self.directory.join(format!(".{name}"));
        let sealed = self.folder.vault().seal(&self.path_of(&name), file);
        RealDisk.write_new(&temporary, &sealed.map_err(io::Error::other)?)?;
        RealDisk.rename(&temporary, &self.directory.join(&name))?;
        RealDisk.sync_directory(&self.directory)?;
        self.names.push_back(name);
        let mut lost = 0;
        while self.names.len() > self.most {
            let Some(oldest) = self.names.pop_front() else { break };
            lost += events_of(&oldest);
            let _ = fs::remove_file(self.directory.join(oldest));
        }
        Ok(lost)
    }

    /// The oldest batch. What cannot be read is no batch and is passed over; `lost` counts its events.
    pub(super) fn first(&mut self, lost: &mut u64) -> Option<Sealed> {
        while let Some(name) = self.names.front().cloned() {
            match self.read(&name) {
                Ok(Some((key, body))) => {
                    let events = events_of(&name);
                    return Some(Sealed {
                        name,
                        key,
                        body,
                        events,
                    });
                }
                // Another process was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Ok(None) | Err(_) => {
                    *lost += events_of(&name);
                    let _ = fs::remove_file(self.directory.join(&name));
                }
            }
            self.names.pop_front();
        }
        None
    }

    /// A batch's path in the state folder.
    fn path_of(&self, name: &str) -> String {
        format!("{EVENTS}/{}/{name}", self.own)
    }

    /// Key and body. `None`: it is no batch.
    fn read(&self, name: &str) -> io::Result<Option<(String, Vec<u8>)>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.directory.join(name))?;
        file.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MOST_BYTES {
            return Ok(None);
        }
        Ok(self
            .folder
            .vault()
            .unseal(&self.path_of(name), bytes)
            .ok()
            .and_then(parse))
    }

    /// A batch need not be kept any more.
    pub(super) fn remove(&mut self, sealed: &Sealed) {
        self.names.retain(|name| *name != sealed.name);
        let _ = fs::remove_file(self.directory.join(&sealed.name));
    }
}

/// The process that wrote a batch, as its name says.
fn writer_of(name: &str) -> Option<u32> {
    name.split('-').nth(1)?.parse().ok()
}

/// Events in a batch, as its name says.
fn events_of(name: &str) -> u64 {
    let count = name.strip_suffix(SUFFIX).and_then(|name| name.rsplit('-').next());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// Key and body. `None`: it is no batch.
fn parse(mut bytes: Vec<u8>) -> Option<(String, Vec<u8>)> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let body = bytes.split_off(end + 1);
    bytes.pop();
    let good = bytes.iter().all(u8::is_ascii_graphic) && body.first() == Some(&b'{') && body.last() == Some(&b'}');
    String::from_utf8(bytes).ok().filter(|_| good).map(|key| (key, body))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn open(dir: &Path) -> Queue {
        Queue::open(StateFolder::clear(dir), "https://a", "edge-1").unwrap()
    }

    #[test]
    fn oldest_first_and_the_same_again_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let (mut queue, mut lost) = (open(dir.path()), 0);
        for n in 0..3_u64 {
            assert_eq!(queue.push(1_000 + n, n, &format!("key-{n}"), b"{}").unwrap(), 0);
        }
        let first = queue.first(&mut lost).unwrap();
        assert_eq!((&*first.key, &*first.body, first.events), ("key-0", &b"{}"[..], 0));
        assert_eq!(queue.first(&mut lost), Some(first.clone()), "until it is removed");
        // As after kill -9: only the files are there. One was being written.
        let half = queue.directory.join(".000-4294967295-0-7.batch");
        fs::write(&half, "half").unwrap();
        let mut queue = open(dir.path());
        assert!(!half.exists());
        assert_eq!((queue.len(), queue.first(&mut lost)), (3, Some(first.clone())));
        queue.remove(&first);
        assert_eq!(queue.first(&mut lost).map(|sealed| sealed.key), Some("key-1".into()));
        assert_eq!((open(dir.path()).len(), lost), (2, 0));
    }

    #[test]
    fn the_oldest_go_and_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let (mut queue, mut lost) = (open(dir.path()), 0);
        queue.most = 4;
        for n in 0..4 {
            assert_eq!(queue.push(n, 5, "key", b"{}").unwrap(), 0);
        }
        assert_eq!(queue.push(9_999_999, 1, "last", b"{}").unwrap(), 5);
        assert_eq!((queue.len(), open(dir.path()).len()), (4, 4));
        // What somebody else has put there is no batch, and what somebody else has taken is no loss.
        let names: Vec<String> = queue.names.iter().take(2).cloned().collect();
        fs::write(queue.directory.join(&names[0]), "nonsense").unwrap();
        fs::remove_file(queue.directory.join(&names[1])).unwrap();
        assert!(queue.first(&mut lost).is_some());
        assert_eq!((queue.len(), lost), (2, 5));
    }

    #[test]
    fn what_was_meant_for_one_control_plane_is_not_for_another() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).push(1, 1, "key", b"{}").unwrap();
        assert_eq!(
            Queue::open(StateFolder::clear(dir.path()), "https://b", "edge-1")
                .unwrap()
                .len(),
            0
        );
        assert_eq!(open(dir.path()).len(), 0);
    }
}
