//! HTTP/2 in exactly the frames a test wants, right or wrong (RFC 9113), with header blocks of plain literals (RFC 7541,
//! 6.2.2). Reads of the answers no more than what became of a stream.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::gateway::PATIENCE;

/// The kinds of frames that are sent here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Kind {
    Data = 0,
    Headers = 1,
    Reset = 3,
    Settings = 4,
    Ping = 6,
    GoAway = 7,
    WindowUpdate = 8,
    Continuation = 9,
}

/// The last frame of a stream's side.
pub const END_STREAM: u8 = 1;
/// The last frame of a header block.
pub const END_HEADERS: u8 = 4;
/// Of SETTINGS and PING.
const ACK: u8 = 1;

/// What became of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An answer with this status and body.
    Answer(u16, Vec<u8>),
    /// The stream was reset, or the connection ended.
    Refused,
}

impl Outcome {
    /// Its status; 0 when there is none.
    pub fn status(&self) -> u16 {
        match self {
            Self::Answer(status, _) => *status,
            Self::Refused => 0,
        }
    }
}

/// A frame.
pub fn frame(kind: Kind, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short payload").to_be_bytes();
    let mut out = length[1..].to_vec();
    out.extend([kind as u8, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A header block.
pub fn block<N: AsRef<[u8]>, V: AsRef<[u8]>>(fields: &[(N, V)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(name.as_ref(), &mut out);
        text(value.as_ref(), &mut out);
    }
    out
}

/// A string without Huffman coding, its length with a prefix of seven bits.
fn text(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text.len();
    if rest < 0x7f {
        out.push(u8::try_from(rest).expect("a byte"));
    } else {
        out.push(0x7f);
        rest -= 0x7f;
        while rest > 0x7f {
            out.push(u8::try_from(rest & 0x7f).expect("a byte") | 0x80);
            rest >>= 7;
        }
        out.push(u8::try_from(rest).expect("a byte"));
    }
    out.extend(text);
}

/// A connection whose preface and settings are sent.
pub struct Connection<S = TcpStream> {
    stream: S,
    buffer: Vec<u8>,
    statuses: BTreeMap<u32, u16>,
    bodies: BTreeMap<u32, Vec<u8>>,
}

impl Connection {
    /// Connects with prior knowledge.
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_nodelay(true).expect("no delay");
        Self::over(stream)
    }
}

impl<S: Read + Write> Connection<S> {
    /// Over a stream that is there already, such as TLS.
    pub fn over(stream: S) -> Self {
        let mut connection = Self {
            stream,
            buffer: Vec::new(),
            statuses: BTreeMap::new(),
            bodies: BTreeMap::new(),
        };
        connection.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        connection.send(&frame(Kind::Settings, 0, 0, &[]));
        connection
    }

    /// Sends bytes. A connection that the other end has closed is no failure here.
    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// Waits for what becomes of a stream.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some((kind, flags, of, payload)) = self.frame() {
            match kind {
                4 if flags & ACK == 0 => self.send(&frame(Kind::Settings, ACK, 0, &[])),
                6 if flags & ACK == 0 => self.send(&frame(Kind::Ping, ACK, 0, &payload)),
                7 => return Outcome::Refused,
                3 if of == stream && !self.is_answered(stream) => return Outcome::Refused,
                0 => self.bodies.entry(of).or_default().extend(payload),
                1 => {
                    let status = status(&payload);
                    self.statuses.entry(of).or_insert(status);
                }
                _ => {}
            }
            let ended = (kind < 2 && flags & END_STREAM != 0) || kind == 3;
            if of == stream && ended && self.is_answered(stream) {
                let status = self.statuses.remove(&stream).unwrap_or_default();
                return Outcome::Answer(status, self.bodies.remove(&stream).unwrap_or_default());
            }
        }
        Outcome::Refused
    }

    fn is_answered(&self, stream: u32) -> bool {
        self.statuses.contains_key(&stream)
    }

    /// The next frame: kind, flags, stream, payload.
    fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let head = self.take(9)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        let payload = self.take(usize::try_from(length).ok()?)?;
        Some((head[3], head[4], stream, payload))
    }

    fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        let mut chunk = [0; 4096];
        while self.buffer.len() < count {
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(read) => self.buffer.extend(&chunk[..read]),
            }
        }
        Some(self.buffer.drain(..count).collect())
    }
}

/// The status at the head of a header block: indexed, or a literal under the name in the static table. 999: something else.
fn status(block: &[u8]) -> u16 {
    let mut bytes = block.iter().copied().skip_while(|byte| byte & 0xe0 == 0x20);
    match bytes.next() {
        Some(index @ 0x88..=0x8e) => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        Some(0x08..=0x0e | 0x18..=0x1e | 0x48..=0x4e) => {
            let length = bytes.next().unwrap_or_default();
            let text: Vec<u8> = bytes.take(usize::from(length & 0x7f)).collect();
            let digits = if length & 0x80 == 0 {
                String::from_utf8_lossy(&text).into_owned()
            } else {
                huffman_digits(&text)
            };
            digits.parse().unwrap_or(999)
        }
        _ => 999,
    }
}

/// Digits in the Huffman code of HPACK: 0 to 2 have five bits from 00000 on, 3 to 9 six from 011001 on.
fn huffman_digits(bytes: &[u8]) -> String {
    let bits: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    let value = |bits: &[u8]| bits.iter().fold(0, |value, bit| value << 1 | bit);
    let mut digits = String::new();
    let mut rest = &bits[..];
    while rest.len() >= 5 {
        let (digit, length) = match value(&rest[..5]) {
            short @ 0..=2 => (short, 5),
            _ if rest.len() >= 6 && (0b01_1001..=0b01_1111).contains(&value(&rest[..6])) => {
                (value(&rest[..6]) - 0b01_1001 + 3, 6)
            }
            _ => break,
        };
        digits.push(char::from(b'0' + digit));
        rest = &rest[length..];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(status(&[0x88]), 200);
        assert_eq!(
            status(&[0x3f, 0xe1, 0x1f, 0x8c]),
            999,
            "a size update of several bytes is none of ours"
        );
        assert_eq!(status(&[0x20, 0x8c]), 400);
        assert_eq!(status(&[0x08, 3, b'4', b'2', b'9']), 429);
        // RFC 7541, C.6.1: `302` in Huffman code.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    }
}
