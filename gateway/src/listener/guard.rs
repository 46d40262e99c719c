//! The stream that Pingora reads and writes: the client's, with an eye on the clock.
//!
//! It cuts off who is too slow, notices the request that Pingora refuses before its first phase, counts bytes and
//! carries the [`Connection`] to where the phases find it. What is too slow is decided by the watches and paces it asks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::tls::SslDigest;
use pingora_core::protocols::{
    ALPN, GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl, TimingDigest, UniqueID,
    UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::admission::Permit;
use super::connection::{Connection, Phase, Protocol};
use super::events::{CloseReason, ConnectionEvents, Cut, EarlyReject};
use super::frames::{Http2Watch, PREFACE};
use super::pace::Slow;
use super::scan::take;
use super::sender::Sender;
use super::timer::Timer;
use super::transport::Transport;
use super::watch::{Http1Watch, Read, Timing};

/// To a header longer than any may be (RFC 6585, section 5).
const TOO_LARGE: &[u8] =
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// To a header that takes too long (RFC 9110, section 15.5.9).
const TIMEOUT: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

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
    /// Bytes that were looked at and are yet to be read.
    replay: Vec<u8>,
    /// The request whose answer's head was seen last.
    answered: u64,
    /// What Pingora answered a request with that no phase saw.
    refused: Option<EarlyReject>,
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
            replay: Vec::new(),
            answered: 0,
            refused: None,
            ending: None,
            _permit: permit,
        }
    }

    /// The connection it guards.
    pub(super) fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Reads what the client sends, under watch.
    fn poll_receive(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.refuse_if_cut()?;
        let read = match buf.remaining() {
            1 if self.connection.has_body() => Read::ProbeOrLast,
            1 => Read::Probe,
            _ => Read::Wanted,
        };
        let phase = self.connection.phase();
        if let Watch::Http1(watch) = &mut self.watch {
            watch.turn(self.connection.epoch(), Instant::now);
            if watch.is_oversized(phase) {
                self.refused = Some(EarlyReject::HeaderTooLarge);
                self.say(cx, TOO_LARGE);
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
        }
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
                    self.say(cx, TIMEOUT);
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

    /// Looks at the beginning of an answer.
    fn notice_head(&mut self, bytes: &[u8]) {
        let Watch::Http1(_) = self.watch else { return };
        let phase = self.connection.phase();
        if phase == Phase::Exchange && self.answered == self.connection.requests() {
            return;
        }
        let Some(status) = status_of(bytes) else { return };
        match (phase, status) {
            (Phase::Header, b"405") => self.refused = Some(EarlyReject::MethodNotAllowed),
            (Phase::Header, _) => self.refused = Some(EarlyReject::MalformedRequest),
            (Phase::Exchange, b"101") => {
                self.answered = self.connection.requests();
                self.connection.set_tunnel();
            }
            (Phase::Exchange, [b'1', ..]) | (Phase::Tunnel, _) => {}
            (Phase::Exchange, _) => self.answered = self.connection.requests(),
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

    /// Who is too slow to send may still be answered.
    fn refuse_send_if_cut(&self) -> io::Result<()> {
        match self.connection.was_cut() {
            Some(Cut::SendIdle | Cut::SendRate | Cut::Requested) => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    /// A request that was never a request: no phase has seen it, and there will be no other word about it.
    fn early_reject(&self) -> Option<EarlyReject> {
        let begun = match &self.watch {
            Watch::Http1(watch) => self.connection.phase() == Phase::Header && watch.in_header(),
            Watch::Http2(watch) => !watch.is_open() && self.connection.bytes_received() > 0,
        };
        if self.refused.is_some() || !begun {
            return self.refused;
        }
        Some(match (self.connection.was_cut(), self.ending, &self.watch) {
            (Some(Cut::HeaderTimeout), ..) => EarlyReject::HeaderTimeout,
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

/// The status in the head of an HTTP/1 answer.
fn status_of(bytes: &[u8]) -> Option<&[u8; 3]> {
    let rest = bytes.strip_prefix(b"HTTP/1.")?;
    let (_, rest) = rest.split_first_chunk::<2>()?;
    rest.first_chunk()
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some(reason) = self.early_reject() {
            self.events.early_reject(&self.connection, reason);
        }
        self.events.closed(&self.connection, self.close_reason());
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.replay.is_empty() {
            let result = this.poll_receive(cx, buf);
            if matches!(result, Poll::Ready(Err(_))) {
                this.say_goodbye(cx);
            }
            return result;
        }
        let count = this.replay.len().min(buf.remaining());
        let rest = this.replay.split_off(count);
        buf.put_slice(&this.replay);
        this.replay = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.notice_head(buf);
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
        if let Some(first) = bufs.iter().find(|buf| !buf.is_empty()) {
            this.notice_head(first);
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
        let result = Pin::new(&mut this.transport).poll_flush(cx);
        this.poll_sent(cx, result, 0)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.transport).poll_shutdown(cx);
        this.poll_sent(cx, result, 0)
    }
}

impl Guarded {
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

    /// Tells the client of HTTP/2 why it is cut off, if it takes that at once.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let Watch::Http2(watch) = &mut self.watch else { return };
        if let Some(frame) = self.connection.was_cut().and_then(|cut| watch.goodbye(cut)) {
            self.say(cx, &frame);
        }
    }
}

#[async_trait]
impl Peek for Guarded {
    /// Pingora asks for this to tell HTTP/2 with prior knowledge from HTTP/1. Waits only as long as the bytes could
    /// still become HTTP/2's preface, so a short HTTP/1 request is not held up.
    async fn try_peek(&mut self, buf: &mut [u8]) -> io::Result<bool> {
        let mut seen = 0;
        while seen < buf.len() && buf.iter().zip(PREFACE).take(seen).all(|(a, b)| a == b) {
            match self.read(buf.get_mut(seen..).unwrap_or_default()).await? {
                0 => break,
                count => seen += count,
            }
        }
        self.replay = buf.get(..seen).unwrap_or_default().to_vec();
        if let Some(unseen) = buf.get_mut(seen..) {
            unseen.fill(0);
        }
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if buf == PREFACE {
            let policy = self.connection.policy();
            let mut watch = Http2Watch::new(Timing::from(policy), policy.h2, self.opened);
            watch.arrived(PREFACE, Instant::now()).map_err(|cut| self.cut(cut))?;
            self.watch = Watch::Http2(Box::new(watch));
            self.connection.set_http2();
        }
        Ok(true)
    }
}

#[async_trait]
impl Shutdown for Guarded {
    async fn shutdown(&mut self) {
        // There is nobody to tell, and the stream is dropped next.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Guarded {
    fn id(&self) -> UniqueIDType {
        self.transport.tcp().id()
    }
}

impl Ssl for Guarded {
    fn get_ssl_digest(&self) -> Option<Arc<SslDigest>> {
        self.ssl.clone()
    }

    fn selected_alpn_proto(&self) -> Option<ALPN> {
        match self.connection.tls()?.alpn? {
            "h2" => Some(ALPN::H2),
            _ => Some(ALPN::H1),
        }
    }
}

impl GetTimingDigest for Guarded {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.transport.tcp().get_timing_digest()
    }

    fn get_read_pending_time(&self) -> Duration {
        self.transport.tcp().get_read_pending_time()
    }

    fn get_write_pending_time(&self) -> Duration {
        self.transport.tcp().get_write_pending_time()
    }
}

impl GetProxyDigest for Guarded {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        Some(Arc::clone(&self.digest))
    }
}

impl GetSocketDigest for Guarded {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.transport.socket_digest()
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded")
            .field("connection", &self.connection)
            .finish_non_exhaustive()
    }
}
