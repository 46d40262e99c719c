//! The bytes of the store's file: its beginning, the head of a frame, and the changes in a frame. No I/O, no sealing.
//!
//! ```text
//! file    magic, 16 random bytes (the file's id), check
//! frame   length (u32), check (u32), that many bytes: a digest and the changes, sealed where there is a key
//! change  table (u8), 1 = there or 0 = gone (u8), length of the key (u16), length of the value (u32), key, value
//! ```
//!
//! Numbers are little-endian. A check is of the file's id, the frame's number and its length, so that a length that was
//! changed is told from a frame that was being written when the process ended.

use ring::digest::{Context, SHA256};

use super::{StoreError, Table};

/// Longest key of a row.
pub const MAX_KEY: usize = 128;
/// Longest value of a row.
pub const MAX_VALUE: usize = 64 << 10;
/// Most changes in one write.
const MAX_CHANGES: usize = 1_024;
/// Most bytes of one write, which also bounds a frame.
const MAX_WRITE: usize = 1 << 20; // as in MAX_FRAME
/// Longest frame, with what sealing adds.
pub(super) const MAX_FRAME: u32 = (1 << 20) + (64 << 10);

pub(super) const MAGIC: &[u8] = b"portcullis-store 1\n";
pub(super) const ID: usize = 16;
pub(super) const CHECK: usize = 4;
/// Length of a file's beginning.
pub(super) const BEGIN: usize = MAGIC.len() + ID + CHECK;
/// Length of a frame's head.
pub(super) const HEAD: usize = 8;
const DIGEST: usize = 16;

/// A row that is written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Whose row.
    pub table: Table,
    /// Which.
    pub key: Box<[u8]>,
    /// What it says from now on. `None`: it is gone.
    pub value: Option<Box<[u8]>>,
}

impl Change {
    pub(super) fn bytes(&self) -> usize {
        HEAD + self.key.len() + self.value.as_ref().map_or(0, |value| value.len())
    }
}

/// Refuses what is too large.
pub(super) fn check(changes: &[Change]) -> Result<(), StoreError> {
    let fits = |change: &Change| {
        (1..=MAX_KEY).contains(&change.key.len()) && change.value.as_ref().is_none_or(|value| value.len() <= MAX_VALUE)
    };
    if !changes.iter().all(fits) {
        return Err(StoreError::TooLarge(
            "a key of the store has 1 to 128 bytes, a value at most 64 KiB",
        ));
    }
    if changes.len() > MAX_CHANGES || changes.iter().map(Change::bytes).sum::<usize>() > MAX_WRITE {
        return Err(StoreError::TooLarge(
            "a write to the store has at most 1,024 rows and 1 MiB",
        ));
    }
    Ok(())
}

/// Cuts changes into writes that are not too large.
pub(super) fn pieces(changes: Vec<Change>) -> Vec<Vec<Change>> {
    let mut pieces = vec![Vec::new()];
    let mut bytes = 0;
    for change in changes {
        bytes += change.bytes();
        let full = bytes > MAX_WRITE || pieces.last().is_some_and(|piece| piece.len() >= MAX_CHANGES);
        if full {
            bytes = change.bytes();
            pieces.push(Vec::new());
        }
        if let Some(piece) = pieces.last_mut() {
            piece.push(change);
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

pub(super) fn begin(id: &[u8; ID]) -> Vec<u8> {
    [MAGIC, id, &sum(&[MAGIC, id])].concat()
}

/// The id of a file.
pub(super) fn id_of(begin: &[u8]) -> Option<[u8; ID]> {
    let (id, check) = begin.strip_prefix(MAGIC)?.split_first_chunk::<ID>()?;
    (check == sum(&[MAGIC, id])).then_some(*id)
}

pub(super) fn head(id: &[u8; ID], number: u64, length: u32) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let (first, second) = head.split_at_mut(4);
    first.copy_from_slice(&length.to_le_bytes());
    second.copy_from_slice(&sum(&[id, &number.to_le_bytes(), &length.to_le_bytes()]));
    head
}

/// The length of a frame. `None`: it is not this file's frame of this number.
pub(super) fn length_of(id: &[u8; ID], number: u64, bytes: [u8; HEAD]) -> Option<u32> {
    let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?);
    (head(id, number, length) == bytes && length <= MAX_FRAME).then_some(length)
}

/// What a frame is sealed as: no frame can stand in for another one, of this file or of another.
pub(super) fn name(id: &[u8; ID], number: u64) -> String {
    format!("store {:032x} {number}", u128::from_be_bytes(*id))
}

/// The text of a frame.
pub(super) fn encode(id: &[u8; ID], number: u64, changes: &[Change]) -> Vec<u8> {
    let mut text = vec![0; DIGEST];
    for change in changes {
        let value = change.value.as_deref().unwrap_or_default();
        text.push(change.table as u8);
        text.push(u8::from(change.value.is_some()));
        // `check` has seen to it that both fit.
        text.extend_from_slice(&u16::try_from(change.key.len()).unwrap_or(0).to_le_bytes());
        text.extend_from_slice(&u32::try_from(value.len()).unwrap_or(0).to_le_bytes());
        text.extend_from_slice(&change.key);
        text.extend_from_slice(value);
    }
    let digest = digest(id, number, text.get(DIGEST..).unwrap_or_default());
    if let Some(place) = text.first_chunk_mut::<DIGEST>() {
        *place = digest;
    }
    text
}

/// The changes in the text of a frame.
pub(super) fn decode(id: &[u8; ID], number: u64, text: &[u8]) -> Option<Vec<Change>> {
    let (found, mut rest) = text.split_first_chunk::<DIGEST>()?;
    if digest(id, number, rest) != *found {
        return None;
    }
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let (head, body) = rest.split_first_chunk::<HEAD>()?;
        let [table, is_there, k0, k1, v0, v1, v2, v3] = *head;
        let (key, body) = body.split_at_checked(usize::from(u16::from_le_bytes([k0, k1])))?;
        let (value, body) = body.split_at_checked(u32::from_le_bytes([v0, v1, v2, v3]) as usize)?;
        changes.push(Change {
            table: Table::of(table)?,
            key: key.into(),
            value: (is_there == 1).then(|| value.into()),
        });
        rest = body;
    }
    Some(changes)
}

fn digest(id: &[u8; ID], number: u64, changes: &[u8]) -> [u8; DIGEST] {
    part(&[id, &number.to_le_bytes(), changes])
}

fn sum(parts: &[&[u8]]) -> [u8; CHECK] {
    part(parts)
}

fn part<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let digest = context.finish();
    digest.as_ref().first_chunk().copied().unwrap_or([0; N])
}
