//! Does the client take what we send? Only asked while bytes are stuck: a quiet response is nobody's fault.

use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use super::pace::{Pace, Slow};
use super::timer::Timer;
use super::transport::Transport;
use super::watch::Timing;

/// How long bytes may be on their way.
const SETTLING: Duration = Duration::from_secs(1);

/// Watches the writes of a connection.
#[derive(Debug)]
pub(super) struct Sender {
    timing: Timing,
    pace: Pace,
    /// What the client's system had taken when it was asked last.
    acknowledged: u64,
    /// When what was on its way as the bytes got stuck should be there, if that is still to come.
    settles: Option<Instant>,
    timer: Timer,
    /// In a tunnel there is no rate to keep: it may be as slow as its ends like, as long as it moves.
    tunnel: bool,
}

impl Sender {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            pace: timing.pace(),
            acknowledged: 0,
            settles: None,
            timer: Timer::default(),
            tunnel: false,
        }
    }

    /// `bytes` went to the system.
    pub(super) fn moved(&mut self, bytes: u64) -> Result<(), Slow> {
        if self.pace.is_waiting() {
            self.pace.moved(bytes, Instant::now())
        } else {
            self.pace.moved_freely(bytes);
            Ok(())
        }
    }

    /// The system takes no more. Ready when that has gone on for too long.
    ///
    /// A system with a large send buffer takes nothing for a long time although the client reads steadily. So when the
    /// time is up the client is asked, so to speak: what has arrived there since counts as moved. Only not what was on
    /// its way already: a client that never reads has room for that, too.
    pub(super) fn poll_stuck(&mut self, cx: &mut Context<'_>, transport: &Transport, tunnel: bool) -> Poll<Slow> {
        if tunnel && !self.tunnel {
            self.tunnel = true;
            self.pace = Pace::new(self.timing.window, 0);
        }
        let mut now = Instant::now();
        if !self.pace.is_waiting() {
            self.settles = Some(now + SETTLING.min(self.timing.window / 8));
        }
        loop {
            let until = self.pace.wait(now);
            ready!(
                self.timer
                    .poll(self.settles.map_or(until, |settles| settles.min(until)), cx)
            );
            now = Instant::now();
            let acknowledged = transport.acknowledged();
            let taken = acknowledged.saturating_sub(self.acknowledged);
            self.acknowledged = acknowledged;
            let settled = self.settles.take().is_none();
            let verdict = if settled && taken > 0 {
                self.pace.moved(taken, now)
            } else {
                self.pace.check(now)
            };
            if let Err(slow) = verdict {
                return Poll::Ready(slow);
            }
        }
    }
}
