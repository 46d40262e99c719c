//! Listeners that decide: a peer describes a request, and the answer says whether it may pass. In here are the five forms
//! in which peers ask and are answered; the exchange runs the chain ([`crate::exchange::decide`]), and nothing is forwarded.

pub mod answer;
pub mod described;
pub mod ext_authz;
pub mod messages;
mod protocol;

pub use self::protocol::Protocol;

#[cfg(test)]
mod tests;
