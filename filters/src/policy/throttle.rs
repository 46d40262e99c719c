//! Requests that are held back: how many at once, and for how long at most. The waiting itself is the gateway's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::verdict::Reason;
use crate::zones::{Entropy, OneShape, ZoneState};

/// The reason when there is no room to wait.
pub const QUEUE_FULL: Reason = Reason("throttle_queue_full");

/// The requests of a link that are held back, counted over all reloads.
#[derive(Debug, Default)]
pub struct Throttle {
    waiting: AtomicUsize,
    throttled: AtomicU64,
    refused: AtomicU64,
}

/// A place among those that wait; given up when it is dropped.
#[derive(Debug)]
pub(super) struct Ticket(Arc<Throttle>);

impl Throttle {
    /// A place, unless `most` have one.
    pub(super) fn enter(self: &Arc<Self>, most: usize) -> Option<Ticket> {
        let entered = self
            .waiting
            .fetch_update(Relaxed, Relaxed, |waiting| (waiting < most).then_some(waiting + 1));
        if entered.is_err() {
            self.refused.fetch_add(1, Relaxed);
            return None;
        }
        self.throttled.fetch_add(1, Relaxed);
        Some(Ticket(Arc::clone(self)))
    }

    /// Requests that wait now.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Relaxed)
    }

    /// Requests that were held back.
    pub fn throttled_total(&self) -> u64 {
        self.throttled.load(Relaxed)
    }

    /// Requests that were refused because too many waited.
    pub fn refused_total(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

impl ZoneState for Throttle {
    const KIND: &'static str = "throttle";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
