//! The scanner: reads a server's bytes as they come, in whatever pieces, and knows where each answer ends.
//! In the usual case a header is looked at in place; only a line that is not whole yet is kept.

use crate::strict::class::all_value;

use super::chunk::{self, Place};
use super::grammar;
use super::table::Fault;

/// Bytes of one header section.
const MAX_HEADER: usize = 64 << 10;
/// Fields of one header section. Pingora's parser stops at 256.
const MAX_FIELDS: u32 = 200;
/// Interim answers (1xx) before the final one.
const MAX_INTERIM: u32 = 16;
/// An unfinished line's memory is kept for the next one up to this size.
const KEPT_LINE: usize = 1 << 10;

/// What the request that is answered was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Expect {
    /// HEAD: the answer has no body, whatever its fields say.
    pub head: bool,
    /// A WebSocket handshake: 101 may come, and only HTTP/1.1 will do.
    pub upgrade: bool,
    /// Its body has no known length, and goes up in chunks.
    pub chunked: bool,
}

/// Where in an answer the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing was asked.
    Idle,
    StatusLine,
    Fields,
    Length(u64),
    Chunked(Place),
    UntilClose,
    Done,
    Tunnel,
    Failed,
}

/// What the header section of an answer has said so far.
#[derive(Debug, Default)]
struct Head {
    status: u16,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    fields: u32,
    bytes: usize,
}

/// Reads the answers of one connection.
#[derive(Debug)]
pub(in crate::upstream) struct Scanner {
    state: State,
    expect: Expect,
    head: Head,
    counts: chunk::Counts,
    interim: u32,
    /// The final header ended in the bytes that are being looked at.
    fresh: bool,
    partial: Vec<u8>,
}

impl Scanner {
    pub(in crate::upstream) fn new() -> Self {
        Self {
            state: State::Idle,
            expect: Expect::default(),
            head: Head::default(),
            counts: chunk::Counts::default(),
            interim: 0,
            fresh: false,
            partial: Vec::new(),
        }
    }

    /// A request goes out.
    pub(in crate::upstream) fn begin(&mut self, expect: Expect) {
        self.state = State::StatusLine;
        self.expect = expect;
        self.head = Head::default();
        self.counts = chunk::Counts::default();
        self.interim = 0;
    }

    /// The answer is whole, and nothing came behind it.
    pub(in crate::upstream) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Looks at bytes that came. Returns how many of them belong to the answer: all, or those before its end.
    pub(in crate::upstream) fn scan(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        self.fresh = false;
        let result = self.run(bytes);
        if result.as_ref().map_or(true, |used| *used < bytes.len()) {
            self.state = State::Failed;
        }
        result
    }

    /// The server has closed its side.
    pub(in crate::upstream) fn end(&mut self) -> Result<(), Fault> {
        match self.state {
            State::Length(_) | State::Chunked(_) => {
                self.state = State::Failed;
                Err(Fault::Truncated)
            }
            // Pingora tells a connection that ends in a header from one that ends before it.
            _ => Ok(()),
        }
    }

    fn run(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Idle => return Err(Fault::Unasked),
                State::Failed => return Err(Fault::Excess),
                State::UntilClose | State::Tunnel => rest.len(),
                State::Length(left) => self.pass(rest, left, State::Length, State::Done),
                State::Chunked(Place::Data(left)) => self.pass(
                    rest,
                    left,
                    |left| State::Chunked(Place::Data(left)),
                    State::Chunked(Place::DataEnd),
                ),
                State::StatusLine | State::Fields | State::Chunked(_) => self.part_of_line(rest)?,
                State::Done if self.fresh && self.has_no_body() => return Err(Fault::BodyForbidden),
                State::Done if rest.len() == bytes.len() => return Err(Fault::Excess),
                State::Done => break,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(bytes.len() - rest.len())
    }

    /// Passes over up to `left` bytes of data.
    fn pass(&mut self, bytes: &[u8], left: u64, more: impl Fn(u64) -> State, then: State) -> usize {
        let used = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left - used as u64;
        self.state = if left == 0 { then } else { more(left) };
        used
    }

    /// Takes in bytes up to the end of the line, or all of them.
    fn part_of_line(&mut self, bytes: &[u8]) -> Result<usize, Fault> {
        let end = memchr::memchr(b'\n', bytes);
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        self.bounded(part.len())?;
        if end.is_none() {
            self.partial.extend_from_slice(part);
            self.begins_well(&self.partial)?;
            return Ok(bytes.len());
        }
        if self.partial.is_empty() {
            self.line(part)?;
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(part);
            self.line(&whole)?;
            if whole.capacity() <= KEPT_LINE {
                whole.clear();
                self.partial = whole;
            }
        }
        Ok(part.len() + 1)
    }

    /// Counts the bytes of a line's part.
    fn bounded(&mut self, more: usize) -> Result<(), Fault> {
        match self.state {
            State::Chunked(Place::Trailers) if self.partial.len() + more > chunk::MAX_TRAILERS => {
                Err(Fault::TrailerTooLarge)
            }
            State::Chunked(Place::Size) if self.partial.len() + more > chunk::MAX_SIZE_LINE => {
                Err(Fault::ChunkExtensionTooLong)
            }
            State::Chunked(Place::DataEnd) if self.partial.len() + more > 1 => Err(Fault::ChunkEnd),
            State::Chunked(_) => Ok(()),
            _ => {
                self.head.bytes += more + 1;
                if self.head.bytes > MAX_HEADER {
                    return Err(Fault::HeaderTooLarge);
                }
                Ok(())
            }
        }
    }

    /// What is no answer at all is not waited for to its line's end.
    fn begins_well(&self, line: &[u8]) -> Result<(), Fault> {
        const VERSION: &[u8] = b"HTTP/1.";
        let alike = |(a, b): (&u8, &u8)| a == b;
        if self.state == State::StatusLine && !line.iter().zip(VERSION).all(alike) {
            return Err(not_a_status_line(line));
        }
        Ok(())
    }

    /// A whole line, without its line feed.
    fn line(&mut self, line: &[u8]) -> Result<(), Fault> {
        self.begins_well(line)?;
        let bare = match self.state {
            State::Chunked(Place::DataEnd) => Fault::ChunkEnd,
            _ => Fault::LineEnd,
        };
        let line = line.strip_suffix(b"\r").ok_or(bare)?;
        if memchr::memchr(b'\r', line).is_some() {
            return Err(bare);
        }
        match self.state {
            State::StatusLine => self.status_line(line),
            State::Fields if line.is_empty() => self.header_ends(),
            State::Fields => self.field(line),
            State::Chunked(place) => {
                self.state = self.counts.line(place, line)?.map_or(State::Done, State::Chunked);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn status_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        let wrong = || not_a_status_line(line);
        let rest = line.strip_prefix(b"HTTP/1.").ok_or_else(wrong)?;
        let (version, rest) = rest.split_first().ok_or_else(wrong)?;
        let rest = rest.strip_prefix(b" ").ok_or_else(wrong)?;
        if !matches!(version, b'0' | b'1') {
            return Err(Fault::Version);
        }
        let (digits, rest) = rest.split_at_checked(3).ok_or(Fault::StatusLine)?;
        // The space before an empty reason is often left out.
        if !digits.iter().all(u8::is_ascii_digit) || !matches!(rest.first(), None | Some(b' ')) {
            return Err(Fault::StatusLine);
        }
        if !all_value(rest) {
            return Err(Fault::StatusLine);
        }
        let status = digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        if !(100..=599).contains(&status) {
            return Err(Fault::Status);
        }
        self.head.status = status;
        self.head.http10 = *version == b'0';
        self.state = State::Fields;
        Ok(())
    }

    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, value) = grammar::field(line)?;
        self.head.fields += 1;
        if self.head.fields > MAX_FIELDS {
            return Err(Fault::TooManyFields);
        }
        match name.len() {
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = grammar::length(value).ok_or(Fault::LengthMalformed)?;
                if self.head.length.replace(length).is_some() {
                    return Err(Fault::LengthRepeated);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                if std::mem::replace(&mut self.head.chunked, true) {
                    return Err(Fault::CodingRepeated);
                }
                if !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::CodingUnknown);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The empty line: what follows?
    fn header_ends(&mut self) -> Result<(), Fault> {
        let head = &self.head;
        if head.chunked && head.http10 {
            return Err(Fault::CodingOverHttp10);
        }
        if head.chunked && head.length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        let never_a_body = head.status < 200 || head.status == 204;
        // `Content-Length: 0` says nothing wrong, and is often sent.
        if never_a_body && (head.chunked || head.length.is_some_and(|length| length > 0)) {
            return Err(Fault::FramingWithoutBody);
        }
        self.state = match head.status {
            101 if self.expect.upgrade => State::Tunnel,
            101 => return Err(Fault::SwitchUnasked),
            ..200 => {
                self.interim += 1;
                if self.interim > MAX_INTERIM {
                    return Err(Fault::TooManyInterim);
                }
                self.head = Head::default();
                State::StatusLine
            }
            _ if self.has_no_body() => State::Done,
            _ if head.chunked => State::Chunked(Place::Size),
            _ => match head.length {
                Some(0) => State::Done,
                Some(length) => State::Length(length),
                None => State::UntilClose,
            },
        };
        self.fresh = self.state != State::StatusLine;
        Ok(())
    }

    fn has_no_body(&self) -> bool {
        self.expect.head || matches!(self.head.status, 204 | 304)
    }
}

fn not_a_status_line(line: &[u8]) -> Fault {
    if line.starts_with(b"HTTP/") {
        Fault::Version
    } else {
        Fault::StatusLine
    }
}
