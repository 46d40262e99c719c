//! When is a transfer too slow? Counts only the time spent waiting for the other side, so that a client is never blamed
//! for a slow upstream, and takes the clock as an argument.

use std::time::{Duration, Instant};

/// What is wrong with a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slow {
    /// Nothing moved for the whole pause allowed.
    Idle,
    /// Less moved in a window than the minimum rate asks for.
    Rate,
}

/// One direction of a transfer.
#[derive(Debug)]
pub(super) struct Pace {
    /// The longest pause; also the window of the rate. The first window is the grace at the start.
    window: Duration,
    min_rate: u32,
    /// The pause that is going on.
    waiting: Option<Waiting>,
    /// Of the current window: time waited (without the pause that is going on) and bytes moved.
    waited: Duration,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since: Instant,
    /// From when on the pause belongs to the current window.
    counted_from: Instant,
}

impl Pace {
    /// `min_rate` in bytes a second; 0 = only pauses count.
    pub(super) fn new(window: Duration, min_rate: u32) -> Self {
        Self {
            window,
            min_rate,
            waiting: None,
            waited: Duration::ZERO,
            bytes: 0,
        }
    }

    /// Whether a pause is going on.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// How long the pause has been going on.
    pub(super) fn waited(&self, now: Instant) -> Duration {
        self.waiting
            .map_or(Duration::ZERO, |waiting| now.saturating_duration_since(waiting.since))
    }

    /// Nothing can be moved at `now`. Gives the time at which [`Self::check`] should be asked.
    pub(super) fn wait(&mut self, now: Instant) -> Instant {
        if self.waiting.is_none() && self.waited.is_zero() {
            // What moved before anybody waited says nothing about who is waited for.
            self.bytes = 0;
        }
        let waiting = *self.waiting.get_or_insert(Waiting {
            since: now,
            counted_from: now,
        });
        let idle_at = waiting.since + self.window;
        if self.min_rate == 0 {
            return idle_at;
        }
        idle_at.min(waiting.counted_from + self.window.saturating_sub(self.waited))
    }

    /// `bytes` were moved at `now`; the pause, if there was one, is over.
    pub(super) fn moved(&mut self, bytes: u64, now: Instant) -> Result<(), Slow> {
        self.bytes = self.bytes.saturating_add(bytes);
        if let Some(waiting) = self.waiting.take() {
            self.waited += now.saturating_duration_since(waiting.counted_from);
        }
        self.end_window(now)
    }

    /// `bytes` were moved without a pause: no need to know the time.
    pub(super) fn moved_freely(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Whether the pause that is going on has become too much.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Slow> {
        let Some(waiting) = self.waiting else { return Ok(()) };
        if now.saturating_duration_since(waiting.since) >= self.window {
            return Err(Slow::Idle);
        }
        self.end_window(now)
    }

    fn end_window(&mut self, now: Instant) -> Result<(), Slow> {
        let pause = self.waiting.map_or(Duration::ZERO, |waiting| {
            now.saturating_duration_since(waiting.counted_from)
        });
        let waited = self.waited + pause;
        if self.min_rate == 0 || waited < self.window {
            return Ok(());
        }
        // At least the whole window, so the product is never judged over an instant.
        if u128::from(self.bytes) * 1000 < u128::from(self.min_rate) * waited.as_millis() {
            return Err(Slow::Rate);
        }
        self.waited = Duration::ZERO;
        self.bytes = 0;
        if let Some(waiting) = &mut self.waiting {
            waiting.counted_from = now;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(20);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_pause_as_long_as_the_window_is_idle() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 0);
        assert_eq!(pace.wait(start), at(start, 20));
        assert_eq!(pace.check(at(start, 19)), Ok(()));
        assert_eq!(pace.check(at(start, 20)), Err(Slow::Idle));
    }

    #[test]
    fn a_byte_a_second_falls_below_the_rate_after_one_window() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        let mut cut = None;
        for second in 0..60 {
            pace.wait(at(start, second));
            if pace.moved(1, at(start, second + 1)).is_err() {
                cut = Some(second + 1);
                break;
            }
        }
        assert_eq!(cut, Some(20));
    }

    #[test]
    fn the_rate_is_judged_in_the_middle_of_a_pause() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        pace.wait(start);
        assert_eq!(pace.moved(10, at(start, 15)), Ok(()));
        assert_eq!(pace.wait(at(start, 15)), at(start, 20));
        assert_eq!(pace.check(at(start, 20)), Err(Slow::Rate));
    }

    #[test]
    fn a_good_window_does_not_pay_for_the_next() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        pace.wait(start);
        assert_eq!(pace.moved(10 << 20, at(start, 19)), Ok(()));
        pace.wait(at(start, 19));
        assert_eq!(pace.check(at(start, 20)), Ok(()), "the first window was good");
        assert_eq!(pace.check(at(start, 39)), Err(Slow::Idle));
        let mut pace = Pace::new(WINDOW, 256);
        pace.wait(start);
        assert_eq!(pace.moved(10 << 20, at(start, 20)), Ok(()));
        pace.wait(at(start, 20));
        assert_eq!(pace.moved(1, at(start, 39)), Ok(()));
        assert_eq!(pace.wait(at(start, 39)), at(start, 40));
        assert_eq!(pace.check(at(start, 40)), Err(Slow::Rate));
    }

    #[test]
    fn a_fast_start_buys_no_time() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        pace.moved_freely(10 << 20);
        pace.wait(start);
        assert_eq!(pace.moved(100, at(start, 10)), Ok(()));
        pace.wait(at(start, 10));
        assert_eq!(pace.check(at(start, 20)), Err(Slow::Rate));
    }

    #[test]
    fn what_follows_a_pause_counts() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        for pause in 0..10 {
            let now = at(start, pause * 15);
            pace.wait(now);
            assert_eq!(pace.moved(100, now + Duration::from_secs(15)), Ok(()));
            pace.moved_freely(10_000);
        }
    }

    #[test]
    fn time_in_which_nobody_waited_does_not_count() {
        let start = Instant::now();
        let mut pace = Pace::new(WINDOW, 256);
        for minute in 0..100 {
            let now = at(start, minute * 60);
            pace.wait(now);
            assert_eq!(
                pace.moved(600, now + Duration::from_secs(2)),
                Ok(()),
                "300 B/s while asked"
            );
        }
    }

    proptest! {
        /// Whatever the pattern of pauses shorter than the window, twice the rate is always enough.
        #[test]
        fn twice_the_rate_is_never_cut(pauses in proptest::collection::vec(1..15_000u64, 1..200), rate in 1..100_000u32) {
            let mut now = Instant::now();
            let mut pace = Pace::new(WINDOW, rate);
            for pause in pauses {
                pace.wait(now);
                now += Duration::from_millis(pause);
                let bytes = u64::from(rate) * 2 * pause / 1000 + 1;
                prop_assert_eq!(pace.moved(bytes, now), Ok(()));
            }
        }

        /// And half of it is cut within two windows of waiting.
        #[test]
        fn half_the_rate_is_cut_within_two_windows(pauses in proptest::collection::vec(1..15_000u64, 50..200), rate in 1000..100_000u32) {
            let start = Instant::now();
            let mut now = start;
            let mut pace = Pace::new(WINDOW, rate);
            for pause in pauses {
                pace.wait(now);
                now += Duration::from_millis(pause);
                if pace.moved(u64::from(rate) * pause / 2000, now).is_err() {
                    break;
                }
                prop_assert!(now - start < WINDOW * 2);
            }
        }
    }
}
