#![doc = include_str!("README.md")]

mod accept;
mod charge;
mod config;
mod engine;
mod examiner;
mod filter;
mod reservation;
mod signal;
mod subject;
#[cfg(test)]
mod tests;
mod throttle;

pub use accept::{Unsupported, unsupported};
pub use charge::{BUDGET_EXCEEDED, EXCEEDED};
pub use config::PolicyConfig;
pub use engine::{ALL_PASSED, NO_POLICY};
pub use examiner::{PolicyExaminer, selftest};
pub use filter::PolicyFilter;
pub use signal::{BUDGET_THROTTLE, BUDGET_WARN};
pub use throttle::{QUEUE_FULL, Throttle};
