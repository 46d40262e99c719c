#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod names;
pub mod template;

#[cfg(test)]
mod tests;

pub use filter::Headers;
