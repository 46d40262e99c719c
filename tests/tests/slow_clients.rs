//! Slow clients of fifteen kinds: each is cut within its bound, for the reason it should be, while a good client beside it is
//! served as ever. The bounds are short here; a machine that does other things may take many times as long.

#![allow(clippy::expect_used)] // helpers of tests fail by panicking, as tests do

use std::time::{Duration, Instant};

use portcullis_e2e::gateway::{Builder, wait};
use portcullis_e2e::ports;
use portcullis_e2e::siege::{Attacker, LONG, Siege, frame, get, post};
use portcullis_e2e::tls::Authority;

const LIMITS: &str = "handshake_timeout: 1s, header_timeout: 1s, body_idle_timeout: 2s, keepalive_timeout: 1s";
/// Between two acts of a client that drips.
const DRIP: Duration = Duration::from_millis(200);
const WHOLE: u8 = 5;

/// A client over plaintext that says `first` and then does something again and again must be cut for `reason`.
fn slow(first: &[u8], reason: &str, drip: impl FnMut(&mut Attacker)) {
    reads_slowly(first, reason, 1 << 16, drip);
}

fn reads_slowly(first: &[u8], reason: &str, most: usize, drip: impl FnMut(&mut Attacker)) {
    let siege = Siege::lay(LIMITS);
    let mut client = Attacker::connect(siege.address());
    client.send(first);
    assert!(client.until_cut(DRIP, most, drip), "it is not cut");
    siege.cut_for(&[reason]);
    siege.lift();
}

/// The same over HTTP/2.
fn slow_http2(settings: &[(u16, u32)], first: &[u8], reason: &str, drip: impl FnMut(&mut Attacker)) {
    let siege = Siege::lay(LIMITS);
    let mut client = Attacker::http2(siege.address(), settings);
    client.send(first);
    assert!(client.until_cut(DRIP, 1 << 16, drip), "it is not cut");
    siege.cut_for(&[reason]);
    siege.lift();
}

#[test]
fn silent() {
    slow(b"", "keepalive_timeout", |_| {});
}

#[test]
fn a_header_byte_by_byte() {
    let mut bytes = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: "
        .iter()
        .chain(std::iter::repeat(&b'x'));
    slow(b"", "header_timeout", |client| {
        client.send(&[*bytes.next().expect("no end")]);
    });
}

#[test]
fn a_header_line_by_line() {
    slow(b"GET / HTTP/1.1\r\nHost: a\r\n", "header_timeout", |client| {
        client.send(b"X-Line: x\r\n");
    });
}

#[test]
fn a_body_with_length_byte_by_byte() {
    slow(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n",
        "body_min_rate",
        |client| {
            client.send(b"x");
        },
    );
}

#[test]
fn a_chunked_body_byte_by_byte() {
    slow(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
        "body_min_rate",
        |client| {
            client.send(b"1\r\nx\r\n");
        },
    );
}

#[test]
fn a_body_that_never_comes() {
    slow(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\n",
        "body_idle_timeout",
        |_| {},
    );
}

#[test]
fn idle_after_an_answer() {
    slow(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "keepalive_timeout", |_| {});
}

#[test]
fn an_answer_read_byte_by_byte() {
    let siege = Siege::lay(LIMITS);
    let mut client = Attacker::connect(siege.address());
    // More than the systems on both sides keep.
    client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n".repeat(8).as_bytes());
    let start = Instant::now();
    let cut = || {
        ["send_min_rate", "send_idle_timeout"].iter().any(|reason| {
            let series = format!("portcullis_connections_closed_total{{listener=\"public\",reason=\"{reason}\"}}");
            siege.gateway.metric(&series) >= 1.0
        })
    };
    while start.elapsed() < LONG && !cut() {
        client.is_open(Duration::from_millis(100), 1);
        std::thread::sleep(DRIP);
    }
    assert!(cut(), "it is not cut");
    siege.lift();
}

#[test]
fn tls_that_never_begins() {
    over_tls(&[]);
}

#[test]
fn a_client_hello_byte_by_byte() {
    over_tls(&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]);
}

fn over_tls(hello: &[u8]) {
    let authority = Authority::new();
    let address = ports::free();
    let builder = Builder::new(&format!(
        "listeners: [{{ name: public, address: \"{{public}}\" }}, {{ name: tls, address: \"{address}\", tls: {{ certificates: [{{ certificate: \"{{dir}}/a.crt\", key: \"{{dir}}/a.key\" }}] }} }}]\nlimits: {{ {LIMITS} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
    ));
    authority.issue(builder.dir(), "a", &["a.example.com"]);
    let gateway = builder.start();
    wait("the listener", || std::net::TcpStream::connect(address).is_ok());
    let mut client = Attacker::connect(address);
    let mut bytes = hello.iter().chain(if hello.is_empty() { &[][..] } else { &[0; 500] });
    let cut = client.until_cut(DRIP, 1 << 16, |client| {
        if let Some(byte) = bytes.next() {
            client.send(&[*byte]);
        }
    });
    assert!(cut, "it is not cut");
    let series = "portcullis_tls_handshake_failures_total{listener=\"tls\",reason=\"timeout\"}";
    wait(series, || gateway.metric(series) >= 1.0);
}

#[test]
fn http2_idle_after_the_preface() {
    slow_http2(&[], &[], "keepalive_timeout", |_| {});
}

#[test]
fn half_of_a_header_over_http2() {
    slow_http2(&[], &frame(1, 1, 1, &get("/")), "header_timeout", |_| {});
}

#[test]
fn pings_without_a_request() {
    slow_http2(&[], &[], "keepalive_timeout", |client| {
        client.send(&frame(6, 0, 0, &[1; 8]));
    });
}

#[test]
fn a_body_over_http2_byte_by_byte() {
    slow_http2(&[], &frame(1, 4, 1, &post("/")), "body_min_rate", |client| {
        client.send(&frame(0, 0, 1, b"x"));
    });
}

#[test]
fn a_window_that_never_opens() {
    slow_http2(
        &[(4, 0)],
        &frame(1, WHOLE, 1, &get("/large")),
        "send_idle_timeout",
        |_| {},
    );
}

#[test]
fn a_window_that_opens_by_a_byte() {
    slow_http2(
        &[(4, 0)],
        &frame(1, WHOLE, 1, &get("/large")),
        "send_min_rate",
        |client| {
            client.send(&frame(8, 0, 1, &[0, 0, 0, 1]));
        },
    );
}
