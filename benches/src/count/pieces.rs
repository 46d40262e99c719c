//! Pieces of the hot path by name, each to be run any number of times in a process of its own.

use std::hint::black_box;

use http::HeaderMap;

use crate::bundles::{Publisher, accept};
use crate::chain::Exchanges;
use crate::routes::{Lookup, router};
use crate::tables::Filled;

/// Name, how often it is run at first, how much more often the second time.
pub const PIECES: [(&str, u64, u64); 5] = [
    ("chain-gate", 200, 5_000),
    ("chain-eight", 200, 5_000),
    ("route-1000", 200, 20_000),
    ("bucket", 200, 20_000),
    ("bundle-policy", 0, 1_000),
];

/// Runs a piece `times` times. Nothing is built more often because of it.
pub fn run(name: &str, times: u64) {
    match name {
        "chain-gate" => exchanges(Exchanges::bare(), times),
        "chain-eight" => exchanges(Exchanges::eight(), times),
        "route-1000" => {
            let (router, headers) = (router(1_000), HeaderMap::new());
            let [_, prefix, ..] = Lookup::kinds(1_000);
            for _ in 0..times {
                black_box(prefix.run(&router, &headers));
            }
        }
        "bucket" => {
            let allowed = Filled::of(10_000).take(7, times);
            assert_eq!(allowed, times, "nothing was refused");
        }
        // Verified, parsed, compiled: once, with so many policies.
        "bundle-policy" => {
            let publisher = Publisher::new();
            let policies = usize::try_from(times).expect("a number of policies").max(10);
            black_box(accept(&publisher.loader(), &publisher.sign(1, policies)));
        }
        other => panic!("there is no piece `{other}`"),
    }
}

fn exchanges(mut exchanges: Exchanges, times: u64) {
    for _ in 0..times {
        black_box(exchanges.run());
    }
}
