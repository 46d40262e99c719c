#![doc = include_str!("README.md")]

mod allow;
mod config;
mod filter;
pub(crate) mod spiffe;
#[cfg(test)]
mod tests;

pub use config::MtlsConfig;
pub use filter::Mtls;
