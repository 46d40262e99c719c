//! The arithmetic of one circuit breaker. It knows no table, no key and no clock.
//!
//! Closed, it counts what is spent in this minute and the one before. When that comes to the threshold it opens, and
//! refuses. After its time it lets a tenth of the threshold through to see: if that takes less than a tenth of a minute, too
//! much is still being asked for and it opens again; else it is closed.

use crate::buckets::Cost;

const MINUTE_NS: u64 = 60_000_000_000;
/// The part of a threshold that is let through to see, and of a minute that it must last for.
const PROBE: u64 = 10;

/// The numbers of a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    /// Millionths that may be spent in a minute.
    pub(super) threshold: u64,
    /// After so long it lets a little through.
    pub(super) reset_ns: Option<u64>,
}

/// One breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breaker {
    phase: Phase,
    /// When the minute began, it opened, or it began to let a little through.
    since: u64,
    /// Millionths spent in the minute before.
    previous: u64,
    /// Millionths spent in this minute, or let through to see.
    current: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Closed,
    Open,
    /// Half open.
    Probing,
}

/// A breaker on its way to another process, whose clock may have another origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed {
    pub(super) phase: u8,
    /// Nanoseconds since the minute began, it opened, or it began to let a little through.
    pub(super) age_ns: u64,
    pub(super) previous: u64,
    pub(super) current: u64,
}

/// What a breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It was spent.
    Spent,
    /// It is open, for so many nanoseconds more; `None`: for good.
    Open(Option<u64>),
    /// This request opened it.
    Opened(Option<u64>),
    /// There is no room for one, and none to share.
    NoRoom,
}

impl Breaker {
    /// One that has seen nothing.
    pub(super) fn new(now: u64) -> Self {
        Self {
            phase: Phase::Closed,
            since: minute(now),
            previous: 0,
            current: 0,
        }
    }

    /// Whether it equals one that has seen nothing.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        let unused = self.previous == 0 && self.current == 0;
        self.phase == Phase::Closed && (unused || now.saturating_sub(self.since) >= 2 * MINUTE_NS)
    }

    /// Whether it refuses whatever is asked of it now.
    pub(super) fn refuses(&self, terms: Terms, now: u64) -> Option<Answer> {
        if self.phase != Phase::Open {
            return None;
        }
        let Some(reset) = terms.reset_ns else {
            return Some(Answer::Open(None));
        };
        let left = reset
            .checked_sub(now.saturating_sub(self.since))
            .filter(|left| *left > 0)?;
        Some(Answer::Open(Some(left)))
    }

    /// Whether it is open, as far as it was told.
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// For another process.
    pub(super) fn packed(&self, now: u64) -> Packed {
        Packed {
            phase: match self.phase {
                Phase::Closed => 0,
                Phase::Open => 1,
                Phase::Probing => 2,
            },
            age_ns: now.saturating_sub(self.since),
            previous: self.previous,
            current: self.current,
        }
    }

    /// From another process. `None` when it cannot be.
    ///
    /// When this process can know of less time than has passed, it is younger than it should be: it counts for longer.
    pub(super) fn unpacked(packed: Packed, now: u64) -> Option<Self> {
        let Packed {
            phase,
            age_ns,
            previous,
            current,
        } = packed;
        let since = now.saturating_sub(age_ns);
        let (phase, since) = match phase {
            // Minutes of another clock began at other moments.
            0 => (Phase::Closed, since.next_multiple_of(MINUTE_NS).min(minute(now))),
            1 => (Phase::Open, since),
            2 => (Phase::Probing, since),
            _ => return None,
        };
        Some(Self {
            phase,
            since,
            previous,
            current,
        })
    }

    /// Spends, unless it is open or opens.
    pub(super) fn spend(&mut self, cost: Cost, terms: Terms, now: u64) -> Answer {
        if let Some(refusal) = self.refuses(terms, now) {
            return refusal;
        }
        if self.phase == Phase::Open {
            (self.phase, self.since, self.previous, self.current) = (Phase::Probing, now, 0, 0);
        }
        let cost = cost.millionths();
        let spent = self.current.saturating_add(cost);
        if self.phase == Phase::Probing {
            if now.saturating_sub(self.since) >= MINUTE_NS / PROBE {
                self.phase = Phase::Closed;
                self.since = minute(now);
                return self.spend_closed(cost, terms, now);
            }
            // The first passes whatever it costs: else one that costs much would keep it open for good.
            if self.current > 0 && spent >= terms.threshold / PROBE {
                return self.open(terms, now);
            }
            self.current = spent;
            return Answer::Spent;
        }
        self.spend_closed(cost, terms, now)
    }

    fn spend_closed(&mut self, cost: u64, terms: Terms, now: u64) -> Answer {
        match minute(now).saturating_sub(self.since) / MINUTE_NS {
            0 => {}
            1 => (self.previous, self.current, self.since) = (self.current, 0, minute(now)),
            _ => (self.previous, self.current, self.since) = (0, 0, minute(now)),
        }
        let spent = self.current.saturating_add(cost);
        let left = MINUTE_NS - now.saturating_sub(self.since).min(MINUTE_NS);
        let in_a_minute = |millionths: u64| u128::from(millionths) * u128::from(MINUTE_NS);
        let rate = u128::from(self.previous) * u128::from(left) + in_a_minute(spent);
        if rate >= in_a_minute(terms.threshold) {
            return self.open(terms, now);
        }
        self.current = spent;
        Answer::Spent
    }

    /// Millionths that may be spent before it opens, when something was just spent.
    pub(super) fn left(&self, terms: Terms, now: u64) -> u64 {
        match self.phase {
            Phase::Open => 0,
            Phase::Probing => (terms.threshold / PROBE).saturating_sub(self.current),
            Phase::Closed => {
                let rest = MINUTE_NS - now.saturating_sub(self.since).min(MINUTE_NS);
                let carried = u128::from(self.previous) * u128::from(rest) / u128::from(MINUTE_NS);
                let carried = u64::try_from(carried).unwrap_or(u64::MAX);
                terms.threshold.saturating_sub(carried.saturating_add(self.current))
            }
        }
    }

    fn open(&mut self, terms: Terms, now: u64) -> Answer {
        (self.phase, self.since) = (Phase::Open, now);
        Answer::Opened(terms.reset_ns)
    }

    /// Takes back what was spent: the request was refused after all.
    pub(super) fn take_back(&mut self, cost: Cost, now: u64) {
        let same = self.phase == Phase::Probing || self.since == minute(now);
        if self.phase != Phase::Open && same {
            self.current = self.current.saturating_sub(cost.millionths());
        }
    }
}

fn minute(now: u64) -> u64 {
    now - now % MINUTE_NS
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn cost(tokens: f64) -> Cost {
        Cost::new(tokens).unwrap()
    }

    fn terms(threshold: u64, reset_seconds: Option<u64>) -> Terms {
        Terms {
            threshold: threshold * 1_000_000,
            reset_ns: reset_seconds.map(|seconds| seconds * SECOND),
        }
    }

    #[test]
    fn it_opens_when_the_threshold_is_reached() {
        let mut breaker = Breaker::new(0);
        let hundred = terms(100, None);
        assert!((0..10).all(|_| breaker.spend(cost(9.0), hundred, SECOND) == Answer::Spent));
        assert_eq!(breaker.spend(cost(11.0), hundred, SECOND), Answer::Opened(None));
        assert_eq!(
            breaker.spend(cost(0.0), hundred, 1_000_000 * SECOND),
            Answer::Open(None),
            "for good"
        );
        let mut breaker = Breaker::new(0);
        let thousand = terms(1000, None);
        assert_eq!(breaker.spend(cost(900.0), thousand, 0), Answer::Spent);
        assert_eq!(
            breaker.spend(cost(100.0), thousand, 0),
            Answer::Opened(None),
            "at the threshold itself"
        );
    }

    #[test]
    fn the_minute_before_counts_in_part() {
        let hundred = terms(100, None);
        let mut breaker = Breaker::new(0);
        assert_eq!(breaker.spend(cost(80.0), hundred, 0), Answer::Spent);
        // A quarter into the next minute, three quarters of the 80 count.
        assert_eq!(breaker.spend(cost(39.0), hundred, 75 * SECOND), Answer::Spent);
        assert_eq!(breaker.spend(cost(1.0), hundred, 75 * SECOND), Answer::Opened(None));
        let mut breaker = Breaker::new(0);
        assert_eq!(breaker.spend(cost(80.0), hundred, 0), Answer::Spent);
        assert_eq!(
            breaker.spend(cost(99.0), hundred, 120 * SECOND),
            Answer::Spent,
            "two minutes later it is gone"
        );
    }

    #[test]
    fn after_its_time_it_lets_a_little_through_to_see() {
        let hundred = terms(100, Some(300));
        let opened = || {
            let mut breaker = Breaker::new(0);
            assert_eq!(
                breaker.spend(cost(100.0), hundred, 0),
                Answer::Opened(Some(300 * SECOND))
            );
            breaker
        };
        let mut breaker = opened();
        assert_eq!(breaker.refuses(hundred, 299 * SECOND), Some(Answer::Open(Some(SECOND))));
        assert_eq!(breaker.refuses(hundred, 300 * SECOND), None);
        assert!((0..3).all(|_| breaker.spend(cost(3.0), hundred, 300 * SECOND) == Answer::Spent));
        assert_eq!(
            breaker.spend(cost(1.0), hundred, 305 * SECOND),
            Answer::Opened(Some(300 * SECOND)),
            "a tenth in less than six seconds"
        );
        assert!(breaker.refuses(hundred, 600 * SECOND).is_some());
        let mut breaker = opened();
        assert_eq!(
            breaker.spend(cost(50.0), hundred, 300 * SECOND),
            Answer::Spent,
            "the first always passes"
        );
        assert_eq!(
            breaker.spend(cost(49.0), hundred, 306 * SECOND),
            Answer::Spent,
            "closed"
        );
        assert_eq!(
            breaker.spend(cost(1.0), hundred, 306 * SECOND),
            Answer::Opened(Some(300 * SECOND))
        );
    }

    #[test]
    fn what_is_taken_back_does_not_count() {
        let hundred = terms(100, None);
        let mut breaker = Breaker::new(0);
        for _ in 0..1000 {
            assert_eq!(breaker.spend(cost(60.0), hundred, SECOND), Answer::Spent);
            breaker.take_back(cost(60.0), 2 * SECOND);
        }
        assert!(breaker.is_idle(2 * SECOND));
    }
}
