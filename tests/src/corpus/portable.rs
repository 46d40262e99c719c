//! The corpus that any proxy can be run against: a case a line in `cases/*.txt`, each with its name, the RFC it rests on,
//! whether that is a MUST or what a careful proxy should do, the outcomes that are allowed, and what is sent. What a proxy
//! then did is judged in [`crate::trial`]; what a gateway's own filters must see is in [`super`] and not here.
//!
//! Outcomes, separated by spaces: a status (refused with it, and nothing whole reached the origin), `closed` or `reset`
//! (ended without an answer), `ok` (reached the origin once, in canonical form; `target=`, `host=`, `body=`, `no=FIELD` and
//! `has=FIELD:VALUE` say more, `behind=TARGET@HOST` is a second request that may follow, `piped` lets the request that is
//! hidden behind this one pass as one of its own, `early` is an origin that answers before it has the body), and of answers
//! `pass` (the client gets it; `status=`, `body=`, `no=`, `has=`), `cut` (the client sees that it is not whole) and `head`
//! (the client asked with HEAD).
//!
//! Bytes have `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH`, and names in braces for what is said often; see [`known`].

use crate::h2raw::{END_HEADERS, END_STREAM, Kind as Frame, block, frame};
use crate::witness::Piece;

/// What a case is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A request in HTTP/1.
    Request,
    /// An origin's answer in HTTP/1.1.
    Response,
    /// A request in HTTP/2 that goes on in HTTP/1.1.
    Downgrade,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name, which stays.
    pub name: String,
    /// The RFC and section: `9112 6.3`.
    pub rfc: String,
    /// Whether an RFC says MUST. Otherwise it leaves a choice, and this is the safe one.
    pub must: bool,
    /// What it is about.
    pub kind: Kind,
    /// What is sent: by the client, or of an answer by the origin.
    pub pieces: Vec<Piece>,
    /// The outcomes that are allowed.
    pub allowed: Allowed,
}

/// The outcomes that are allowed.
#[derive(Debug, Clone, Default)]
pub struct Allowed {
    /// Refused with one of these.
    pub statuses: Vec<u16>,
    /// The connection or stream ends without an answer.
    pub closed: bool,
    /// An answer that ends before it is whole.
    pub cut: bool,
    /// Forwarded so.
    pub forwarded: Option<Form>,
    /// The client asks with HEAD.
    pub head: bool,
}

/// What is forwarded.
#[derive(Debug, Clone, Default)]
pub struct Form {
    /// The method; of an answer the status.
    pub first: String,
    /// The target; `*` for any.
    pub target: String,
    /// The host without its port, when it matters.
    pub host: Option<String>,
    /// The body.
    pub body: Vec<u8>,
    /// Fields that must not be there.
    pub absent: Vec<String>,
    /// Fields that must be there, with their values.
    pub present: Vec<(String, String)>,
    /// Target and host of a second request.
    pub behind: Option<(String, String)>,
    /// The hidden request may be one of its own.
    pub piped: bool,
    /// The origin answers before it has the body.
    pub early: bool,
}

impl Case {
    /// What is sent, in short.
    pub fn shown(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Bytes(bytes) if bytes.len() > 600 => {
                format!("{}.. ({} bytes)", bytes[..300].escape_ascii(), bytes.len())
            }
            Piece::Bytes(bytes) => bytes.escape_ascii().to_string(),
            other => format!("{{{other:?}}}"),
        };
        self.pieces.iter().map(piece).collect()
    }
}

/// A request that must never be taken for one, in the place of a body. A proxy that reads it as a request takes
/// `Keep-Alive` out (RFC 9110, 7.6.1); one that sends it on blindly does not.
pub const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\nKeep-Alive: raw\r\n\r\n";
/// An answer that belongs to nobody.
const STRAY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\npoisoned";
const KEY: &str = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Every case.
pub fn cases() -> Vec<Case> {
    let files = [
        (Kind::Request, include_str!("cases/requests.txt")),
        (Kind::Request, include_str!("cases/bodies.txt")),
        (Kind::Response, include_str!("cases/responses.txt")),
        (Kind::Downgrade, include_str!("cases/downgrades.txt")),
    ];
    let lines = files
        .iter()
        .flat_map(|(kind, text)| text.lines().map(move |line| (*kind, line)));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(kind, line)| case(kind, line))
        .collect()
}

fn case(kind: Kind, line: &str) -> Case {
    let columns: Vec<&str> = line.splitn(5, " | ").collect();
    let [name, rfc, level, allowed, input] = columns.as_slice() else {
        panic!("a case has five columns: {line}");
    };
    let (pieces, form) = match kind {
        Kind::Request => request(input),
        Kind::Response => (pieces(input), Form::default()),
        Kind::Downgrade => downgrade(input),
    };
    Case {
        name: (*name).to_owned(),
        rfc: (*rfc).to_owned(),
        must: match *level {
            "must" => true,
            "should" => false,
            other => panic!("{name}: must or should, not {other}"),
        },
        kind,
        pieces,
        allowed: outcomes(name, allowed, form),
    }
}

fn outcomes(name: &str, text: &str, mut form: Form) -> Allowed {
    let mut allowed = Allowed::default();
    let mut forwarded = false;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = String::from_utf8_lossy(&bytes(value)).into_owned();
        match key {
            "ok" | "pass" => forwarded = true,
            "closed" | "reset" => allowed.closed = true,
            "cut" => allowed.cut = true,
            "head" => allowed.head = true,
            "status" => form.first = value,
            "target" => form.target = value,
            "host" => form.host = Some(value),
            "body" => form.body = value.into_bytes(),
            "no" => form.absent.push(value),
            "has" => {
                let (field, value) = value
                    .split_once(':')
                    .unwrap_or_else(|| panic!("{name}: has=FIELD:VALUE"));
                form.present.push((field.to_owned(), value.to_owned()));
            }
            "behind" => form.behind = value.split_once('@').map(|(target, host)| (target.into(), host.into())),
            "piped" => form.piped = true,
            "early" => form.early = true,
            status => allowed.statuses.push(
                status
                    .parse()
                    .unwrap_or_else(|_| panic!("{name}: {word} is no outcome")),
            ),
        }
    }
    allowed.forwarded = forwarded.then_some(form);
    allowed
}

/// Bytes of a client, and what they are when they are forwarded as they are.
fn request(text: &str) -> (Vec<Piece>, Form) {
    let pieces = pieces(text);
    let Some(Piece::Bytes(first)) = pieces.first() else {
        panic!("a case begins with bytes: {text}");
    };
    let text = String::from_utf8_lossy(first).into_owned();
    let line = text.trim_start().lines().next().unwrap_or_default();
    let form = Form {
        first: line.split(' ').next().unwrap_or_default().to_owned(),
        target: line.split(' ').nth(1).unwrap_or_default().to_owned(),
        ..Form::default()
    };
    (pieces, form)
}

/// Fields, data and trailers, as the frames of stream 1.
fn downgrade(text: &str) -> (Vec<Piece>, Form) {
    let mut parts = text.split(" // ");
    let fields = fields(parts.next().unwrap_or_default());
    let (data, trailers) = (parts.next(), parts.next());
    let value = |name: &str| {
        let field = fields.iter().find(|(known, _)| known == name.as_bytes());
        field.map_or(String::new(), |(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    let form = Form {
        first: value(":method"),
        target: value(":path"),
        ..Form::default()
    };
    let end = |last: bool| if last { END_STREAM } else { 0 };
    let mut all = frame_of_fields(end(data.is_none() || data == Some("!window")), &fields);
    match data {
        None => {}
        Some("!window") => {
            for _ in 0..300 {
                all.extend(frame(Frame::WindowUpdate, 0, 1, &[0; 4]));
            }
        }
        Some("!hole") => {
            for (flags, data) in [(0, ""), (0, SMUGGLED), (0, ""), (END_STREAM, "")] {
                all.extend(frame(Frame::Data, flags, 1, data.as_bytes()));
            }
        }
        Some("!empty") => all.extend(frame(Frame::Data, END_STREAM, 1, b"")),
        Some(data) => all.extend(frame(Frame::Data, end(trailers.is_none()), 1, &bytes(data))),
    }
    match trailers {
        None => {}
        Some("!empty") => all.extend(frame(Frame::Data, END_STREAM, 1, b"")),
        Some("!open") => all.extend(frame_of_fields(0, &[(b"x-sum".to_vec(), b"1".to_vec())])),
        Some(trailers) => all.extend(frame_of_fields(END_STREAM, &self::fields(trailers))),
    }
    (vec![Piece::Bytes(all)], form)
}

/// A header block in as many frames as it needs.
fn frame_of_fields(flags: u8, fields: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let block = block(fields);
    let mut pieces = block.chunks(16_384).peekable();
    let mut all = Vec::new();
    let mut kind = Frame::Headers;
    while let Some(piece) = pieces.next() {
        let last = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        let flags = if kind == Frame::Headers { flags | last } else { last };
        all.extend(frame(kind, flags, 1, piece));
        kind = Frame::Continuation;
    }
    all
}

/// `get` and `post` are the four pseudo-header fields; `NAME=VALUE` replaces one of them or adds a field, `+NAME=VALUE` adds,
/// `-NAME` removes.
fn fields(text: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut fields: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let field = |text: &str| {
        // A name is not empty and may begin with a colon, but has no `=`.
        let (name, value) = text.split_once('=').unwrap_or_else(|| panic!("NAME=VALUE: {text}"));
        (bytes(name), bytes(value))
    };
    for part in text.split(" & ") {
        match part {
            "get" | "post" => {
                let method = part.to_ascii_uppercase();
                for (name, value) in [
                    (":method", method.as_str()),
                    (":scheme", "https"),
                    (":path", "/x"),
                    (":authority", "a"),
                ] {
                    fields.push((name.into(), value.into()));
                }
            }
            _ => {
                if let Some(more) = part.strip_prefix('+') {
                    fields.push(field(more));
                    continue;
                }
                if let Some(gone) = part.strip_prefix('-') {
                    fields.retain(|(name, _)| name != gone.as_bytes());
                    continue;
                }
                let (name, value) = field(part);
                match fields
                    .iter_mut()
                    .find(|(known, _)| *known == name && name.starts_with(b":"))
                {
                    Some(known) => known.1 = value,
                    None => fields.push((name, value)),
                }
            }
        }
    }
    fields
}

/// Bytes with pauses among them.
fn pieces(text: &str) -> Vec<Piece> {
    let marks = [
        ("{pause}", Piece::Pause),
        ("{wait}", Piece::Wait),
        ("{end}", Piece::End),
    ];
    let next = marks
        .into_iter()
        .filter_map(|(mark, piece)| Some((text.split_once(mark)?, piece)));
    match next.min_by_key(|((before, _), _)| before.len()) {
        None if text.is_empty() => Vec::new(),
        None => vec![Piece::Bytes(bytes(text))],
        Some(((before, behind), piece)) => [pieces(before), vec![piece], pieces(behind)].concat(),
    }
}

/// What a text stands for.
pub fn bytes(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        rest = tail;
        match byte {
            b'\\' => {
                let (byte, length) = escape(tail);
                out.push(byte);
                rest = &tail[length..];
            }
            b'{' => {
                let end = tail.iter().position(|byte| *byte == b'}').expect("a closing brace");
                out.extend(known(&String::from_utf8_lossy(&tail[..end])));
                rest = &tail[end + 1..];
            }
            byte => out.push(*byte),
        }
    }
    out
}

fn escape(text: &[u8]) -> (u8, usize) {
    match text {
        [b'r', ..] => (b'\r', 1),
        [b'n', ..] => (b'\n', 1),
        [b't', ..] => (b'\t', 1),
        [b'0', ..] => (0, 1),
        [b'\\', ..] => (b'\\', 1),
        [b'x', high, low, ..] => {
            let digits = String::from_utf8_lossy(&[*high, *low]).into_owned();
            (u8::from_str_radix(&digits, 16).expect("two digits"), 3)
        }
        _ => panic!("{} is no escape", text.escape_ascii()),
    }
}

/// What is said often. `WHAT*COUNT` is `WHAT` so many times; `fields` and `interim` are lines of their own.
fn known(name: &str) -> Vec<u8> {
    if let Some((what, count)) = name.split_once('*') {
        let count: usize = count.parse().expect("a count");
        return match what {
            "fields" => (0..count).flat_map(|n| format!("X-{n}: y\r\n").into_bytes()).collect(),
            "interim" => b"HTTP/1.1 100 Continue\r\n\r\n".repeat(count),
            what => what.as_bytes().repeat(count),
        };
    }
    let text = match name {
        "get" => "GET /x HTTP/1.1\r\nHost: a\r\n".into(),
        "post" => "POST /x HTTP/1.1\r\nHost: a\r\n".into(),
        "chunked" => "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "smuggled" => SMUGGLED.into(),
        "len" => SMUGGLED.len().to_string(),
        "hex" => format!("{:x}", SMUGGLED.len()),
        "key" => KEY.into(),
        "websocket" => format!("Connection: Upgrade\r\nUpgrade: websocket\r\n{KEY}"),
        "200" => "HTTP/1.1 200 OK\r\n".into(),
        "hello" => "Content-Length: 5\r\n\r\nhello".into(),
        "stray" => STRAY.into(),
        "straylen" => STRAY.len().to_string(),
        other => panic!("{{{other}}} stands for nothing"),
    };
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_whole() {
        let cases = cases();
        assert!(cases.len() > 700, "{}", cases.len());
        let mut names: Vec<&str> = cases.iter().map(|case| case.name.as_str()).collect();
        names.sort_unstable();
        let twice: Vec<&&str> = names
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| &pair[0])
            .collect();
        assert!(twice.is_empty(), "{twice:?}");
        for id in ["2025-0037", "2025-0070", "2026-0033", "2026-0034", "2026-0035"] {
            let name = format!("rustsec-{id}/");
            assert!(names.iter().any(|known| known.starts_with(&name)), "{name}");
        }
        for case in &cases {
            let allowed = &case.allowed;
            let none = allowed.statuses.is_empty() && !allowed.closed && !allowed.cut && allowed.forwarded.is_none();
            assert!(!none, "{}: nothing is allowed", case.name);
            let (number, section) = case.rfc.split_once(' ').expect("an RFC and its section");
            assert!(
                number.parse::<u16>().is_ok() && section.starts_with(|c: char| c.is_ascii_digit()),
                "{}",
                case.name
            );
        }
    }

    #[test]
    fn texts_are_read() {
        assert_eq!(bytes(r"a\r\n\x41\0\\{y*3}"), b"a\r\nA\0\\yyy");
        assert_eq!(pieces("a{wait}b{end}").len(), 4);
        let fields = fields("get & -:scheme & :path=/y & x-a=b=c & +:path=/z");
        let names: Vec<String> = fields
            .iter()
            .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
            .collect();
        assert_eq!(names, [":method", ":path", ":authority", "x-a", ":path"]);
        assert_eq!(fields[1].1, b"/y");
        assert_eq!(fields[3].1, b"b=c");
    }
}
