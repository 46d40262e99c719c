//! Windows: spans of time in which a fixed number of tokens is there. Which window a moment belongs to, and when it is over.
//!
//! A window on UTC begins by the wall clock and ends by the monotonic one, so that a step of the wall clock neither ends a
//! window early nor makes it last.

use portcullis_bundles::algorithm::Period;

use crate::client::Now;

/// A moment's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Window {
    /// Seconds that a whole one lasts; the highest bit: from the first request on, and not on UTC.
    length: u32,
    /// Counts windows of this length up. 0 for those that begin with a request.
    pub(super) index: u32,
    /// Nanoseconds of the monotonic clock at which it is over.
    pub(super) end_ns: u64,
}

const FIRST_HIT: u32 = 1 << 31;
const SECOND_NS: u64 = 1_000_000_000;

impl Window {
    /// The window on UTC that holds this moment.
    pub fn utc(period: Period, now: Now) -> Self {
        let length = period.seconds();
        // Before 1970 there is nothing to be counted.
        let unix_ms = now.unix_ms.saturating_add(u64::from(period.offset()) * 1000);
        let length_ms = u64::from(length) * 1000;
        let left_ms = length_ms - unix_ms % length_ms;
        Self {
            length,
            index: u32::try_from(unix_ms / length_ms).unwrap_or(u32::MAX),
            end_ns: now.monotonic_ns.saturating_add(left_ms.saturating_mul(1_000_000)),
        }
    }

    /// A window that begins with the first request in it and lasts for so many seconds.
    pub fn from_first(seconds: u32, now: Now) -> Self {
        let length = seconds.clamp(1, FIRST_HIT - 1);
        Self {
            length: length | FIRST_HIT,
            index: 0,
            end_ns: now.monotonic_ns.saturating_add(u64::from(length) * SECOND_NS),
        }
    }

    pub(super) fn seconds(self) -> u32 {
        self.length & !FIRST_HIT
    }

    /// Of the parts that a bucket keeps.
    pub(super) fn from_parts(parts: u64, end_ns: u64) -> Self {
        let half = |bits: u64| u32::try_from(bits & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        Self {
            length: half(parts >> 32),
            index: half(parts),
            end_ns,
        }
    }

    /// Length and number in one word.
    pub(super) fn parts(self) -> u64 {
        u64::from(self.length) << 32 | u64::from(self.index)
    }

    /// Tells this window from others of its kind.
    pub(super) fn stamp(self) -> u32 {
        // Milliseconds: no two windows from a first request begin within one.
        let end = u32::try_from((self.end_ns / 1_000_000) & u64::from(u32::MAX)).unwrap_or(0);
        if self.length & FIRST_HIT == 0 { self.index } else { end }
    }

    /// Whether both are windows of the same kind.
    pub(super) fn is_like(self, other: Self) -> bool {
        self.length == other.length
    }

    /// How long before its end a window may be over because the next one has begun by the wall clock: clocks drift.
    fn slack_ns(self) -> u64 {
        u64::from(self.seconds()) * SECOND_NS / 60
    }

    /// Whether this window is over at a moment that belongs to `current`.
    pub(super) fn is_over(self, current: Self, now: u64) -> bool {
        if self.length & FIRST_HIT != 0 {
            return now >= self.end_ns;
        }
        // A wall clock that went back by at most a window says that this one goes on.
        let next = current.index > self.index;
        let gone_back = current.index == self.index || current.index.saturating_add(1) == self.index;
        let slack = if next { self.slack_ns().min(5 * SECOND_NS) } else { 0 };
        !gone_back && now.saturating_add(slack) >= self.end_ns
    }

    /// Whether it is over for good, whatever the wall clock says next.
    pub(super) fn is_gone(self, now: u64) -> bool {
        let grace = if self.length & FIRST_HIT == 0 { GRACE_NS } else { 0 };
        now >= self.end_ns.saturating_add(grace)
    }
}

/// For so long a window is remembered after its end: the wall clock may be set back.
const GRACE_NS: u64 = 600 * SECOND_NS;
