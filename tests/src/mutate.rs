//! Requests made worse at random, the same ones in every run: lines are moved, doubled, dropped and bent, values and line ends
//! are swapped for bad ones, and bytes are changed, out of the corpus and good requests. After each, the strict origin must
//! be able to account for every byte, and a second client must get exactly its own answer. What the sender itself is
//! answered is not looked at: the corpus does that.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::corpus::portable::{Kind, cases};
use crate::proxies::Which;
use crate::trial::{Lane, told};
use crate::witness::{Event, Piece};

/// What came of a run.
#[derive(Debug, Default, Clone)]
pub struct Tally {
    /// Requests that were sent.
    pub sent: u64,
    /// Those of which something whole and canonical reached the origin.
    pub forwarded: u64,
    /// Those whose body was cut: the origin saw that too.
    pub cut: u64,
    /// Those of which nothing reached the origin.
    pub refused: u64,
    /// Those that were not safe: number of the request, and what happened.
    pub faults: Vec<(u64, String)>,
}

/// Numbers that are the same in every run.
pub struct Chance(u64);

impl Chance {
    /// For one request of a run.
    pub fn of(seed: u64, number: u64) -> Self {
        // Neighbours become strangers (splitmix64).
        let mut state =
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ number.wrapping_add(1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((state ^ (state >> 31)) | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound.max(1)
    }

    fn of_list<'l, T: ?Sized>(&mut self, list: &[&'l T]) -> &'l T {
        list[self.below(list.len())]
    }
}

/// Requests to begin with: those of the corpus that are not too long, and good ones.
pub fn bases() -> Vec<Vec<u8>> {
    let of_corpus = cases()
        .into_iter()
        .filter(|case| case.kind == Kind::Request)
        .map(|case| {
            let bytes = case.pieces.into_iter().filter_map(|piece| match piece {
                Piece::Bytes(bytes) => Some(bytes),
                _ => None,
            });
            bytes.collect::<Vec<_>>().concat()
        });
    let mut bases: Vec<Vec<u8>> = of_corpus.filter(|bytes| bytes.len() < 1500).collect();
    let good = GOOD.iter().map(|text| text.as_bytes().to_vec());
    for _ in 0..20 {
        bases.extend(good.clone());
    }
    bases
}

const GOOD: &[&str] = &[
    "GET /x?a=b HTTP/1.1\r\nHost: a\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a:80\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world",
    "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
    "GET /x HTTP/1.1\r\nHost: a\r\nCookie: a=b; c=d\r\nConnection: keep-alive\r\n\r\nGET /y HTTP/1.1\r\nHost: b\r\n\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhelloGET /y HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET http://a/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n",
];

/// What is put in place of other bytes.
const WORSE: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\x0b",
    b"\x0c",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"#",
    b"?",
    b"@",
    b"%2e",
    b"%00",
    b"%0d%0a",
    b"/../",
    b"//",
    b"..;",
    b"\r\n ",
    b"\r\n\t",
    b"\n\n",
    b"\r\r\n",
    b"\n\r",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"chunked",
    b"identity",
    b"Content-Length",
    b"Transfer-Encoding",
    b"ffffffffffffffff",
    b"-1",
    b"+5",
    b"0x5",
    b"00",
    b"5",
    b"5;a=b",
    b"\xc2\xa0",
    b"\xef\xbb\xbf",
    b"GET /smuggled HTTP/1.1\r\nHost: a\r\nKeep-Alive: raw\r\n\r\n",
];

/// Lines that are put among the others.
const LINES: &[&[u8]] = &[
    b"Content-Length: 5",
    b"Content-Length: 0",
    b"Content-Length: 52",
    b"Content-Length: 5, 5",
    b"Content-Length : 5",
    b"content-length:\t5",
    b"Content-Length: +5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding : chunked",
    b"transfer-encoding: CHUNKED",
    b"Transfer_Encoding: chunked",
    b"Host: b",
    b"Host: a",
    b"host: u@a",
    b"Host:",
    b"Connection: close",
    b"Connection: x-a, host",
    b"Connection: content-length",
    b"Connection: transfer-encoding",
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABk",
    b"Expect: 100-continue",
    b"TE: trailers",
    b"Trailer: Content-Length",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"X-A: b\r\n c",
    b" X-A: b",
    b"X-A",
    b": b",
    b"X A: b",
    b"X-A: b\rX-B: c",
    b"X-A: \0",
    b"0",
    b"5",
];

/// A request of a run.
pub fn mutated(bases: &[Vec<u8>], seed: u64, number: u64) -> Vec<u8> {
    let mut chance = Chance::of(seed, number);
    let mut bytes = bases[chance.below(bases.len())].clone();
    for _ in 0..=chance.below(4) {
        if chance.below(2) == 0 {
            bend_a_line(&mut bytes, bases, &mut chance);
        } else {
            change_bytes(&mut bytes, &mut chance);
        }
        bytes.truncate(8192);
    }
    bytes
}

/// Changes the request's structure.
fn bend_a_line(bytes: &mut Vec<u8>, bases: &[Vec<u8>], chance: &mut Chance) {
    let mut lines: Vec<Vec<u8>> = split(bytes);
    let at = chance.below(lines.len());
    match chance.below(9) {
        0 => lines.insert(at, lines[at].clone()),
        1 => drop(lines.remove(at)),
        2 => {
            let other = chance.below(lines.len());
            lines.swap(at, other);
        }
        3 => lines.insert(at, [chance.of_list(LINES), b"\r\n"].concat()),
        4 => lines[at].make_ascii_uppercase(),
        5 => {
            // Another end of the line.
            let end = chance.of_list(&[&b"\n"[..], b"\r", b"", b"\r\r\n", b" \r\n", b"\0\r\n", b"\n\r\n"]);
            let line = lines[at].strip_suffix(b"\r\n").unwrap_or(&lines[at]).to_vec();
            lines[at] = [&line, end].concat();
        }
        6 => {
            // Around the colon.
            if let Some(colon) = lines[at].iter().position(|byte| *byte == b':') {
                let worse = chance.of_list(WORSE);
                let place = colon + chance.below(2);
                lines[at].splice(place..place, worse.iter().copied());
            }
        }
        7 => {
            // A value of another request.
            let other = split(&bases[chance.below(bases.len())]);
            lines.insert(at, other[chance.below(other.len())].clone());
        }
        _ => {
            // Another request's end.
            let other = &bases[chance.below(bases.len())];
            lines.truncate(at + 1);
            lines.push(other[chance.below(other.len())..].to_vec());
        }
    }
    *bytes = lines.concat();
}

fn split(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .chain([vec![]])
        .collect()
}

fn change_bytes(bytes: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(bytes.len() + 1);
    let end = (at + chance.below(12)).min(bytes.len());
    let worse = chance.of_list(WORSE).to_vec();
    match chance.below(6) {
        0 => drop(bytes.splice(at..at, worse)),
        1 => drop(bytes.splice(at..end, worse)),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        4 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = u8::try_from(chance.below(256)).expect("a byte");
            }
        }
        _ => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << chance.below(8);
            }
        }
    }
}

/// Sends `count` requests of a run over several lanes. `None`: the proxy is not installed.
pub fn run(which: Which, seed: u64, count: u64, lanes: usize) -> Option<Tally> {
    let bases = bases();
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let started: Vec<Lane> = (0..lanes).map_while(|_| Lane::start(which)).collect();
    if started.len() < lanes {
        return None;
    }
    std::thread::scope(|scope| {
        for mut lane in started {
            let (bases, next, tally) = (&bases, &next, &tally);
            scope.spawn(move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    once(&mut lane, &mutated(bases, seed, number), number, tally);
                }
            });
        }
    });
    let mut tally = tally.into_inner().expect("the tally");
    tally.faults.sort();
    Some(tally)
}

fn once(lane: &mut Lane, bytes: &[u8], number: u64, tally: &Mutex<Tally>) {
    send(lane.proxy.plain, bytes);
    let mut events = lane.witness.take();
    let sound = lane.second_client_among_others().map(|late| {
        // What is seen late is of this request too.
        events.extend(late);
    });
    let mut tally = tally.lock().expect("the tally");
    tally.sent += 1;
    let fault = events.iter().find_map(|event| match event {
        Event::Wrong(..) | Event::Partial(None, _) => Some(told(event)),
        _ => None,
    });
    if let Some(what) = fault.or(sound.err()) {
        tally.faults.push((number, what));
    } else if events.iter().any(|event| matches!(event, Event::Request(_))) {
        tally.forwarded += 1;
    } else if events.is_empty() {
        tally.refused += 1;
    } else {
        tally.cut += 1;
    }
}

/// Sends, reads until nothing more comes, and leaves.
fn send(address: SocketAddr, bytes: &[u8]) {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return;
    };
    let _ = stream.set_nodelay(true);
    let _ = stream.write_all(bytes);
    let mut patience = Duration::from_millis(60);
    let mut answer = [0; 16384];
    loop {
        let _ = stream.set_read_timeout(Some(patience));
        match stream.read(&mut answer) {
            Ok(1..) => patience = Duration::from_millis(10),
            _ => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_repeat() {
        let bases = bases();
        assert!(bases.len() > 400);
        let run = |seed| (0..50).map(|number| mutated(&bases, seed, number)).collect::<Vec<_>>();
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        let changed = run(1).iter().filter(|bytes| !bases.contains(bytes)).count();
        assert!(changed > 40, "{changed}");
    }
}
