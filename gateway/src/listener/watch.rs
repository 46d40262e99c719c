//! How long may the client of an HTTP/1 connection stay silent, given what its request is doing?
//!
//! Takes the clock as an argument and does no I/O: the guarded stream asks it and obeys.

use std::time::{Duration, Instant};

use super::connection::Phase;
use super::events::Cut;
use super::pace::{Pace, Slow};
use super::policy::EdgePolicy;

/// The limits that time a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub header: Duration,
    pub keepalive: Duration,
    pub window: Duration,
    pub min_rate: u32,
    /// Of HTTP/2's header blocks: twice what a header may be, so that one that is a little too large is refused as any other.
    pub header_bytes: u64,
}

impl From<&EdgePolicy> for Timing {
    fn from(policy: &EdgePolicy) -> Self {
        Self {
            header: policy.header_timeout,
            keepalive: policy.keepalive_timeout,
            window: policy.body_idle_timeout,
            min_rate: policy.min_rate,
            header_bytes: u64::from(policy.request_header_bytes) * 2,
        }
    }
}

impl Timing {
    pub(super) fn pace(&self) -> Pace {
        Pace::new(self.window, self.min_rate)
    }
}

/// What is wrong with a request body that is too slow.
pub(super) fn body_cut(slow: Slow) -> Cut {
    match slow {
        Slow::Idle => Cut::BodyIdle,
        Slow::Rate => Cut::BodyRate,
    }
}

/// What Pingora reads for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A header or a body.
    Wanted,
    /// Only to know whether the client is still there. What comes is the next request.
    Probe,
}

/// Watches the reads of an HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Http1Watch {
    timing: Timing,
    /// Which request of the connection is watched, by [`super::Connection`]'s count.
    epoch: u32,
    /// By when the header must be complete, or its first byte must be here.
    deadline: Instant,
    /// When the first byte of the header came, if it did.
    begun: Option<Instant>,
    body: Pace,
}

impl Http1Watch {
    /// A new connection owes us a header at once.
    pub(super) fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            epoch: 0,
            deadline: now + timing.header,
            begun: None,
            body: timing.pace(),
        }
    }

    /// Whether a part of a header is here.
    pub(super) fn in_header(&self) -> bool {
        self.begun.is_some()
    }

    /// When the current header began.
    pub(super) fn header_began(&self) -> Option<Instant> {
        self.begun
    }

    /// To be called first at every event: notices that a request ended, and says so. `ahead`: a part of the next one is
    /// here already.
    pub(super) fn turn(&mut self, epoch: u32, now: impl FnOnce() -> Instant, ahead: bool) -> bool {
        if self.epoch == epoch {
            return false;
        }
        let now = now();
        self.epoch = epoch;
        self.begun = ahead.then_some(now);
        self.deadline = now
            + if ahead {
                self.timing.header
            } else {
                self.timing.keepalive
            };
        self.body = self.timing.pace();
        true
    }

    /// Whether the wait for a piece of the body was so long that it is worth asking the system whose fault it was.
    pub(super) fn long_wait(&self, phase: Phase, now: impl FnOnce() -> Instant) -> bool {
        phase == Phase::Exchange && self.body.is_waiting() && self.body.waited(now()) > Duration::from_secs(1)
    }

    /// `bytes` came.
    pub(super) fn arrived(&mut self, phase: Phase, read: Read, bytes: usize, now: Instant) -> Result<(), Cut> {
        match phase {
            Phase::Header => {
                self.check(phase, read, now)?;
                if self.begun.is_none() {
                    self.begun = Some(now);
                    if self.epoch > 0 {
                        self.deadline = now + self.timing.header;
                    }
                }
                Ok(())
            }
            Phase::Exchange if read == Read::Wanted => self.body.moved(bytes as u64, now).map_err(body_cut),
            Phase::Exchange | Phase::Tunnel => Ok(()),
        }
    }

    /// Nothing is there to read. Gives the time at which [`Self::check`] should be asked, if ever.
    pub(super) fn wait(&mut self, phase: Phase, read: Read, now: Instant) -> Option<Instant> {
        match (phase, read) {
            (Phase::Header, _) => Some(self.deadline),
            (Phase::Exchange, Read::Wanted) => Some(self.body.wait(now)),
            (Phase::Exchange | Phase::Tunnel, _) => None,
        }
    }

    /// Whether the silence has become too long.
    pub(super) fn check(&mut self, phase: Phase, read: Read, now: Instant) -> Result<(), Cut> {
        match (phase, read) {
            (Phase::Header, _) if now < self.deadline => Ok(()),
            (Phase::Header, _) if self.begun.is_some() => Err(Cut::HeaderTimeout),
            (Phase::Header, _) => Err(Cut::KeepaliveTimeout),
            (Phase::Exchange, Read::Wanted) => self.body.check(now).map_err(body_cut),
            (Phase::Exchange | Phase::Tunnel, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMING: Timing = Timing {
        header: Duration::from_secs(10),
        keepalive: Duration::from_secs(90),
        window: Duration::from_secs(20),
        min_rate: 256,
        header_bytes: 1000,
    };

    fn watch() -> (Http1Watch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Http1Watch::new(TIMING, start), move |seconds| {
            start + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn the_first_header_is_owed_from_the_start() {
        let (mut watch, at) = watch();
        assert_eq!(watch.wait(Phase::Header, Read::Wanted, at(0)), Some(at(10)));
        assert_eq!(
            watch.check(Phase::Header, Read::Wanted, at(10)),
            Err(Cut::KeepaliveTimeout),
            "nothing began"
        );
        assert_eq!(watch.arrived(Phase::Header, Read::Wanted, 1, at(9)), Ok(()));
        assert_eq!(
            watch.wait(Phase::Header, Read::Wanted, at(9)),
            Some(at(10)),
            "a byte does not extend it"
        );
        assert_eq!(
            watch.arrived(Phase::Header, Read::Wanted, 1, at(10)),
            Err(Cut::HeaderTimeout),
            "nor does progress"
        );
    }

    #[test]
    fn later_headers_are_timed_from_their_first_byte() {
        let (mut watch, at) = watch();
        watch.turn(1, || at(5), false);
        assert_eq!(watch.wait(Phase::Header, Read::Wanted, at(5)), Some(at(95)));
        assert_eq!(
            watch.check(Phase::Header, Read::Wanted, at(95)),
            Err(Cut::KeepaliveTimeout)
        );
        assert_eq!(watch.arrived(Phase::Header, Read::Wanted, 3, at(50)), Ok(()));
        assert_eq!(watch.wait(Phase::Header, Read::Wanted, at(50)), Some(at(60)));
        assert_eq!(watch.arrived(Phase::Header, Read::Wanted, 3, at(59)), Ok(()));
        assert_eq!(
            watch.check(Phase::Header, Read::Wanted, at(60)),
            Err(Cut::HeaderTimeout)
        );
    }

    #[test]
    fn bytes_ahead_of_their_turn_start_the_header_clock_when_it_comes() {
        let (mut watch, at) = watch();
        assert_eq!(watch.arrived(Phase::Exchange, Read::Probe, 1, at(100)), Ok(()));
        assert!(!watch.in_header());
        assert!(watch.turn(1, || at(200), true));
        assert!(watch.in_header());
        assert_eq!(watch.wait(Phase::Header, Read::Wanted, at(200)), Some(at(210)));
        assert!(!watch.turn(1, || at(205), true), "only once");
        assert!(watch.turn(2, || at(300), false));
        assert!(!watch.in_header());
    }

    #[test]
    fn a_slow_upstream_is_not_the_clients_fault() {
        let (mut watch, at) = watch();
        assert_eq!(watch.wait(Phase::Exchange, Read::Probe, at(0)), None);
        assert_eq!(watch.check(Phase::Exchange, Read::Probe, at(10_000)), Ok(()));
        assert_eq!(watch.wait(Phase::Tunnel, Read::Wanted, at(0)), None);
        assert_eq!(watch.check(Phase::Tunnel, Read::Wanted, at(10_000)), Ok(()));
    }

    #[test]
    fn a_body_must_move() {
        let (mut watch, at) = watch();
        assert_eq!(watch.wait(Phase::Exchange, Read::Wanted, at(0)), Some(at(20)));
        assert_eq!(watch.check(Phase::Exchange, Read::Wanted, at(20)), Err(Cut::BodyIdle));
        assert_eq!(watch.arrived(Phase::Exchange, Read::Wanted, 5000, at(15)), Ok(()));
        watch.wait(Phase::Exchange, Read::Wanted, at(15));
        assert_eq!(watch.check(Phase::Exchange, Read::Wanted, at(20)), Err(Cut::BodyRate));
    }
}
