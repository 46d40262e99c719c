//! Limits that count a model's tokens: what a request asks for ([`prompt`]), what an answer used ([`usage`], [`events`]),
//! and where a stream ends ([`meter`]). All of it pure: bytes in, numbers out. Buckets and rules are the engine's.

pub mod account;
pub mod content;
pub mod delta;
pub mod events;
pub mod farewell;
pub mod meter;
pub mod prompt;
pub mod scan;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod usage;
mod value;

/// Bytes of text that count as one token where nobody tells the number.
pub const BYTES_PER_TOKEN: u64 = 4;

/// Tokens that an image, a sound or a file counts as in a prompt.
pub const MEDIA_TOKENS: u64 = 1000;

/// The largest number of tokens that is believed, and that a request is charged.
pub const MAX_TOKENS: u64 = 1_000_000_000;

/// Tokens of this many bytes of text.
pub const fn tokens_of(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN)
}
