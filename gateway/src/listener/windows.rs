//! What may still be sent to the client of an HTTP/2 connection (RFC 9113, section 5.2), and whether it takes anything: one that
//! opens no window has answers pile up here (CVE-2019-9517).
//!
//! The flow control itself is the HTTP/2 library's; this only looks on. Takes the clock as an argument and does no I/O.

use std::time::Instant;

use super::pace::{Pace, Slow};
use super::watch::Timing;

/// Of a connection and of its streams, until somebody says otherwise.
const INITIAL: i64 = 65_535;
/// Streams that are followed. More are never open at once.
const MOST: usize = 2048;

#[derive(Debug)]
struct Stream {
    id: u32,
    window: i64,
    /// Its answer has begun.
    answered: bool,
}

/// The windows of one connection.
#[derive(Debug)]
pub(super) struct Windows {
    timing: Timing,
    connection: i64,
    initial: i64,
    streams: Vec<Stream>,
    /// How what is sent gets on while it is held up by a window.
    pace: Pace,
}

impl Windows {
    pub(super) fn new(timing: Timing) -> Self {
        Self {
            timing,
            connection: INITIAL,
            initial: INITIAL,
            streams: Vec::new(),
            pace: timing.pace(),
        }
    }

    /// The client opens a stream.
    pub(super) fn open(&mut self, id: u32) {
        if self.streams.len() < MOST && self.find(id).is_none() {
            self.streams.push(Stream {
                id,
                window: self.initial,
                answered: false,
            });
        }
    }

    /// Nothing more will be sent on a stream.
    pub(super) fn close(&mut self, id: u32) {
        if let Some(place) = self.streams.iter().position(|stream| stream.id == id) {
            self.streams.swap_remove(place);
        }
    }

    /// The answer on a stream begins.
    pub(super) fn answer(&mut self, id: u32, now: impl Fn() -> Instant) {
        let Some(stream) = self.find(id) else { return };
        stream.answered = true;
        if stream.window <= 0 || self.connection <= 0 {
            self.pace.wait(now());
        }
    }

    /// The client opens a window, that of the connection if `id` is 0.
    pub(super) fn update(&mut self, id: u32, by: u32) {
        if id == 0 {
            self.connection += i64::from(by);
        } else if let Some(stream) = self.find(id) {
            stream.window += i64::from(by);
        }
    }

    /// The client sets the initial window of streams, which moves those of open ones.
    pub(super) fn set_initial(&mut self, window: u32) {
        let by = i64::from(window) - self.initial;
        self.initial = i64::from(window);
        for stream in &mut self.streams {
            stream.window += by;
        }
    }

    /// DATA of ours went to the client.
    pub(super) fn sent(&mut self, id: u32, bytes: usize, now: impl Fn() -> Instant) -> Result<(), Slow> {
        let length = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.connection -= length;
        let mut shut = self.connection <= 0;
        if let Some(stream) = self.find(id) {
            stream.window -= length;
            shut |= stream.window <= 0;
        }
        if self.pace.is_waiting() {
            self.pace.moved(bytes as u64, now())?;
        } else {
            self.pace.moved_freely(bytes as u64);
        }
        if shut {
            self.pace.wait(now());
        }
        Ok(())
    }

    /// Whether an answer is held up by a window.
    pub(super) fn is_blocked(&self) -> bool {
        let mut answers = self.streams.iter().filter(|stream| stream.answered);
        answers.any(|stream| self.connection <= 0 || stream.window <= 0)
    }

    /// To be asked when nothing happens. `unsent`: there is something to send. Gives the time at which [`Self::check`] should be
    /// asked, if ever.
    pub(super) fn wait(&mut self, unsent: bool, now: Instant) -> Option<Instant> {
        if unsent && self.is_blocked() {
            return Some(self.pace.wait(now));
        }
        if !unsent {
            self.pace = self.timing.pace();
        } else if self.pace.is_waiting() {
            // A window that opens by a little ends the pause, and what was waited counts. Judged when it is shut again.
            let _ = self.pace.moved(0, now);
        }
        // What comes to be blocked is seen then, if nothing happens before.
        (!self.streams.is_empty()).then(|| now + self.timing.window)
    }

    /// Whether the client holds its windows shut for too long.
    pub(super) fn check(&mut self, unsent: bool, now: Instant) -> Result<(), Slow> {
        self.wait(unsent, now);
        self.pace.check(now)
    }

    fn find(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.iter_mut().find(|stream| stream.id == id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::frames::tests::TIMING;
    use super::*;

    fn start() -> (Windows, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let mut windows = Windows::new(TIMING);
        windows.open(1);
        windows.answer(1, || start);
        (windows, move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_window_that_stays_shut_is_noticed() {
        let (mut windows, at) = start();
        assert_eq!(windows.sent(1, 65_535, || at(0)), Ok(()));
        assert!(windows.is_blocked());
        assert_eq!(windows.wait(true, at(0)), Some(at(20)));
        windows.update(0, 1000);
        assert!(windows.is_blocked(), "the stream's is still shut");
        assert_eq!(windows.check(true, at(19)), Ok(()));
        assert_eq!(windows.check(true, at(20)), Err(Slow::Idle));
    }

    #[test]
    fn a_byte_at_a_time_is_too_little() {
        let (mut windows, at) = start();
        windows.set_initial(0);
        let mut cut = None;
        for second in 0..60 {
            windows.wait(true, at(second));
            windows.update(1, 1);
            windows.wait(true, at(second + 1));
            if windows.sent(1, 1, || at(second + 1)).is_err() || windows.check(true, at(second + 1)).is_err() {
                cut = Some(second + 1);
                break;
            }
        }
        assert_eq!(cut, Some(20));
    }

    #[test]
    fn who_has_nothing_to_send_waits_for_nobody() {
        let (mut windows, at) = start();
        windows.set_initial(0);
        for (unsent, blocked) in [(false, true), (true, true)] {
            assert_eq!(windows.is_blocked(), blocked);
            assert_eq!(windows.wait(unsent, at(0)), Some(at(20)));
        }
        assert_eq!(windows.check(false, at(100)), Ok(()), "a quiet stream");
        windows.set_initial(1);
        assert!(!windows.is_blocked());
        assert_eq!(windows.check(true, at(200)), Ok(()), "an open window");
        windows.set_initial(0);
        assert_eq!(windows.check(true, at(200)), Ok(()));
        windows.close(1);
        assert_eq!(windows.check(true, at(300)), Ok(()), "the stream is over");
        assert_eq!(windows.wait(true, at(300)), None);
        windows.open(3);
        windows.update(0, 1);
        assert!(!windows.is_blocked(), "not answered yet");
    }

    #[test]
    fn no_more_streams_are_followed_than_there_can_be() {
        let (mut windows, _) = start();
        (1..10_000).for_each(|id| windows.open(id));
        assert_eq!(windows.streams.len(), MOST);
    }
}
