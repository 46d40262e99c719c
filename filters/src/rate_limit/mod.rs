#![doc = include_str!("README.md")]

mod config;
mod filter;
#[cfg(test)]
mod tests;

pub use config::{Keys, RateLimitConfig};
pub use filter::{EXCEEDED, KEY_MISSING, RateLimit};
