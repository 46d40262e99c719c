//! The stream that Pingora reads and writes: the client's, under guard.
//!
//! It lets no byte of HTTP/1 through that the strict reader has not seen, and none beyond the current request; it answers
//! what is no request, cuts off who is too slow, counts bytes and carries the [`Connection`] to where the phases find it.
//! What is too slow is decided by the watches and paces it asks, what is malformed by [`crate::strict`].

mod stream;
mod write;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use tokio::io::{AsyncRead, AsyncWrite as _, ReadBuf};

use crate::problem;
use crate::request_id::RequestId;
use crate::strict::Case;

use super::admission::Permit;
use super::connection::{Connection, Phase, Protocol};
use super::events::{CloseReason, ConnectionEvents, Cut, EarlyReject, Rejected, RequestLine};
use super::farewell::Farewell;
use super::frames::Http2Watch;
use super::inbox::Inbox;
use super::sender::Sender;
use super::timer::Timer;
use super::transport::Transport;
use super::watch::{Http1Watch, Read, Timing};

/// Bytes that are read at once where they cannot go straight into Pingora's buffer.
const PIECE: usize = 4096;

/// What to hold a client's reads against.
#[derive(Debug)]
enum Watch {
    Http1(Http1Watch),
    Http2(Box<Http2Watch>),
}

/// How the stream came to its end, if it did so by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    ClosedByClient,
    Failed,
}

/// A client's stream under guard.
pub(super) struct Guarded {
    transport: Transport,
    connection: Arc<Connection>,
    events: Arc<dyn ConnectionEvents>,
    /// Takes the connection to the request phases.
    digest: Arc<ProxyDigest>,
    ssl: Option<Arc<SslDigest>>,
    opened: Instant,
    watch: Watch,
    read_timer: Timer,
    sender: Sender,
    /// Bytes of HTTP/1 that Pingora may not have yet.
    inbox: Inbox,
    /// Whether it is still to be seen which HTTP is spoken.
    peeking: bool,
    /// The request whose answer's head was seen last.
    answered: u64,
    /// The end, once it has begun.
    farewell: Option<Farewell>,
    /// Whether a request that no phase will see was told of.
    told: bool,
    ending: Option<Ending>,
    _permit: Permit,
}

impl Guarded {
    /// Guards `transport` from now on.
    pub(super) fn new(
        transport: Transport,
        connection: Arc<Connection>,
        events: Arc<dyn ConnectionEvents>,
        digest: Arc<ProxyDigest>,
        permit: Permit,
    ) -> Self {
        let opened = Instant::now();
        let timing = Timing::from(connection.policy());
        let watch = match connection.protocol() {
            Protocol::Http1 => Watch::Http1(Http1Watch::new(timing, opened)),
            Protocol::Http2 => Watch::Http2(Box::new(Http2Watch::new(timing, connection.policy().h2, opened))),
        };
        let ssl = connection
            .tls()
            .map(|tls| Arc::new(SslDigest::new(tls.cipher, tls.version, None, None, Vec::new())));
        let inbox = Inbox::new(connection.rules());
        Self {
            transport,
            connection,
            events,
            digest,
            ssl,
            opened,
            watch,
            read_timer: Timer::default(),
            sender: Sender::new(timing),
            inbox,
            peeking: false,
            answered: 0,
            farewell: None,
            told: false,
            ending: None,
            _permit: permit,
        }
    }

    /// The connection it guards.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Reads what the client sends and Pingora may have.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.farewell.is_some() {
            return self.poll_farewell(cx).map(|()| Err(io::ErrorKind::InvalidData.into()));
        }
        self.refuse_if_cut()?;
        let phase = self.connection.phase();
        let Watch::Http1(watch) = &mut self.watch else {
            return self.poll_anything(cx, buf, phase);
        };
        let ahead = !self.inbox.is_empty();
        if watch.turn(self.connection.epoch(), Instant::now, ahead) {
            self.inbox.next_request();
            if !ahead {
                self.connection.set_waiting();
            }
        }
        if self.peeking || phase == Phase::Tunnel {
            return self.poll_anything(cx, buf, phase);
        }
        self.poll_request(cx, buf, phase)
    }

    /// Reads what is not, or not yet known to be, HTTP/1.
    fn poll_anything(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, phase: Phase) -> Poll<io::Result<()>> {
        if !self.peeking && self.inbox.give_all(buf) {
            return Poll::Ready(Ok(()));
        }
        self.poll_transport(cx, buf, phase, Read::Wanted)
    }

    /// Reads bytes of the current HTTP/1 request: its header once it is complete, then its body.
    fn poll_request(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>, phase: Phase) -> Poll<io::Result<()>> {
        self.inbox.leave_end(self.connection.body_end().is_left());
        loop {
            if self.connection.violation().is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if let Err(case) = self.inbox.look() {
                return self.refuse(cx, phase, case, None);
            }
            if self.inbox.give(buf) {
                return Poll::Ready(Ok(()));
            }
            if phase == Phase::Exchange && self.inbox.is_done() {
                return self.poll_probe(cx);
            }
            if self.inbox.is_at_end() {
                // Who left it there reads on when it wants to.
                self.connection.body_end().came();
                return Poll::Pending;
            }
            if phase == Phase::Header && self.inbox.has_given_header() {
                // Pingora does not see the header's end where we do.
                return self.refuse(cx, phase, Case::Malformed, None);
            }
            if !self.inbox.is_empty() {
                let mut space = [const { MaybeUninit::uninit() }; PIECE];
                let mut piece = ReadBuf::uninit(&mut space);
                ready!(self.poll_transport(cx, &mut piece, phase, Read::Wanted))?;
                if piece.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                self.inbox.push(piece.filled());
                continue;
            }
            let before = buf.filled().len();
            ready!(self.poll_transport(cx, buf, phase, Read::Wanted))?;
            let bytes = buf.filled().get(before..).unwrap_or_default();
            if bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            match self.inbox.filter(bytes) {
                Ok(0) => buf.set_filled(before),
                Ok(passed) => {
                    buf.set_filled(before + passed);
                    return Poll::Ready(Ok(()));
                }
                Err(case) => return self.refuse(cx, phase, case, Some(bytes)),
            }
        }
    }

    /// Pingora asks whether the client is still there, after all of its request. What comes is the next request, which
    /// waits for its turn; behind it nothing is read.
    fn poll_probe(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.inbox.is_empty() {
            let mut space = [const { MaybeUninit::uninit() }; PIECE];
            let mut piece = ReadBuf::uninit(&mut space);
            ready!(self.poll_transport(cx, &mut piece, Phase::Exchange, Read::Probe))?;
            if piece.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.inbox.push(piece.filled());
        }
        self.connection.reader().register(cx.waker());
        self.refuse_if_cut()?;
        Poll::Pending
    }

    /// Reads what the client sends, under watch.
    fn poll_transport(
        &mut self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        phase: Phase,
        read: Read,
    ) -> Poll<io::Result<()>> {
        let unread = self.unread_for(phase);
        let before = buf.filled().len();
        let result = Pin::new(&mut self.transport).poll_read(cx, buf);
        let now = Instant::now();
        match result {
            Poll::Ready(Ok(())) => {
                let bytes = buf.filled().get(before..).unwrap_or_default();
                if bytes.is_empty() {
                    self.ending.get_or_insert(Ending::ClosedByClient);
                    return Poll::Ready(Ok(()));
                }
                self.connection.add_received(bytes.len());
                let verdict = match &mut self.watch {
                    Watch::Http1(watch) => {
                        watch.arrived(phase, read, bytes.len(), now.checked_sub(unread).unwrap_or(now))
                    }
                    Watch::Http2(watch) => watch.arrived(bytes, now),
                };
                Poll::Ready(verdict.map_err(|cut| self.cut(cut)))
            }
            Poll::Ready(Err(error)) => {
                self.ending.get_or_insert(Ending::of(&error));
                Poll::Ready(Err(error))
            }
            Poll::Pending => self.poll_silence(cx, phase, read, now),
        }
    }

    /// The request breaks a rule: before its first phase the answer is ours, later the exchange ends with it.
    fn refuse(&mut self, cx: &mut Context<'_>, phase: Phase, case: Case, bytes: Option<&[u8]>) -> Poll<io::Result<()>> {
        if phase != Phase::Header {
            self.connection.set_violation(case);
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        self.dismiss(case, bytes);
        self.poll_farewell(cx).map(|()| Err(io::ErrorKind::InvalidData.into()))
    }

    /// Begins the end of the connection with the answer to a request that no phase will see.
    fn dismiss(&mut self, case: Case, bytes: Option<&[u8]>) {
        let words = self.reject(EarlyReject::Refused(case), bytes);
        self.farewell = Some(Farewell::new(words, Instant::now()));
    }

    /// Tells of a request that no phase will see, and gives the answer to it. `bytes` are its own, if none are held.
    fn reject(&mut self, reason: EarlyReject, bytes: Option<&[u8]>) -> Vec<u8> {
        let request_id = RequestId::new();
        let line = RequestLine::read(bytes.unwrap_or(self.inbox.held()));
        let answer = match reason {
            EarlyReject::Refused(case) => problem::http1(case, request_id.as_str(), line.method == "HEAD"),
            _ => Vec::new(),
        };
        let since = match &self.watch {
            Watch::Http1(watch) => watch.header_began(),
            Watch::Http2(_) => None,
        };
        let rejected = Rejected {
            reason,
            request_id: request_id.as_str(),
            line,
            took: since.unwrap_or(self.opened).elapsed(),
        };
        self.events.early_reject(&self.connection, &rejected);
        self.told = true;
        answer
    }

    /// Goes on ending the connection, if that has begun.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(farewell) = &mut self.farewell else {
            return Poll::Ready(());
        };
        let before = farewell.sent();
        let result = farewell.poll(&mut self.transport, cx);
        self.connection.add_sent(farewell.sent() - before);
        result
    }

    /// For how long the next piece of a body may have been lying there with nobody to look at it. Asked before it is
    /// read, for reading lets more in at once.
    fn unread_for(&self, phase: Phase) -> Duration {
        match &self.watch {
            Watch::Http1(watch) if watch.long_wait(phase, Instant::now) => self.transport.last_arrival(),
            _ => Duration::ZERO,
        }
    }

    /// Nothing to read: for how long?
    fn poll_silence(
        &mut self,
        cx: &mut Context<'_>,
        phase: Phase,
        read: Read,
        mut now: Instant,
    ) -> Poll<io::Result<()>> {
        // Register first, look after: a cut in between is seen.
        self.connection.reader().register(cx.waker());
        self.refuse_if_cut()?;
        loop {
            let until = match &mut self.watch {
                Watch::Http1(watch) => watch.wait(phase, read, now),
                Watch::Http2(watch) => earliest(
                    watch.wait(self.connection.streams().exchanges(), now),
                    self.connection.bodies().wait(now),
                ),
            };
            let Some(until) = until else { return Poll::Pending };
            ready!(self.read_timer.poll(until, cx));
            now = Instant::now();
            let verdict = match &mut self.watch {
                Watch::Http1(watch) => watch.check(phase, read, now),
                Watch::Http2(watch) => watch
                    .check(self.connection.streams().exchanges(), now)
                    .and_then(|()| self.connection.bodies().check(now)),
            };
            if let Err(cut) = verdict {
                if cut == Cut::HeaderTimeout && matches!(self.watch, Watch::Http1(_)) {
                    let answer = self.reject(EarlyReject::Refused(Case::HeaderTimeout), None);
                    self.say(cx, &answer);
                }
                return Poll::Ready(Err(self.cut(cut)));
            }
        }
    }

    /// Answers a request that no phase will see, if the client takes it at once: nobody waits for one that does not.
    fn say(&mut self, cx: &mut Context<'_>, answer: &[u8]) {
        if let Poll::Ready(Ok(bytes)) = Pin::new(&mut self.transport).poll_write(cx, answer) {
            self.connection.add_sent(bytes);
            let _ = Pin::new(&mut self.transport).poll_flush(cx);
        }
    }

    /// Tells the client of HTTP/2 why it is cut off, if it takes that at once.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let Watch::Http2(watch) = &mut self.watch else { return };
        if let Some(frame) = self.connection.was_cut().and_then(|cut| watch.goodbye(cut)) {
            self.say(cx, &frame);
        }
    }

    fn cut(&self, cut: Cut) -> io::Error {
        self.connection.record_cut(cut);
        io::ErrorKind::TimedOut.into()
    }

    fn refuse_if_cut(&self) -> io::Result<()> {
        if self.connection.was_cut().is_some() {
            Err(io::ErrorKind::TimedOut.into())
        } else {
            Ok(())
        }
    }

    /// A request that was never a request: no phase has seen it, and there will be no other word about it.
    fn early_reject(&self) -> Option<EarlyReject> {
        let begun = match &self.watch {
            Watch::Http1(watch) => self.connection.phase() == Phase::Header && watch.in_header(),
            Watch::Http2(watch) => !watch.is_open() && self.connection.bytes_received() > 0,
        };
        if self.told || !begun {
            return None;
        }
        Some(match (self.connection.was_cut(), self.ending, &self.watch) {
            (Some(Cut::HeaderTimeout), ..) => EarlyReject::Refused(Case::HeaderTimeout),
            (None, Some(_), _) => EarlyReject::ClosedInHeader,
            (None, None, Watch::Http2(_)) => EarlyReject::Http2Preface,
            _ => EarlyReject::Shutdown,
        })
    }

    fn close_reason(&self) -> CloseReason {
        match (self.connection.was_cut(), self.ending) {
            (Some(cut), _) => CloseReason::Cut(cut),
            (None, Some(Ending::ClosedByClient)) => CloseReason::Client,
            (None, Some(Ending::Failed)) => CloseReason::Error,
            (None, None) => CloseReason::Server,
        }
    }
}

impl Ending {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            // A client that closes without TLS's farewell or resets has left all the same.
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                Self::ClosedByClient
            }
            _ => Self::Failed,
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    [a, b].into_iter().flatten().min()
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(reason) = self.early_reject() {
            self.reject(reason, None);
        }
        self.events.closed(&self.connection, self.close_reason());
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = this.poll_receive(cx, buf);
        if matches!(result, Poll::Ready(Err(_))) {
            this.say_goodbye(cx);
        }
        result
    }
}
