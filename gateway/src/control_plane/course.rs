//! Which call to the control plane is due, and what its outcome means for the next. Pure: time, chance and outcomes are
//! passed in, so that every course of events can be tested.
//!
//! Nothing but a registration is given out before one has worked: until then nobody has shown to be the right control
//! plane. Each kind of call backs off by itself; the breaker is common to all.

use std::time::Duration;

use super::breaker::{Breaker, Link};

/// Longest pause after a failure, without its share of chance.
const LONGEST: Duration = Duration::from_secs(60);
/// Longest that a control plane may ask to be left alone for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// Who this gateway is.
    Register,
    /// That it runs, and whether there is a bundle for it.
    Heartbeat,
    /// The bundle.
    Pull,
    /// What became of the bundle.
    Ack,
    /// What happened here.
    Events,
}

impl Call {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 5] = [Self::Register, Self::Ack, Self::Pull, Self::Heartbeat, Self::Events];

    /// As logs and metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Heartbeat => "heartbeat",
            Self::Pull => "config_pull",
            Self::Ack => "config_ack",
            Self::Events => "events",
        }
    }

    /// The path behind the base URL.
    pub(super) const fn path(self) -> &'static str {
        match self {
            Self::Register => "/api/v1/edge/register",
            Self::Heartbeat => "/api/v1/edge/heartbeat",
            Self::Pull => "/api/v1/edge/config",
            Self::Ack => "/api/v1/edge/config/ack",
            Self::Events => "/api/v1/edge/events",
        }
    }

    const fn index(self) -> usize {
        match self {
            Self::Register => 0,
            Self::Heartbeat => 1,
            Self::Pull => 2,
            Self::Ack => 3,
            Self::Events => 4,
        }
    }
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// Try again, at the earliest after this time where the control plane asked for it.
    Retry(Option<Duration>),
    /// The control plane does not know this gateway or its token: not a matter of time, unless the token changes.
    Denied,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// This call.
    Call(Call),
    /// Nothing for so long.
    Wait(Duration),
}

/// How often what is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Intervals {
    pub(super) heartbeat: Duration,
    /// `None`: bundles do not come from the control plane.
    pub(super) poll: Option<Duration>,
}

/// The failures of one kind of call.
#[derive(Debug, Clone, Copy, Default)]
struct Kind {
    failures: u32,
    not_before: Duration,
    denied: bool,
}

/// The course of calls. Moments are times since any origin that does not change.
#[derive(Debug, Clone)]
pub(super) struct Course {
    intervals: Intervals,
    breaker: Breaker,
    kinds: [Kind; Call::ALL.len()],
    /// A registration has worked since the start: this is the right control plane.
    vetted: bool,
    registered: bool,
    heartbeat_due: Duration,
    pull_due: Duration,
    ack_waits: bool,
    events_wait: bool,
}

impl Course {
    pub(super) fn new(intervals: Intervals, now: Duration) -> Self {
        Self {
            intervals,
            breaker: Breaker::new(),
            kinds: Default::default(),
            vetted: false,
            registered: false,
            heartbeat_due: now,
            pull_due: now,
            ack_waits: false,
            events_wait: false,
        }
    }

    /// What to do now.
    pub(super) fn next(&mut self, now: Duration) -> Next {
        if let Some(pause) = self.breaker.pause(now) {
            return Next::Wait(pause);
        }
        let mut soonest = LONGEST_ASKED;
        for call in Call::ALL {
            let Some(due) = self.due(call) else { continue };
            if due <= now {
                return Next::Call(call);
            }
            soonest = soonest.min(due.saturating_sub(now));
        }
        Next::Wait(soonest)
    }

    /// When a call is due. `None`: not before something else has happened.
    fn due(&self, call: Call) -> Option<Duration> {
        if !self.vetted && call != Call::Register {
            return None;
        }
        let due = match call {
            Call::Register if self.registered => return None,
            Call::Ack if !self.ack_waits => return None,
            Call::Events if !self.events_wait => return None,
            Call::Register | Call::Ack | Call::Events => Duration::ZERO,
            Call::Heartbeat => self.heartbeat_due,
            Call::Pull => self.intervals.poll.map(|_| self.pull_due)?,
        };
        Some(due.max(self.kind(call).not_before))
    }

    /// A call has worked. `chance`, from 0 to 1, keeps a fleet from asking at once.
    pub(super) fn succeeded(&mut self, call: Call, now: Duration, chance: f64) {
        *self.kind_mut(call) = Kind::default();
        if self.breaker.succeeded() {
            // Who comes back after an outage may have forgotten everything.
            self.registered = false;
        }
        let spread = |interval: Duration| now + interval.mul_f64(0.9 + 0.2 * chance.clamp(0.0, 1.0));
        match call {
            Call::Register => {
                (self.vetted, self.registered) = (true, true);
                self.forgive(now);
            }
            Call::Heartbeat => self.heartbeat_due = spread(self.intervals.heartbeat),
            Call::Pull => self.pull_due = self.intervals.poll.map_or(now, spread),
            Call::Ack => self.ack_waits = false,
            Call::Events => self.events_wait = false,
        }
    }

    /// A call has failed.
    pub(super) fn failed(&mut self, call: Call, failure: Failure, now: Duration, chance: f64) {
        let jitter = Duration::from_secs_f64(chance.clamp(0.0, 1.0));
        let kind = self.kind_mut(call);
        let pause = 1_u64.checked_shl(kind.failures).map_or(LONGEST, Duration::from_secs);
        kind.failures = kind.failures.saturating_add(1);
        kind.not_before = now + pause.min(LONGEST) + jitter;
        match failure {
            Failure::Retry(asked) => {
                let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
                kind.not_before = kind.not_before.max(now + asked + jitter);
                self.breaker.failed(now);
            }
            // It was there to say no: no reason to leave it alone.
            Failure::Denied => {
                kind.denied = true;
                let held = *kind;
                *self.kind_mut(Call::Register) = held;
                self.breaker.succeeded();
                self.registered = false;
            }
        }
    }

    /// Answers came that this gateway must not take (from another region): until a registration works again, nobody is
    /// told anything.
    pub(super) fn distrust(&mut self) {
        (self.vetted, self.registered) = (false, false);
    }

    /// The token was replaced: what was denied is tried at once.
    pub(super) fn token_changed(&mut self, now: Duration) {
        self.registered = false;
        self.forgive(now);
    }

    /// Denials are over.
    fn forgive(&mut self, now: Duration) {
        for kind in self.kinds.iter_mut().filter(|kind| kind.denied) {
            *kind = Kind {
                not_before: now,
                ..Kind::default()
            };
        }
    }

    /// A bundle is worth asking for now.
    pub(super) fn want_pull(&mut self, now: Duration) {
        self.pull_due = self.pull_due.min(now);
    }

    /// Something is to be told of a bundle.
    pub(super) fn want_ack(&mut self) {
        self.ack_waits = true;
    }

    /// There are events to be sent.
    pub(super) fn want_events(&mut self) {
        self.events_wait = true;
    }

    /// Whether something was denied, so that the token is worth watching.
    pub(super) fn is_denied(&self) -> bool {
        self.kinds.iter().any(|kind| kind.denied)
    }

    pub(super) fn link(&self) -> Link {
        self.breaker.link()
    }

    pub(super) fn is_registered(&self) -> bool {
        self.registered
    }

    fn kind(&self, call: Call) -> Kind {
        self.kinds.get(call.index()).copied().unwrap_or_default()
    }

    fn kind_mut(&mut self, call: Call) -> &mut Kind {
        let [register, heartbeat, pull, ack, events] = &mut self.kinds;
        match call {
            Call::Register => register,
            Call::Heartbeat => heartbeat,
            Call::Pull => pull,
            Call::Ack => ack,
            Call::Events => events,
        }
    }
}

#[cfg(test)]
mod tests;
