#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod record;
mod refusal;
pub mod table;
pub mod text;

#[cfg(test)]
mod tests;

pub use filter::ApiKeyFilter;
pub use table::KeyTable;
