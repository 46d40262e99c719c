#![doc = include_str!("README.md")]

mod compile;
pub mod config;
mod endpoints;
mod filter;
mod flow;
pub mod id;
pub mod keeper;
pub mod login;
pub mod operators;
pub mod provider;
pub mod record;
pub mod table;
pub mod tokens;

#[cfg(test)]
mod tests;

pub use filter::{Session, SessionState};
