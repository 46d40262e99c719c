//! The clock that ejections go by: milliseconds since the first snapshot, handed from snapshot to snapshot, moved by hand in tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A monotonic clock. Clones show the same time.
#[derive(Debug, Clone)]
pub(super) struct Clock(Source);

#[derive(Debug, Clone)]
enum Source {
    Real(Instant),
    #[cfg_attr(not(test), allow(dead_code))]
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The system's monotonic clock.
    pub(super) fn real() -> Self {
        Self(Source::Real(Instant::now()))
    }

    /// Milliseconds since this clock was made. Never 0, so that 0 can mean "not set".
    pub(super) fn now_ms(&self) -> u64 {
        let elapsed = match &self.0 {
            Source::Real(start) => millis(start.elapsed()),
            Source::Manual(now) => now.load(Ordering::Relaxed),
        };
        elapsed.saturating_add(1)
    }

    /// A clock that stands still until [`Clock::advance`].
    #[cfg(test)]
    pub(super) fn manual() -> Self {
        Self(Source::Manual(Arc::default()))
    }

    /// Moves a manual clock.
    #[cfg(test)]
    pub(super) fn advance(&self, by: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(millis(by), Ordering::Relaxed);
        }
    }
}

/// Whole milliseconds, saturating.
pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
