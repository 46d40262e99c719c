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
    /// Twice what a header may be: one that is a little too long still becomes a request, which is refused as any other
    /// and leaves a line in the access log. Pingora alone would keep a megabyte of it.
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

/// What Pingora reads for, as far as it shows: it asks for one byte when it only wants to know whether the client is
/// still there while the upstream works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// A header or a body.
    Wanted,
    /// Only to know whether the client is still there. What comes is the next request.
    Probe,
    /// That, or the last byte of the body, which has a timer of Pingora's.
    ProbeOrLast,
}

/// Watches the reads of an HTTP/1 connection.
#[derive(Debug)]
pub(super) struct Http1Watch {
    timing: Timing,
    /// Which request of the connection is watched, by [`super::Connection`]'s count.
    epoch: u32,
    /// By when the header must be complete, or its first byte must be here.
    deadline: Instant,
    /// Whether the first byte of the header is here.
    begun: bool,
    /// Bytes of the next request came during the current one.
    ahead: bool,
    /// How much came of the header.
    header_bytes: u64,
    body: Pace,
}

impl Http1Watch {
    /// A new connection owes us a header at once.
    pub(super) fn new(timing: Timing, now: Instant) -> Self {
        Self {
            timing,
            epoch: 0,
            deadline: now + timing.header,
            begun: false,
            ahead: false,
            header_bytes: 0,
            body: timing.pace(),
        }
    }

    /// Whether a part of a header is here.
    pub(super) fn in_header(&self) -> bool {
        self.begun
    }

    /// Whether more of a header is asked for although the part that is here is longer than any may be.
    pub(super) fn is_oversized(&self, phase: Phase) -> bool {
        phase == Phase::Header && self.header_bytes > self.timing.header_bytes
    }

    /// To be called first at every event: notices that a request ended.
    pub(super) fn turn(&mut self, epoch: u32, now: impl FnOnce() -> Instant) {
        if self.epoch == epoch {
            return;
        }
        let now = now();
        self.epoch = epoch;
        self.begun = self.ahead;
        self.deadline = now
            + if self.ahead {
                self.timing.header
            } else {
                self.timing.keepalive
            };
        self.ahead = false;
        self.header_bytes = 0;
        self.body = self.timing.pace();
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
                self.header_bytes += bytes as u64;
                if !self.begun {
                    self.begun = true;
                    if self.epoch > 0 {
                        self.deadline = now + self.timing.header;
                    }
                }
                Ok(())
            }
            Phase::Exchange if read == Read::Probe => {
                self.ahead = true;
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
            (Phase::Header, _) if self.begun => Err(Cut::HeaderTimeout),
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
        watch.turn(1, || at(5));
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
        watch.turn(1, || at(200));
        assert!(watch.in_header());
        assert_eq!(watch.wait(Phase::Header, Read::Wanted, at(200)), Some(at(210)));
        watch.turn(1, || at(205));
        watch.turn(2, || at(300));
        assert!(!watch.in_header());
    }

    #[test]
    fn a_header_has_a_largest_size() {
        let (mut watch, at) = watch();
        assert_eq!(watch.arrived(Phase::Header, Read::Wanted, 1000, at(0)), Ok(()));
        assert!(!watch.is_oversized(Phase::Header));
        assert_eq!(watch.arrived(Phase::Header, Read::Wanted, 1, at(0)), Ok(()));
        assert!(watch.is_oversized(Phase::Header));
        assert!(!watch.is_oversized(Phase::Exchange), "the rest was body");
        watch.turn(1, || at(1));
        assert!(!watch.is_oversized(Phase::Header));
    }

    #[test]
    fn the_last_byte_of_a_body_is_not_the_next_request() {
        let (mut watch, at) = watch();
        assert_eq!(watch.arrived(Phase::Exchange, Read::ProbeOrLast, 1, at(0)), Ok(()));
        watch.turn(1, || at(1));
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
