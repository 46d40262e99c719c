#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod source;
pub mod token;

#[cfg(test)]
mod tests;

pub use filter::{Csrf, CsrfState};
