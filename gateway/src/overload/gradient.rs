//! How many requests may wait for an upstream at once, learnt from how long they wait. Pure: windows of observations in,
//! a limit out, with the time passed in.
//!
//! The signal is the mean time to the first byte against the lowest mean of the last half minute. A mean, so that fast
//! and slow routes of one upstream may be mixed; a short memory, so that an upstream that has become slower by itself is
//! soon the new measure. Nothing is concluded while the limit is not what holds requests up: an upstream that is slow
//! with few requests in flight is an ordinary slow upstream. Under standing overload the lowest mean would rise with the
//! queue, so for a moment now and then the limit is a quarter, which lets the queue drain and shows the real
//! time.

use std::ops::RangeInclusive;

/// How much longer than the lowest mean is taken for a queue.
const TOLERANCE: f64 = 2.0;
/// What is added to that: below it, the time of a request is more the gateway's own than the upstream's.
const SLACK_NS: f64 = 20e6;
/// How far one window moves the limit towards what it suggests.
const SMOOTHING: f64 = 0.5;
/// A limit that nobody reaches goes back to [`START`] by this factor each window.
const RELAX: f64 = 1.1;
/// Where a limit begins, and where it goes back to in calm times.
const START: f64 = 4096.0;
/// The lowest means are remembered for [`BUCKETS`] times this long.
const BUCKET_NS: u64 = 5_000_000_000;
const BUCKETS: usize = 6;
/// Half a bucket, however slow the upstream.
const LONGEST_PROBE_NS: f64 = 2.5e9;

/// What was observed since the last window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    /// Mean time to the first byte, in nanoseconds.
    pub mean_ns: f64,
    /// Whether more than half of the limit was in flight.
    pub bound: bool,
    /// Whether requests were refused.
    pub refused: bool,
    /// How long work waits for a worker of ours: that much of the time is not the upstream's.
    pub lag_ns: f64,
}

/// The limit and what it is learnt from.
#[derive(Debug, Clone)]
pub struct Gradient {
    limit: f64,
    /// The lowest mean of each bucket, the newest first. Infinite where there was none.
    lowest: [f64; BUCKETS],
    bucket_ends_ns: u64,
    /// Whether every window of this bucket refused something.
    refusing: bool,
    /// Whether the queue is let drain, and until when.
    probing: bool,
    probe_ends_ns: u64,
}

impl Default for Gradient {
    fn default() -> Self {
        Self {
            limit: START,
            lowest: [f64::INFINITY; BUCKETS],
            bucket_ends_ns: 0,
            refusing: false,
            probing: false,
            probe_ends_ns: 0,
        }
    }
}

impl Gradient {
    /// The limit within `bounds` (requests), as things are.
    pub fn limit(&self, bounds: &RangeInclusive<u32>) -> u32 {
        let limit = if self.probing { self.limit / 4.0 } else { self.limit };
        let (least, most) = (f64::from(*bounds.start()), f64::from(*bounds.end()));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within bounds that are u32"
        )]
        {
            limit.clamp(least, most.max(least)) as u32
        }
    }

    /// Learns from a window that ended at `now_ns` (any clock that only goes forward); gives the new limit.
    pub fn learn(&mut self, now_ns: u64, window: &Window, bounds: &RangeInclusive<u32>) -> u32 {
        if window.mean_ns.is_finite() && window.mean_ns > 0.0 {
            self.remember(now_ns, window);
            if window.bound {
                self.follow(window);
            } else {
                self.limit = self.limit.max((self.limit * RELAX).min(START));
            }
        }
        let (least, most) = (f64::from(*bounds.start()), f64::from(*bounds.end()));
        self.limit = self.limit.clamp(least, most.max(least));
        self.limit(bounds)
    }

    fn follow(&mut self, window: &Window) {
        let lowest = self.lowest.iter().copied().fold(f64::INFINITY, f64::min);
        let ordinary = lowest * TOLERANCE + SLACK_NS + window.lag_ns * 2.0;
        let gradient = (ordinary / window.mean_ns).clamp(0.5, 1.0);
        let suggested = self.limit * gradient + self.limit.sqrt();
        self.limit += (suggested - self.limit) * SMOOTHING;
    }

    fn remember(&mut self, now_ns: u64, window: &Window) {
        self.probing &= now_ns < self.probe_ends_ns;
        self.refusing &= window.refused;
        if now_ns >= self.bucket_ends_ns {
            self.bucket_ends_ns = now_ns.saturating_add(BUCKET_NS);
            self.probing = self.refusing;
            // As long as what waits now needs, and once more.
            let drained_ns = (window.mean_ns * 2.0).min(LONGEST_PROBE_NS);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "at most some seconds"
            )]
            {
                self.probe_ends_ns = now_ns.saturating_add(drained_ns as u64);
            }
            self.refusing = true;
            self.lowest.rotate_right(1);
            if let Some(newest) = self.lowest.first_mut() {
                *newest = f64::INFINITY;
            }
        }
        if let Some(newest) = self.lowest.first_mut() {
            *newest = newest.min(window.mean_ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;
    use std::collections::{BinaryHeap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    const BOUNDS: RangeInclusive<u32> = 32..=10_000;
    const MS: u64 = 1_000_000;

    /// An upstream that works on `slots` requests at once, `takes_ms` each, first come first served, behind a limit.
    struct Upstream {
        gradient: Gradient,
        limit: u32,
        takes_ms: u64,
        now_ms: u64,
        /// When each request in flight came, and when it will be done.
        in_flight: VecDeque<(u64, u64)>,
        /// When each slot is free.
        free_at: BinaryHeap<Reverse<u64>>,
        refused: u64,
        answered: u64,
        slowest_ms: u64,
    }

    impl Upstream {
        fn new(slots: usize, takes_ms: u64) -> Self {
            let gradient = Gradient::default();
            Self {
                limit: gradient.limit(&BOUNDS),
                gradient,
                takes_ms,
                now_ms: 0,
                in_flight: VecDeque::new(),
                free_at: vec![Reverse(0); slots].into(),
                refused: 0,
                answered: 0,
                slowest_ms: 0,
            }
        }

        /// `per_s` requests a second, evenly, for so long. Counts from zero.
        fn run(&mut self, per_s: f64, seconds: u64) {
            (self.refused, self.answered, self.slowest_ms) = (0, 0, 0);
            let mut owed = 0.0;
            let (mut count, mut sum, mut bound, mut refused) = (0_u64, 0_u64, false, false);
            for tick in 1..=seconds * 1000 {
                self.now_ms += 1;
                while self.in_flight.front().is_some_and(|(_, done)| *done <= self.now_ms) {
                    let (came, done) = self.in_flight.pop_front().unwrap();
                    (count, sum) = (count + 1, sum + (done - came) * MS);
                    self.answered += 1;
                    self.slowest_ms = self.slowest_ms.max(done - came);
                }
                owed += per_s / 1000.0;
                while owed >= 1.0 {
                    owed -= 1.0;
                    if self.in_flight.len() >= self.limit as usize {
                        (self.refused, refused) = (self.refused + 1, true);
                        continue;
                    }
                    let Reverse(free_at) = self.free_at.pop().unwrap();
                    let done = free_at.max(self.now_ms) + self.takes_ms;
                    self.free_at.push(Reverse(done));
                    self.in_flight.push_back((self.now_ms, done));
                }
                bound |= self.in_flight.len() * 2 > self.limit as usize;
                if tick % 100 == 0 && count > 0 {
                    #[expect(clippy::cast_precision_loss, reason = "a mean")]
                    let mean_ns = sum as f64 / count as f64;
                    let window = Window {
                        mean_ns,
                        bound,
                        refused,
                        lag_ns: 0.0,
                    };
                    self.limit = self.gradient.learn(self.now_ms * MS, &window, &BOUNDS);
                    (count, sum, bound, refused) = (0, 0, false, false);
                }
            }
        }
    }

    #[test]
    fn an_ordinary_slow_upstream_is_never_refused() {
        // Two seconds a request, 900 of them in flight, at once and for long.
        let mut upstream = Upstream::new(5000, 2000);
        upstream.run(450.0, 120);
        assert_eq!(upstream.refused, 0);
    }

    #[test]
    fn one_that_takes_more_than_the_start_gets_more() {
        let mut upstream = Upstream::new(5000, 500);
        upstream.run(5000.0, 30);
        upstream.run(5000.0, 30);
        assert_eq!(upstream.refused, 0, "limit {}", upstream.limit);
    }

    #[test]
    fn at_twice_its_capacity_it_works_at_its_capacity_and_the_wait_is_bounded() {
        // 1,000 requests a second: ten at once, 10 ms each.
        let mut upstream = Upstream::new(10, 10);
        upstream.run(500.0, 30);
        assert_eq!(upstream.refused, 0);
        upstream.run(2000.0, 10);
        for minute in 0..5 {
            upstream.run(2000.0, 60);
            assert!(upstream.answered > 58_000, "minute {minute}: {}", upstream.answered);
            assert!(upstream.slowest_ms < 150, "minute {minute}: {} ms", upstream.slowest_ms);
        }
        upstream.run(500.0, 30);
        assert_eq!(upstream.refused, 0, "calm again");
    }

    #[test]
    fn a_hung_upstream_bounds_its_queue() {
        let mut upstream = Upstream::new(100, 10);
        upstream.run(2000.0, 10);
        upstream.takes_ms = 60_000;
        upstream.run(2000.0, 20);
        assert!(upstream.in_flight.len() <= 4500, "{}", upstream.in_flight.len());
    }

    #[test]
    fn one_that_has_become_slower_is_the_new_measure() {
        let mut upstream = Upstream::new(5000, 100);
        upstream.run(3000.0, 60);
        assert_eq!(upstream.refused, 0);
        upstream.takes_ms = 300;
        upstream.run(3000.0, 60);
        upstream.run(3000.0, 60);
        assert_eq!(upstream.refused, 0, "limit {}", upstream.limit);
    }

    #[test]
    fn the_gateways_own_delay_is_not_the_upstreams() {
        let window = |mean_ns, lag_ns| Window {
            mean_ns,
            bound: true,
            refused: false,
            lag_ns,
        };
        let mut gradient = Gradient::default();
        gradient.learn(1, &window(1e6, 0.0), &BOUNDS);
        let before = gradient.limit(&BOUNDS);
        assert!(gradient.clone().learn(2, &window(300e6, 150e6), &BOUNDS) >= before);
        assert!(gradient.learn(2, &window(300e6, 0.0), &BOUNDS) < before);
    }

    proptest! {
        #[test]
        fn the_limit_stays_within_its_bounds(
            windows in proptest::collection::vec((any::<f64>(), any::<bool>(), any::<bool>(), 0.0..1e12_f64, 0_u64..u64::MAX), 1..200),
            least in 1_u32..1000,
            more in 0_u32..100_000,
        ) {
            let bounds = least..=least + more;
            let mut gradient = Gradient::default();
            for (mean_ns, bound, refused, lag_ns, now) in windows {
                let limit = gradient.learn(now, &Window { mean_ns, bound, refused, lag_ns }, &bounds);
                prop_assert!(bounds.contains(&limit));
                prop_assert!(gradient.limit.is_finite());
            }
        }
    }
}
