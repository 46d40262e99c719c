#![doc = include_str!("README.md")]

mod config;
mod filter;
mod scheme;
mod seen;
#[cfg(test)]
mod tests;

pub use config::SignatureConfig;
pub use filter::Signature;
pub use seen::SeenSignatures;
