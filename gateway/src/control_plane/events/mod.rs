//! What the control plane is told of what this gateway did: counts by policy, rule and reason, bundles, starts and stops. Gathered in
//! memory, sealed into batches on the disk, sent from there until the control plane has them.
//!
//! [`event`] is the whole of what an event can hold, [`tally`] counts decisions, [`queue`] keeps batches over a crash,
//! [`reporter`] brings them together. Nothing is sent here.

pub mod event;
mod queue;
mod reporter;
mod tally;

pub(super) use queue::Sealed;
pub use reporter::Reporter;
