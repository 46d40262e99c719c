//! HTTP/1 connections to servers: opened here, read strictly, and kept here while idle.
//!
//! Pingora asks a peer's own connector for a stream and drops it in the end; `lease` is that stream, `pool` is where the
//! connection under it goes when it can be used again, `dial` opens new ones. HTTP/2 connections are Pingora's.

mod brake;
mod dial;
mod fault;
mod hang_up;
mod lease;
mod pool;
#[cfg(test)]
mod tests;

pub use self::brake::Brake;
pub(super) use self::dial::{Dialer, TlsDial};
pub use self::fault::{certificate_reason, fault_of};
pub use self::lease::Call;
pub(super) use self::pool::Line;
