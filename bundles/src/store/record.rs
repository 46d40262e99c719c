//! The form of a state file: a line of text that says what it is, how long and with which SHA-256, then the body.

use serde::{Deserialize, Serialize};

use super::{LastGood, Rollout};
use crate::digest::Digest;
use crate::version::Floor;

/// Largest state file read.
pub(super) const MAX_BYTES: usize = 1 << 30;

/// What a file holds. Part of the checksum's text, so that no file can stand in for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    LastGood,
    Floor,
    Switches,
    KillDocument,
    Counters,
    Rollout,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::LastGood => "last-good",
            Self::Floor => "floor",
            Self::Switches => "kill-switches",
            Self::KillDocument => "kill-document",
            Self::Counters => "counters",
            Self::Rollout => "rollout",
        }
    }
}

/// Why a file is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("it is empty")]
    Empty,
    #[error("it does not begin as a state file does")]
    Magic,
    #[error("it was written in format {0}, which this version does not know")]
    Format(String),
    #[error("it is of another kind")]
    Kind,
    #[error("it is cut short: {is} bytes of {should}")]
    Short { is: usize, should: usize },
    #[error("it is too long: {is} bytes of {should}")]
    Long { is: usize, should: usize },
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its header is not right")]
    Header,
}

const MAGIC: &str = "portcullis-state";
const FORMAT: &str = "1";

/// A state file.
pub(super) fn encode(kind: Kind, body: &[u8]) -> Vec<u8> {
    let digest = checksum(kind, body);
    let mut file = format!("{MAGIC} {FORMAT} {} {} {digest}\n", kind.name(), body.len()).into_bytes();
    file.extend_from_slice(body);
    file
}

/// The body of a state file.
pub(super) fn decode(kind: Kind, mut file: Vec<u8>) -> Result<Vec<u8>, RecordError> {
    if file.is_empty() {
        return Err(RecordError::Empty);
    }
    let end = file
        .iter()
        .take(256)
        .position(|byte| *byte == b'\n')
        .ok_or(RecordError::Magic)?;
    let line = file
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok())
        .ok_or(RecordError::Magic)?;
    let mut words = line.split(' ');
    if words.next() != Some(MAGIC) {
        return Err(RecordError::Magic);
    }
    match words.next() {
        Some(FORMAT) => {}
        Some(other) => return Err(RecordError::Format(other.into())),
        None => return Err(RecordError::Magic),
    }
    if words.next() != Some(kind.name()) {
        return Err(RecordError::Kind);
    }
    let should: usize = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(RecordError::Header)?;
    let digest: Digest = words
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(RecordError::Header)?;
    if words.next().is_some() {
        return Err(RecordError::Header);
    }
    let body = file.split_off(end + 1);
    let is = body.len();
    if is < should {
        return Err(RecordError::Short { is, should });
    }
    if is > should {
        return Err(RecordError::Long { is, should });
    }
    if checksum(kind, &body) != digest {
        return Err(RecordError::Checksum);
    }
    Ok(body)
}

fn checksum(kind: Kind, body: &[u8]) -> Digest {
    let mut text = format!("{MAGIC} {FORMAT} {}\n", kind.name()).into_bytes();
    text.extend_from_slice(body);
    Digest::of(&text)
}

/// A body: the floor on one line, then `bytes`.
pub(super) fn with_header(floor: &Floor, bytes: &[u8]) -> Vec<u8> {
    let mut body = format!("{{\"version\":{},\"digest\":\"{}\"}}\n", floor.version, floor.digest).into_bytes();
    body.extend_from_slice(bytes);
    body
}

/// A body: what was tried and what was rolled back on one line, then the bytes of what is tried.
pub(super) fn of_rollout(rollout: &Rollout) -> Result<Vec<u8>, serde_json::Error> {
    let line = Line {
        tried: rollout.tried.as_ref().map(|tried| tried.floor),
        rolled_back: rollout.rolled_back,
    };
    let mut body = serde_json::to_vec(&line)?;
    body.push(b'\n');
    body.extend_from_slice(rollout.tried.as_ref().map_or(&[], |tried| &tried.bytes));
    Ok(body)
}

/// The parts of such a body.
pub(super) fn rollout_of(body: &[u8]) -> Result<Rollout, RecordError> {
    let mut parts = body.splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(bytes)) = (parts.next(), parts.next()) else {
        return Err(RecordError::Header);
    };
    let Line { tried, rolled_back } = crate::json::from_slice(line).map_err(|_| RecordError::Header)?;
    let bytes = bytes.to_vec();
    Ok(Rollout {
        tried: tried.map(|floor| LastGood { floor, bytes }),
        rolled_back,
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    tried: Option<Floor>,
    rolled_back: Option<Floor>,
}

/// The parts of a body that [`with_header`] has made.
pub(super) fn split_header(body: &[u8]) -> Result<(Floor, &[u8]), RecordError> {
    let mut parts = body.splitn(2, |byte| *byte == b'\n');
    let (Some(line), Some(bytes)) = (parts.next(), parts.next()) else {
        return Err(RecordError::Header);
    };
    let floor = crate::json::from_slice::<Floor>(line).map_err(|_| RecordError::Header)?;
    Ok((floor, bytes))
}
