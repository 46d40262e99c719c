//! What is watched of frames, piece by piece and by the clock.

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
