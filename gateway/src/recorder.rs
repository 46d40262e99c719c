//! The ring of recorded requests: the last so many lines, in memory and, where the configuration says so, in a file of the
//! state folder. What a line holds is `portcullis_filters::policy`'s.

mod ring;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use portcullis_bundles::policies::Policies;
use portcullis_config::activation::Record;
use portcullis_config::key::Key;
use portcullis_filters::policy::{BrokenLine, Keep, Recording, RequestOutcome};
use portcullis_filters::request::Request;

use ring::{Line, Ring};

use crate::state::StateFolder;

/// The file in the state folder, and the one with the secret that values are hashed with.
pub const FILE: &str = "record";
/// See [`FILE`].
pub const SECRET_FILE: &str = "record-key";
/// The first line of a file.
pub const HEADER: &[u8] = b"portcullis-record 1";

/// The ring.
pub struct Recorder {
    others: Vec<Key>,
    keep: ArcSwap<Keep>,
    secret: [u8; 16],
    ring: Ring,
    /// Requests that no line could be made of.
    dropped: AtomicU64,
    /// How many there were when the file was written.
    written: AtomicU64,
    folder: Option<Arc<StateFolder>>,
}

impl Recorder {
    /// Opens the ring that a configuration asks for, with what the state folder has kept. A file that cannot be read is
    /// told and left out: it proves nothing and protects nothing by itself.
    pub fn open(written: &Record, folder: Option<&Arc<StateFolder>>) -> io::Result<Self> {
        let folder = folder.filter(|_| written.persist).cloned();
        let secret = match &folder {
            Some(folder) => secret_in(folder)?,
            None => fresh()?,
        };
        let mut lines = Vec::new();
        if let Some(folder) = &folder {
            match folder.read(FILE).and_then(|text| lines_of(&text)) {
                Ok(kept) => lines = kept,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => tracing::warn!(%error, "the recorded requests cannot be read; the ring begins empty"),
            }
        }
        let ring = Ring::new(written.requests as usize, lines);
        Ok(Self {
            others: written.keys.iter().filter_map(|key| key.parse().ok()).collect(),
            keep: ArcSwap::from_pointee(Keep::default()),
            secret,
            written: AtomicU64::new(ring.counts().1),
            ring,
            dropped: AtomicU64::new(0),
            folder,
        })
    }

    /// What is kept from now on: the keys of this bundle.
    pub fn keep_for(&self, policies: Option<&Policies>) {
        self.keep.store(Arc::new(Keep::of(policies, &self.others)));
    }

    /// Records a request.
    pub fn record(&self, request: &Request<'_>, outcome: RequestOutcome<'_>) {
        match self.keep.load().line(request, &self.secret, outcome) {
            Some(line) => self.ring.push(line.into()),
            None => _ = self.dropped.fetch_add(1, Relaxed),
        }
    }

    /// How many requests the ring has, how many there ever were, and how many were left out.
    pub fn counts(&self) -> (u64, u64, u64) {
        let (held, recorded) = self.ring.counts();
        (held, recorded, self.dropped.load(Relaxed))
    }

    /// The requests, read back; values that one of `bundles` compares with are recognised.
    pub fn recording(&self, bundles: &[&Policies]) -> Result<Recording, BrokenLine> {
        let lines = self.ring.lines();
        Recording::read(lines.iter().map(|line| &**line), &self.secret, bundles)
    }

    /// Writes the file, if there is one and something new to write.
    pub fn flush(&self) -> io::Result<()> {
        let (_, recorded) = self.ring.counts();
        let Some(folder) = &self.folder else { return Ok(()) };
        if self.written.swap(recorded, Relaxed) == recorded {
            return Ok(());
        }
        let lines = self.ring.lines();
        let mut text = Vec::with_capacity(lines.iter().map(|line| line.len() + 1).sum::<usize>() + HEADER.len() + 1);
        for line in std::iter::once(HEADER).chain(lines.iter().map(|line| &**line)) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
        folder.replace(FILE, text)
    }
}

/// The lines of a file.
pub fn lines_of(text: &[u8]) -> io::Result<Vec<Line>> {
    let mut lines = text.split(|byte| *byte == b'\n');
    if lines.next() != Some(HEADER) {
        return Err(io::Error::other("it does not begin as a recording does"));
    }
    Ok(lines.filter(|line| !line.is_empty()).map(Line::from).collect())
}

/// The secret in a file, 32 hexadecimal digits.
pub fn secret_of(text: &[u8]) -> io::Result<[u8; 16]> {
    let text = std::str::from_utf8(text).unwrap_or_default();
    u128::from_str_radix(text.trim(), 16)
        .map(u128::to_be_bytes)
        .map_err(|_| io::Error::other("it holds no secret of a recording"))
}

/// The secret of a state folder; made when it is not there.
fn secret_in(folder: &StateFolder) -> io::Result<[u8; 16]> {
    match folder.read(SECRET_FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = fresh()?;
            let text = format!("{:032x}\n", u128::from_be_bytes(secret));
            folder.replace(SECRET_FILE, text.into_bytes())?;
            Ok(secret)
        }
        read => secret_of(&read?),
    }
}

fn fresh() -> io::Result<[u8; 16]> {
    use ::ring::rand::SecureRandom as _;
    let mut bytes = [0; 16];
    ::ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| io::Error::other("the system gives no random bytes"))?;
    Ok(bytes)
}
