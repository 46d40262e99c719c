//! Connections that asked once and stay: what each of them holds, and what is still held when all have left.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::process::Server;

/// How many connections.
pub const CONNECTIONS: usize = 4_000;

/// How often they come and go.
pub const CYCLES: usize = 3;

/// So many ask at once.
const AT_ONCE: usize = 64;

/// Memory of a proxy through all cycles, in KiB.
#[derive(Debug, Clone)]
pub struct Held {
    /// Before the first connection.
    pub start: u64,
    /// With all connections, and after they left.
    pub cycles: Vec<(u64, u64)>,
}

impl Held {
    /// KiB that each connection of a cycle holds, counted from where the cycle began.
    pub fn each(&self, cycle: usize) -> Option<f64> {
        let (with, _) = self.cycles.get(cycle)?;
        let before = match cycle.checked_sub(1) {
            Some(last) => self.cycles.get(last)?.1,
            None => self.start,
        };
        Some((*with as f64 - before as f64) / CONNECTIONS as f64)
    }
}

/// Runs all cycles against a proxy. `rest` is how long it has to settle after each change.
pub fn run(address: SocketAddr, server: &Server, rest: Duration) -> io::Result<Held> {
    // The first request of all opens what every later one needs.
    drop(open(address, AT_ONCE)?);
    std::thread::sleep(rest);
    let mut held = Held {
        start: server.resident_kib(),
        cycles: Vec::new(),
    };
    for _ in 0..CYCLES {
        let connections = open(address, CONNECTIONS)?;
        std::thread::sleep(rest);
        let with = server.resident_kib();
        drop(connections);
        std::thread::sleep(rest);
        held.cycles.push((with, server.resident_kib()));
    }
    Ok(held)
}

fn open(address: SocketAddr, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut all = Vec::with_capacity(count);
    while all.len() < count {
        let mut some = Vec::with_capacity(AT_ONCE);
        for _ in 0..AT_ONCE.min(count - all.len()) {
            let mut stream = TcpStream::connect(address)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(b"GET /small HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            some.push(stream);
        }
        for stream in &mut some {
            read_answer(stream)?;
        }
        all.append(&mut some);
    }
    Ok(all)
}

/// An answer with the body of `/small`.
fn read_answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !is_whole(&answer) {
        let count = stream.read(&mut chunk)?;
        let some = chunk.get(..count).unwrap_or_default();
        if some.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(some);
    }
    if answer.starts_with(b"HTTP/1.1 200 ") {
        return Ok(());
    }
    Err(io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}

fn is_whole(answer: &[u8]) -> bool {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    end.is_some_and(|end| answer.len() >= end + 4 + 65)
}
