//! What a link decided, counted. The counters live in a zone, so that they outlive reloads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::zones::{Entropy, OneShape, ZoneState};

/// Counters of a link. Each exchange counts once as allowed, at most, and once for each other thing that happens.
#[derive(Debug, Default)]
pub struct LinkStats {
    allowed: AtomicU64,
    denied: AtomicU64,
    shadow_denied: AtomicU64,
    errors_denied: AtomicU64,
    errors_allowed: AtomicU64,
    replied: AtomicU64,
}

/// What happened.
#[derive(Debug, Clone, Copy)]
pub(super) enum Count {
    Allowed,
    Denied,
    ShadowDenied,
    ErrorDenied,
    ErrorAllowed,
    Replied,
}

impl LinkStats {
    pub(super) fn count(&self, what: Count) {
        let counter = match what {
            Count::Allowed => &self.allowed,
            Count::Denied => &self.denied,
            Count::ShadowDenied => &self.shadow_denied,
            Count::ErrorDenied => &self.errors_denied,
            Count::ErrorAllowed => &self.errors_allowed,
            Count::Replied => &self.replied,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// Let through.
    pub fn allowed(&self) -> u64 {
        self.allowed.load(Relaxed)
    }

    /// Refused.
    pub fn denied(&self) -> u64 {
        self.denied.load(Relaxed)
    }

    /// Would have been refused (or answered) if the link were not in shadow.
    pub fn shadow_denied(&self) -> u64 {
        self.shadow_denied.load(Relaxed)
    }

    /// The filter broke and the request was refused.
    pub fn errors_denied(&self) -> u64 {
        self.errors_denied.load(Relaxed)
    }

    /// The filter broke and the request went on.
    pub fn errors_allowed(&self) -> u64 {
        self.errors_allowed.load(Relaxed)
    }

    /// Answered by the filter.
    pub fn replied(&self) -> u64 {
        self.replied.load(Relaxed)
    }
}

impl ZoneState for LinkStats {
    const KIND: &'static str = "link stats";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
