#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod origin;

#[cfg(test)]
mod tests;

pub use filter::Cors;
