//! What the benches measure, built: a chain with its requests, routers of many routes, tables with many keys. Measuring is
//! the benches' own; whether the numbers are good enough is said nowhere here.

#![allow(clippy::expect_used, clippy::panic, clippy::cast_precision_loss)] // a fixture that cannot be built ends the bench

pub mod bundles;
pub mod chain;
pub mod count;
pub mod decisions;
pub mod routes;
#[cfg(feature = "harness")]
pub mod side;
pub mod tables;
