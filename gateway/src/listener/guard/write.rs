//! The writes of a guarded stream: which answer goes out, whether the client takes it, and how the connection closes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::AsyncWrite;

use crate::strict::Case;

use super::super::connection::Phase;
use super::super::events::Cut;
use super::super::farewell::Farewell;
use super::super::pace::Slow;
use super::super::scan::take;
use super::{Ending, Guarded, Watch};

impl Guarded {
    /// After a write: the bytes went, or they are stuck.
    fn poll_sent<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>, bytes: u64) -> Poll<io::Result<T>> {
        self.refuse_send_if_cut()?;
        let slow = match result {
            Poll::Ready(Ok(value)) => match self.sender.moved(bytes) {
                Ok(()) => return Poll::Ready(Ok(value)),
                Err(slow) => slow,
            },
            Poll::Ready(Err(error)) => {
                self.ending.get_or_insert(Ending::of(&error));
                return Poll::Ready(Err(error));
            }
            Poll::Pending => ready!(self.sender.poll_stuck(cx, &self.transport, self.connection.is_tunnel())),
        };
        Poll::Ready(Err(self.cut(match slow {
            Slow::Idle => Cut::SendIdle,
            Slow::Rate => Cut::SendRate,
        })))
    }

    /// Looks at the beginning of an answer. `false`: it is not sent, because ours is.
    fn notice_head(&mut self, bytes: &[u8]) -> bool {
        let Watch::Http1(_) = self.watch else { return true };
        if self.farewell.is_some() {
            return false;
        }
        let phase = self.connection.phase();
        if phase == Phase::Exchange && self.answered == self.connection.requests() {
            return true;
        }
        let Some(status) = status_of(bytes) else { return true };
        match (phase, status) {
            // Pingora refuses what no phase has seen. That we did not is a fault of ours; the client gets an answer of ours.
            (Phase::Header, _) => {
                self.dismiss(Case::Malformed, None);
                return false;
            }
            (Phase::Exchange, b"101") => {
                self.answered = self.connection.requests();
                self.connection.set_tunnel();
            }
            (Phase::Exchange, [b'1', ..]) | (Phase::Tunnel, _) => {}
            (Phase::Exchange, _) => self.answered = self.connection.requests(),
        }
        true
    }

    /// Whether the client may still be sending what nobody will read.
    fn leaves_bytes_unread(&self) -> bool {
        matches!(self.watch, Watch::Http1(_))
            && self.connection.phase() == Phase::Exchange
            && self.connection.was_cut().is_none()
            && self.ending.is_none()
            && !(self.inbox.is_done() && self.inbox.is_empty())
    }

    /// Who is too slow to send may still be answered.
    fn refuse_send_if_cut(&self) -> io::Result<()> {
        match self.connection.was_cut() {
            Some(Cut::SendIdle | Cut::SendRate | Cut::Requested) => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    fn count_sent<'a>(&mut self, result: &Poll<io::Result<usize>>, pieces: impl IntoIterator<Item = &'a [u8]>) -> u64 {
        let Poll::Ready(Ok(bytes)) = *result else { return 0 };
        self.connection.add_sent(bytes);
        if let Watch::Http2(watch) = &mut self.watch {
            let mut left = bytes;
            for mut piece in pieces {
                let sent = take(&mut piece, left);
                left -= sent.len();
                if let Err(cut) = watch.departed(sent) {
                    self.connection.end(cut);
                }
            }
            self.connection.streams().sent(watch.take_data_sent());
        }
        bytes as u64
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.notice_head(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut this.transport).poll_write(cx, buf);
        let bytes = this.count_sent(&result, [buf]);
        this.poll_sent(cx, result, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(first) = bufs.iter().find(|buf| !buf.is_empty())
            && !this.notice_head(first)
        {
            return Poll::Ready(Ok(bufs.iter().map(|buf| buf.len()).sum()));
        }
        let result = Pin::new(&mut this.transport).poll_write_vectored(cx, bufs);
        let bytes = this.count_sent(&result, bufs.iter().map(|buf| &**buf));
        this.poll_sent(cx, result, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.transport.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.transport).poll_flush(cx);
        this.poll_sent(cx, result, 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_none() && this.leaves_bytes_unread() {
            this.farewell = Some(Farewell::new(Vec::new(), Instant::now()));
        }
        if this.farewell.is_some() {
            return this.poll_farewell(cx).map(Ok);
        }
        let result = Pin::new(&mut this.transport).poll_shutdown(cx);
        this.poll_sent(cx, result, 0)
    }
}

/// The status in the head of an HTTP/1 answer.
fn status_of(bytes: &[u8]) -> Option<&[u8; 3]> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    rest.first_chunk()
}
