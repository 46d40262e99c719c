//! How long may the client of an HTTP/2 connection leave something unfinished?
//!
//! Follows the frames (RFC 9113, section 4.1) just closely enough to know whether the connection preface, a header block
//! or a frame has begun and not ended. What frames mean, and streams, flow control and quiet connections, is not
//! watched here. Takes the clock as an argument and does no I/O.

use std::time::Instant;

use super::events::Cut;
use super::pace::Pace;
use super::watch::{Timing, body_cut};

/// The client's connection preface (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEAD: usize = 9;
const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_HEADERS: u8 = 0x4;

/// Watches the reads of an HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Http2Watch {
    timing: Timing,
    place: Place,
    /// By when the preface and the head of the first frame must be here.
    opened_by: Option<Instant>,
    /// By when the frame that has begun must end, unless it is DATA.
    frame_by: Option<Instant>,
    /// By when the header block that has begun must end.
    block_by: Option<Instant>,
    /// How a DATA frame that has begun gets on.
    data: Pace,
}

/// Where in the byte stream we are.
#[derive(Debug)]
enum Place {
    Preface { left: usize },
    Head { bytes: [u8; FRAME_HEAD], filled: usize },
    Payload { data: bool, left: usize },
}

impl Place {
    const NEXT_FRAME: Self = Self::Head {
        bytes: [0; FRAME_HEAD],
        filled: 0,
    };
}

impl Http2Watch {
    /// A new connection owes us its preface at once.
    pub(super) fn new(timing: Timing, opened: Instant) -> Self {
        Self {
            timing,
            place: Place::Preface { left: PREFACE.len() },
            opened_by: Some(opened + timing.header),
            frame_by: None,
            block_by: None,
            data: timing.pace(),
        }
    }

    /// Whether the client has shown that it speaks HTTP/2.
    pub(super) fn is_open(&self) -> bool {
        self.opened_by.is_none()
    }

    /// `bytes` came.
    pub(super) fn arrived(&mut self, mut bytes: &[u8], now: Instant) -> Result<(), Cut> {
        self.deadlines(now)?;
        while !bytes.is_empty() {
            bytes = match &mut self.place {
                Place::Preface { left } => {
                    let (_, rest) = take(bytes, left);
                    if *left == 0 {
                        self.place = Place::NEXT_FRAME;
                    }
                    rest
                }
                Place::Head { .. } => self.head(bytes, now),
                Place::Payload { data, left } => {
                    let (taken, rest) = take(bytes, left);
                    let (data, ended) = (*data, *left == 0);
                    if ended {
                        self.frame_by = None;
                        self.place = Place::NEXT_FRAME;
                    }
                    if data {
                        self.data.moved(taken as u64, now).map_err(body_cut)?;
                    }
                    rest
                }
            };
        }
        Ok(())
    }

    fn head<'a>(&mut self, input: &'a [u8], now: Instant) -> &'a [u8] {
        let Place::Head { bytes, filled } = &mut self.place else {
            return input;
        };
        let mut left = FRAME_HEAD - *filled;
        let (taken, rest) = take(input, &mut left);
        for (slot, byte) in bytes.iter_mut().skip(*filled).zip(input) {
            *slot = *byte;
        }
        *filled += taken;
        self.frame_by.get_or_insert(now + self.timing.header);
        if left == 0 {
            let [high, middle, low, kind, flags, ..] = *bytes;
            self.begin_frame(u32::from_be_bytes([0, high, middle, low]) as usize, kind, flags, now);
        }
        rest
    }

    fn begin_frame(&mut self, length: usize, kind: u8, flags: u8, now: Instant) {
        self.opened_by = None;
        let ends_block = flags & END_HEADERS != 0;
        match kind {
            HEADERS | CONTINUATION if ends_block => self.block_by = None,
            HEADERS => self.block_by = Some(now + self.timing.header),
            _ => {}
        }
        let data = kind == DATA;
        if data || length == 0 {
            self.frame_by = None;
        }
        self.place = if length == 0 {
            Place::NEXT_FRAME
        } else {
            Place::Payload { data, left: length }
        };
    }

    /// Nothing is there to read. Gives the time at which [`Self::check`] should be asked, if ever.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Instant> {
        let data = self.in_data().then(|| self.data.wait(now));
        [self.opened_by, self.frame_by, self.block_by, data]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether something has been left unfinished for too long.
    pub(super) fn check(&mut self, now: Instant) -> Result<(), Cut> {
        self.deadlines(now)?;
        if self.in_data() {
            self.data.check(now).map_err(body_cut)
        } else {
            Ok(())
        }
    }

    fn deadlines(&self, now: Instant) -> Result<(), Cut> {
        let late = [self.opened_by, self.frame_by, self.block_by]
            .into_iter()
            .flatten()
            .any(|by| now >= by);
        if late { Err(Cut::HeaderTimeout) } else { Ok(()) }
    }

    fn in_data(&self) -> bool {
        matches!(self.place, Place::Payload { data: true, .. })
    }
}

/// Takes as much of `bytes` as `left` asks for: how much it was, and the rest.
fn take<'a>(bytes: &'a [u8], left: &mut usize) -> (usize, &'a [u8]) {
    let taken = bytes.len().min(*left);
    *left -= taken;
    (taken, bytes.get(taken..).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const TIMING: Timing = Timing {
        header: Duration::from_secs(10),
        keepalive: Duration::from_secs(90),
        window: Duration::from_secs(20),
        min_rate: 256,
    };

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let [.., high, middle, low] = u32::try_from(payload).unwrap().to_be_bytes();
        let mut frame = vec![high, middle, low, kind, flags, 0, 0, 0, 1];
        frame.resize(FRAME_HEAD + payload, 7);
        frame
    }

    fn open() -> (Http2Watch, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let mut watch = Http2Watch::new(TIMING, start);
        watch.arrived(&[PREFACE, &frame(4, 0, 6)].concat(), start).unwrap();
        assert!(watch.is_open());
        (watch, move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn the_preface_and_a_frame_are_owed_from_the_start() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut watch = Http2Watch::new(TIMING, start);
        assert_eq!(watch.wait(at(0)), Some(at(10)));
        watch.arrived(PREFACE, at(3)).unwrap();
        assert!(!watch.is_open());
        assert_eq!(watch.wait(at(3)), Some(at(10)));
        assert_eq!(watch.check(at(10)), Err(Cut::HeaderTimeout));
    }

    #[test]
    fn a_quiet_connection_is_none_of_its_business() {
        let (mut watch, at) = open();
        watch.arrived(&frame(HEADERS, END_HEADERS, 40), at(1)).unwrap();
        watch.arrived(&frame(DATA, 0, 40), at(2)).unwrap();
        assert_eq!(watch.wait(at(2)), None);
        assert_eq!(watch.check(at(100_000)), Ok(()));
    }

    #[test]
    fn a_header_block_must_end() {
        let (mut watch, at) = open();
        watch.arrived(&frame(HEADERS, 0, 40), at(1)).unwrap();
        watch.arrived(&frame(CONTINUATION, 0, 1), at(8)).unwrap();
        assert_eq!(watch.wait(at(8)), Some(at(11)));
        assert_eq!(
            watch.arrived(&frame(CONTINUATION, END_HEADERS, 1), at(11)),
            Err(Cut::HeaderTimeout)
        );
        let (mut watch, at) = open();
        watch.arrived(&frame(HEADERS, 0, 40), at(1)).unwrap();
        watch.arrived(&frame(CONTINUATION, END_HEADERS, 1), at(8)).unwrap();
        assert_eq!(watch.wait(at(8)), None);
    }

    #[test]
    fn half_a_frame_must_end() {
        let (mut watch, at) = open();
        let headers = frame(HEADERS, END_HEADERS, 40);
        watch.arrived(&headers[..4], at(1)).unwrap();
        assert_eq!(watch.wait(at(1)), Some(at(11)));
        watch.arrived(&headers[4..30], at(5)).unwrap();
        assert_eq!(watch.wait(at(5)), Some(at(11)));
        assert_eq!(watch.check(at(11)), Err(Cut::HeaderTimeout));
    }

    #[test]
    fn half_a_data_frame_must_move() {
        let (mut watch, at) = open();
        let data = frame(DATA, 0, 16_384);
        watch.arrived(&data[..5000], at(1)).unwrap();
        assert_eq!(watch.wait(at(1)), Some(at(21)));
        watch.arrived(&data[5000..10_200], at(15)).unwrap();
        watch.wait(at(15));
        assert_eq!(watch.check(at(21)), Ok(()), "5,200 bytes in twenty seconds of waiting");
        watch.arrived(&data[10_200..], at(30)).unwrap();
        assert_eq!(watch.wait(at(30)), None);
        watch.arrived(&data[..10], at(31)).unwrap();
        watch.wait(at(31));
        assert_eq!(watch.check(at(52)), Err(Cut::BodyIdle));
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
            let mut whole = Http2Watch::new(TIMING, now);
            prop_assert_eq!(whole.arrived(&bytes, now), Ok(()));
            let mut pieces = Http2Watch::new(TIMING, now);
            for piece in bytes.chunks(piece) {
                prop_assert_eq!(pieces.arrived(piece, now), Ok(()));
            }
            prop_assert_eq!(format!("{:?}", whole.place), format!("{:?}", pieces.place));
            prop_assert_eq!((whole.opened_by, whole.frame_by, whole.block_by), (pieces.opened_by, pieces.frame_by, pieces.block_by));
        }
    }
}
