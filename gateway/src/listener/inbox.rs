//! What a client of HTTP/1 has sent and Pingora may not have yet: a header that is not complete, and what comes behind the
//! current request. Without either it holds nothing: bytes go straight into Pingora's buffer. It does no I/O.

use bytes::{Buf, BytesMut};
use tokio::io::ReadBuf;

use crate::strict::{Case, Rules, Scanner};

/// Bytes of a client on their way to Pingora.
#[derive(Debug)]
pub(super) struct Inbox {
    scanner: Scanner,
    held: BytesMut,
    /// So many of the held bytes may be passed on.
    passable: usize,
    /// Whether bytes came that the scanner has not seen.
    unseen: bool,
    leaves_end: bool,
}

impl Inbox {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            scanner: Scanner::new(rules),
            held: BytesMut::new(),
            passable: 0,
            unseen: false,
            leaves_end: false,
        }
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// What is held back.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// Whether all of the current request came.
    pub(super) fn is_done(&self) -> bool {
        self.scanner.is_done()
    }

    /// Whether the header of the current request came, and was passed on.
    pub(super) fn has_given_header(&self) -> bool {
        self.scanner.is_past_header() && self.passable == 0
    }

    /// From now on the last byte of a chunked body is held, or passed on again.
    pub(super) fn leave_end(&mut self, leave: bool) {
        if self.leaves_end != leave {
            self.leaves_end = leave;
            self.scanner.leave_end(leave);
            self.unseen = true;
        }
    }

    /// Whether that byte came, and all before it was passed on.
    pub(super) fn is_at_end(&self) -> bool {
        self.passable == 0 && !self.held.is_empty() && self.scanner.is_at_end()
    }

    /// The current request has been answered: what is held belongs to the next one.
    pub(super) fn next_request(&mut self) {
        self.scanner.next_request();
        self.passable = 0;
        self.unseen = true;
    }

    /// Bytes that came while nothing was held: gives how many of them may stay where they are, and keeps the others.
    pub(super) fn filter(&mut self, bytes: &[u8]) -> Result<usize, Case> {
        let passed = self.scanner.advance(bytes)?;
        let rest = bytes.get(passed..).unwrap_or_default();
        if !rest.is_empty() {
            self.held.extend_from_slice(rest);
        }
        Ok(passed)
    }

    /// Bytes that came behind those that are held.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        self.unseen = true;
    }

    /// Looks at what came.
    pub(super) fn look(&mut self) -> Result<(), Case> {
        if self.unseen && self.passable == 0 && !self.held.is_empty() {
            self.unseen = false;
            self.passable = self.scanner.advance(&self.held)?;
        }
        Ok(())
    }

    /// Passes on what may be. False: there is nothing.
    pub(super) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let count = self.passable.min(buf.remaining());
        if count == 0 {
            return false;
        }
        self.take(count, buf);
        self.passable -= count;
        true
    }

    /// Passes on whatever there is: what comes is not HTTP/1 any more. False: there is nothing.
    pub(super) fn give_all(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        self.passable = self.held.len();
        self.give(buf)
    }

    fn take(&mut self, count: usize, buf: &mut ReadBuf<'_>) {
        buf.put_slice(self.held.get(..count).unwrap_or_default());
        self.held.advance(count);
        if self.held.is_empty() {
            // An idle connection keeps no buffer.
            self.held = BytesMut::new();
        }
    }
}
