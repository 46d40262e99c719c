//! How many requests may wait for an upstream at once: its limiter, which outlives configurations, with the bounds of this one.
//!
//! One limit for an upstream and not for a server or a route: what is worked on is shared by its servers, and a route that
//! is much slower than the others is given an upstream of its own. Not one for the gateway either: a slow upstream would
//! take the room of the fast ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis_config::site::Priority;

use crate::overload::{Limiter, Slot};

use super::Upstream;

impl Upstream {
    /// Lets a request wait for this upstream, if there is room.
    pub fn enter(&self, priority: Priority) -> Option<Slot> {
        self.limiter().enter(priority, &self.concurrency)
    }

    /// A request's answer began `now`, so long after it was sent. `lag`: how long work waits for a worker of ours.
    pub fn answered(&self, slot: Slot, took: Duration, now: Instant, lag: Duration) {
        slot.answered(took, now, &self.concurrency, lag);
    }

    /// Requests that may wait at once, as things are.
    pub fn limit(&self) -> u32 {
        self.limiter().limit(&self.concurrency)
    }

    /// The counts.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.group.shared.limiter
    }
}
