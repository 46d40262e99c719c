#![doc = include_str!("README.md")]

pub mod algorithm;
pub mod cache;
mod compile;
pub mod config;
mod demands;
mod filter;
pub mod issuer;
pub mod json;
pub mod jwk;
pub mod jws;
pub mod keys;
pub mod material;
pub mod refusal;
pub mod source;
pub mod verify;
mod zones;

#[cfg(test)]
mod tests;

pub use filter::{Jwt, JwtState};
pub use jwk::JwksError;
pub use keys::{Declared, KeyPlace, KeySet, KeySetStatus, KeySource, Refresher};
