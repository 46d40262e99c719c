//! The admin listener: health, metrics, status, reload and kill switches over plain HTTP/1.1, for operators and probes only.
//!
//! It holds no state of its own: everything is asked of [`control::Control`], which the live configuration implements.

mod answer;
pub mod control;
mod guard;
pub mod key_wire;
mod routes;
pub(crate) mod samples;
mod server;
#[cfg(test)]
mod tests;
pub mod wire;

pub use server::Server;
