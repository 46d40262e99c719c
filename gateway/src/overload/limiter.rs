//! The limit of one upstream as requests meet it: counted in, counted out, timed. No lock on the way of a request; one of
//! them closes a window every tenth of a second, and finds the lock free or leaves it to the next.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use portcullis_config::site::Priority;

use super::gradient::{Gradient, Window};

/// The shortest window, and the one that is taken with fewer than [`SAMPLES`].
const WINDOW_US: u64 = 100_000;
const LONG_WINDOW_US: u64 = 1_000_000;
const SAMPLES: u64 = 16;

/// Times of a window: their number in the low bits, their sum in microseconds above.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
/// What one request counts at most: the sum of a full window still fits.
const MOST_US: u64 = 1 << 25;

/// A cache line, and the one that is fetched with it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

/// What every request changes.
#[derive(Debug, Default)]
struct Moving {
    in_flight: AtomicU32,
    refused: AtomicU64,
    times: AtomicU64,
}

/// What most requests only read.
#[derive(Debug)]
struct Still {
    limit: AtomicU32,
    /// Microseconds since `started`.
    window_began: AtomicU64,
    bound: AtomicBool,
}

/// Counts the requests that wait for an upstream's answer. Outlives configurations.
#[derive(Debug)]
pub struct Limiter {
    moving: Apart<Moving>,
    still: Apart<Still>,
    started: Instant,
    learner: Mutex<Learner>,
}

#[derive(Debug, Default)]
struct Learner {
    gradient: Gradient,
    refused_before: u64,
}

impl Default for Limiter {
    fn default() -> Self {
        let learner = Learner::default();
        Self {
            moving: Apart::default(),
            still: Apart(Still {
                limit: AtomicU32::new(learner.gradient.limit(&(0..=u32::MAX))),
                window_began: AtomicU64::new(0),
                bound: AtomicBool::new(false),
            }),
            started: Instant::now(),
            learner: Mutex::new(learner),
        }
    }
}

/// A request that waits for an upstream's answer. Gives its place back when it is dropped.
#[derive(Debug)]
pub struct Slot(Arc<Limiter>);

impl Limiter {
    /// Counts a request in, if there is room. The least important ones leave a fifth of the room to the others; the most
    /// important ones need none.
    pub fn enter(self: &Arc<Self>, priority: Priority, bounds: &RangeInclusive<u32>) -> Option<Slot> {
        let limit = self.limit(bounds);
        let room = match priority {
            Priority::Critical => u32::MAX,
            Priority::Default => limit,
            Priority::Sheddable => limit - limit / 5,
        };
        let before = self.moving.0.in_flight.fetch_add(1, Relaxed);
        if before >= room {
            self.moving.0.in_flight.fetch_sub(1, Relaxed);
            self.moving.0.refused.fetch_add(1, Relaxed);
            return None;
        }
        if before >= limit / 2 && !self.still.0.bound.load(Relaxed) {
            self.still.0.bound.store(true, Relaxed);
        }
        Some(Slot(Arc::clone(self)))
    }

    /// Requests that may wait at once.
    pub fn limit(&self, bounds: &RangeInclusive<u32>) -> u32 {
        let limit = self.still.0.limit.load(Relaxed);
        limit.min(*bounds.end()).max(*bounds.start())
    }

    /// Requests that wait.
    pub fn in_flight(&self) -> u32 {
        self.moving.0.in_flight.load(Relaxed)
    }

    /// Requests that were refused since the start.
    pub fn refused(&self) -> u64 {
        self.moving.0.refused.load(Relaxed)
    }

    /// A request took so long to its first byte, which came `now`.
    fn observe(&self, took: Duration, now: Instant, bounds: &RangeInclusive<u32>, lag: Duration) {
        let took_us = micros(took).clamp(1, MOST_US);
        let times = self.moving.0.times.fetch_add((took_us << COUNT_BITS) | 1, Relaxed);
        let now_us = micros(now.saturating_duration_since(self.started));
        let age = now_us.saturating_sub(self.still.0.window_began.load(Relaxed));
        let count = (times & COUNT) + 1;
        if age >= LONG_WINDOW_US || (age >= WINDOW_US && count >= SAMPLES) || count > COUNT / 2 {
            self.close(now_us, bounds, lag);
        }
    }

    fn close(&self, now_us: u64, bounds: &RangeInclusive<u32>, lag: Duration) {
        let mut learner = match self.learner.try_lock() {
            Ok(learner) => learner,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(std::sync::TryLockError::WouldBlock) => return,
        };
        let times = self.moving.0.times.swap(0, Relaxed);
        let count = times & COUNT;
        if count == 0 {
            return;
        }
        let refused = self.refused();
        #[expect(clippy::cast_precision_loss, reason = "means and delays, far below what is exact")]
        let window = Window {
            mean_ns: (times >> COUNT_BITS) as f64 / count as f64 * 1e3,
            bound: self.still.0.bound.swap(false, Relaxed),
            refused: refused > learner.refused_before,
            lag_ns: lag.as_nanos() as f64,
        };
        learner.refused_before = refused;
        let limit = learner.gradient.learn(now_us.saturating_mul(1000), &window, bounds);
        self.still.0.limit.store(limit, Relaxed);
        self.still.0.window_began.store(now_us, Relaxed);
    }
}

impl Slot {
    /// The upstream's answer has begun, so long after the request was sent there. `lag`: how long work waits for a worker.
    pub fn answered(self, took: Duration, now: Instant, bounds: &RangeInclusive<u32>, lag: Duration) {
        self.0.observe(took, now, bounds, lag);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.moving.0.in_flight.fetch_sub(1, Relaxed);
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_in_and_out_and_refuses_by_priority() {
        let limiter = Arc::new(Limiter::default());
        let bounds = 10..=10;
        let mut slots: Vec<_> = (0..8)
            .map(|_| limiter.enter(Priority::Sheddable, &bounds).unwrap())
            .collect();
        assert!(limiter.enter(Priority::Sheddable, &bounds).is_none());
        slots.extend((0..2).map(|_| limiter.enter(Priority::Default, &bounds).unwrap()));
        assert!(limiter.enter(Priority::Default, &bounds).is_none());
        slots.push(limiter.enter(Priority::Critical, &bounds).unwrap());
        assert_eq!((limiter.in_flight(), limiter.refused()), (11, 2));
        slots.clear();
        assert_eq!(limiter.in_flight(), 0);
        assert!(limiter.enter(Priority::Sheddable, &bounds).is_some());
    }

    #[test]
    fn learns_when_a_window_is_full() {
        let limiter = Arc::new(Limiter::default());
        let bounds = 4..=10_000;
        let begin = limiter.started;
        // Fast, then slow with more than half of the limit in flight.
        for (window, took) in [(1, 1), (2, 400), (3, 400)] {
            let slots: Vec<_> = (0..2400)
                .map(|_| limiter.enter(Priority::Default, &bounds).unwrap())
                .collect();
            for slot in slots {
                slot.answered(
                    Duration::from_millis(took),
                    begin + Duration::from_millis(150 * window),
                    &bounds,
                    Duration::ZERO,
                );
            }
            limiter.close(150_000 * window, &bounds, Duration::ZERO);
        }
        assert!(limiter.limit(&bounds) < 3200, "{}", limiter.limit(&bounds));
        assert_eq!(limiter.in_flight(), 0);
    }
}
