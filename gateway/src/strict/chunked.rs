//! A chunked body with its extensions and trailers (RFC 9112, 7.1), byte by byte where it is grammar and by count where it
//! is data. It says where the body ends; it keeps nothing but its place and the name of a trailer field.

use super::Rules;
use super::class::{is_blank, is_token, is_value};
use super::compat::Leniency;
use super::extension::{Ext, Step};
use super::table::Case;

/// Most digits of a size, zeros in front included.
const DIGITS: u8 = 16;
/// Bytes that extensions of one body may be ahead of what its data pays for.
const EXTENSIONS: u64 = 16 << 10;
/// Bytes of extensions that a byte of data pays for.
const PAID: u64 = 2;
/// Longest extension of one chunk.
const EXTENSION: u16 = 1024;
/// Largest trailer section.
const TRAILERS: usize = 8 << 10;
/// Longest name among [`FORBIDDEN`].
const NAME: usize = 17;

/// Fields that no trailer section may have: they frame, route, authenticate or control the request (RFC 9110, 6.5.1).
const FORBIDDEN: [&[u8]; 12] = [
    b"authorization",
    b"connection",
    b"content-length",
    b"cookie",
    b"expect",
    b"forwarded",
    b"host",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
    b"x-forwarded-for",
];

/// What is expected next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// A digit of the size, or what ends it.
    Size {
        digits: u8,
        size: u64,
    },
    /// White space behind the size.
    Padding {
        size: u64,
    },
    /// Within an extension.
    Extension {
        size: u64,
        at: Ext,
    },
    /// The line feed of the size's line.
    SizeEnd {
        size: u64,
    },
    /// So many bytes of data.
    Data {
        left: u64,
    },
    DataCr,
    DataEnd,
    /// The first byte of a line of the trailer section.
    Line,
    /// In a trailer field's name, so many bytes of it.
    Name {
        length: usize,
    },
    Value,
    ValueEnd,
    /// The last line feed.
    LastEnd,
}

/// Reads one chunked body.
#[derive(Debug, Clone)]
pub(super) struct Chunked {
    at: At,
    /// Bytes of extensions that no data has paid for.
    unpaid: u64,
    /// Bytes of the current extension.
    extension: u16,
    /// Bytes of the trailer section.
    trailers: usize,
    name: [u8; NAME],
}

const START: At = At::Size { digits: 0, size: 0 };

impl Chunked {
    pub(super) fn new() -> Self {
        Self {
            at: START,
            unpaid: 0,
            extension: 0,
            trailers: 0,
            name: [0; NAME],
        }
    }

    /// Whether only the last line feed is missing.
    pub(super) fn is_at_end(&self) -> bool {
        self.at == At::LastEnd
    }

    /// Reads on. Gives how many of `bytes` are the body's, and whether it ends with them. `leave_end`: the last one, once it is
    /// there, is left for later.
    pub(super) fn advance(&mut self, bytes: &[u8], rules: &Rules, leave_end: bool) -> Result<(usize, bool), Case> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let At::Data { left } = self.at {
                let here = left.min((bytes.len() - taken) as u64);
                self.unpaid = self.unpaid.saturating_sub(here.saturating_mul(PAID));
                self.at = if here == left {
                    At::DataCr
                } else {
                    At::Data { left: left - here }
                };
                // `here` is no more than what is there.
                taken += usize::try_from(here).unwrap_or(bytes.len());
                continue;
            }
            if self.at == At::Value {
                taken += self.value(bytes.get(taken..).unwrap_or_default(), rules)?;
                continue;
            }
            if self.at == At::LastEnd {
                return match byte {
                    b'\n' if leave_end => Ok((taken, false)),
                    b'\n' => Ok((taken + 1, true)),
                    _ => Err(Case::Trailer),
                };
            }
            taken += 1;
            self.at = self.step(byte, rules)?;
        }
        Ok((taken, false))
    }

    /// One byte of what is not data.
    fn step(&mut self, byte: u8, rules: &Rules) -> Result<At, Case> {
        match self.at {
            At::Size { digits, size } => match (hex(byte), byte) {
                (Some(digit), _) if digits < DIGITS => Ok(At::Size {
                    digits: digits + 1,
                    size: size << 4 | u64::from(digit),
                }),
                (None, b'\r') if digits > 0 => ended(size),
                (None, b';') if digits > 0 => self.extension_begins(size),
                (None, b' ' | b'\t') if digits > 0 => {
                    self.extension = 1;
                    self.unpaid += 1;
                    Ok(At::Padding { size })
                }
                _ => Err(Case::ChunkSize),
            },
            At::Padding { size } => match byte {
                b';' => self.extension_begins(size),
                b'\r' if rules.compat.has(Leniency::PaddedChunkSize) => ended(size),
                _ if is_blank(byte) => {
                    self.pay()?;
                    Ok(At::Padding { size })
                }
                _ => Err(Case::ChunkSize),
            },
            At::Extension { size, at } => {
                self.pay()?;
                match at.step(byte) {
                    Step::On(at) => Ok(At::Extension { size, at }),
                    Step::Ended => ended(size),
                    Step::Wrong => Err(Case::ChunkExtension),
                }
            }
            At::SizeEnd { size } if byte == b'\n' => Ok(if size == 0 { At::Line } else { At::Data { left: size } }),
            At::SizeEnd { .. } => Err(Case::ChunkSize),
            At::DataCr if byte == b'\r' => Ok(At::DataEnd),
            At::DataEnd if byte == b'\n' => Ok(START),
            At::DataCr | At::DataEnd | At::Data { .. } => Err(Case::ChunkEnd),
            At::Line | At::Name { .. } | At::Value | At::ValueEnd | At::LastEnd => self.trailer(byte, rules),
        }
    }

    fn extension_begins(&mut self, size: u64) -> Result<At, Case> {
        self.extension = 0;
        self.pay()?;
        Ok(At::Extension {
            size,
            at: Ext::BeforeName,
        })
    }

    /// Another byte that is not data.
    fn pay(&mut self) -> Result<(), Case> {
        self.extension += 1;
        self.unpaid += 1;
        if self.extension > EXTENSION || self.unpaid > EXTENSIONS {
            return Err(Case::ChunkExtensionTooLong);
        }
        Ok(())
    }

    /// A byte of the trailer section, up to the colon of a field or behind its value.
    fn trailer(&mut self, byte: u8, rules: &Rules) -> Result<At, Case> {
        self.count(1, rules)?;
        match (self.at, byte) {
            (At::Line, b'\r') => Ok(At::LastEnd),
            (At::ValueEnd, b'\n') => Ok(At::Line),
            (At::Line, _) if is_token(byte) => Ok(self.name_goes_on(0, byte)),
            (At::Name { length }, b':') => {
                let name = self.name.get(..length).unwrap_or_default();
                if FORBIDDEN.contains(&name) {
                    return Err(Case::TrailerForbidden);
                }
                Ok(At::Value)
            }
            (At::Name { length }, _) if is_token(byte) => Ok(self.name_goes_on(length, byte)),
            _ => Err(Case::Trailer),
        }
    }

    fn name_goes_on(&mut self, length: usize, byte: u8) -> At {
        if let Some(place) = self.name.get_mut(length) {
            *place = byte.to_ascii_lowercase();
        }
        At::Name { length: length + 1 }
    }

    /// What is there of a trailer field's value; gives how much that is.
    fn value(&mut self, bytes: &[u8], rules: &Rules) -> Result<usize, Case> {
        // No more than one byte beyond the bound, so that it does not matter in how many pieces a value comes.
        let room = TRAILERS.min(rules.header_bytes).saturating_sub(self.trailers) + 1;
        let near = bytes.get(..room).unwrap_or(bytes);
        let end = near.iter().position(|byte| !is_value(*byte));
        let value = near.get(..end.unwrap_or(near.len())).unwrap_or_default();
        self.count(value.len(), rules)?;
        let Some(end) = end else { return Ok(value.len()) };
        self.count(1, rules)?;
        if near.get(end) != Some(&b'\r') {
            return Err(Case::Trailer);
        }
        self.at = At::ValueEnd;
        Ok(end + 1)
    }

    fn count(&mut self, bytes: usize, rules: &Rules) -> Result<(), Case> {
        self.trailers += bytes;
        if self.trailers > TRAILERS.min(rules.header_bytes) {
            return Err(Case::TrailerTooLarge);
        }
        Ok(())
    }
}

/// The carriage return behind a size is here.
fn ended(size: u64) -> Result<At, Case> {
    // What 63 bits do not hold overflows somebody's counter.
    if size > u64::MAX >> 1 {
        return Err(Case::ChunkSize);
    }
    Ok(At::SizeEnd { size })
}

fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}
