#![doc = include_str!("README.md")]

mod accept;
mod charge;
mod config;
mod engine;
mod examiner;
mod filter;
mod reservation;
mod subject;
#[cfg(test)]
mod tests;

pub use accept::{Unsupported, unsupported};
pub use charge::EXCEEDED;
pub use config::PolicyConfig;
pub use engine::{ALL_PASSED, NO_POLICY};
pub use examiner::{PolicyExaminer, selftest};
pub use filter::PolicyFilter;
