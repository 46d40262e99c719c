#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod networks;

#[cfg(test)]
mod tests;

pub use filter::IpAccess;
