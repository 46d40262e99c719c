//! One request's use of a connection: what Pingora's connector is given, and the stream that it makes of it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::connectors::L4Connect;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_error::Result;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::super::response::{Expect, Fault};
use super::brake::Brake;
use super::dial::Wire;
use super::hang_up::HangUp;
use super::pool::Line;

/// Bytes of the writes that wait for the next one.
const HELD: usize = 1400;
/// Bytes that are read at once of an answer whose client may leave it lying, for Pingora reads nine pieces ahead; and when it does
/// leave something lying.
const SIP: usize = 8 << 10;
const SMALL_SIP: usize = 1 << 10;
/// Turns that the answer to an upgrade waits: when Pingora reads 101 before it has noticed that the request has no body, it
/// takes that for the tunnel's end.
const PATIENCE: u8 = 3;

/// One attempt's way to a server: the peer's own connector.
#[derive(Debug)]
pub struct Call {
    line: Arc<Line>,
    expect: Expect,
    idle_for: Duration,
    reused: AtomicBool,
    brake: OnceLock<Brake>,
    hang_up: OnceLock<Arc<HangUp>>,
}

impl Call {
    pub(in crate::upstream) fn new(line: Arc<Line>, expect: Expect, idle_for: Duration) -> Self {
        Self {
            line,
            expect,
            idle_for,
            reused: AtomicBool::new(false),
            brake: OnceLock::new(),
            hang_up: OnceLock::new(),
        }
    }

    /// The answer may be ended before its end, with [`Self::hang_up`]. To be called before the connection is taken.
    pub fn listen(&self) {
        let _ = self.hang_up.set(Arc::default());
    }

    /// Nothing more is wanted of the answer: reading it fails from now on, also where somebody waits for it.
    pub fn hang_up(&self) {
        if let Some(hang_up) = self.hang_up.get() {
            hang_up.now();
        }
    }

    /// The client takes several answers at once, and tells by this when it leaves them lying. To be called before the
    /// connection is taken.
    pub fn share(&self, brake: Brake) {
        let _ = self.brake.set(brake);
    }

    /// Whether the connection that it got had been used before.
    pub fn is_reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl L4Connect for Call {
    async fn connect(&self, _: &SocketAddr) -> Result<Stream> {
        let (mut wire, reused) = self.line.connection().await?;
        self.reused.store(reused, Ordering::Relaxed);
        wire.scanner.begin(self.expect);
        let lease = Lease {
            wire: Some(wire),
            line: Arc::clone(&self.line),
            idle_for: self.idle_for,
            in_chunks: self.expect.chunked,
            patience: if self.expect.upgrade { PATIENCE } else { 0 },
            brake: self.brake.get().cloned(),
            hang_up: self.hang_up.get().cloned(),
            held: Vec::new(),
            released: false,
        };
        Ok(VirtualSocketStream::new(Box::new(lease)).into())
    }
}

/// A connection while a request uses it.
#[derive(Debug)]
struct Lease {
    // None only while it is dropped.
    wire: Option<Box<Wire>>,
    line: Arc<Line>,
    idle_for: Duration,
    in_chunks: bool,
    /// How many times an answer still has to wait.
    patience: u8,
    /// Of a client that takes several answers at once.
    brake: Option<Brake>,
    /// Tells whether the answer is wanted any more.
    hang_up: Option<Arc<HangUp>>,
    /// A chunk's size that waits for its data, so that both go out at once.
    held: Vec<u8>,
    /// Pingora is done with it, and says that it may be used again.
    released: bool,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(wire) = self.wire.take()
            && self.released
            && self.held.is_empty()
            && wire.scanner.is_done()
        {
            self.line.park(wire, self.idle_for);
        }
    }
}

impl Lease {
    fn wire(&mut self) -> io::Result<&mut Wire> {
        self.wire
            .as_deref_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// How much is read at once, where that matters.
    fn sip(&self) -> Option<usize> {
        self.brake
            .as_ref()
            .map(|brake| if brake.is_on() { SMALL_SIP } else { SIP })
    }

    /// Writes out what waits.
    fn poll_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            let result = Pin::new(&mut self.wire()?.io).poll_write(cx, &held);
            self.held = held;
            match ready!(result)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => drop(self.held.drain(..count.min(self.held.len()))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_with_held(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let held = std::mem::take(&mut self.held);
        let both = [IoSlice::new(&held), IoSlice::new(buf)];
        let result = Pin::new(&mut self.wire()?.io).poll_write_vectored(cx, &both);
        let before = held.len();
        self.held = held;
        let count = ready!(result)?;
        drop(self.held.drain(..count.min(before)));
        match count.saturating_sub(before) {
            // Nothing of the new bytes went out yet: the rest of the old ones first.
            0 => {
                ready!(self.poll_held(cx))?;
                Pin::new(&mut self.wire()?.io).poll_write(cx, buf)
            }
            written => Poll::Ready(Ok(written)),
        }
    }
}

/// What Pingora writes before a chunk's data, or behind it.
fn is_chunk_line(buf: &[u8]) -> bool {
    buf.len() <= 18
        && buf
            .strip_suffix(b"\r\n")
            .is_some_and(|size| size.iter().all(u8::is_ascii_hexdigit))
}

fn refused(fault: Fault) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, fault)
}

impl AsyncRead for Lease {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hang_up.as_ref().is_some_and(|hang_up| hang_up.is_due(cx)) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        if this.patience > 0 {
            this.patience -= 1;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let sip = this.sip();
        let wire = this.wire()?;
        // Pingora's question whether an idle connection is still good, asked when it would keep it: "closed" makes it
        // drop the stream, and the connection goes into our own pool.
        if wire.scanner.is_done() && buf.remaining() == 1 {
            this.released = true;
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        if let Some(sip) = sip {
            let mut space = [const { MaybeUninit::uninit() }; SIP];
            let mut piece = ReadBuf::uninit(space.get_mut(..buf.remaining().min(sip)).unwrap_or_default());
            ready!(Pin::new(&mut wire.io).poll_read(cx, &mut piece))?;
            buf.put_slice(piece.filled());
        } else {
            ready!(Pin::new(&mut wire.io).poll_read(cx, buf))?;
        }
        let bytes = buf.filled().get(before..).unwrap_or_default();
        if bytes.is_empty() {
            return Poll::Ready(wire.scanner.end().map_err(refused));
        }
        let (all, used) = (bytes.len(), wire.scanner.scan(bytes).map_err(refused)?);
        if used < all {
            buf.set_filled(before + used);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Lease {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let fits = this.held.len() + buf.len() <= HELD;
        if fits && (!this.held.is_empty() || (this.in_chunks && is_chunk_line(buf))) {
            this.held.extend_from_slice(buf);
            return Poll::Ready(Ok(buf.len()));
        }
        if this.held.is_empty() {
            return Pin::new(&mut this.wire()?.io).poll_write(cx, buf);
        }
        this.poll_write_with_held(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_held(cx))?;
        Pin::new(&mut this.wire()?.io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().wire()?.io).poll_shutdown(cx)
    }
}

impl VirtualSocket for Lease {
    /// Both are set once, when the connection is opened.
    fn set_socket_option(&self, _: VirtualSockOpt) -> io::Result<()> {
        Ok(())
    }
}
