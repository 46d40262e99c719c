//! The gateway: sockets, Pingora, the snapshot that requests are judged by, and everything that keeps it fresh.
//!
//! Hot: `listener` -> [`proxy`] -> [`exchange`] (with [`intake`], [`route`], [`client`], [`forward`], [`respond`]) ->
//! [`upstream`] -> [`telemetry`]. Cold: [`live`] loads, [`compile`] compiles, [`snapshot`] is the result.

pub mod admin;
#[cfg(feature = "core")]
pub mod cli;
pub mod client;
#[cfg(feature = "core")]
pub mod compile;
#[cfg(feature = "core")]
pub mod demo;
#[cfg(feature = "core")]
pub mod exchange;
pub mod forward;
pub mod http_client;
pub mod identity;
pub mod intake;
pub mod listener;
#[cfg(feature = "core")]
pub mod live;
#[cfg(feature = "core")]
pub mod proxy;
pub mod request_id;
#[cfg(feature = "core")]
pub mod respond;
pub mod route;
#[cfg(feature = "core")]
pub mod server;
#[cfg(feature = "core")]
pub mod signals;
#[cfg(feature = "core")]
pub mod snapshot;
pub mod telemetry;
pub mod upstream;
pub mod watch;
