//! Counts what an answer takes while it goes by, and ends a stream that goes over its limit. It holds at most one event
//! back, and only where there is a limit.

use bytes::{Bytes, BytesMut};

use super::delta::{Delta, Dialect};
use super::events::{self, Framer, Piece};
use super::farewell::{Farewell, Finish};
use super::scan::Scan;
use super::tokens_of;
use super::usage::Usage;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON document.
    Json,
    /// Server-sent events.
    Events,
    /// Something else, or encoded: nothing can be read from it.
    Opaque,
}

impl Form {
    /// Of an answer with these header fields.
    pub fn of(content_type: Option<&[u8]>, content_encoding: Option<&[u8]>) -> Self {
        let encoded = content_encoding
            .map(<[u8]>::trim_ascii)
            .is_some_and(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"));
        let kind = content_type.unwrap_or_default();
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if encoded {
            Self::Opaque
        } else if kind.eq_ignore_ascii_case(b"text/event-stream") {
            Self::Events
        } else if kind.eq_ignore_ascii_case(b"application/json") || kind.to_ascii_lowercase().ends_with(b"+json") {
            Self::Json
        } else {
            Self::Opaque
        }
    }
}

/// Where a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Most tokens of the answer.
    pub tokens: u64,
    /// After how many tokens they are compared with the limit, at least 1.
    pub step: u64,
    /// What the client is told.
    pub finish: Finish,
    /// Whether it is also told what was used.
    pub tells_usage: bool,
    /// Tokens of the prompt, for that.
    pub prompt: u64,
}

/// Counts what an answer takes.
#[derive(Debug)]
pub struct Meter {
    reader: Reader,
    /// Body bytes so far.
    bytes: u64,
    usage: Option<Usage>,
    /// Tokens in the events so far, counted.
    counted: u64,
    /// Tokens that the client got of them.
    delivered: u64,
    dialect: Dialect,
    /// The largest index of a choice or a block so far.
    index: u64,
    /// The last that was told of `usage` came behind all of the answer.
    final_usage: bool,
    limit: Option<Limit>,
    over: bool,
}

#[derive(Debug)]
enum Reader {
    Json(Scan),
    Events(Framer, Scan),
    Opaque,
}

/// What an answer took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Total {
    /// Body bytes.
    pub bytes: u64,
    /// As the answer itself says.
    pub usage: Option<Usage>,
    /// Whether that came behind all of the answer's text.
    pub final_usage: bool,
    /// Tokens in the events, counted; 0 when it is no stream.
    pub counted: u64,
    /// Whether it is a stream that could be read.
    pub streamed: bool,
    /// Whether it was cut off, so that what it says itself is not the end.
    pub cut: bool,
}

impl Meter {
    /// For an answer of this form.
    pub fn new(form: Form, limit: Option<Limit>) -> Self {
        Self {
            reader: match form {
                Form::Json => Reader::Json(Scan::default()),
                Form::Events => Reader::Events(Framer::default(), Scan::default()),
                Form::Opaque => Reader::Opaque,
            },
            bytes: 0,
            usage: None,
            counted: 0,
            delivered: 0,
            dialect: Dialect::default(),
            index: 0,
            final_usage: false,
            limit: limit.filter(|_| form == Form::Events),
            over: false,
        }
    }

    /// Whether pieces of the body come out changed.
    pub fn holds_back(&self) -> bool {
        self.limit.is_some()
    }

    /// A piece of the body. `true`: the stream went over its limit with it; what is left of `chunk` is its end, and
    /// nothing of a later piece passes.
    pub fn push(&mut self, chunk: &mut Option<Bytes>, last: bool) -> bool {
        if self.over {
            *chunk = None;
            return false;
        }
        let piece = chunk.as_deref().unwrap_or_default();
        self.bytes = self.bytes.saturating_add(piece.len() as u64);
        match &mut self.reader {
            Reader::Opaque => false,
            Reader::Json(scan) => {
                scan.push(piece);
                self.usage = scan.usage();
                self.final_usage = self.usage.is_some();
                false
            }
            Reader::Events(framer, _) => {
                framer.push(piece);
                self.events(chunk, last)
            }
        }
    }

    /// What it took so far.
    pub fn total(&self) -> Total {
        Total {
            bytes: self.bytes,
            usage: self.usage,
            counted: self.counted,
            streamed: matches!(self.reader, Reader::Events(..)),
            final_usage: self.final_usage,
            cut: self.over,
        }
    }

    fn events(&mut self, chunk: &mut Option<Bytes>, last: bool) -> bool {
        let mut out = BytesMut::new();
        while let Some(piece) = self.next_piece() {
            let (bytes, tokens) = self.read(&piece);
            let crossed = self.add(tokens);
            if crossed {
                self.say_farewell(&mut out);
                *chunk = Some(out.freeze());
                return true;
            }
            self.delivered = self.counted;
            if self.holds_back() {
                out.extend_from_slice(&bytes);
            }
        }
        if self.holds_back() {
            if last && let Reader::Events(framer, _) = &mut self.reader {
                out.extend_from_slice(&framer.rest());
            }
            // An empty piece would end a chunked body.
            *chunk = (!out.is_empty()).then(|| out.freeze());
        }
        false
    }

    fn next_piece(&mut self) -> Option<Piece> {
        match &mut self.reader {
            Reader::Events(framer, _) => framer.next_piece(),
            Reader::Json(_) | Reader::Opaque => None,
        }
    }

    /// The bytes of a piece and the tokens in them.
    fn read(&mut self, piece: &Piece) -> (Bytes, u64) {
        let event = match piece {
            Piece::Event(event) => event,
            Piece::Part(part) => {
                if let Reader::Events(_, scan) = &mut self.reader {
                    scan.push(data_of_part(part));
                    let usage = scan.usage();
                    self.tell(usage);
                }
                return (part.clone(), tokens_of(part.len() as u64));
            }
        };
        let tokens = match events::data(event) {
            None => 0,
            Some(data) if data.trim_ascii() == b"[DONE]" => 0,
            Some(data) => match Delta::read(&data) {
                None => tokens_of(data.len() as u64),
                Some(delta) => self.learn(&delta),
            },
        };
        (event.clone(), tokens)
    }

    fn learn(&mut self, delta: &Delta) -> u64 {
        let tokens = delta.content.total();
        self.final_usage &= tokens == 0;
        self.tell(delta.usage);
        if let Some(dialect) = delta.dialect {
            self.dialect = dialect;
        }
        self.index = self.index.max(delta.index.unwrap_or(0));
        tokens
    }

    fn tell(&mut self, usage: Option<Usage>) {
        self.final_usage |= usage.is_some();
        self.usage = match (self.usage, usage) {
            (Some(known), Some(later)) => Some(known.and(later)),
            (known, later) => known.or(later),
        };
    }

    /// Whether the limit was crossed with these tokens.
    fn add(&mut self, tokens: u64) -> bool {
        let before = self.counted;
        self.counted = before.saturating_add(tokens);
        let Some(limit) = self.limit else { return false };
        let step = limit.step.max(1);
        let crossed = before / step != self.counted / step && self.counted > limit.tokens;
        self.over |= crossed;
        crossed
    }

    fn say_farewell(&self, out: &mut BytesMut) {
        let Some(limit) = self.limit else { return };
        let farewell = Farewell {
            dialect: self.dialect,
            finish: limit.finish,
            index: self.index,
            usage: limit.tells_usage.then_some((limit.prompt, self.delivered)),
        };
        farewell.write(out);
    }
}

/// A large event comes in parts, and only the first begins with the field's name.
fn data_of_part(part: &[u8]) -> &[u8] {
    match part.windows(5).take(64).position(|window| window == b"data:") {
        Some(place) => part.get(place + 5..).unwrap_or_default(),
        None => part,
    }
}
