//! Whether the control plane is spoken to at all: after failures in a row it is left alone for a while, then tried. Pure:
//! time is passed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Failures in a row after which it is left alone.
const FAILURES: u32 = 5;
/// For how long.
const PAUSE: Duration = Duration::from_secs(30);
/// Successes in a row after which it is trusted again.
const SUCCESSES: u32 = 2;

/// How the gateway stands to its control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// Calls are made.
    Connected,
    /// Calls are made, and one failure is enough.
    HalfOpen,
    /// No call is made.
    Disconnected,
}

/// A circuit breaker.
#[derive(Debug, Clone)]
pub(super) struct Breaker {
    link: Link,
    failures: u32,
    successes: u32,
    opened: Duration,
}

impl Breaker {
    pub(super) const fn new() -> Self {
        Self {
            link: Link::Connected,
            failures: 0,
            successes: 0,
            opened: Duration::ZERO,
        }
    }

    pub(super) const fn link(&self) -> Link {
        self.link
    }

    /// `None`: a call may be made. Otherwise how long none may be.
    pub(super) fn pause(&mut self, now: Duration) -> Option<Duration> {
        if self.link != Link::Disconnected {
            return None;
        }
        let left = (self.opened + PAUSE).saturating_sub(now);
        if left.is_zero() {
            self.link = Link::HalfOpen;
            self.successes = 0;
            return None;
        }
        Some(left)
    }

    /// A call has worked. Whether that closed the breaker.
    pub(super) fn succeeded(&mut self) -> bool {
        self.failures = 0;
        if self.link == Link::Connected {
            return false;
        }
        self.successes += 1;
        if self.successes < SUCCESSES {
            return false;
        }
        self.link = Link::Connected;
        true
    }

    /// A call has failed. Whether that opened the breaker.
    pub(super) fn failed(&mut self, now: Duration) -> bool {
        self.failures = self.failures.saturating_add(1);
        let opens = match self.link {
            Link::Connected => self.failures >= FAILURES,
            Link::HalfOpen => true,
            Link::Disconnected => false,
        };
        if opens {
            self.link = Link::Disconnected;
            self.opened = now;
        }
        opens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_failures_thirty_seconds_two_successes() {
        let mut breaker = Breaker::new();
        for at in 0..4 {
            assert!(!breaker.failed(s(at)));
        }
        assert!(!breaker.succeeded(), "a success starts the count anew");
        for at in 4..8 {
            assert!(!breaker.failed(s(at)));
        }
        assert!(breaker.failed(s(8)));
        assert_eq!(breaker.pause(s(8)), Some(s(30)));
        assert_eq!(breaker.pause(s(37)), Some(s(1)));
        assert_eq!(breaker.link(), Link::Disconnected);
        assert_eq!(breaker.pause(s(38)), None);
        assert_eq!(breaker.link(), Link::HalfOpen);
        assert!(!breaker.succeeded());
        assert!(breaker.failed(s(39)), "one failure is enough");
        assert_eq!(breaker.pause(s(69)), None);
        assert!(!breaker.succeeded());
        assert!(breaker.succeeded());
        assert_eq!(breaker.link(), Link::Connected);
        assert!(!breaker.failed(s(70)), "the count begins anew");
    }
}
