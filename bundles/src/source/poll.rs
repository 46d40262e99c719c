//! Polling a URL: conditional requests (RFC 9110, 13.1), and when to ask again. No network and no clock.

use std::time::Duration;

use http::HeaderMap;
use http::header::{ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};

/// What a server said of the bundle that was accepted last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    etag: Option<HeaderValue>,
    last_modified: Option<HeaderValue>,
}

impl Conditions {
    /// Longest validator kept.
    const MAX_BYTES: usize = 1024;

    /// Remembers the validators of an answer. Call it only once its bundle was accepted: a bundle that is refused for now
    /// must be sent again, not answered with 304.
    pub fn remember(&mut self, answer: &HeaderMap) {
        let short = |name| answer.get(name).filter(|value| value.len() <= Self::MAX_BYTES).cloned();
        self.etag = short(ETAG);
        self.last_modified = short(LAST_MODIFIED);
    }

    /// Forgets everything, so that the next answer is a whole one.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// Header fields for the next request.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        let etag = self.etag.as_ref().map(|value| (IF_NONE_MATCH, value));
        // A date is for servers without entity tags (RFC 9110, 13.1.3).
        let date = self
            .last_modified
            .as_ref()
            .filter(|_| self.etag.is_none())
            .map(|value| (IF_MODIFIED_SINCE, value));
        etag.into_iter().chain(date)
    }
}

/// When to ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    interval: Duration,
    failures: u32,
}

impl Schedule {
    /// The longest time between two polls of a server that fails, unless the interval is longer.
    pub const MAX_BACKOFF: Duration = Duration::from_secs(300);

    /// Polls every `interval`, at least one second.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval: interval.max(Duration::from_secs(1)),
            failures: 0,
        }
    }

    /// Notes that the server answered, whatever came of the bundle.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Notes that the server did not answer or not as it should.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Time until the next poll: the interval, doubled with each failure in a row, and up to a tenth more by `chance`
    /// (from 0 to 1), so that a fleet does not ask at once.
    pub fn next(&self, chance: f64) -> Duration {
        let doubled = self.interval.saturating_mul(1 << self.failures.min(16));
        let base = doubled.min(Self::MAX_BACKOFF.max(self.interval));
        let chance = if chance.is_finite() {
            chance.clamp(0.0, 1.0)
        } else {
            0.0
        };
        base + base.mul_f64(chance / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entity_tag_wins_over_a_date() {
        let mut conditions = Conditions::default();
        assert_eq!(conditions.headers().count(), 0);
        let mut answer = HeaderMap::new();
        answer.insert(LAST_MODIFIED, HeaderValue::from_static("Sat, 31 Jan 2026 00:00:00 GMT"));
        conditions.remember(&answer);
        assert_eq!(
            conditions.headers().map(|(name, _)| name).collect::<Vec<_>>(),
            [IF_MODIFIED_SINCE]
        );
        answer.insert(ETAG, HeaderValue::from_static("\"v7\""));
        conditions.remember(&answer);
        let sent: Vec<_> = conditions
            .headers()
            .map(|(name, value)| (name, value.to_str().unwrap()))
            .collect();
        assert_eq!(sent, [(IF_NONE_MATCH, "\"v7\"")]);
        conditions.remember(&HeaderMap::new());
        assert_eq!(conditions, Conditions::default());
    }

    #[test]
    fn failures_back_off_and_success_comes_back() {
        let mut schedule = Schedule::new(Duration::from_secs(30));
        assert_eq!(schedule.next(0.0), Duration::from_secs(30));
        assert_eq!(schedule.next(1.0), Duration::from_secs(33));
        schedule.failed();
        assert_eq!(schedule.next(0.0), Duration::from_secs(60));
        for _ in 0..40 {
            schedule.failed();
        }
        assert_eq!(schedule.next(f64::NAN), Schedule::MAX_BACKOFF);
        schedule.succeeded();
        assert_eq!(schedule.next(0.0), Duration::from_secs(30));
        assert_eq!(
            Schedule::new(Duration::from_secs(900)).next(0.0),
            Duration::from_secs(900)
        );
        assert_eq!(Schedule::new(Duration::ZERO).next(0.0), Duration::from_secs(1));
    }
}
