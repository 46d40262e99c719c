//! Counters that many workers add to at once: each thread has its own cache lines, and a scrape adds them up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use crate::telemetry::exposition::Buckets;

/// Upper bounds of every histogram of times, in seconds.
pub const BOUNDS: [f64; 15] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// The same in microseconds.
const BOUNDS_US: [u64; 15] = [
    500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];
/// Counters that a histogram takes: one a bound, one above, the sum.
pub(super) const HISTOGRAM: usize = BOUNDS.len() + 2;

/// Most shards. More threads than this share.
const MOST_SHARDS: usize = 16;

/// `N` counters, sharded by thread.
#[derive(Debug)]
pub(super) struct Cells<const N: usize> {
    shards: Box<[Shard<N>]>,
}

/// Aligned to two cache lines, which some processors fetch together.
#[derive(Debug)]
#[repr(align(128))]
struct Shard<const N: usize>([AtomicU64; N]);

impl<const N: usize> Cells<N> {
    pub(super) fn new() -> Self {
        let shards = (0..shards()).map(|_| Shard([const { AtomicU64::new(0) }; N])).collect();
        Self { shards }
    }

    /// Adds to one counter. A place that does not exist is ignored.
    pub(super) fn add(&self, place: usize, n: u64) {
        let shard = self.shards.get(thread() % self.shards.len().max(1));
        if let Some(counter) = shard.and_then(|shard| shard.0.get(place)) {
            counter.fetch_add(n, Relaxed);
        }
    }

    /// Adds a time to the histogram that begins at `first`.
    pub(super) fn observe(&self, first: usize, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.add(first + BOUNDS_US.partition_point(|bound| *bound < us), 1);
        self.add(first + HISTOGRAM - 1, us);
    }

    /// All counters, added up over the shards.
    pub(super) fn read(&self) -> Counts<N> {
        let mut sums = [0_u64; N];
        for shard in &self.shards {
            for (sum, counter) in sums.iter_mut().zip(&shard.0) {
                *sum = sum.wrapping_add(counter.load(Relaxed));
            }
        }
        Counts(sums)
    }
}

/// Counters at one moment.
#[derive(Debug, Clone)]
pub(super) struct Counts<const N: usize>([u64; N]);

impl<const N: usize> Counts<N> {
    pub(super) fn get(&self, place: usize) -> u64 {
        self.0.get(place).copied().unwrap_or(0)
    }

    /// The histogram that begins at `first`.
    #[allow(clippy::cast_precision_loss)] // 2^53 microseconds are 285 years
    pub(super) fn histogram(&self, first: usize) -> Buckets {
        let counts = (first..first + HISTOGRAM - 1).map(|place| self.get(place)).collect();
        let sum = self.get(first + HISTOGRAM - 1) as f64 / 1e6;
        Buckets {
            bounds: &BOUNDS,
            counts,
            sum,
        }
    }
}

/// As many shards as threads can run at once, within bounds.
fn shards() -> usize {
    static SHARDS: OnceLock<usize> = OnceLock::new();
    *SHARDS.get_or_init(|| {
        std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MOST_SHARDS)
    })
}

/// A small number for this thread.
fn thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static MINE: usize = NEXT.fetch_add(1, Relaxed));
    MINE.with(|mine| *mine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_many_threads_add_up() {
        let cells = Cells::<{ HISTOGRAM + 1 }>::new();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        cells.add(0, 2);
                        cells.observe(1, Duration::from_micros(1001));
                    }
                });
            }
        });
        let counts = cells.read();
        assert_eq!(counts.get(0), 16_000);
        let histogram = counts.histogram(1);
        assert_eq!(histogram.counts.iter().sum::<u64>(), 8000);
        assert_eq!(histogram.counts[2], 8000, "1001 us is above 1 ms and below 2.5 ms");
        assert!((histogram.sum - 8.008).abs() < 1e-9);
        cells.add(999, 1);
    }

    #[test]
    fn a_bound_is_inclusive_and_the_last_bucket_has_none() {
        let cells = Cells::<HISTOGRAM>::new();
        for us in [0, 500, 501, 30_000_000, 30_000_001, u64::MAX] {
            cells.observe(0, Duration::from_micros(us));
        }
        let counts = cells.read().histogram(0).counts;
        assert_eq!((counts[0], counts[1], counts[14], counts[15]), (2, 1, 1, 2));
        for (bound, us) in BOUNDS.iter().zip(BOUNDS_US) {
            assert!((Duration::from_micros(us).as_secs_f64() - bound).abs() < 1e-12);
        }
    }
}
