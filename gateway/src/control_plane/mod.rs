//! The control plane's client: registers this gateway, tells that it runs, pulls bundles and says what became of them, and
//! reports events. What a bundle must be to come into force is decided where every bundle is judged; requests are not known here.
//!
//! [`course`] decides what is due, [`call`] makes a call, [`client`] is the task around both, [`wire`] and [`events`] are all
//! that can leave.

mod breaker;
mod call;
mod client;
mod course;
pub mod events;
mod join;
pub mod manifest;
mod shared;
mod skew;
mod token;
pub mod wire;

pub use breaker::Link;
pub use client::{Client, Settings};
pub use course::Call;
pub use join::{Joined, NotJoined, join};
pub use shared::{ControlPlaneStatus, EventsStatus, Shared};
pub use token::{NoToken, check as check_token};
