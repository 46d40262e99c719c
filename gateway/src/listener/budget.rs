//! How much work without use may the client of an HTTP/2 connection make us do?
//!
//! Two budgets that refill with time and with useful work: one for streams that come to nothing (reset by the client, or by us
//! because the client made us: CVE-2023-44487, CVE-2025-8671), one for frames that carry no request and no body. Knows
//! no frame's payload, takes the clock as an argument and does no I/O.

use std::time::Instant;

use super::events::Cut;
use super::policy::Http2Policy;
use super::scan::{Head, flag, kind};

/// Points for frames: burst, and a second. A frame that asks for nothing costs one.
const FRAMES: (u64, u64) = (10_000, 500);
/// Each is answered, and may change the windows of all streams.
const SETTINGS: u64 = 50;
/// Each is answered.
const PING: u64 = 5;
/// A DATA frame that carries nothing and ends nothing (CVE-2019-9518), or more padding than data.
const EMPTY: u64 = 10;
/// What a request earns back: its windows are opened and its priority said.
const REQUEST_EARNS: u64 = 20;
/// What a DATA frame of ours earns back: its windows are opened again.
const DATA_EARNS: u64 = 3;
/// Errors that the client made us reset a stream for weigh more than streams that it gives up.
const PROVOKED: u64 = 2;

/// A budget, in points.
#[derive(Debug)]
struct Points {
    level: u64,
    most: u64,
    /// Thousandths of a point a second.
    refill: u64,
    at: Instant,
}

impl Points {
    fn new(most: u64, refill: u64, now: Instant) -> Self {
        Self {
            level: most,
            most,
            refill,
            at: now,
        }
    }

    /// Takes `cost`, if there is enough. Looks at the time only when there is not.
    fn take(&mut self, cost: u64, now: Instant) -> bool {
        if self.level < cost {
            let elapsed = now.saturating_duration_since(self.at).as_millis();
            let earned = u64::try_from(elapsed).unwrap_or(u64::MAX).saturating_mul(self.refill) / 1_000_000;
            if earned > 0 {
                self.at = now;
                self.give(earned);
            }
        }
        let enough = self.level >= cost;
        if enough {
            self.level -= cost;
        }
        enough
    }

    fn give(&mut self, points: u64) {
        self.level = self.level.saturating_add(points).min(self.most);
    }
}

/// The budgets of one connection.
#[derive(Debug)]
pub(super) struct Budget {
    resets: Points,
    frames: Points,
}

impl Budget {
    pub(super) fn new(policy: Http2Policy, now: Instant) -> Self {
        Self {
            resets: Points::new(u64::from(policy.reset_burst), policy.resets_per_1000s, now),
            frames: Points::new(FRAMES.0, FRAMES.1 * 1000, now),
        }
    }

    /// A frame of the client begins.
    pub(super) fn received(&mut self, head: Head, now: Instant) -> Result<(), Cut> {
        let cost = match head.kind {
            kind::RST_STREAM => return self.reset(1, now),
            kind::HEADERS => {
                self.frames.give(REQUEST_EARNS);
                return Ok(());
            }
            kind::DATA if head.length == 0 && !head.has(flag::END_STREAM) => EMPTY,
            kind::DATA | kind::CONTINUATION => return Ok(()),
            kind::SETTINGS => SETTINGS,
            kind::PING if !head.has(flag::ACK) => PING,
            _ => 1,
        };
        self.frame(cost, now)
    }

    /// A frame of the client has more padding than anything else.
    pub(super) fn padded(&mut self, now: Instant) -> Result<(), Cut> {
        self.frame(EMPTY, now)
    }

    /// A frame of ours begins.
    pub(super) fn sent(&mut self, head: Head) {
        if head.kind == kind::DATA {
            self.frames.give(DATA_EARNS);
        }
        if matches!(head.kind, kind::DATA | kind::HEADERS) && head.has(flag::END_STREAM) {
            self.resets.give(1);
        }
    }

    /// The client made us reset a stream.
    pub(super) fn provoked(&mut self, now: Instant) -> Result<(), Cut> {
        self.reset(PROVOKED, now)
    }

    fn reset(&mut self, cost: u64, now: Instant) -> Result<(), Cut> {
        self.resets.take(cost, now).then_some(()).ok_or(Cut::Http2Resets)
    }

    fn frame(&mut self, cost: u64, now: Instant) -> Result<(), Cut> {
        self.frames.take(cost, now).then_some(()).ok_or(Cut::Http2Frames)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const POLICY: Http2Policy = Http2Policy {
        streams: 128,
        resets_per_1000s: 10_000,
        reset_burst: 100,
        response_buffer_bytes: 1 << 20,
    };

    fn head(kind: u8, flags: u8, length: usize) -> Head {
        Head {
            length,
            kind,
            flags,
            stream: 1,
        }
    }

    /// How many of a frame are taken at once, and how many in the ten seconds after.
    fn taken(frame: Head) -> (u64, u64) {
        let start = Instant::now();
        let mut budget = Budget::new(POLICY, start);
        let mut count =
            |at: Instant, most: u64| (0..most).take_while(|_| budget.received(frame, at).is_ok()).count() as u64;
        let burst = count(start, 1 << 20);
        let later = (1..=10_000)
            .map(|ms| count(start + Duration::from_millis(ms), 1 << 20))
            .sum();
        (burst, later)
    }

    #[test]
    fn what_is_taken_of_each_kind() {
        for (frame, expected) in [
            (head(kind::RST_STREAM, 0, 4), (100, 100)),
            (head(kind::SETTINGS, 0, 0), (200, 100)),
            (head(kind::PING, 0, 8), (2000, 1000)),
            (head(kind::PING, flag::ACK, 8), (10_000, 5000)),
            (head(kind::WINDOW_UPDATE, 0, 4), (10_000, 5000)),
            (head(0x2, 0, 5), (10_000, 5000)),
            (head(0xfe, 0, 0), (10_000, 5000)),
            (head(kind::DATA, 0, 0), (1000, 500)),
        ] {
            assert_eq!(taken(frame), expected, "{frame:?}");
        }
    }

    #[test]
    fn useful_work_is_free_and_earns() {
        let start = Instant::now();
        let mut budget = Budget::new(POLICY, start);
        for _ in 0..100_000 {
            for frame in [
                head(kind::HEADERS, flag::END_HEADERS, 30),
                head(kind::DATA, 0, 5),
                head(kind::DATA, flag::END_STREAM, 0),
                head(kind::WINDOW_UPDATE, 0, 4),
                head(kind::WINDOW_UPDATE, 0, 4),
                head(kind::PING, 0, 8),
                head(kind::RST_STREAM, 0, 4),
            ] {
                assert_eq!(budget.received(frame, start), Ok(()));
            }
            budget.sent(head(kind::DATA, flag::END_STREAM, 100));
        }
    }

    #[test]
    fn provoked_resets_weigh_more() {
        let start = Instant::now();
        let mut budget = Budget::new(POLICY, start);
        assert_eq!((0..100).take_while(|_| budget.provoked(start).is_ok()).count(), 50);
        assert_eq!(
            budget.received(head(kind::RST_STREAM, 0, 4), start),
            Err(Cut::Http2Resets)
        );
    }

    proptest! {
        /// In no span of time is more taken than the burst and what that span refills.
        #[test]
        fn never_more_than_the_budget(pauses in proptest::collection::vec(0..2_000u64, 1..300)) {
            let start = Instant::now();
            let (mut now, mut taken) = (start, 0u64);
            let mut budget = Budget::new(POLICY, start);
            for pause in pauses {
                now += Duration::from_millis(pause);
                taken += (0..50).take_while(|_| budget.received(head(kind::RST_STREAM, 0, 4), now).is_ok()).count() as u64;
                let elapsed = u64::try_from((now - start).as_millis()).unwrap();
                prop_assert!(taken <= 100 + elapsed / 100 + 1);
            }
        }
    }
}
