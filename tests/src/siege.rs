//! A gateway under attack: what the attacker sends and sees, how a good client beside it fares, and what it costs in memory.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::gateway::{Gateway, wait};
use crate::h1;
use crate::origin::Origin;

/// What growth of memory an attack may cause, in KiB.
pub const GROWTH_KIB: u64 = 64 << 10;
/// How long a good client may have to wait on a machine that does other things too. It never comes near: with
/// `SIEGE_GOOD_MS=1000` in the environment of a quiet machine, a second is enough.
fn good_enough() -> Duration {
    let told = std::env::var("SIEGE_GOOD_MS").ok();
    let told = told.map(|told| told.parse().expect("SIEGE_GOOD_MS is a number"));
    Duration::from_millis(told.unwrap_or(20_000))
}
/// How long an attack may last before it must have been cut: many times the short limits of the tests.
pub const LONG: Duration = Duration::from_secs(40);

/// The preface of HTTP/2 (RFC 9113, section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame of HTTP/2 of any kind.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// `GET path` to `a`, as a header block (RFC 7541).
pub fn get(path: &str) -> Vec<u8> {
    request(0x82, path)
}

/// `POST path`.
pub fn post(path: &str) -> Vec<u8> {
    request(0x83, path)
}

fn request(method: u8, path: &str) -> Vec<u8> {
    let mut block = vec![method, 0x86, 0x04, u8::try_from(path.len()).expect("a short path")];
    block.extend(path.as_bytes());
    block.extend([0x01, 1, b'a']);
    block
}

/// An attacker's connection.
pub struct Attacker {
    stream: TcpStream,
    closed: bool,
    /// What it read.
    pub read: Vec<u8>,
}

impl Attacker {
    /// Connects and says nothing.
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).expect("no delay");
        stream
            .set_write_timeout(Some(Duration::from_millis(500)))
            .expect("a timeout");
        Self {
            stream,
            closed: false,
            read: Vec::new(),
        }
    }

    /// Connects and begins HTTP/2 with these settings (identifier, value).
    pub fn http2(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut attacker = Self::connect(address);
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        attacker.send(PREFACE);
        attacker.send(&frame(4, 0, 0, &payload));
        attacker
    }

    /// Sends bytes. Whether the other end still takes them: a full pipe is no refusal, but nothing more is sent into it.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        if self.closed {
            return false;
        }
        match self.stream.write_all(bytes) {
            Ok(()) => true,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => false,
            Err(_) => {
                self.closed = true;
                false
            }
        }
    }

    /// Reads what is there within `pause`, at most `most` bytes. Whether the connection is open.
    pub fn is_open(&mut self, pause: Duration, most: usize) -> bool {
        let mut buffer = vec![0; most];
        self.stream.set_read_timeout(Some(pause)).expect("a timeout");
        match self.stream.read(&mut buffer) {
            Ok(0) => self.closed = true,
            Ok(count) if self.read.len() < 1 << 20 => self.read.extend(&buffer[..count]),
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => self.closed = true,
            _ => {}
        }
        !self.closed
    }

    /// Does something again and again, until it is cut or the time is up. Whether it was cut.
    pub fn until_cut(&mut self, pause: Duration, most: usize, mut act: impl FnMut(&mut Self)) -> bool {
        let start = Instant::now();
        while start.elapsed() < LONG {
            act(self);
            let began = Instant::now();
            while began.elapsed() < pause {
                if !self.is_open(Duration::from_millis(20), most) {
                    return true;
                }
                if most < 1024 {
                    break;
                }
            }
        }
        false
    }

    /// The frames that were read, whole ones only: kind, stream, payload.
    pub fn frames(&self) -> Vec<(u8, u32, Vec<u8>)> {
        let (mut frames, mut rest) = (Vec::new(), &self.read[..]);
        while rest.len() >= 9 {
            let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
            if rest.len() < 9 + length {
                break;
            }
            let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
            frames.push((rest[3], stream, rest[9..9 + length].to_vec()));
            rest = &rest[9 + length..];
        }
        frames
    }

    /// The code of the GOAWAY that was read, if one was.
    pub fn goaway(&self) -> Option<u32> {
        let frames = self.frames();
        let (_, _, payload) = frames.iter().rev().find(|(kind, ..)| *kind == 7)?;
        Some(u32::from_be_bytes(payload.get(4..8)?.try_into().ok()?))
    }
}

/// A client that asks once in a while, beside an attack.
struct Good {
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    thread: JoinHandle<Duration>,
}

impl Good {
    fn start(address: SocketAddr) -> Self {
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (done, count) = (Arc::clone(&stop), Arc::clone(&asked));
        let thread = std::thread::spawn(move || {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::SeqCst) {
                let start = Instant::now();
                let answer = h1::get(address, "a", "/", &[]);
                assert_eq!(answer.status, 200, "a good client's request: {answer:?}");
                longest = longest.max(start.elapsed());
                count.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(30));
            }
            longest
        });
        Self { stop, asked, thread }
    }
}

/// A gateway with an origin whose `/large` answers a MiB, `/slow` answers after a second, and everything else at once.
pub struct Siege {
    /// Under attack.
    pub gateway: Gateway,
    good: Good,
    before_kib: u64,
    _origin: Origin,
}

impl Siege {
    /// With these limits, and anything else that `more` says.
    pub fn lay(limits: &str) -> Self {
        let large = vec![b'x'; 1 << 20];
        let origin = Origin::with(move |seen| {
            let body = match seen.target() {
                "/large" => &large[..],
                "/slow" => {
                    std::thread::sleep(Duration::from_secs(1));
                    b"late"
                }
                _ => b"ok",
            };
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            [head.as_bytes(), body].concat()
        });
        let gateway = Gateway::start(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\", h2c: true }}]\nlimits: {{ {limits} }}\nupstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
            origin.address
        ));
        // Warm, so that growth is the attack's.
        for _ in 0..10 {
            h1::get(gateway.public, "a", "/", &[]);
        }
        let good = Good::start(gateway.public);
        wait("the good client", || good.asked.load(Ordering::SeqCst) > 3);
        let before_kib = gateway.resident_kib();
        Self {
            gateway,
            good,
            before_kib,
            _origin: origin,
        }
    }

    /// Where to attack.
    pub fn address(&self) -> SocketAddr {
        self.gateway.public
    }

    /// How much memory has grown, in KiB.
    pub fn growth_kib(&self) -> u64 {
        self.gateway.resident_kib().saturating_sub(self.before_kib)
    }

    /// Waits until a connection was closed for one of these reasons.
    pub fn cut_for(&self, reasons: &[&str]) {
        wait(&format!("a connection to be closed: {reasons:?}"), || {
            reasons.iter().any(|reason| {
                let series = ["connections_closed", "early_rejects"].map(|counter| {
                    self.gateway.metric(&format!(
                        "portcullis_{counter}_total{{listener=\"public\",reason=\"{reason}\"}}"
                    ))
                });
                series.iter().any(|count| *count >= 1.0)
            })
        });
    }

    /// The attack is over: the good client was served all the time, and memory was not eaten.
    pub fn lift(self) {
        let seen = self.good.asked.load(Ordering::SeqCst);
        wait("the good client again", || {
            self.good.asked.load(Ordering::SeqCst) > seen + 1
        });
        self.good.stop.store(true, Ordering::SeqCst);
        let longest = self.good.thread.join().expect("the good client was always served");
        let growth = self.gateway.resident_kib().saturating_sub(self.before_kib);
        println!("the good client waited for {longest:?} at most; memory grew by {growth} KiB");
        assert!(longest < good_enough(), "the good client waited for {longest:?}");
        assert!(growth < GROWTH_KIB, "memory grew by {growth} KiB");
        assert_eq!(h1::get(self.gateway.public, "a", "/", &[]).text(), "ok");
    }
}
