//! The chunked coding of an answer's body (RFC 9112, 7.1), piece by piece: sizes, extensions, data, trailers. It only looks.

use crate::strict::extension::are_extensions;

use super::grammar;
use super::table::Fault;

/// Bytes of one line with a chunk's size.
pub(super) const MAX_SIZE_LINE: usize = 512;
/// Bytes of all chunk extensions of a body.
const MAX_EXTENSIONS: usize = 16 << 10;
/// Bytes of a trailer section.
pub(super) const MAX_TRAILERS: usize = 16 << 10;

/// Where in the coding a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the line with a size.
    Size,
    /// In data: so many bytes are to come.
    Data(u64),
    /// In the line end behind data.
    DataEnd,
    /// In the trailer section.
    Trailers,
}

/// What a body has had so far that is bounded.
#[derive(Debug, Default)]
pub(super) struct Counts {
    extensions: usize,
    trailers: usize,
}

impl Counts {
    /// Judges the line of `place`; says where the next bytes are. `None`: the body is at its end.
    pub(super) fn line(&mut self, place: Place, line: &[u8]) -> Result<Option<Place>, Fault> {
        match place {
            Place::Size => {
                let (size, extensions) = size(line)?;
                self.extensions += extensions;
                if self.extensions > MAX_EXTENSIONS {
                    return Err(Fault::ChunkExtensionTooLong);
                }
                Ok(Some(if size == 0 { Place::Trailers } else { Place::Data(size) }))
            }
            Place::DataEnd | Place::Data(_) if line.is_empty() => Ok(Some(Place::Size)),
            Place::DataEnd | Place::Data(_) => Err(Fault::ChunkEnd),
            Place::Trailers if line.is_empty() => Ok(None),
            Place::Trailers => {
                self.trailers += line.len();
                if self.trailers > MAX_TRAILERS {
                    return Err(Fault::TrailerTooLarge);
                }
                grammar::field(line).map_err(|_| Fault::Trailer)?;
                Ok(Some(Place::Trailers))
            }
        }
    }
}

/// The size that a line gives, and how many bytes of extensions.
fn size(line: &[u8]) -> Result<(u64, usize), Fault> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(Fault::ChunkSize)?;
    if digits.is_empty() || digits.len() > 15 {
        return Err(Fault::ChunkSize);
    }
    let size = digits.iter().fold(0_u64, |size, digit| {
        let value = char::from(*digit).to_digit(16).unwrap_or_default();
        (size << 4) | u64::from(value)
    });
    if !(rest.is_empty() || are_extensions(rest)) {
        return Err(Fault::ChunkExtension);
    }
    Ok((size, rest.len()))
}
