//! What filter tests need: a request with everything set, a chain from YAML, and the runner of README examples. Not part of
//! the gateway: only built for tests and with the feature `testing`. What is wrong in a test panics.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod bench;
mod exchange;
mod readme;
mod request;
mod steps;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use bench::try_bench_of;
pub use bench::{Bench, ENTROPY, try_bench};
pub use exchange::{Answered, Upstream};
pub use readme::{Readme, check_readme};
pub use request::RequestBuilder;
pub use steps::run_steps;

use crate::client::Now;

/// The moment at which tests begin: 2026-01-01T00:00:00Z, an hour after boot.
pub const START: Now = Now {
    monotonic_ns: 3_600_000_000_000,
    unix_ms: 1_767_225_600_000,
};

/// So many parameters of a query that mean nothing, each with a `&` behind it.
pub fn filler(parameters: usize) -> String {
    (0..parameters).fold(String::new(), |query, number| query + &format!("filler{number}=1&"))
}

/// Some time after a moment.
pub fn after(now: Now, milliseconds: u64) -> Now {
    Now {
        monotonic_ns: now.monotonic_ns + milliseconds * 1_000_000,
        unix_ms: now.unix_ms + milliseconds,
    }
}
