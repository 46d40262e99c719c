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
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    /// Short, and unlike each other.
    pub(in crate::listener) const TIMING: Timing = Timing {
        header: Duration::from_secs(10),
        keepalive: Duration::from_secs(90),
        window: Duration::from_secs(20),
        min_rate: 256,
        header_bytes: 1000,
    };

    const POLICY: Http2Policy = Http2Policy {
        streams: 128,
        resets_per_1000s: 10_000,
        reset_burst: 100,
        response_buffer_bytes: 1 << 20,
    };
    /// One that has begun.
    const BUSY: Exchanges = Exchanges {
        idle_since: None,
        unsent: false,
    };

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        frame_with(kind, flags, 1, &vec![7; payload])
    }

    fn frame_with(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
        let [.., high, middle, low] = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, stream];
        frame.extend(payload);
        frame
    }

    fn open() -> (Http2Watch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let mut watch = Http2Watch::new(TIMING, POLICY, start);
        watch.arrived(&[PREFACE, &frame(4, 0, 6)].concat(), start).unwrap();
        assert!(watch.is_open());
        (watch, move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn the_preface_and_a_frame_are_owed_from_the_start() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Http2Watch::new(TIMING, POLICY, start);
        assert_eq!(watch.wait(BUSY, at(0)), Some(at(10)));
        watch.arrived(PREFACE, at(3)).unwrap();
        assert!(!watch.is_open());
        assert_eq!(watch.wait(BUSY, at(3)), Some(at(10)));
        assert_eq!(watch.check(BUSY, at(10)), Err(Cut::HeaderTimeout));
    }

    #[test]
    fn a_quiet_connection_is_none_of_its_business() {
        let (mut watch, at) = open();
        watch
            .arrived(&frame(kind::HEADERS, flag::END_HEADERS, 40), at(1))
            .unwrap();
        watch.arrived(&frame(kind::DATA, 0, 40), at(2)).unwrap();
        assert_eq!(watch.wait(BUSY, at(2)), Some(at(22)), "to look at its windows");
        assert_eq!(watch.check(BUSY, at(100_000)), Ok(()));
    }

    #[test]
    fn pings_keep_no_connection_alive() {
        let (mut watch, at) = open();
        let idle = Exchanges {
            idle_since: Some(at(0)),
            unsent: false,
        };
        for second in 1..90 {
            watch.arrived(&frame(kind::PING, 0, 8), at(second)).unwrap();
            assert_eq!(watch.wait(idle, at(second)), Some(at(90)));
            assert_eq!(watch.check(idle, at(second)), Ok(()));
        }
        assert_eq!(watch.check(BUSY, at(90)), Ok(()));
        assert_eq!(watch.check(idle, at(90)), Err(Cut::KeepaliveTimeout));
    }

    #[test]
    fn a_client_that_opens_no_window_is_cut() {
        let (mut watch, at) = open();
        watch
            .arrived(&frame_with(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 100]), at(0))
            .unwrap();
        watch
            .arrived(&frame_with(kind::WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]), at(0))
            .unwrap();
        watch
            .arrived(&frame(kind::HEADERS, flag::END_HEADERS, 10), at(0))
            .unwrap();
        let full = Exchanges {
            idle_since: None,
            unsent: true,
        };
        assert_eq!(watch.check(full, at(1)), Ok(()));
        watch
            .departed(&[frame(kind::HEADERS, flag::END_HEADERS, 10), frame(kind::DATA, 0, 100)].concat())
            .unwrap();
        assert_eq!(watch.take_data_sent(), 100);
        watch.wait(full, at(2));
        assert_eq!(watch.check(full, at(25)), Err(Cut::SendIdle));
        watch.departed(&frame(kind::DATA, flag::END_STREAM, 0)).unwrap();
        assert_eq!(watch.check(full, at(25)), Ok(()), "the stream is over");
    }

    #[test]
    fn a_header_block_has_a_largest_size() {
        let (mut watch, at) = open();
        watch.arrived(&frame(kind::HEADERS, 0, 500), at(0)).unwrap();
        watch.arrived(&frame(kind::CONTINUATION, 0, 500), at(0)).unwrap();
        assert_eq!(
            watch.arrived(&frame(kind::CONTINUATION, 0, 1), at(0)),
            Err(Cut::Http2HeaderBlock)
        );
    }

    #[test]
    fn what_the_client_made_us_say_counts() {
        let (mut watch, _) = open();
        let ended =
            |watch: &mut Http2Watch, code: u8| watch.departed(&frame_with(kind::RST_STREAM, 0, 1, &[0, 0, 0, code]));
        for code in [0, 2, 7, 8].into_iter().cycle().take(1000) {
            ended(&mut watch, code).unwrap();
        }
        assert_eq!((0..1000).take_while(|_| ended(&mut watch, 1).is_ok()).count(), 50);
        for (code, expected) in [(0, Ok(())), (1, Err(Cut::Http2Protocol)), (11, Err(Cut::Http2Excess))] {
            let goaway = frame_with(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, code]);
            assert_eq!(watch.departed(&goaway), expected);
        }
    }

    #[test]
    fn padding_is_charged_where_it_is_most_of_a_frame() {
        let (mut watch, at) = open();
        let mut taken = |padding: u8| {
            let mut payload = vec![0; 101];
            payload[0] = padding;
            let frame = frame_with(kind::DATA, flag::PADDED, 1, &payload);
            (0..2000).take_while(|_| watch.arrived(&frame, at(0)).is_ok()).count()
        };
        assert_eq!((taken(50), taken(51)), (2000, 995), "SETTINGS have cost a little");
    }

    #[test]
    fn goodbye_is_said_once_and_between_frames() {
        let (mut watch, at) = open();
        watch
            .arrived(&frame(kind::HEADERS, flag::END_HEADERS, 10), at(0))
            .unwrap();
        let answer = frame(kind::HEADERS, flag::END_HEADERS, 10);
        watch.departed(&answer[..12]).unwrap();
        assert_eq!(watch.goodbye(Cut::Http2Frames), None);
        watch.departed(&answer[12..]).unwrap();
        let expected = frame_with(kind::GOAWAY, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 11]);
        assert_eq!(watch.goodbye(Cut::Http2Frames).unwrap().as_slice(), expected);
        assert_eq!(watch.goodbye(Cut::Http2Frames), None);
    }

    #[test]
    fn a_header_block_must_end() {
        let (mut watch, at) = open();
        watch.arrived(&frame(kind::HEADERS, 0, 40), at(1)).unwrap();
        watch.arrived(&frame(kind::CONTINUATION, 0, 1), at(8)).unwrap();
        assert_eq!(watch.wait(BUSY, at(8)), Some(at(11)));
        assert_eq!(
            watch.arrived(&frame(kind::CONTINUATION, flag::END_HEADERS, 1), at(11)),
            Err(Cut::HeaderTimeout)
        );
        let (mut watch, at) = open();
        watch.arrived(&frame(kind::HEADERS, 0, 40), at(1)).unwrap();
        watch
            .arrived(&frame(kind::CONTINUATION, flag::END_HEADERS, 1), at(8))
            .unwrap();
        assert_eq!(watch.wait(BUSY, at(8)), Some(at(28)));
    }

    #[test]
    fn half_a_frame_must_end() {
        let (mut watch, at) = open();
        let headers = frame(kind::HEADERS, flag::END_HEADERS, 40);
        watch.arrived(&headers[..4], at(1)).unwrap();
        assert_eq!(watch.wait(BUSY, at(1)), Some(at(11)));
        watch.arrived(&headers[4..30], at(5)).unwrap();
        assert_eq!(watch.wait(BUSY, at(5)), Some(at(11)));
        assert_eq!(watch.check(BUSY, at(11)), Err(Cut::HeaderTimeout));
    }

    #[test]
    fn half_a_data_frame_must_move() {
        let (mut watch, at) = open();
        let data = frame(kind::DATA, 0, 16_384);
        watch.arrived(&data[..5000], at(1)).unwrap();
        assert_eq!(watch.wait(BUSY, at(1)), Some(at(21)));
        watch.arrived(&data[5000..10_200], at(15)).unwrap();
        watch.wait(BUSY, at(15));
        assert_eq!(
            watch.check(BUSY, at(21)),
            Ok(()),
            "5,200 bytes in twenty seconds of waiting"
        );
        watch.arrived(&data[10_200..], at(30)).unwrap();
        watch.arrived(&data[..10], at(31)).unwrap();
        watch.wait(BUSY, at(31));
        assert_eq!(watch.check(BUSY, at(52)), Err(Cut::BodyIdle));
    }

    proptest! {
        /// However the bytes are cut, the same frames are seen; and any bytes at all are survived.
        #[test]
        fn pieces_do_not_matter(
            frames in proptest::collection::vec((0..12u8, any::<u8>(), 0..200usize), 0..20),
            noise in proptest::collection::vec(any::<u8>(), 0..100),
            piece in 1..50usize,
        ) {
            let now = Instant::now();
            let mut bytes = PREFACE.to_vec();
            for (kind, flags, length) in frames {
                bytes.extend(frame(kind, flags, length));
            }
            bytes.extend(noise);
            let mut whole = Http2Watch::new(TIMING, POLICY, now);
            let verdict = whole.arrived(&bytes, now);
            let mut pieces = Http2Watch::new(TIMING, POLICY, now);
            prop_assert_eq!(verdict, bytes.chunks(piece).try_for_each(|piece| pieces.arrived(piece, now)));
            if verdict.is_ok() {
                prop_assert_eq!(format!("{whole:?}"), format!("{pieces:?}"));
            }
            let _ = whole.departed(&bytes);
        }
    }
}
