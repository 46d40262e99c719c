//! One address of a server and what is known of it: the verdict of its checks, failures in a row, ejection.
//! It only keeps the facts; who checks is `health`, who ejects is `passive`, who chooses is `select`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

use super::clock::Clock;
use super::wire::Line;

/// One address of a server. Outlives snapshots.
#[derive(Debug)]
pub(super) struct Endpoint {
    /// Where to connect.
    pub(super) address: SocketAddr,
    verdict: AtomicU8,
    // Checks in a row that contradict the verdict.
    contrary: AtomicU32,
    problem: ArcSwapOption<String>,
    failures: AtomicU32,
    // Clock time in ms until which the endpoint is left out; 0 = not ejected.
    ejected_until: AtomicU64,
    // Where the protocol is agreed on: what was agreed on last.
    chosen: AtomicU8,
    line: ArcSwapOption<(u64, Arc<Line>)>,
}

/// The protocol that a server chose (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Chosen {
    /// It was not asked yet, or has changed its mind.
    Unknown,
    Http1,
    Http2,
}

/// What the active checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not checked yet: takes traffic.
    Unknown,
    /// Takes traffic.
    Up,
    /// Takes none.
    Down,
}

/// Which of the two kinds of health count for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HealthKinds {
    /// It has active checks.
    pub(super) active: bool,
    /// It ejects.
    pub(super) passive: bool,
}

impl Endpoint {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            verdict: AtomicU8::new(0),
            contrary: AtomicU32::new(0),
            problem: ArcSwapOption::empty(),
            failures: AtomicU32::new(0),
            ejected_until: AtomicU64::new(0),
            chosen: AtomicU8::new(Chosen::Unknown as u8),
            line: ArcSwapOption::empty(),
        }
    }

    /// What it chose when it had a choice.
    pub(super) fn chosen(&self) -> Chosen {
        match self.chosen.load(Ordering::Relaxed) {
            0 => Chosen::Unknown,
            1 => Chosen::Http1,
            _ => Chosen::Http2,
        }
    }

    /// Remembers what it chose.
    pub(super) fn choose(&self, chosen: Chosen) {
        self.chosen.store(chosen as u8, Ordering::Relaxed);
    }

    /// The way to it for connections with this key in common; a new one when the last one had another.
    pub(super) fn line(&self, key: u64, make: impl FnOnce() -> Line) -> Arc<Line> {
        match &*self.line.load() {
            Some(kept) if kept.0 == key => return Arc::clone(&kept.1),
            _ => {}
        }
        let line = Arc::new(make());
        self.line.store(Some(Arc::new((key, Arc::clone(&line)))));
        line
    }

    /// Idle HTTP/1 connections to it.
    pub(super) fn idle_connections(&self) -> usize {
        self.line.load().as_ref().map_or(0, |kept| kept.1.idle_connections())
    }

    /// Closes idle connections that are of no more use.
    pub(super) fn sweep(&self) {
        if let Some(kept) = &*self.line.load() {
            kept.1.sweep();
        }
    }

    /// May it take traffic?
    pub(super) fn is_available(&self, kinds: HealthKinds, clock: &Clock) -> bool {
        let down = kinds.active && self.verdict() == Verdict::Down;
        let ejected = || kinds.passive && self.ejected_for_ms(clock).is_some();
        !down && !ejected()
    }

    pub(super) fn verdict(&self) -> Verdict {
        match self.verdict.load(Ordering::Relaxed) {
            0 => Verdict::Unknown,
            1 => Verdict::Up,
            _ => Verdict::Down,
        }
    }

    /// How much longer it is ejected. The clock is read only when it was ever ejected.
    pub(super) fn ejected_for_ms(&self, clock: &Clock) -> Option<u64> {
        match self.ejected_until.load(Ordering::Relaxed) {
            0 => None,
            until => until.checked_sub(clock.now_ms()).filter(|left| *left > 0),
        }
    }

    /// Why the last failed check failed.
    pub(super) fn problem(&self) -> Option<Arc<String>> {
        self.problem.load_full()
    }

    /// Takes in one check. The first check ever decides at once; later ones need a row of `after` to turn the verdict.
    /// Returns the new verdict when it changed from or to `Down`.
    pub(super) fn record_check(&self, passed: Result<(), String>, after: Turns) -> Option<Verdict> {
        let seen = if passed.is_ok() { Verdict::Up } else { Verdict::Down };
        let needed = if passed.is_ok() { after.up } else { after.down };
        self.problem.store(passed.err().map(Arc::new));
        let before = self.verdict();
        if before == seen {
            self.contrary.store(0, Ordering::Relaxed);
            return None;
        }
        let row = self.contrary.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if before != Verdict::Unknown && row < needed {
            return None;
        }
        self.contrary.store(0, Ordering::Relaxed);
        self.verdict
            .store(if seen == Verdict::Up { 1 } else { 2 }, Ordering::Relaxed);
        (before == Verdict::Down || seen == Verdict::Down).then_some(seen)
    }

    /// Forgets the verdict: nobody checks any more.
    pub(super) fn forget_checks(&self) {
        self.verdict.store(0, Ordering::Relaxed);
        self.contrary.store(0, Ordering::Relaxed);
        self.problem.store(None);
    }

    /// An answer came: the row of failures ends.
    pub(super) fn record_answer(&self) {
        // A load first: the cache line stays shared while all is well.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// The last request to it failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Relaxed) != 0
    }

    /// A request failed. Returns how many did in a row.
    pub(super) fn record_failure(&self) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Leaves it out until the clock shows `until_ms`; the row begins anew.
    pub(super) fn eject(&self, until_ms: u64) {
        self.failures.store(0, Ordering::Relaxed);
        self.ejected_until.store(until_ms, Ordering::Relaxed);
    }
}

/// How many checks in a row turn the verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Turns {
    /// Successes that bring it back.
    pub(super) up: u32,
    /// Failures that take it out.
    pub(super) down: u32,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TURNS: Turns = Turns { up: 2, down: 3 };
    const BOTH: HealthKinds = HealthKinds {
        active: true,
        passive: true,
    };

    fn endpoint() -> Endpoint {
        Endpoint::new("127.0.0.1:1".parse().unwrap())
    }

    fn fail(endpoint: &Endpoint) -> Option<Verdict> {
        endpoint.record_check(Err("refused".into()), TURNS)
    }

    #[test]
    fn the_first_check_decides_then_rows_do() {
        let endpoint = endpoint();
        assert_eq!(endpoint.verdict(), Verdict::Unknown);
        assert_eq!(fail(&endpoint), Some(Verdict::Down));
        assert_eq!(endpoint.record_check(Ok(()), TURNS), None);
        assert_eq!(fail(&endpoint), None, "the row of successes is broken");
        assert_eq!(endpoint.record_check(Ok(()), TURNS), None);
        assert_eq!(endpoint.record_check(Ok(()), TURNS), Some(Verdict::Up));
        assert_eq!(fail(&endpoint), None);
        assert_eq!(fail(&endpoint), None);
        assert_eq!(endpoint.record_check(Ok(()), TURNS), None);
        assert_eq!([fail(&endpoint), fail(&endpoint)], [None, None]);
        assert_eq!(fail(&endpoint), Some(Verdict::Down));
        assert_eq!(endpoint.problem().unwrap().as_str(), "refused");
    }

    #[test]
    fn a_first_success_is_no_change() {
        assert_eq!(endpoint().record_check(Ok(()), TURNS), None);
    }

    #[test]
    fn an_ejection_ends_with_time() {
        let (endpoint, clock) = (endpoint(), Clock::manual());
        assert!(endpoint.is_available(BOTH, &clock));
        endpoint.eject(clock.now_ms() + 500);
        assert_eq!(endpoint.ejected_for_ms(&clock), Some(500));
        assert!(!endpoint.is_available(BOTH, &clock));
        assert!(endpoint.is_available(
            HealthKinds {
                active: true,
                passive: false
            },
            &clock
        ));
        clock.advance(Duration::from_millis(500));
        assert!(endpoint.is_available(BOTH, &clock));
    }
}
