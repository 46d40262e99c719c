//! Where frames of HTTP/2 begin and end in a stream of bytes (RFC 9113, section 4.1). What they mean is not known here.

/// The head of a frame.
const HEAD: usize = 9;

/// Kinds of frames.
pub(super) mod kind {
    pub(in crate::listener) const DATA: u8 = 0x0;
    pub(in crate::listener) const HEADERS: u8 = 0x1;
    pub(in crate::listener) const RST_STREAM: u8 = 0x3;
    pub(in crate::listener) const SETTINGS: u8 = 0x4;
    pub(in crate::listener) const PING: u8 = 0x6;
    pub(in crate::listener) const GOAWAY: u8 = 0x7;
    pub(in crate::listener) const WINDOW_UPDATE: u8 = 0x8;
    pub(in crate::listener) const CONTINUATION: u8 = 0x9;
}

/// Flags of frames.
pub(super) mod flag {
    /// Of DATA and HEADERS.
    pub(in crate::listener) const END_STREAM: u8 = 0x1;
    /// Of SETTINGS and PING.
    pub(in crate::listener) const ACK: u8 = 0x1;
    /// Of HEADERS and CONTINUATION.
    pub(in crate::listener) const END_HEADERS: u8 = 0x4;
    /// Of DATA and HEADERS.
    pub(in crate::listener) const PADDED: u8 = 0x8;
}

/// The head of a frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Head {
    pub length: usize,
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
}

impl Head {
    fn parse(bytes: [u8; HEAD]) -> Self {
        let [high, middle, low, kind, flags, a, b, c, d] = bytes;
        Self {
            length: u32::from_be_bytes([0, high, middle, low]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff,
        }
    }

    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// The next thing in the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A head has begun and not ended.
    PartOfHead,
    /// A frame begins.
    Frame(Head),
    /// A part of the frame's payload; `left` is what is to come.
    Payload { head: Head, bytes: &'a [u8], left: usize },
}

/// Follows the frames of one direction.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scan {
    Head { bytes: [u8; HEAD], filled: usize },
    Payload { head: Head, left: usize },
}

impl Scan {
    pub(super) const START: Self = Self::Head {
        bytes: [0; HEAD],
        filled: 0,
    };

    /// Whether a frame could begin here.
    pub(super) fn is_between_frames(&self) -> bool {
        matches!(self, Self::Head { filled: 0, .. })
    }

    /// Takes the next piece off `input`, which must not be empty.
    pub(super) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Piece<'a> {
        match self {
            Self::Head { bytes, filled } => {
                let taken = take(input, HEAD - *filled);
                for (slot, byte) in bytes.iter_mut().skip(*filled).zip(taken) {
                    *slot = *byte;
                }
                *filled += taken.len();
                if *filled < HEAD {
                    return Piece::PartOfHead;
                }
                let head = Head::parse(*bytes);
                *self = match head.length {
                    0 => Self::START,
                    left => Self::Payload { head, left },
                };
                Piece::Frame(head)
            }
            Self::Payload { head, left } => {
                let head = *head;
                let bytes = take(input, *left);
                *left -= bytes.len();
                let left = *left;
                if left == 0 {
                    *self = Self::START;
                }
                Piece::Payload { head, bytes, left }
            }
        }
    }
}

/// Splits at most `most` bytes off the front.
pub(super) fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Heads and how many bytes of payload came for each, and whether another frame could follow.
    fn scan(pieces: &[&[u8]]) -> (Vec<(Head, usize)>, bool) {
        let (mut scan, mut frames) = (Scan::START, Vec::new());
        for piece in pieces {
            let mut input = *piece;
            while !input.is_empty() {
                match scan.next(&mut input) {
                    Piece::PartOfHead => {}
                    Piece::Frame(head) => frames.push((head, 0)),
                    Piece::Payload { head, bytes, .. } => {
                        let (last, seen) = frames.last_mut().unwrap();
                        assert_eq!(*last, head);
                        *seen += bytes.len();
                    }
                }
            }
        }
        (frames, scan.is_between_frames())
    }

    #[test]
    fn reads_heads() {
        let bytes = [0, 0, 2, 1, 5, 0x80, 0, 0, 3, 9, 9, 0, 0, 0, 4, 1, 0, 0, 0, 0];
        let (frames, whole) = scan(&[&bytes]);
        let head = |length, kind, flags, stream| Head {
            length,
            kind,
            flags,
            stream,
        };
        assert_eq!(frames, [(head(2, 1, 5, 3), 2), (head(0, 4, 1, 0), 0)]);
        assert!(whole);
        assert!(!scan(&[&bytes[..15]]).1);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(bytes in proptest::collection::vec(0..4u8, 0..600), piece in 1..40usize) {
            let pieces: Vec<&[u8]> = bytes.chunks(piece).collect();
            prop_assert_eq!(scan(&[&bytes]), scan(&pieces));
        }
    }
}
