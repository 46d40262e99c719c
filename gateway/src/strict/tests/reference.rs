//! Another reader of HTTP/1 requests, written from RFC 9112's grammar and with no thought of speed or pieces: the judge of
//! the scanner. It wants the whole of a request at once and says where it ends.

/// What the bytes begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A request of this length.
    Request(usize),
    /// No request, whatever follows.
    Refused,
    /// It depends on what follows.
    Unfinished,
}

/// Bounds that both readers keep.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of the header section.
    pub(crate) header_bytes: usize,
    /// Of its fields.
    pub(crate) fields: usize,
}

/// Judges what `bytes` begin with.
pub(crate) fn judge(bytes: &[u8], bounds: Bounds) -> Verdict {
    let Some((head, length)) = head(bytes) else {
        return Verdict::Unfinished;
    };
    if length > bounds.header_bytes {
        return Verdict::Refused;
    }
    let Some(body) = framing(&head, bounds) else {
        return Verdict::Refused;
    };
    let rest = bytes.get(length..).unwrap_or_default();
    let body = match body {
        Body::Length(body) if rest.len() as u64 >= body => {
            Verdict::Request(usize::try_from(body).unwrap_or(usize::MAX))
        }
        Body::Length(_) => Verdict::Unfinished,
        Body::Chunked => chunks(rest),
    };
    match body {
        Verdict::Request(body) => Verdict::Request(length + body),
        other => other,
    }
}

enum Body {
    Length(u64),
    Chunked,
}

/// The lines of the header without their line ends, and its length with them. An empty line in front is let pass.
fn head(bytes: &[u8]) -> Option<(Vec<String>, usize)> {
    let before = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let mut lines = Vec::new();
    let mut length = before;
    for line in bytes.get(before..)?.split_inclusive(|byte| *byte == b'\n') {
        if line.last() != Some(&b'\n') {
            return None;
        }
        length += line.len();
        lines.push(line.iter().map(|byte| char::from(*byte)).collect());
        if [&b"\n"[..], b"\r\n"].contains(&line) {
            return Some((lines, length));
        }
    }
    None
}

fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter))
}

fn is_value(text: &str) -> bool {
    text.chars()
        .all(|letter| letter == '\t' || (letter >= ' ' && letter != '\u{7f}'))
}

fn framing(lines: &[String], bounds: Bounds) -> Option<Body> {
    let lines: Option<Vec<&str>> = lines.iter().map(|line| line.strip_suffix("\r\n")).collect();
    let mut lines = lines?;
    if !lines.pop()?.is_empty() || lines.is_empty() {
        return None;
    }
    let words: Vec<&str> = lines.remove(0).split(' ').collect();
    let [method, target, version] = words.as_slice() else {
        return None;
    };
    if !is_token(method) || method.len() > 32 || *method == "CONNECT" || words.join(" ").len() >= 16 << 10 {
        return None;
    }
    let visible = |letter: char| letter > ' ' && letter != '\u{7f}' && letter != '#';
    if target.is_empty() || !target.chars().all(visible) {
        return None;
    }
    let old = match *version {
        "HTTP/1.1" => false,
        "HTTP/1.0" => true,
        _ => return None,
    };
    let authority = authority(method, target)?;
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if !is_token(name) || !is_value(value) {
            return None;
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    if fields.len() > bounds.fields {
        return None;
    }
    let all = |wanted: &str| -> Vec<&str> {
        let found = fields.iter().filter(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str()).collect()
    };
    match (all("host").as_slice(), authority) {
        ([], _) if old => {}
        ([host], None) if is_authority(host) => {}
        ([host], Some(authority)) if *host == authority && is_authority(host) => {}
        _ => return None,
    }
    if authority.is_some_and(|authority| !is_authority(authority)) {
        return None;
    }
    if !old
        && all("expect")
            .iter()
            .any(|value| !value.eq_ignore_ascii_case("100-continue"))
    {
        return None;
    }
    match (all("content-length").as_slice(), all("transfer-encoding").as_slice()) {
        ([], []) => Some(Body::Length(0)),
        ([length], []) => {
            let digits = !length.is_empty() && length.len() < 20 && length.bytes().all(|byte| byte.is_ascii_digit());
            Some(Body::Length(digits.then(|| length.parse().ok())??))
        }
        ([], [coding]) if !old && coding.eq_ignore_ascii_case("chunked") => Some(Body::Chunked),
        _ => None,
    }
}

/// The authority of a target that has one; `None` outside: the target has no form.
#[allow(clippy::option_option)] // no form, no authority, an authority
fn authority<'t>(method: &str, target: &'t str) -> Option<Option<&'t str>> {
    if target.starts_with('/') || (target, method) == ("*", "OPTIONS") {
        return Some(None);
    }
    // Each character stands for a byte. A URI that is not even text is refused; a path alone may be anything.
    let bytes: Vec<u8> = target.chars().filter_map(|letter| u8::try_from(letter).ok()).collect();
    std::str::from_utf8(&bytes).ok()?;
    let lower = target.to_ascii_lowercase();
    let rest = ["http://", "https://"]
        .iter()
        .find_map(|scheme| lower.starts_with(scheme).then(|| target.get(scheme.len()..))?)?;
    match rest.split(['/', '?']).next() {
        None | Some("") => None,
        Some(authority) if rest.get(authority.len()..).is_some_and(|path| path.starts_with('?')) => None,
        authority => Some(authority),
    }
}

fn is_authority(text: &str) -> bool {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, port)) = rest.split_once(']') else {
            return false;
        };
        return address.parse::<std::net::Ipv6Addr>().is_ok()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    let (name, port) = text
        .split_once(':')
        .map_or((text, None), |(name, port)| (name, Some(port)));
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |label: &str| {
        !label.is_empty()
            && label.len() < 64
            && label
                .chars()
                .all(|letter| letter.is_ascii_alphanumeric() || "-_".contains(letter))
    };
    name.len() < 254 && name.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// A chunked body that `bytes` begin with. Extensions and trailers are held against no bound of size.
fn chunks(bytes: &[u8]) -> Verdict {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let (line, length) = match line(rest) {
            Ok(line) => line,
            Err(verdict) => return verdict,
        };
        let Some(size) = size(&line) else {
            return Verdict::Refused;
        };
        at += length;
        if size == 0 {
            return trailers(bytes, at);
        }
        let Some(end) = usize::try_from(size).ok().and_then(|size| at.checked_add(size)) else {
            return Verdict::Unfinished;
        };
        match (bytes.get(end), bytes.get(end + 1)) {
            (Some(b'\r'), Some(b'\n')) => at = end + 2,
            (None, _) | (Some(b'\r'), None) => return Verdict::Unfinished,
            _ => return Verdict::Refused,
        }
    }
}

/// A line and its length with its end.
fn line(bytes: &[u8]) -> Result<(String, usize), Verdict> {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or(Verdict::Unfinished)?;
    let text: String = bytes.iter().take(end).map(|byte| char::from(*byte)).collect();
    text.strip_suffix('\r')
        .map(|text| (text.to_owned(), end + 1))
        .ok_or(Verdict::Refused)
}

/// The size at the beginning of a chunk's line, if all of the line is right.
fn size(line: &str) -> Option<u64> {
    let digits: String = line.chars().take_while(char::is_ascii_hexdigit).collect();
    if !(1..=16).contains(&digits.len()) {
        return None;
    }
    let size = u64::from_str_radix(&digits, 16)
        .ok()
        .filter(|size| i64::try_from(*size).is_ok())?;
    let mut rest = line.get(digits.len()..)?.to_owned();
    if !rest.is_ascii() {
        // Letters beyond ASCII stand in quoted strings only, where one is like another.
        rest = rest
            .chars()
            .map(|letter| if letter.is_ascii() { letter } else { '\u{1a}' })
            .collect();
    }
    let mut rest = rest.as_str();
    while !rest.is_empty() {
        rest = blank(blank(rest).strip_prefix(';')?);
        let name = rest.split(|letter: char| !is_token(&letter.to_string())).next()?;
        if name.is_empty() {
            return None;
        }
        rest = rest.get(name.len()..)?;
        if let Some(value) = blank(rest).strip_prefix('=') {
            rest = value_of(blank(value))?;
        }
    }
    Some(size)
}

fn blank(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

/// What follows a value.
fn value_of(text: &str) -> Option<&str> {
    let Some(mut rest) = text.strip_prefix('"') else {
        let token = text.split(|letter: char| !is_token(&letter.to_string())).next()?;
        return (!token.is_empty()).then(|| text.get(token.len()..))?;
    };
    loop {
        let letter = rest.chars().next()?;
        let quoted = |letter: char| letter == '\u{1a}' || is_value(&letter.to_string());
        rest = rest.get(1..)?;
        match letter {
            '"' => return Some(rest),
            '\\' if rest.chars().next().is_some_and(quoted) => rest = rest.get(1..)?,
            '\\' => return None,
            _ if quoted(letter) => {}
            _ => return None,
        }
    }
}

fn trailers(bytes: &[u8], mut at: usize) -> Verdict {
    const FORBIDDEN: &str = " authorization connection content-length cookie expect forwarded host te trailer transfer-encoding upgrade x-forwarded-for ";
    loop {
        let (line, length) = match line(bytes.get(at..).unwrap_or_default()) {
            Ok(line) => line,
            Err(verdict) => return verdict,
        };
        at += length;
        if line.is_empty() {
            return Verdict::Request(at);
        }
        let Some((name, value)) = line.split_once(':') else {
            return Verdict::Refused;
        };
        let forbidden = FORBIDDEN.contains(&format!(" {} ", name.to_ascii_lowercase()));
        if !is_token(name) || !is_value(value) || forbidden {
            return Verdict::Refused;
        }
    }
}
