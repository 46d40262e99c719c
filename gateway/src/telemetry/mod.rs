//! What the gateway tells about itself: metrics, access log, process log and traces. It decides nothing and never makes
//! a request wait.

pub mod access_log;
pub mod exposition;
pub mod lines;
pub mod log;
pub mod metrics;
pub(crate) mod plain;
pub mod stamp;
pub mod traces;
