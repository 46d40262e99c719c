#![doc = include_str!("README.md")]

mod accept;
mod breaker;
mod breakers;
mod charge;
mod config;
mod engine;
mod examiner;
mod explain;
mod filter;
pub mod llm;
mod replay;
mod reservation;
mod round;
mod signal;
mod subject;
#[cfg(test)]
mod tests;
mod throttle;
mod trial;
mod when;

pub use accept::{Unsupported, unsupported};
pub use breakers::Breakers;
pub use charge::{BUDGET_EXCEEDED, EXCEEDED, LOOP_DETECTED};
pub use config::PolicyConfig;
pub use engine::{ALL_PASSED, COUNTERS_FULL, NO_POLICY, prepare};
pub use examiner::{PolicyExaminer, selftest};
pub use explain::{Counter, Counting, PolicyStep, RuleOutcome, RuleStep, WhenStep, explain};
pub use filter::PolicyFilter;
pub use replay::{BrokenLine, Changes, Keep, Outcome as RequestOutcome, Recording, Report, replay};
pub use round::CIRCUIT_OPEN;
pub use signal::{BUDGET_THROTTLE, BUDGET_WARN, LOOP_THROTTLE, LOOP_WARN};
pub use throttle::{QUEUE_FULL, Throttle};
pub use trial::{Share, Trial};
