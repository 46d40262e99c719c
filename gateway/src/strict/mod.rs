//! Strict reading of HTTP/1 requests (RFC 9110, 9112), of the bytes as they come in and before anybody else parses them:
//! what two readers could understand differently is refused, and every request is known to its last byte. Nothing in here
//! does I/O, allocates or knows Pingora. [`TABLE`] has all that is refused, and how it is answered.

mod chunked;
pub(crate) mod class;
mod compat;
pub(crate) mod extension;
mod head;
mod table;
pub mod target;

use self::chunked::Chunked;
use self::head::{Framing, Head};

pub use self::compat::{Compat, Leniency};
pub use self::table::{Case, Row, TABLE};

/// What a request is held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// The largest header section in bytes, request line and line ends included.
    pub header_bytes: usize,
    /// Most fields of a header section.
    pub fields: u32,
    /// What is let pass all the same.
    pub compat: Compat,
}

/// Reads the requests of a connection, one after the other.
#[derive(Debug, Clone)]
pub struct Scanner {
    rules: Rules,
    stage: Stage,
    /// The last byte of a chunked body is left where it is.
    leaves_end: bool,
}

#[derive(Debug, Clone)]
enum Stage {
    Head(Head),
    /// So many bytes of the body are still to come.
    Length(u64),
    Chunked(Chunked),
    /// The request is complete.
    Done,
}

impl Scanner {
    /// In front of a request.
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            stage: Stage::Head(Head::default()),
            leaves_end: false,
        }
    }

    /// From now on the last byte of a chunked body is not passed on, or is again: who reads the body then has all of its
    /// data and not its end.
    pub fn leave_end(&mut self, leave: bool) {
        self.leaves_end = leave;
    }

    /// Whether nothing but that byte is missing of the current request, and may be there.
    pub fn is_at_end(&self) -> bool {
        self.leaves_end && matches!(&self.stage, Stage::Chunked(chunked) if chunked.is_at_end())
    }

    /// Another request begins.
    pub fn next_request(&mut self) {
        self.stage = Stage::Head(Head::default());
    }

    /// Whether the current request's header is complete.
    pub fn is_past_header(&self) -> bool {
        !matches!(self.stage, Stage::Head(_))
    }

    /// Whether the current request is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.stage, Stage::Done)
    }

    /// Looks at `bytes`: all that came and was not passed on, and what came since. Gives how many of them may be passed on
    /// now; those are not shown again. A header is passed on when it is complete, and nothing beyond the current request ever.
    /// The verdict does not depend on the pieces in which the bytes come.
    pub fn advance(&mut self, bytes: &[u8]) -> Result<usize, Case> {
        let Stage::Head(head) = &mut self.stage else {
            return self.body(bytes);
        };
        let Some(finished) = head.advance(bytes, &self.rules)? else {
            return Ok(0);
        };
        self.stage = match finished.framing {
            Framing::Length(0) => Stage::Done,
            Framing::Length(length) => Stage::Length(length),
            Framing::Chunked => Stage::Chunked(Chunked::new()),
        };
        let body = bytes.get(finished.length..).unwrap_or_default();
        Ok(finished.length + self.body(body)?)
    }

    fn body(&mut self, bytes: &[u8]) -> Result<usize, Case> {
        match &mut self.stage {
            Stage::Length(left) => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= taken as u64;
                if *left == 0 {
                    self.stage = Stage::Done;
                }
                Ok(taken)
            }
            Stage::Chunked(chunked) => {
                let (taken, ended) = chunked.advance(bytes, &self.rules, self.leaves_end)?;
                if ended {
                    self.stage = Stage::Done;
                }
                Ok(taken)
            }
            Stage::Head(_) | Stage::Done => Ok(0),
        }
    }
}
