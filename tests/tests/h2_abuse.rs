//! HTTP/2 abused: each kind of attack meets a gateway that stays up, serves a good client beside it and grows by less than
//! 64 MiB. What becomes of the attacker is said with each: *cut* (with the reason that metrics and log give) or *cheap*, which
//! is an attacker that is answered or refused like anybody and costs no more.

use std::time::{Duration, Instant};

use portcullis_e2e::siege::{Attacker, LONG, Siege, frame, get, post};

/// Short enough to be waited for.
const LIMITS: &str = "header_timeout: 1s, body_idle_timeout: 2s, keepalive_timeout: 3s";
const PAUSE: Duration = Duration::from_millis(5);

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const WHOLE: u8 = END_STREAM | END_HEADERS;

/// Sends what `make` gives for 0, 1, 2, .. and reads answers now and then. Whether the connection ended.
fn flood(attacker: &mut Attacker, most: u32, mut make: impl FnMut(u32) -> Vec<u8>) -> bool {
    let start = Instant::now();
    for round in 0..most / 64 {
        let batch: Vec<u8> = (round * 64..round * 64 + 64).flat_map(&mut make).collect();
        if !attacker.send(&batch) && !attacker.is_open(PAUSE, 1 << 16) {
            return true;
        }
        if round % 16 == 0 && !attacker.is_open(PAUSE, 1 << 16) {
            return true;
        }
        if start.elapsed() > LONG {
            return false;
        }
    }
    (0..200).any(|_| !attacker.is_open(PAUSE, 1 << 16))
}

/// An attack on one connection that must be cut for one of these reasons.
fn cut(settings: &[(u16, u32)], reasons: &[&str], attack: impl FnOnce(&mut Attacker) -> bool) {
    let siege = Siege::lay(LIMITS);
    let mut attacker = Attacker::http2(siege.address(), settings);
    assert!(attack(&mut attacker), "the attacker is not cut");
    siege.cut_for(reasons);
    siege.lift();
}

/// An attack that costs nothing: the connection may live on.
fn cheap(attack: impl FnOnce(&mut Attacker)) {
    let siege = Siege::lay(LIMITS);
    let mut attacker = Attacker::http2(siege.address(), &[]);
    attack(&mut attacker);
    siege.lift();
}

const fn stream(number: u32) -> u32 {
    number * 2 + 1
}

/// Cut: streams opened and reset at once (CVE-2023-44487).
#[test]
fn rapid_reset() {
    cut(&[], &["http2_resets", "http2_excess"], |attacker| {
        flood(attacker, 100_000, |n| {
            [
                frame(1, WHOLE, stream(n), &get("/slow")),
                frame(3, 0, stream(n), &[0, 0, 0, 8]),
            ]
            .concat()
        })
    });
}

/// Cut: the same, slow enough for each request to reach the origin.
#[test]
fn rapid_reset_in_steps() {
    cut(&[], &["http2_resets"], |attacker| {
        (0..2000).any(|n| {
            attacker.send(&frame(1, WHOLE, stream(n), &get("/slow")));
            let open = attacker.is_open(PAUSE, 1 << 16);
            attacker.send(&frame(3, 0, stream(n), &[0, 0, 0, 8]));
            !open
        })
    });
}

/// Cut: the client makes us reset the streams (CVE-2025-8671), by opening a window by nothing.
#[test]
fn made_you_reset_by_an_empty_window_update() {
    made_you_reset(|id| frame(8, 0, id, &[0; 4]));
}

/// Cut: the same by a window too large.
#[test]
fn made_you_reset_by_a_window_too_large() {
    made_you_reset(|id| frame(8, 0, id, &[0x7f, 0xff, 0xff, 0xff]));
}

/// Cut: the same by DATA after the end.
#[test]
fn made_you_reset_by_data_after_the_end() {
    made_you_reset(|id| frame(0, 0, id, b"more"));
}

/// Cut: the same by a header after the end.
#[test]
fn made_you_reset_by_headers_after_the_end() {
    made_you_reset(|id| frame(1, WHOLE, id, &get("/slow")));
}

/// Cut: the same by a stream that depends on itself.
#[test]
fn made_you_reset_by_a_priority_of_its_own() {
    made_you_reset(|id| frame(2, 0, id, &[&id.to_be_bytes()[..], &[0]].concat()));
}

fn made_you_reset(error: impl Fn(u32) -> Vec<u8>) {
    cut(&[], &["http2_resets", "http2_excess", "http2_protocol"], |attacker| {
        flood(attacker, 100_000, |n| {
            [frame(1, WHOLE, stream(n), &get("/slow")), error(stream(n))].concat()
        })
    });
}

/// Cut: requests that are no requests, each reset by us.
#[test]
fn malformed_requests() {
    cut(&[], &["http2_resets", "http2_excess", "http2_protocol"], |attacker| {
        // An upper-case name (RFC 9113, section 8.2.1).
        let block = [get("/"), vec![0, 1, b'X', 1, b'y']].concat();
        flood(attacker, 100_000, |n| frame(1, WHOLE, stream(n), &block))
    });
}

/// Cut: a header block without end, its pieces empty (CVE-2024-27316).
#[test]
fn continuation_flood_of_nothing() {
    cut(&[], &["http2_excess", "http2_header_block"], |attacker| {
        attacker.send(&frame(1, END_STREAM, 1, &get("/")));
        flood(attacker, 1_000_000, |_| frame(9, 0, 1, &[]))
    });
}

/// Cut: the same with pieces of one byte.
#[test]
fn continuation_flood_of_bytes() {
    cut(&[], &["http2_excess", "http2_header_block"], |attacker| {
        attacker.send(&frame(1, END_STREAM, 1, &get("/")));
        // Pieces of one long value.
        attacker.send(&frame(9, 0, 1, &[0, 1, b'x', 0x7f, 0xff, 0xff, 0x3f]));
        flood(attacker, 1_000_000, |_| frame(9, 0, 1, b"x"))
    });
}

/// Cut or cheap: a field of 4 kB in the table, and thousands of references to it in each request.
#[test]
fn hpack_bomb() {
    cheap(|attacker| {
        let value = vec![b'x'; 3900];
        let mut block = get("/");
        block.extend([0x40, 1, b'x', 0x7f]);
        let rest = value.len() - 0x7f;
        block.extend([
            u8::try_from(rest & 0x7f).unwrap() | 0x80,
            u8::try_from(rest >> 7).unwrap(),
        ]);
        block.extend(&value);
        attacker.send(&frame(1, WHOLE, 1, &block));
        let references = [get("/"), vec![0xbe; 16_000]].concat();
        flood(attacker, 640, |n| frame(1, WHOLE, stream(n + 1), &references));
    });
}

/// Cheap: table sizes up and down in every block, and in SETTINGS.
#[test]
fn hpack_table_resizing() {
    cheap(|attacker| {
        let block = [vec![0x20, 0x3f, 0xe1, 0x1f], get("/")].concat();
        flood(attacker, 640, |n| frame(1, WHOLE, stream(n), &block));
    });
    cut(&[], &["http2_frames"], |attacker| {
        flood(attacker, 100_000, |n| {
            frame(4, 0, 0, &[0, 1, if n % 2 == 0 { 0xff } else { 0 }, 0, 0, 0])
        })
    });
}

/// Cheap: a thousand fields, refused like any header that is too large.
#[test]
fn many_fields() {
    cheap(|attacker| {
        let block = [get("/"), [0, 1, b'x', 1, b'y'].repeat(3000)].concat();
        flood(attacker, 640, |n| frame(1, WHOLE, stream(n), &block));
    });
}

/// Cut: SETTINGS without end, whose acknowledgements nobody reads (CVE-2019-9515).
#[test]
fn settings_flood() {
    cut(
        &[],
        &["http2_frames", "send_idle_timeout", "send_min_rate"],
        |attacker| flood(attacker, 1_000_000, |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])),
    );
}

/// Cut: PINGs without end (CVE-2019-9512).
#[test]
fn ping_flood() {
    cut(&[], &["http2_frames"], |attacker| {
        flood(attacker, 1_000_000, |_| frame(6, 0, 0, &[7; 8]))
    });
}

/// Cut: the same, and no answer is ever read.
#[test]
fn ping_flood_unread() {
    cut(
        &[],
        &["http2_frames", "send_idle_timeout", "send_min_rate"],
        |attacker| {
            let pings = frame(6, 0, 0, &[7; 8]).repeat(1000);
            let start = Instant::now();
            while attacker.send(&pings) && start.elapsed() < LONG {}
            attacker.until_cut(PAUSE, 1 << 16, |_| {})
        },
    );
}

/// Cut: PRIORITY without end (CVE-2019-9513).
#[test]
fn priority_flood() {
    cut(&[], &["http2_frames"], |attacker| {
        flood(attacker, 1_000_000, |n| {
            frame(2, 0, 3, &[0, 0, 0, if n % 2 == 0 { 5 } else { 7 }, 16])
        })
    });
}

/// Cut: windows opened again and again although nothing is sent.
#[test]
fn window_update_flood() {
    cut(&[], &["http2_frames"], |attacker| {
        flood(attacker, 1_000_000, |_| frame(8, 0, 0, &[0, 0, 0, 1]))
    });
}

/// Cut: frames of a kind that nobody knows.
#[test]
fn unknown_frames() {
    cut(&[], &["http2_frames"], |attacker| {
        flood(attacker, 1_000_000, |_| frame(0xee, 0xff, 0, b"unknown"))
    });
}

/// Cut: DATA that carries nothing (CVE-2019-9518).
#[test]
fn empty_data() {
    cut(&[], &["http2_frames", "http2_excess"], |attacker| {
        attacker.send(&frame(1, END_HEADERS, 1, &post("/")));
        flood(attacker, 1_000_000, |_| frame(0, 0, 1, &[]))
    });
}

/// Cut: DATA that is padding.
#[test]
fn padding() {
    cut(&[], &["http2_frames", "http2_excess", "http2_protocol"], |attacker| {
        attacker.send(&frame(1, END_HEADERS, 1, &post("/")));
        let payload = [&[255][..], &[0; 255]].concat();
        flood(attacker, 1_000_000, |_| frame(0, PADDED, 1, &payload))
    });
}

/// Cut: many more streams than may be open; each beyond is refused, and refusals are counted.
#[test]
fn stream_excess() {
    cut(&[], &["http2_resets", "http2_excess"], |attacker| {
        flood(attacker, 100_000, |n| frame(1, END_HEADERS, stream(n), &post("/slow")))
    });
}

/// Cut: a frame larger than any may be.
#[test]
fn frame_too_large() {
    cut(&[], &["http2_protocol"], |attacker| {
        attacker.send(&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
        attacker.until_cut(PAUSE, 1 << 16, |attacker| {
            attacker.send(&[0; 1 << 14]);
        })
    });
}

/// Cut: large answers on all streams of ten connections, and no window is ever opened (CVE-2019-9517).
#[test]
fn window_stall() {
    stall(10, &[(4, 0)], 0);
}

/// Cut: the same with the windows as they are from the start, and streams that go on coming.
#[test]
fn window_stall_of_the_connection() {
    stall(10, &[], 0);
}

/// Cut: windows as large as they can be, and nobody reads: TCP's own window is shut.
#[test]
fn unread_answers() {
    stall(10, &[(4, 0x7fff_ffff)], 0x7fff_0000);
}

fn stall(connections: u32, settings: &[(u16, u32)], window: u32) {
    let siege = Siege::lay(LIMITS);
    let mut attackers: Vec<_> = (0..connections)
        .map(|_| Attacker::http2(siege.address(), settings))
        .collect();
    for attacker in &mut attackers {
        if window > 0 {
            attacker.send(&frame(8, 0, 0, &window.to_be_bytes()));
        }
        let requests: Vec<u8> = (0..100)
            .flat_map(|n| frame(1, WHOLE, stream(n), &get("/large")))
            .collect();
        attacker.send(&requests);
    }
    let start = Instant::now();
    let reasons = ["send_idle_timeout", "send_min_rate"];
    let cut = || {
        let count = |reason: &&str| {
            let series = format!("portcullis_connections_closed_total{{listener=\"public\",reason=\"{reason}\"}}");
            siege.gateway.metric(&series)
        };
        reasons.iter().map(count).sum::<f64>()
    };
    let mut most = 0;
    let all = f64::from(connections);
    while cut() < all && start.elapsed() < LONG {
        most = most.max(siege.growth_kib());
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(cut() >= all, "all are cut: {} are", cut());
    println!("memory grew by {most} KiB at most");
    assert!(
        most < portcullis_e2e::siege::GROWTH_KIB,
        "memory grew by {most} KiB meanwhile"
    );
    siege.lift();
}

/// Cut: the preface, and nothing more; half of it; and a frame that has begun.
#[test]
fn unfinished_beginnings() {
    let siege = Siege::lay(LIMITS);
    for start in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04",
    ] {
        let mut attacker = Attacker::connect(siege.address());
        attacker.send(start);
        assert!(attacker.until_cut(PAUSE, 1 << 16, |_| {}), "{start:?}");
    }
    siege.cut_for(&["header_timeout"]);
    siege.lift();
}

/// Cheap: after so many requests the client is told to come again, and what it asked for is answered. One who goes on
/// asking is cut.
#[test]
fn requests_without_end() {
    let siege = Siege::lay(&format!("{LIMITS}, keepalive_requests: 5"));
    let mut attacker = Attacker::http2(siege.address(), &[]);
    let requests: Vec<u8> = (0..8).flat_map(|n| frame(1, WHOLE, stream(n), &get("/"))).collect();
    attacker.send(&requests);
    // It does not acknowledge the PING that goes with the GOAWAY (RFC 9113, section 6.8), so may go on for a while.
    let answered = |attacker: &Attacker| attacker.frames().iter().filter(|(kind, ..)| *kind == 1).count();
    let start = Instant::now();
    while answered(&attacker) < 8 && start.elapsed() < LONG {
        attacker.is_open(PAUSE, 1 << 16);
    }
    assert_eq!(answered(&attacker), 8);
    assert_eq!(attacker.goaway(), Some(0));
    assert!(flood(&mut attacker, 6400, |n| frame(
        1,
        WHOLE,
        stream(n + 8),
        &get("/")
    )));
    siege.lift();
}

/// A connection that is cut is told so with a GOAWAY of `ENHANCE_YOUR_CALM`.
#[test]
fn the_attacker_is_told() {
    cut(&[], &["http2_frames"], |attacker| {
        // As many as are taken, and a few more: nothing is left unread, so that the GOAWAY arrives.
        attacker.send(&frame(6, 0, 0, &[7; 8]).repeat(2000));
        let ended = attacker.until_cut(PAUSE, 1 << 16, |attacker| {
            attacker.send(&frame(6, 0, 0, &[7; 8]));
        });
        assert_eq!(attacker.goaway(), Some(11));
        ended
    });
}
