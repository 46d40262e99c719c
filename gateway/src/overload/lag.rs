//! How long work waits for a worker, and which share of the requests is refused so that it does not wait longer.
//!
//! A task on each listener's runtime sleeps for a moment, again and again; how late it wakes is how long a request that
//! became readable then has to wait. As with CoDel (RFC 8289), the least of some time counts: a queue that empties now and
//! then does its work, one that stands only adds delay. The share goes up while it stands and down when it does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis_config::site::Priority;
use tokio::time::Instant;

/// How long the task sleeps.
const BEAT: Duration = Duration::from_millis(10);
/// How many times before the least of them is looked at.
const BEATS: u32 = 20;

/// The whole of the share.
const ALL: u32 = 1 << 16;
/// The most that is refused. To refuse costs a fifth to two fifths of answering, and clients that are refused may come again
/// at once: with more than this, most of the work would be refusals, and less would be answered than without any.
const MOST: u32 = ALL / 5 * 2;
/// Up to here only the least important requests are refused, all of them.
const FIRST: u32 = ALL / 20;

/// From delays to a share. Pure.
#[derive(Debug, Default)]
struct Controller {
    beats: u32,
    least: Option<Duration>,
    share: u32,
}

impl Controller {
    /// Work had to wait for `lag`; more than `most` is too long. Gives the least lag and the share to refuse, now and then.
    fn beat(&mut self, lag: Duration, most: Duration) -> Option<(Duration, u32)> {
        self.beats += 1;
        let least = self.least.map_or(lag, |least| least.min(lag));
        self.least = Some(least);
        // Two late beats in a row are a queue that stands: under a long delay beats are rare.
        let stands = self.beats >= 2 && least > most;
        if self.beats < BEATS && !stands {
            return None;
        }
        (self.beats, self.least) = (0, None);
        self.share = if most.is_zero() || least <= most {
            // Down by a quarter, and to nothing in the end.
            (self.share - self.share / 4).saturating_sub(ALL / 100)
        } else {
            let excess = (least.as_secs_f64() / most.as_secs_f64() - 1.0).min(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most a tenth")]
            let step = (f64::from(ALL) * 0.1 * excess) as u32;
            self.share.saturating_add(step.max(ALL / 50)).min(MOST)
        };
        Some((least, self.share))
    }
}

/// How late a listener's work is. One for each listener.
#[derive(Debug, Default)]
pub struct Lag {
    share: AtomicU32,
    least_ns: AtomicU64,
    watched: AtomicBool,
}

impl Lag {
    /// Measures on the runtime that calls, from the first call on to the runtime's end. `most` gives the setting.
    pub fn watch(self: &Arc<Self>, most: impl Fn() -> Duration + Send + 'static) {
        if self.watched.swap(true, Relaxed) {
            return;
        }
        let lag = Arc::clone(self);
        tokio::spawn(async move {
            let mut controller = Controller::default();
            loop {
                let due = Instant::now() + BEAT;
                tokio::time::sleep_until(due).await;
                if let Some((least, share)) = controller.beat(due.elapsed(), most()) {
                    lag.least_ns
                        .store(u64::try_from(least.as_nanos()).unwrap_or(u64::MAX), Relaxed);
                    lag.share.store(share, Relaxed);
                }
            }
        });
    }

    /// Whether anything is refused.
    pub fn is_late(&self) -> bool {
        self.share.load(Relaxed) > 0
    }

    /// Whether somebody measures.
    pub fn is_watched(&self) -> bool {
        self.watched.load(Relaxed)
    }

    /// How long work waits at least, of late.
    pub fn least(&self) -> Duration {
        Duration::from_nanos(self.least_ns.load(Relaxed))
    }

    /// The share of requests that is refused, from 0 to 1.
    pub fn share(&self) -> f64 {
        f64::from(self.share.load(Relaxed)) / f64::from(ALL)
    }

    /// Whether a request of this priority is refused now: the least important ones as soon as any is, the most important
    /// ones never.
    pub fn refuses(&self, priority: Priority) -> bool {
        let share = self.share.load(Relaxed);
        share > 0 && refuses(share, priority, u32::from(fastrand::u16(..)))
    }
}

/// `chance`: below [`ALL`].
fn refuses(share: u32, priority: Priority, chance: u32) -> bool {
    match priority {
        Priority::Critical => false,
        Priority::Default => share > FIRST && chance < share,
        Priority::Sheddable => share > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST_LAG: Duration = Duration::from_millis(500);

    fn beats(controller: &mut Controller, lag_ms: u64, count: u32) -> u32 {
        for _ in 0..count {
            controller.beat(Duration::from_millis(lag_ms), MOST_LAG);
        }
        controller.share
    }

    #[test]
    fn a_queue_that_empties_is_none() {
        let mut controller = Controller::default();
        for _ in 0..100 {
            assert_eq!(beats(&mut controller, 499, BEATS - 1), 0);
            // One stall of the machine, however long.
            assert_eq!(beats(&mut controller, 5000, 1), 0);
        }
    }

    #[test]
    fn a_standing_queue_is_refused_more_and_more_and_then_no_more() {
        let mut controller = Controller::default();
        let little = beats(&mut controller, 600, 4);
        let much = beats(&mut controller, 600, 40);
        assert!(0 < little && little < much && much <= MOST);
        assert_eq!(beats(&mut controller, 5000, 1000), MOST);
        assert_eq!(beats(&mut controller, 1, BEATS * 20), 0, "calm again within seconds");
    }

    #[test]
    fn off_is_off() {
        let mut controller = Controller::default();
        for _ in 0..100 {
            controller.beat(Duration::from_secs(9), Duration::ZERO);
        }
        assert_eq!(controller.share, 0);
    }

    #[test]
    fn the_least_important_go_first_and_the_most_important_never() {
        for share in [1, FIRST, FIRST + 1, MOST] {
            assert!(refuses(share, Priority::Sheddable, ALL - 1));
            assert!(!refuses(share, Priority::Critical, 0));
        }
        assert!(!refuses(FIRST, Priority::Default, 0));
        assert!(refuses(FIRST + 1, Priority::Default, 0));
        assert!(!refuses(MOST, Priority::Default, MOST));
        assert!(!refuses(0, Priority::Sheddable, 0));
    }
}
