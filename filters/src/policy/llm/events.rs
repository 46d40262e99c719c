//! Server-sent events (WHATWG HTML, 9.2) out of a body that comes in pieces: where one ends and what its data is. Lines end
//! with LF, CR or CRLF. Bytes come out as they went in.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};

/// The largest event that is held back until it is whole.
pub const LARGEST: usize = 64 * 1024;

/// Cuts a stream into events.
#[derive(Debug)]
pub struct Framer {
    held: BytesMut,
    /// How much of `held` was looked at.
    seen: usize,
    /// The next byte begins a line.
    line_begins: bool,
    /// The byte before was a CR: a LF belongs to it.
    after_cr: bool,
    /// A part of this event was given out because it is too large.
    broken: bool,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            held: BytesMut::new(),
            seen: 0,
            line_begins: true,
            after_cr: false,
            broken: false,
        }
    }
}

/// What comes out of a [`Framer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A whole event with the empty line behind it.
    Event(Bytes),
    /// A part of an event that is too large to be held.
    Part(Bytes),
}

impl Framer {
    /// The next piece of the body.
    pub fn push(&mut self, piece: &[u8]) {
        self.held.extend_from_slice(piece);
    }

    /// The next event, once it is whole.
    pub fn next_piece(&mut self) -> Option<Piece> {
        while let Some(byte) = self.held.get(self.seen).copied() {
            self.seen += 1;
            let second = std::mem::take(&mut self.after_cr) && byte == b'\n';
            if second {
                continue;
            }
            if !matches!(byte, b'\n' | b'\r') {
                self.line_begins = false;
                continue;
            }
            self.after_cr = byte == b'\r';
            if std::mem::replace(&mut self.line_begins, true) {
                return Some(self.event());
            }
        }
        if self.held.len() > LARGEST {
            self.broken = true;
            return Some(Piece::Part(self.take()));
        }
        None
    }

    /// What is left when the body ends.
    pub fn rest(&mut self) -> Bytes {
        self.seen = self.held.len();
        self.take()
    }

    /// Bytes that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn event(&mut self) -> Piece {
        if self.after_cr && self.held.get(self.seen) == Some(&b'\n') {
            self.seen += 1;
            self.after_cr = false;
        }
        let bytes = self.take();
        if std::mem::take(&mut self.broken) {
            Piece::Part(bytes)
        } else {
            Piece::Event(bytes)
        }
    }

    fn take(&mut self) -> Bytes {
        let bytes = self.held.split_to(self.seen.min(self.held.len())).freeze();
        self.seen = 0;
        bytes
    }
}

/// The data of an event: of several `data` lines, one behind the other. `None` when it has none.
pub fn data(event: &[u8]) -> Option<Cow<'_, [u8]>> {
    let mut found: Option<Cow<'_, [u8]>> = None;
    let mut rest = event.strip_prefix(b"\xef\xbb\xbf").unwrap_or(event);
    while rest.has_remaining() {
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'\n' | b'\r'))
            .unwrap_or(rest.len());
        let (line, behind) = rest.split_at_checked(end).unwrap_or((rest, b""));
        rest = behind.get(1..).unwrap_or_default();
        let Some(value) = line.strip_prefix(b"data") else {
            continue;
        };
        let value = match value.split_first() {
            None => value,
            Some((b':', value)) => value.strip_prefix(b" ").unwrap_or(value),
            Some(_) => continue,
        };
        found = Some(match found {
            None => Cow::Borrowed(value),
            Some(before) => {
                let mut joined = before.into_owned();
                joined.push(b'\n');
                joined.extend_from_slice(value);
                Cow::Owned(joined)
            }
        });
    }
    found
}
