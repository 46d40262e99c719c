//! The end of a connection whose client may still be sending: our last words, then nothing more from us, and what comes
//! is thrown away for a little while. A socket that is closed with bytes unread resets, and the client loses the answer
//! (RFC 9112, 9.6).

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::timer::Timer;
use super::transport::Transport;

/// Longest that it takes, the client's silence included.
const LONGEST: Duration = Duration::from_secs(2);
/// Most bytes that are thrown away.
const MOST: u64 = 8 << 20;

/// A connection's end.
#[derive(Debug)]
pub(super) struct Farewell {
    /// What is still to be said.
    words: Vec<u8>,
    said: usize,
    stage: Stage,
    timer: Timer,
    until: Instant,
    thrown_away: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Saying,
    Flushing,
    /// We send no more.
    Closing,
    Draining,
    Over,
}

impl Farewell {
    /// Says `words`, if any, and waits for the client to have read them.
    pub(super) fn new(words: Vec<u8>, now: Instant) -> Self {
        Self {
            words,
            said: 0,
            stage: Stage::Saying,
            timer: Timer::default(),
            until: now + LONGEST,
            thrown_away: 0,
        }
    }

    /// So many bytes were sent.
    pub(super) fn sent(&self) -> usize {
        self.said
    }

    /// Goes on; ready at the end of it all.
    pub(super) fn poll(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<()> {
        // A stream that fails has nobody left to wait for.
        if self.poll_io(transport, cx).map(|_| ()).is_ready() {
            self.stage = Stage::Over;
            return Poll::Ready(());
        }
        self.timer.poll(self.until, cx).map(|()| self.stage = Stage::Over)
    }

    fn poll_io(&mut self, transport: &mut Transport, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.stage {
                Stage::Saying => {
                    let rest = self.words.get(self.said..).unwrap_or_default();
                    if rest.is_empty() {
                        self.stage = Stage::Flushing;
                        continue;
                    }
                    match ready!(Pin::new(&mut *transport).poll_write(cx, rest))? {
                        0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                        count => self.said += count,
                    }
                }
                Stage::Flushing => {
                    ready!(Pin::new(&mut *transport).poll_flush(cx))?;
                    self.stage = Stage::Closing;
                }
                Stage::Closing => {
                    ready!(Pin::new(&mut *transport).poll_shutdown(cx))?;
                    self.stage = Stage::Draining;
                }
                Stage::Draining => {
                    let mut space = [const { MaybeUninit::uninit() }; 4096];
                    let mut waste = ReadBuf::uninit(&mut space);
                    ready!(Pin::new(&mut *transport).poll_read(cx, &mut waste))?;
                    self.thrown_away += waste.filled().len() as u64;
                    if waste.filled().is_empty() || self.thrown_away > MOST {
                        return Poll::Ready(Ok(()));
                    }
                }
                Stage::Over => return Poll::Ready(Ok(())),
            }
        }
    }
}
