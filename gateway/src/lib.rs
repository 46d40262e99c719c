//! The gateway: sockets, Pingora, the snapshot that requests are judged by, and everything that keeps it fresh.
//!
//! Hot: `listener` (with [`strict`]) -> [`proxy`] -> [`exchange`] (with [`intake`], [`route`], [`client`], [`forward`], [`respond`]) ->
//! [`upstream`] -> [`telemetry`]. Cold: [`live`] loads, [`compile`] compiles, [`snapshot`] is the result.

pub mod admin;
pub mod cli;
pub mod client;
pub mod compile;
pub mod control_plane;
pub mod debug;
pub mod decision;
pub mod demo;
pub mod edge;
pub mod exchange;
pub mod forward;
pub mod geoip;
pub mod http_client;
pub mod identity;
pub mod intake;
pub mod listener;
pub mod live;
pub mod overload;
pub mod problem;
pub mod proxy;
pub mod recorder;
pub mod request_id;
pub mod respond;
pub mod rollout;
pub mod route;
pub mod server;
pub mod session;
pub mod signals;
pub mod snapshot;
pub mod state;
pub mod store;
pub mod strict;
// Beside the module and not in it: the fuzz targets take that, and have tests of their own.
#[cfg(test)]
#[path = "strict/tests/mod.rs"]
mod strict_tests;
pub mod telemetry;
pub mod upstream;
pub mod watch;
