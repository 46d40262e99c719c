//! What must hold for any input, one module a fuzz target: each has `check`, which panics when something does not hold, and
//! `seeds`, the inputs to begin with. Not the fuzzer: that is libFuzzer, and `fuzz_targets/` hands its inputs over.
//!
//! The checks are plain functions so that `cargo test` runs them over the seeds, on any toolchain.

#![forbid(unsafe_code)]

pub mod bundle;
pub mod config;
pub mod decision;
pub mod http1;
#[path = "../../gateway/src/strict/tests/reference.rs"]
mod http1_model;
pub mod jwt;
pub mod path;
mod path_model;
pub mod seeds;
/// The gateway's scanner alone: the gateway around it would bring all of Pingora.
#[path = "../../gateway/src/strict/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)] // the gateway uses the rest
mod strict;
/// Of the decision service what reads questions, for the same reason.
#[path = "../../gateway/src"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod gateway {
    pub mod client;
    pub mod intake;
    pub mod decision {
        pub mod described;
        pub mod ext_authz;
        pub mod messages;
        mod protocol;

        pub use self::protocol::Protocol;
    }
}

use gateway::{client, intake};
use portcullis_filters::verdict::{Denial, Reason};

/// As the gateway does.
impl From<strict::Case> for Denial {
    fn from(case: strict::Case) -> Self {
        let status = http::StatusCode::from_u16(case.row().status).unwrap_or(http::StatusCode::BAD_REQUEST);
        Self::new(status, Reason(case.reason()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fuzzers find little from seeds that are not found themselves, and a crash is no fuzzer's finding if a seed has it.
    fn holds(least: usize, seeds: &[seeds::Seed], check: fn(&[u8])) {
        assert!(seeds.len() >= least, "only {} seeds", seeds.len());
        for seed in seeds {
            println!("{}", seed.name);
            check(&seed.bytes);
        }
    }

    #[test]
    fn bundle() {
        holds(60, &bundle::seeds(), bundle::check);
    }

    #[test]
    fn config() {
        holds(100, &config::seeds(), config::check);
    }

    #[test]
    fn decision() {
        holds(30, &decision::seeds(), decision::check);
    }

    #[test]
    fn http1() {
        holds(40, &http1::seeds(), http1::check);
    }

    #[test]
    fn jwt() {
        holds(20, &jwt::seeds(), jwt::check);
    }

    #[test]
    fn path() {
        holds(20, &path::seeds(), path::check);
    }
}
