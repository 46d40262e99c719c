//! The token of the signed double submit: when it was made, and an HMAC over that and the session it belongs to. Nothing is
//! stored. Where it travels is the filter's matter.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::client::Now;

/// What the key signs here and nowhere else.
const PURPOSE: &[u8] = b"portcullis csrf token v1\0";
const STAMP: usize = 16;
const TOKEN: usize = STAMP + 32;

/// Why a token is no good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bad {
    /// Not made with this key for this session.
    Forged,
    /// Made too long ago.
    Expired,
}

/// Makes a token for a session; `None`: for whoever has none.
pub fn make(key: &hmac::Key, session: Option<&[u8]>, now: Now) -> String {
    let mut token = Vec::with_capacity(TOKEN);
    token.extend_from_slice(&now.unix_ms.to_be_bytes());
    // Two that are made within a millisecond differ.
    token.extend_from_slice(&now.monotonic_ns.to_be_bytes());
    let tag = hmac::sign(key, &message(&token, session));
    token.extend_from_slice(tag.as_ref());
    URL_SAFE_NO_PAD.encode(token)
}

/// Gives the age of a good token in milliseconds.
pub fn check(key: &hmac::Key, session: Option<&[u8]>, token: &[u8], now: Now, max_age_ms: u64) -> Result<u64, Bad> {
    let mut bytes = [0; TOKEN];
    // The engine refuses stray bits and padding, so that a token has one spelling.
    let length = URL_SAFE_NO_PAD
        .decode_slice(token, &mut bytes)
        .map_err(|_| Bad::Forged)?;
    let (stamp, tag) = bytes.split_at(STAMP);
    if length != TOKEN || hmac::verify(key, &message(stamp, session), tag).is_err() {
        return Err(Bad::Forged);
    }
    let made = stamp.iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    // A clock that was set back makes no token older.
    let age = now.unix_ms.saturating_sub(made);
    if age > max_age_ms { Err(Bad::Expired) } else { Ok(age) }
}

fn message(stamp: &[u8], session: Option<&[u8]>) -> Vec<u8> {
    let mut message = Vec::with_capacity(PURPOSE.len() + STAMP + 1 + session.map_or(0, <[u8]>::len));
    message.extend_from_slice(PURPOSE);
    message.extend_from_slice(stamp);
    message.push(u8::from(session.is_some()));
    message.extend_from_slice(session.unwrap_or_default());
    message
}
