//! The small pieces of HTTP/1's grammar that answers are made of: bytes, field lines, numbers (RFC 9110, 5; RFC 9112, 5).
//! No state: each function judges what it is given. What a byte is, [`crate::strict::class`] knows, as it does for requests.

use crate::strict::class::{all_value, is_token};

use super::table::Fault;

/// Whether some bytes are a token.
pub(super) fn is_token_list(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token(*byte))
}

/// A line of the header or trailer section, without its end: name and value.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(Fault::ObsFold);
    }
    let colon = memchr::memchr(b':', line).ok_or(Fault::FieldColon)?;
    let (name, value) = line.split_at_checked(colon).ok_or(Fault::FieldColon)?;
    if !is_token_list(name) {
        return Err(Fault::FieldName);
    }
    let value = value.get(1..).unwrap_or_default();
    if !all_value(value) {
        return Err(Fault::FieldValue);
    }
    Ok((name, value.trim_ascii()))
}

/// A length in decimal digits that fits what lengths are counted in.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}
