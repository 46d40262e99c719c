//! What is in one bucket, and how it changes. It knows no table and no key.
//!
//! There may be millions of buckets, so level, refill and time share five words.

use super::arithmetic::{Cost, Params, Refill, Taken, joined, low, millionths, seconds, whole};
use super::window::Window;

/// What a bucket holds, as it was at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    level_low: u64,
    /// The low half of a rate, or the length and the number of a window.
    refill_low: u64,
    /// The rest of the level, then the rest of the rate, or [`WINDOW`].
    high: u64,
    /// By which it fills, with the rate: [`Params::burst`].
    burst: u64,
    /// Nanoseconds of the monotonic clock: when it was refilled last, or when its window is over.
    pub(super) at: u64,
}

/// A bucket on its way to another process, whose clock may have another origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    pub(super) level: i128,
    /// The rate; or, with all bits above the lowest 64 that a rate leaves, a window's length and number.
    pub(super) refill: u128,
    pub(super) burst: u64,
    /// Nanoseconds since it was refilled, or until its window is over.
    pub(super) span_ns: u64,
}

/// No level is further from zero: [`super::MAX_TOKENS`] are less than 2^110 units. Below zero is what is owed.
const MAX_LEVEL: i128 = (1 << 111) - 1;
/// No rate has more bits: [`super::MAX_TOKENS`] a second are less than 2^80 units a nanosecond, and far from the highest of those.
const RATE_HIGH: u64 = 0xfffe;
/// In the place of the rest of a rate: it refills by windows.
const WINDOW: u64 = 0xffff;
/// Bits beside the level.
const SIDE: u32 = 16;

impl Bucket {
    /// A bucket that nobody took from yet.
    pub(super) fn full(params: Params, now: u64) -> Self {
        Self::new(signed(params.units()), params, now)
    }

    /// A bucket that held `level` units at a moment. A window knows its own end instead of that moment.
    pub(super) fn new(level: i128, params: Params, at: u64) -> Self {
        let (refill_low, side, at) = match params.refill {
            Refill::Steady([high, low]) => (low, high.min(RATE_HIGH), at),
            Refill::Window(window) => (window.parts(), WINDOW, window.end_ns),
        };
        let mut bucket = Self {
            level_low: 0,
            refill_low,
            high: side,
            burst: params.burst,
            at,
        };
        bucket.set_level(level);
        bucket
    }

    /// In units; below zero when more was taken than there was.
    pub(super) fn level(&self) -> i128 {
        let bits = u128::from(self.high >> SIDE) << 64 | u128::from(self.level_low);
        // The level has 112 bits; its sign is the highest of them.
        (bits << SIDE).cast_signed() >> SIDE
    }

    fn set_level(&mut self, level: i128) {
        let bits = level.clamp(-MAX_LEVEL, MAX_LEVEL).cast_unsigned();
        self.level_low = low(bits);
        self.high = low(bits >> 64) << SIDE | self.high & WINDOW;
    }

    fn refill_by(&self) -> Refill {
        match self.high & WINDOW {
            WINDOW => Refill::Window(Window::from_parts(self.refill_low, self.at)),
            side => Refill::Steady([side, self.refill_low]),
        }
    }

    /// By which it fills.
    pub(super) fn params(&self) -> Params {
        Params {
            refill: self.refill_by(),
            burst: self.burst,
        }
    }

    /// Which window it is in, so that nothing of another is given back to it.
    pub(super) fn window(&self) -> u32 {
        match self.refill_by() {
            Refill::Window(window) => window.stamp(),
            Refill::Steady(_) => 0,
        }
    }

    /// Adds what came in since. When other parameters are in use since `changed`, then by the old ones until that moment
    /// and by the new ones after it, so that a change gives nobody what the old limit did not. A clock that went back adds
    /// nothing.
    pub(super) fn refill(&mut self, params: Params, changed: u64, now: u64) {
        match (params.refill, self.refill_by()) {
            (Refill::Window(current), Refill::Window(own)) if own.is_like(current) => {
                self.turn(params, own, current, now);
            }
            (Refill::Steady(_), Refill::Steady(_)) => {
                let now = now.max(self.at);
                if self.params() != params {
                    self.fill_until(changed.clamp(self.at, now));
                    *self = Self::new(self.level(), params, self.at);
                }
                self.fill_until(now);
            }
            // Another kind of limit has keys of its own, so this never was the bucket of this one.
            _ => *self = Self::full(params, now),
        }
    }

    /// Begins the next window when the bucket's own is over. Another budget counts at once, less what was used.
    fn turn(&mut self, params: Params, own: Window, current: Window, now: u64) {
        if own.is_over(current, now) {
            *self = Self::full(params, now);
            return;
        }
        if now >= self.at && !own.is_gone(now) {
            self.at = current.end_ns;
        }
        if self.burst != params.burst {
            let used = signed(self.params().units()) - self.level();
            self.burst = params.burst;
            self.set_level(signed(params.units()) - used);
        }
    }

    fn fill_until(&mut self, now: u64) {
        let Refill::Steady(rate) = self.refill_by() else { return };
        let more = joined(rate).saturating_mul(u128::from(now.saturating_sub(self.at)));
        let full = signed(self.params().units());
        self.set_level(self.level().saturating_add(signed(more)).min(full));
        self.at = now;
    }

    /// Whether it is full at a moment, if nobody takes from it.
    pub(super) fn is_full_at(&self, now: u64) -> bool {
        let full = signed(self.params().units());
        match self.refill_by() {
            Refill::Steady(rate) => {
                let more = joined(rate).saturating_mul(u128::from(now.saturating_sub(self.at)));
                self.level().saturating_add(signed(more)) >= full
            }
            Refill::Window(window) => self.level() >= full || window.is_gone(now),
        }
    }

    /// For another process.
    pub(super) fn packed(&self, now: u64) -> Packed {
        let span_ns = if self.has_window() {
            self.at.saturating_sub(now)
        } else {
            now.saturating_sub(self.at)
        };
        Packed {
            level: self.level(),
            refill: u128::from(self.high & WINDOW) << 64 | u128::from(self.refill_low),
            burst: self.burst,
            span_ns,
        }
    }

    /// From another process, where it was packed `elapsed` nanoseconds ago. `None` when its window is over by now, or when
    /// it cannot be.
    pub(super) fn unpacked(packed: &Packed, elapsed: u64, now: u64) -> Option<Self> {
        let Packed {
            level,
            refill,
            burst,
            span_ns,
        } = *packed;
        let (side, refill_low) = (u64::try_from(refill >> 64).ok()?, low(refill));
        let (refill, at) = if side == WINDOW {
            let left = span_ns.checked_sub(elapsed).filter(|left| *left > 0)?;
            let at = now.saturating_add(left);
            (Refill::Window(Window::from_parts(refill_low, at)), at)
        } else {
            let age = span_ns.saturating_add(elapsed);
            (Refill::Steady([side, refill_low]), now.saturating_sub(age))
        };
        let possible = side <= WINDOW && (side, refill_low) != (0, 0);
        possible.then(|| Self::new(level, Params { refill, burst }, at))
    }

    /// Whether it refills by windows.
    pub(super) fn has_window(&self) -> bool {
        self.high & WINDOW == WINDOW
    }

    /// Whether there is enough.
    pub(super) fn has(&self, cost: Cost) -> bool {
        self.level() >= signed(cost.units())
    }

    /// Takes, when there is enough.
    pub(super) fn take(&mut self, cost: Cost) -> bool {
        let enough = self.has(cost);
        if enough {
            self.owe(cost);
        }
        enough
    }

    /// Takes, whether there is enough or not.
    pub(super) fn owe(&mut self, cost: Cost) {
        self.set_level(self.level().saturating_sub(signed(cost.units())));
    }

    /// Leaves nothing.
    pub(super) fn take_everything(&mut self) {
        self.set_level(0);
    }

    /// Gives back, up to the burst.
    pub(super) fn refund(&mut self, cost: Cost) {
        let full = signed(self.params().units());
        self.set_level(self.level().saturating_add(signed(cost.units())).min(full));
    }

    /// What a request is told.
    pub(super) fn report(&self, cost: Cost, allowed: bool, shared: bool, now: u64) -> Taken {
        let params = self.params();
        let level = self.level();
        let missing = |wanted: u128| (signed(wanted) - level).max(0).unsigned_abs();
        let (retry_after, full_after) = match params.refill {
            Refill::Steady(rate) => {
                let wait = |wanted| seconds(missing(wanted), joined(rate));
                (wait(cost.units()), wait(params.units()))
            }
            Refill::Window(_) => {
                let left = self.at.saturating_sub(now).div_ceil(1_000_000_000);
                let left = u32::try_from(left).unwrap_or(u32::MAX);
                (left, left)
            }
        };
        Taken {
            allowed,
            limit: params.limit(),
            remaining: if allowed { whole(level.max(0).unsigned_abs()) } else { 0 },
            retry_after: if allowed { 0 } else { retry_after.max(1) },
            full_after,
            shared,
            no_room: false,
            window: self.window(),
            used_millionths: millionths(missing(params.units())),
        }
    }
}

fn signed(units: u128) -> i128 {
    i128::try_from(units).unwrap_or(i128::MAX)
}
