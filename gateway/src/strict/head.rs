//! The header section of an HTTP/1 request, line by line as it comes in (RFC 9112, 2 to 6). It says where the section ends
//! and how the body is framed, or which rule is broken first. It copies nothing and keeps only places in the header.

use std::ops::Range;

use super::Rules;
use super::class::{all_value, is_blank, is_target, is_token};
use super::compat::Leniency;
use super::table::Case;
use super::target;

/// Longest method.
const METHOD: usize = 32;
/// Longest request line, if the whole header may be as long as that.
const REQUEST_LINE: usize = 16 << 10;
/// Empty lines before a request, where more than one is let pass.
const EMPTY_LINES: u8 = 16;

/// How the body of a request is framed (RFC 9112, 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// So many bytes; none without a framing field.
    Length(u64),
    /// In chunks.
    Chunked,
}

/// A header section that is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Finished {
    /// Where the body begins.
    pub length: usize,
    /// What the body is.
    pub framing: Framing,
}

/// Reads one header section.
#[derive(Debug, Clone, Default)]
pub(super) struct Head {
    /// Where the line begins that is not complete yet.
    line: usize,
    /// Where the search for its end goes on.
    seen: usize,
    empty_lines: u8,
    /// The request line, once it was read.
    request: Option<Request>,
    fields: u32,
    host: Option<Range<usize>>,
    length: Option<u64>,
    /// Transfer-Encoding: `chunked`, or what is wrong with it.
    coding: Option<Result<(), Case>>,
}

/// What the request line says.
#[derive(Debug, Clone)]
struct Request {
    http10: bool,
    /// The authority of a target in absolute form.
    authority: Option<Range<usize>>,
}

impl Head {
    /// Reads on. `bytes` begin with the header, and with all that was there before. `None`: it is not complete.
    pub(super) fn advance(&mut self, bytes: &[u8], rules: &Rules) -> Result<Option<Finished>, Case> {
        while let Some(at) = memchr::memchr(b'\n', bytes.get(self.seen..).unwrap_or_default()) {
            let end = self.seen + at;
            let line = self.line..end;
            if self.complete(bytes, line, rules)? {
                let length = end + 1;
                let framing = self.settle(bytes)?;
                return Ok(Some(Finished { length, framing }));
            }
            self.line = end + 1;
            self.seen = self.line;
        }
        self.seen = bytes.len();
        self.partial(bytes, rules)?;
        Ok(None)
    }

    /// A line without its end. What is wrong with it here must be the first thing that [`Self::complete`] looks at.
    fn partial(&self, bytes: &[u8], rules: &Rules) -> Result<(), Case> {
        if self.request.is_none() {
            let line = bytes.get(self.line..).unwrap_or_default();
            method(line.strip_suffix(b"\r").unwrap_or(line))?;
            if line.len() > request_line(rules) {
                return Err(Case::TargetTooLong);
            }
        }
        if bytes.len() > rules.header_bytes {
            return Err(Case::HeaderTooLarge);
        }
        Ok(())
    }

    /// A line that ends before the line feed at the end of `line`. `true`: it is the last one.
    fn complete(&mut self, bytes: &[u8], line: Range<usize>, rules: &Rules) -> Result<bool, Case> {
        let end = line.end;
        let whole = bytes.get(line.clone()).unwrap_or_default();
        let (content, bare) = match whole.strip_suffix(b"\r") {
            Some(content) => (content, false),
            None => (whole, true),
        };
        if self.request.is_none() {
            method(content)?;
            if whole.len() > request_line(rules) {
                return Err(Case::TargetTooLong);
            }
        }
        if end >= rules.header_bytes {
            return Err(Case::HeaderTooLarge);
        }
        if bare && !rules.compat.has(Leniency::BareLf) {
            return Err(Case::LineEnd);
        }
        match (&self.request, content.is_empty()) {
            (None, true) => self.empty_line(rules).map(|()| false),
            (None, false) => {
                self.request = Some(request(content, line.start)?);
                Ok(false)
            }
            (Some(_), true) => Ok(true),
            (Some(request), false) => {
                let http10 = request.http10;
                self.field(content, line.start, http10, rules).map(|()| false)
            }
        }
    }

    /// An empty line before the request: one should be passed over (RFC 9112, 2.2).
    fn empty_line(&mut self, rules: &Rules) -> Result<(), Case> {
        let most = if rules.compat.has(Leniency::LeadingEmptyLines) {
            EMPTY_LINES
        } else {
            1
        };
        self.empty_lines += 1;
        if self.empty_lines > most {
            return Err(Case::EmptyLines);
        }
        Ok(())
    }

    fn field(&mut self, line: &[u8], start: usize, http10: bool, rules: &Rules) -> Result<(), Case> {
        self.fields += 1;
        let name = name(line, self.fields == 1)?;
        if self.fields > rules.fields {
            return Err(Case::TooManyFields);
        }
        let value = trim(line, name + 1);
        let text = line.get(value.clone()).unwrap_or_default();
        if !all_value(text) {
            return Err(if text.contains(&b'\r') {
                Case::BareCr
            } else {
                Case::FieldValue
            });
        }
        let is = |known: &[u8]| line.get(..name).is_some_and(|name| name.eq_ignore_ascii_case(known));
        match name {
            4 if is(b"host") => {
                if self.host.is_some() {
                    return Err(Case::HostRepeated);
                }
                self.host = Some(start + value.start..start + value.end);
            }
            6 if is(b"expect") && !http10 && !text.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Case::Expectation);
            }
            14 if is(b"content-length") => self.content_length(text, rules)?,
            17 if is(b"transfer-encoding") => self.transfer_encoding(text, http10)?,
            _ => {}
        }
        Ok(())
    }

    fn content_length(&mut self, text: &[u8], rules: &Rules) -> Result<(), Case> {
        let lenient = rules.compat.has(Leniency::DuplicateContentLength);
        let length = match number(text) {
            Some(length) => length,
            None if lenient => equal_numbers(text)?,
            None => return Err(Case::LengthMalformed),
        };
        match self.length {
            Some(before) if !lenient || before != length => return Err(Case::LengthRepeated),
            _ => self.length = Some(length),
        }
        Ok(())
    }

    fn transfer_encoding(&mut self, text: &[u8], http10: bool) -> Result<(), Case> {
        if self.coding.is_some() {
            return Err(Case::CodingRepeated);
        }
        if http10 {
            return Err(Case::CodingOverHttp10);
        }
        self.coding = Some(if text.eq_ignore_ascii_case(b"chunked") {
            Ok(())
        } else {
            Err(other_coding(text))
        });
        Ok(())
    }

    /// What can only be said once all fields are there.
    fn settle(&self, bytes: &[u8]) -> Result<Framing, Case> {
        let Some(request) = &self.request else {
            return Err(Case::RequestLine);
        };
        let text = |range: &Range<usize>| std::str::from_utf8(bytes.get(range.clone()).unwrap_or_default());
        let host = match &self.host {
            Some(host) => Some(text(host).map_err(|_| Case::HostInvalid)?),
            None if request.http10 => None,
            None => return Err(Case::HostMissing),
        };
        if let Some(host) = host {
            target::host(host).ok_or(Case::HostInvalid)?;
        }
        if let Some(authority) = &request.authority {
            let authority = text(authority).map_err(|_| Case::HostInvalid)?;
            if host.is_some_and(|host| host != authority) {
                return Err(Case::HostMismatch);
            }
            target::host(authority).ok_or(Case::HostInvalid)?;
        }
        match (self.coding, self.length) {
            (Some(_), Some(_)) => Err(Case::LengthAndCoding),
            (Some(coding), None) => coding.map(|()| Framing::Chunked),
            (None, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn request_line(rules: &Rules) -> usize {
    REQUEST_LINE.min(rules.header_bytes)
}

/// Where the method ends in what is there of a line, if it does. An empty line has none, and is fine.
fn method(line: &[u8]) -> Result<Option<usize>, Case> {
    let most = line.get(..=METHOD).unwrap_or(line);
    match most.iter().position(|byte| !is_token(*byte)) {
        Some(at) if at > 0 && line.get(at) == Some(&b' ') => Ok(Some(at)),
        Some(_) => Err(Case::Method),
        None if most.len() > METHOD => Err(Case::MethodTooLong),
        None => Ok(None),
    }
}

/// `method SP request-target SP HTTP-version`.
fn request(line: &[u8], start: usize) -> Result<Request, Case> {
    let end = method(line)?.ok_or(Case::RequestLine)?;
    let (method, rest) = line.split_at_checked(end).ok_or(Case::RequestLine)?;
    let rest = rest.strip_prefix(b" ").ok_or(Case::RequestLine)?;
    let space = memchr::memchr(b' ', rest)
        .filter(|at| *at > 0)
        .ok_or(Case::RequestLine)?;
    let (target, version) = rest.split_at_checked(space).ok_or(Case::RequestLine)?;
    let http10 = match version {
        b" HTTP/1.1" => false,
        b" HTTP/1.0" => true,
        [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            return Err(Case::VersionUnsupported);
        }
        [b' ', version @ ..] if version.contains(&b' ') => return Err(Case::RequestLine),
        _ => return Err(Case::Version),
    };
    if let Some(bad) = target.iter().find(|byte| !is_target(**byte)) {
        return Err(if *bad == b'#' {
            Case::TargetForm
        } else {
            Case::TargetCharacter
        });
    }
    if method == b"CONNECT" {
        return Err(Case::Connect);
    }
    if target.first() == Some(&b'/') {
        let authority = None;
        return Ok(Request { http10, authority });
    }
    let method = std::str::from_utf8(method).map_err(|_| Case::Method)?;
    let target = std::str::from_utf8(target).map_err(|_| Case::TargetForm)?;
    let authority = target::split(target, method)?.0.map(|authority| {
        // Behind the scheme and its `://`.
        let before = target.find("://").map_or(0, |at| at + 3);
        let at = start + end + 1 + before;
        at..at + authority.len()
    });
    Ok(Request { http10, authority })
}

/// Where the name of a field ends, which is where its colon is.
fn name(line: &[u8], first: bool) -> Result<usize, Case> {
    let at = line.iter().position(|byte| !is_token(*byte)).ok_or(Case::FieldColon)?;
    match line.get(at) {
        Some(b':') if at > 0 => Ok(at),
        Some(byte) if is_blank(*byte) => Err(match (at, first) {
            (0, true) => Case::SpaceFirst,
            (0, false) => Case::ObsFold,
            _ if line.contains(&b':') => Case::SpaceBeforeColon,
            _ => Case::FieldColon,
        }),
        _ => Err(Case::FieldName),
    }
}

/// What is left of a line behind `start` without white space around it.
fn trim(line: &[u8], start: usize) -> Range<usize> {
    let rest = line.get(start..).unwrap_or_default();
    let before = rest.iter().take_while(|byte| is_blank(**byte)).count();
    let after = rest.iter().rev().take_while(|byte| is_blank(**byte)).count();
    let start = start + before;
    start..line.len().saturating_sub(after).max(start)
}

/// A number of up to 19 digits, which 64 bits hold.
fn number(text: &[u8]) -> Option<u64> {
    if !(1..=19).contains(&text.len()) {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        byte.is_ascii_digit().then(|| number * 10 + u64::from(byte - b'0'))
    })
}

/// The one number of a list of equal ones (RFC 9110, 8.6).
fn equal_numbers(text: &[u8]) -> Result<u64, Case> {
    let mut numbers = text.split(|byte| *byte == b',').map(|one| number(one.trim_ascii()));
    let first = numbers.next().flatten().ok_or(Case::LengthMalformed)?;
    for other in numbers {
        if other.ok_or(Case::LengthMalformed)? != first {
            return Err(Case::LengthRepeated);
        }
    }
    Ok(first)
}

/// What is wrong with a transfer coding that is not `chunked`.
#[cold]
fn other_coding(text: &[u8]) -> Case {
    let mut chunked = 0;
    for coding in text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        if coding.is_empty() {
            return Case::CodingMalformed;
        }
        chunked += u32::from(coding.eq_ignore_ascii_case(b"chunked"));
    }
    if chunked > 1 {
        Case::CodingMalformed
    } else {
        Case::CodingUnknown
    }
}
