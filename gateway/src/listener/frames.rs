//! What may the client of an HTTP/2 connection do, and how long may it leave something unfinished?
//!
//! Follows the frames both ways (RFC 9113, section 4.1) just closely enough to know whether the connection preface, a header
//! block or a frame has begun and not ended, to charge each to its [`Budget`] and to keep the [`Windows`]. Whether frames are
//! right is the HTTP/2 library's. Takes the clock as an argument and does no I/O.

use std::time::Instant;

use super::budget::Budget;
use super::events::Cut;
use super::pace::{Pace, Slow};
use super::policy::Http2Policy;
use super::scan::{Head, Piece, Scan, flag, kind, take};
use super::watch::{Timing, body_cut};
use super::windows::Windows;

/// The client's connection preface (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Of SETTINGS (RFC 9113, section 6.5.2).
const INITIAL_WINDOW_SIZE: u16 = 0x4;
/// Codes of errors (RFC 9113, section 7).
mod code {
    pub(super) const NO_ERROR: u32 = 0x0;
    pub(super) const INTERNAL_ERROR: u32 = 0x2;
    pub(super) const REFUSED_STREAM: u32 = 0x7;
    pub(super) const CANCEL: u32 = 0x8;
    pub(super) const ENHANCE_YOUR_CALM: u32 = 0xb;
}

/// What of an HTTP/2 connection does not show in its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exchanges {
    /// Since when none is served; `None` while one is.
    pub idle_since: Option<Instant>,
    /// Whether there are pieces of answers that were not sent yet.
    pub unsent: bool,
}

/// Watches an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2Watch {
    timing: Timing,
    budget: Budget,
    windows: Windows,
    /// Bytes of the preface that are to come.
    preface: usize,
    inward: Scan,
    outward: Scan,
    /// Numbers in the payload of the frame that comes in, and of the one that goes out.
    fields: Fields,
    told: Fields,
    /// The stream that the client opened last.
    last_stream: u32,
    /// By when the preface and the head of the first frame must be here.
    opened_by: Option<Instant>,
    /// By when the frame that has begun must end, unless it is DATA.
    frame_by: Option<Instant>,
    /// By when the header block that has begun must end, and how much of it came.
    block_by: Option<Instant>,
    block_bytes: u64,
    /// How a DATA frame that has begun gets on.
    data: Pace,
    /// Bytes of DATA that were sent since somebody asked.
    data_sent: u64,
    /// Whether we have said goodbye.
    parted: bool,
}

/// Collects the first bytes of a payload, or each record of it in turn.
#[derive(Debug, Default, PartialEq, Eq)]
struct Fields {
    bytes: [u8; 8],
    filled: usize,
}

impl Fields {
    /// Takes bytes until `size` of them are there.
    fn next(&mut self, input: &mut &[u8], size: usize) -> Option<[u8; 8]> {
        let taken = take(input, size.saturating_sub(self.filled));
        for (slot, byte) in self.bytes.iter_mut().skip(self.filled).zip(taken) {
            *slot = *byte;
        }
        self.filled += taken.len();
        (self.filled == size && !taken.is_empty()).then_some(self.bytes)
    }
}

impl Http2Watch {
    /// A new connection owes us its preface at once.
    pub(super) fn new(timing: Timing, policy: Http2Policy, opened: Instant) -> Self {
        Self {
            timing,
            budget: Budget::new(policy, opened),
            windows: Windows::new(timing),
            preface: PREFACE.len(),
            inward: Scan::START,
            outward: Scan::START,
            fields: Fields::default(),
            told: Fields::default(),
            last_stream: 0,
            opened_by: Some(opened + timing.header),
            frame_by: None,
            block_by: None,
            block_bytes: 0,
            data: timing.pace(),
            data_sent: 0,
            parted: false,
        }
    }

    /// Whether the client has shown that it speaks HTTP/2.
    pub(super) fn is_open(&self) -> bool {
        self.opened_by.is_none()
    }

    /// `bytes` came.
    pub(super) fn arrived(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Cut> {
        self.deadlines(now)?;
        self.preface -= take(&mut bytes, self.preface).len();
        while !bytes.is_empty() {
            match self.inward.next(&mut bytes) {
                Piece::PartOfHead => {
                    self.frame_by.get_or_insert(now + self.timing.header);
                }
                Piece::Frame(head) => self.begin_frame(head, now)?,
                Piece::Payload { head, bytes, left } => {
                    if left == 0 {
                        self.frame_by = None;
                    }
                    if head.kind == kind::DATA {
                        self.data.moved(bytes.len() as u64, now).map_err(body_cut)?;
                    }
                    self.payload(head, bytes, now)?;
                }
            }
        }
        Ok(())
    }

    fn begin_frame(&mut self, head: Head, now: Instant) -> Result<(), Cut> {
        self.opened_by = None;
        self.fields.filled = 0;
        self.frame_by = (head.kind != kind::DATA && head.length > 0)
            .then(|| *self.frame_by.get_or_insert(now + self.timing.header));
        match head.kind {
            kind::HEADERS => {
                self.block_bytes = head.length as u64;
                self.last_stream = self.last_stream.max(head.stream);
                self.windows.open(head.stream);
            }
            kind::CONTINUATION => self.block_bytes += head.length as u64,
            kind::RST_STREAM => self.windows.close(head.stream),
            _ => {}
        }
        if matches!(head.kind, kind::HEADERS | kind::CONTINUATION) {
            let by = self.block_by.unwrap_or(now + self.timing.header);
            self.block_by = (!head.has(flag::END_HEADERS)).then_some(by);
            if self.block_bytes > self.timing.header_bytes {
                return Err(Cut::Http2HeaderBlock);
            }
        }
        self.budget.received(head, now)
    }

    /// Looks into a frame of the client.
    fn payload(&mut self, head: Head, mut bytes: &[u8], now: Instant) -> Result<(), Cut> {
        match head.kind {
            kind::DATA | kind::HEADERS if head.has(flag::PADDED) => {
                if let Some([padding, ..]) = self.fields.next(&mut bytes, 1)
                    && usize::from(padding) * 2 + 1 > head.length
                {
                    self.budget.padded(now)?;
                }
            }
            kind::WINDOW_UPDATE => {
                if let Some([a, b, c, d, ..]) = self.fields.next(&mut bytes, 4) {
                    self.windows
                        .update(head.stream, u32::from_be_bytes([a, b, c, d]) & 0x7fff_ffff);
                }
            }
            kind::SETTINGS => {
                while let Some([x, y, a, b, c, d, ..]) = self.fields.next(&mut bytes, 6) {
                    self.fields.filled = 0;
                    if u16::from_be_bytes([x, y]) == INITIAL_WINDOW_SIZE {
                        self.windows.set_initial(u32::from_be_bytes([a, b, c, d]));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `bytes` were sent to the client.
    pub(super) fn departed(&mut self, mut bytes: &[u8]) -> Result<(), Cut> {
        while !bytes.is_empty() {
            match self.outward.next(&mut bytes) {
                Piece::PartOfHead => {}
                Piece::Frame(head) => {
                    self.told.filled = 0;
                    self.budget.sent(head);
                    match head.kind {
                        kind::HEADERS => self.windows.answer(head.stream, Instant::now),
                        kind::RST_STREAM => self.windows.close(head.stream),
                        _ => {}
                    }
                    if matches!(head.kind, kind::DATA | kind::HEADERS) && head.has(flag::END_STREAM) && head.length == 0
                    {
                        self.windows.close(head.stream);
                    }
                }
                Piece::Payload { head, bytes, left } => self.told(head, bytes, left)?,
            }
        }
        Ok(())
    }

    /// Bytes of bodies that were sent since this was asked last.
    pub(super) fn take_data_sent(&mut self) -> u64 {
        std::mem::take(&mut self.data_sent)
    }

    /// Looks into a frame of ours.
    fn told(&mut self, head: Head, mut bytes: &[u8], left: usize) -> Result<(), Cut> {
        match head.kind {
            kind::DATA | kind::HEADERS => {
                if head.kind == kind::DATA {
                    self.data_sent += bytes.len() as u64;
                    self.windows
                        .sent(head.stream, bytes.len(), Instant::now)
                        .map_err(send_cut)?;
                }
                if left == 0 && head.has(flag::END_STREAM) {
                    self.windows.close(head.stream);
                }
            }
            kind::RST_STREAM => match self.told.next(&mut bytes, 4).map(first_u32) {
                None | Some(code::NO_ERROR | code::INTERNAL_ERROR | code::CANCEL | code::REFUSED_STREAM) => {}
                Some(_) => self.budget.provoked(Instant::now())?,
            },
            kind::GOAWAY => match self
                .told
                .next(&mut bytes, 8)
                .map(|[_, _, _, _, rest @ ..]| u32::from_be_bytes(rest))
            {
                None | Some(code::NO_ERROR) => {}
                Some(code::ENHANCE_YOUR_CALM) => return Err(Cut::Http2Excess),
                Some(_) => return Err(Cut::Http2Protocol),
            },
            _ => {}
        }
        Ok(())
    }

    /// Nothing is there to read. Gives the time at which [`Self::check`] should be asked, if ever.
    pub(super) fn wait(&mut self, exchanges: Exchanges, now: Instant) -> Option<Instant> {
        let data = self.in_data().then(|| self.data.wait(now));
        let stalled = self.windows.wait(exchanges.unsent, now);
        let idle = exchanges.idle_since.unwrap_or(now) + self.timing.keepalive;
        [self.opened_by, self.frame_by, self.block_by, data, stalled, Some(idle)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether something has been left unfinished for too long.
    pub(super) fn check(&mut self, exchanges: Exchanges, now: Instant) -> Result<(), Cut> {
        self.deadlines(now)?;
        self.windows.check(exchanges.unsent, now).map_err(send_cut)?;
        if self.in_data() {
            self.data.check(now).map_err(body_cut)?;
        }
        match exchanges.idle_since {
            Some(since) if now >= since + self.timing.keepalive => Err(Cut::KeepaliveTimeout),
            _ => Ok(()),
        }
    }

    /// The frame that tells the client why it is cut off (RFC 9113, section 6.8), if it can be said here and has not been yet.
    pub(super) fn goodbye(&mut self, cut: Cut) -> Option<[u8; 17]> {
        if self.parted || !self.is_open() || !self.outward.is_between_frames() {
            return None;
        }
        self.parted = true;
        let code = match cut {
            Cut::KeepaliveTimeout | Cut::Requested => code::NO_ERROR,
            _ => code::ENHANCE_YOUR_CALM,
        };
        let mut frame = [0; 17];
        let parts = [0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0].into_iter();
        let parts = parts.chain(self.last_stream.to_be_bytes()).chain(code.to_be_bytes());
        frame.iter_mut().zip(parts).for_each(|(slot, byte)| *slot = byte);
        Some(frame)
    }

    fn deadlines(&self, now: Instant) -> Result<(), Cut> {
        let late = [self.opened_by, self.frame_by, self.block_by]
            .into_iter()
            .flatten()
            .any(|by| now >= by);
        if late { Err(Cut::HeaderTimeout) } else { Ok(()) }
    }

    fn in_data(&self) -> bool {
        matches!(&self.inward, Scan::Payload { head, .. } if head.kind == kind::DATA)
    }
}

fn first_u32([a, b, c, d, ..]: [u8; 8]) -> u32 {
    u32::from_be_bytes([a, b, c, d])
}

/// What is wrong with a client that takes answers too slowly.
pub(super) fn send_cut(slow: Slow) -> Cut {
    match slow {
        Slow::Idle => Cut::SendIdle,
        Slow::Rate => Cut::SendRate,
    }
}

#[cfg(test)]
pub(super) mod tests;
