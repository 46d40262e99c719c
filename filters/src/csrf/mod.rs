#![doc = include_str!("README.md")]

pub mod config;
mod filter;
pub mod source;
pub mod token;

#[cfg(test)]
mod tests;

pub(crate) use filter::foreign_page;
pub use filter::{Csrf, CsrfState};
