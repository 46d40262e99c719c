//! HTTP/1.1 messages, read as strictly as they can be (RFC 9112): one framing, canonical chunks, nothing of one connection
//! (RFC 9110, 7.6.1), and every byte accounted for. The judge of what a proxy sent; no client or server is built on it.

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub first: String,
    /// Names in small letters and values without the blanks around them.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body, chunks joined.
    pub body: Vec<u8>,
    /// Fields behind the last chunk.
    pub trailers: Vec<(String, Vec<u8>)>,
}

/// What the first bytes of a connection are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// A message of so many bytes.
    Whole(Message, usize),
    /// The beginning of one; its header when that is whole.
    Partial(Option<Message>),
    /// No message.
    Wrong(String),
}

/// Where the body ends.
enum Framing {
    None,
    Length(usize),
    Chunked,
    UntilTheEnd,
}

impl Message {
    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<String> {
        let named = self.fields.iter().filter(|(known, _)| known == name);
        named
            .map(|(_, value)| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    /// The method of a request.
    pub fn method(&self) -> &str {
        self.first.split(' ').next().unwrap_or_default()
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.first.split(' ').nth(1).unwrap_or_default()
    }

    /// The host of a request, without its port, in small letters.
    pub fn host(&self) -> String {
        let host = self.all("host").first().cloned().unwrap_or_default();
        split_port(&host).0.to_ascii_lowercase()
    }

    /// The status of an answer.
    pub fn status(&self) -> u16 {
        let digits = self.first.split(' ').nth(1).unwrap_or_default();
        digits.parse().unwrap_or_default()
    }
}

/// The request at the head of `bytes`.
pub fn request(bytes: &[u8]) -> Parsed {
    parse(bytes, |message| {
        request_line(&message.first)?;
        host(message)?;
        connection(message)?;
        match framing(message)? {
            Framing::UntilTheEnd => Ok(Framing::None),
            framing => Ok(framing),
        }
    })
    .unwrap_or_else(Parsed::Wrong)
}

/// The answer at the head of `bytes`. `head`: it answers HEAD; `ended`: nothing comes after these bytes.
pub fn response(bytes: &[u8], head: bool, ended: bool) -> Parsed {
    let parsed = parse(bytes, |message| {
        status_line(&message.first)?;
        let status = message.status();
        let framed = ["content-length", "transfer-encoding"].map(|name| !message.all(name).is_empty());
        if (status < 200 || status == 204) && framed.contains(&true) {
            return Err(format!("a framing of a {status}"));
        }
        let framing = framing(message)?;
        Ok(if head || status < 200 || status == 204 || status == 304 {
            Framing::None
        } else {
            framing
        })
    });
    match parsed {
        Ok(Parsed::Partial(Some(message))) if ended && until_the_end(&message) => {
            let body = bytes.get(head_length(bytes)..).unwrap_or_default().to_vec();
            Parsed::Whole(Message { body, ..message }, bytes.len())
        }
        parsed => parsed.unwrap_or_else(Parsed::Wrong),
    }
}

fn until_the_end(message: &Message) -> bool {
    message.all("content-length").is_empty() && message.all("transfer-encoding").is_empty()
}

fn head_length(bytes: &[u8]) -> usize {
    find(bytes, b"\r\n\r\n").map_or(bytes.len(), |end| end + 4)
}

fn parse(bytes: &[u8], frame: impl Fn(&Message) -> Result<Framing, String>) -> Result<Parsed, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(Parsed::Partial(None));
    };
    let mut lines = split_lines(&bytes[..end]);
    let first = lines.remove(0);
    let first = std::str::from_utf8(first).map_err(|_| "a first line that is no text")?;
    let mut message = Message {
        first: first.to_owned(),
        fields: fields(&lines)?,
        ..Message::default()
    };
    let rest = &bytes[end + 4..];
    match frame(&message)? {
        Framing::None => Ok(Parsed::Whole(message, end + 4)),
        Framing::UntilTheEnd => Ok(Parsed::Partial(Some(message))),
        Framing::Length(length) => match rest.get(..length) {
            Some(body) => {
                message.body = body.to_vec();
                Ok(Parsed::Whole(message, end + 4 + length))
            }
            None => Ok(Parsed::Partial(Some(message))),
        },
        Framing::Chunked => match chunks(rest, &mut message)? {
            Some(length) => Ok(Parsed::Whole(message, end + 4 + length)),
            None => Ok(Parsed::Partial(Some(message))),
        },
    }
}

/// Reads chunks in their one canonical form; how long they are, or `None` when there must be more.
fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return match bytes[at..]
                .iter()
                .find(|byte| !byte.is_ascii_hexdigit() && **byte != b'\r')
            {
                Some(_) => Err("a chunk's size".into()),
                None => Ok(None),
            };
        };
        let size = &bytes[at..at + end];
        let is_canonical = !size.is_empty()
            && size.len() <= 15
            && size.iter().all(u8::is_ascii_hexdigit)
            && (size == b"0" || size[0] != b'0');
        if !is_canonical {
            return Err(format!("the chunk size {:?}", size.escape_ascii().to_string()));
        }
        let size = usize::from_str_radix(&String::from_utf8_lossy(size), 16).map_err(|error| error.to_string())?;
        at += end + 2;
        if size == 0 {
            return trailers(bytes, at, message);
        }
        let Some(data) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        if !data.ends_with(b"\r\n") {
            return Err("a chunk that does not end where it says".into());
        }
        message.body.extend_from_slice(&data[..size]);
        at += size + 2;
    }
}

fn trailers(bytes: &[u8], at: usize, message: &mut Message) -> Result<Option<usize>, String> {
    if bytes[at..].starts_with(b"\r\n") {
        return Ok(Some(at + 2));
    }
    let Some(end) = find(&bytes[at..], b"\r\n\r\n") else {
        return Ok(None);
    };
    message.trailers = fields(&split_lines(&bytes[at..at + end]))?;
    let forbidden = message
        .trailers
        .iter()
        .find(|(name, _)| NOT_IN_TRAILERS.contains(&name.as_str()));
    match forbidden {
        Some((name, _)) => Err(format!("{name} in a trailer")),
        None => Ok(Some(at + end + 4)),
    }
}

/// Fields that frame, route or say who asks (RFC 9110, 6.5.1).
const NOT_IN_TRAILERS: [&str; 8] = [
    "content-length",
    "transfer-encoding",
    "host",
    "connection",
    "authorization",
    "te",
    "trailer",
    "upgrade",
];

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = find(rest, b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

fn fields(lines: &[&[u8]]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let field = |line: &&[u8]| {
        let what = |what: &str| format!("{what} in {:?}", line.escape_ascii().to_string());
        let colon = line
            .iter()
            .position(|byte| *byte == b':')
            .ok_or_else(|| what("no colon"))?;
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(what("a name that is none"));
        }
        if value
            .iter()
            .any(|byte| *byte == 0x7f || (*byte < b' ' && *byte != b'\t'))
        {
            return Err(what("a control character"));
        }
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        Ok((name, value.trim_ascii().to_vec()))
    };
    lines.iter().map(field).collect()
}

fn request_line(line: &str) -> Result<(), String> {
    let wrong = || format!("the request line {line:?}");
    let words: Vec<&str> = line.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words.as_slice() else {
        return Err(wrong());
    };
    let is_method = !method.is_empty() && method.bytes().all(is_token);
    let is_path = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if is_method && (is_path || (*target == "*" && *method == "OPTIONS")) {
        Ok(())
    } else {
        Err(wrong())
    }
}

fn status_line(line: &str) -> Result<(), String> {
    let wrong = || format!("the status line {line:?}");
    let rest = line
        .strip_prefix("HTTP/1.1 ")
        .or_else(|| line.strip_prefix("HTTP/1.0 "));
    let (status, reason) = rest.and_then(|rest| rest.split_once(' ')).ok_or_else(wrong)?;
    let is_status = status.len() == 3 && status.bytes().all(|byte| byte.is_ascii_digit()) && status >= "100";
    if is_status
        && reason
            .bytes()
            .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
    {
        Ok(())
    } else {
        Err(wrong())
    }
}

/// One Host, and one that is a host (RFC 9112, 3.2).
fn host(message: &Message) -> Result<(), String> {
    let hosts = message.all("host");
    let [host] = hosts.as_slice() else {
        return Err(format!("{} Hosts", hosts.len()));
    };
    let (name, port) = split_port(host);
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match inside {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && name.bytes().all(is_in_name),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if is_name && is_port && !port.contains('+') {
        Ok(())
    } else {
        Err(format!("the Host {host:?}"))
    }
}

/// Name, and port with its colon.
fn split_port(host: &str) -> (&str, &str) {
    match host.rfind(']') {
        Some(end) => host.split_at(end + 1),
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    }
}

fn is_in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&byte)
}

/// Fields of one connection, which none but the next hop may see.
const OF_ONE_CONNECTION: [&str; 4] = ["keep-alive", "proxy-connection", "te", "http2-settings"];

fn connection(message: &Message) -> Result<(), String> {
    if let Some(name) = OF_ONE_CONNECTION.iter().find(|name| !message.all(name).is_empty()) {
        return Err(format!("{name} was sent on"));
    }
    let options = message.all("connection").join(",").to_ascii_lowercase();
    let options: Vec<&str> = options
        .split(',')
        .map(str::trim)
        .filter(|option| !option.is_empty())
        .collect();
    let upgrades = message.all("upgrade");
    let websocket = upgrades.len() == 1 && upgrades[0].eq_ignore_ascii_case("websocket");
    let agreed = websocket && options.contains(&"upgrade");
    if !(upgrades.is_empty() || agreed) {
        return Err(format!("Upgrade: {}", upgrades.join(", ")));
    }
    let known = |option: &&str| ["close", "keep-alive"].contains(option) || (*option == "upgrade" && websocket);
    match options.iter().find(|option| !known(option)) {
        Some(option) => Err(format!("Connection: {option}")),
        None => Ok(()),
    }
}

fn framing(message: &Message) -> Result<Framing, String> {
    let (lengths, codings) = (message.all("content-length"), message.all("transfer-encoding"));
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::UntilTheEnd),
        ([length], []) if !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) => {
            let length = length.parse().ok().filter(|length| *length < 1 << 40);
            length
                .map(Framing::Length)
                .ok_or_else(|| format!("the length {lengths:?}"))
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => Ok(Framing::Chunked),
        _ => Err(format!("lengths {lengths:?} and codings {codings:?}")),
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_wrong(bytes: &[u8]) -> bool {
        matches!(request(bytes), Parsed::Wrong(_))
    }

    #[test]
    fn what_is_canonical_is_read() {
        let bytes = b"POST /x HTTP/1.1\r\nHost: a:80\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\nGET";
        let Parsed::Whole(message, length) = request(bytes) else {
            panic!("{:?}", request(bytes));
        };
        assert_eq!((message.body.as_slice(), length), (&b"hello"[..], bytes.len() - 3));
        assert_eq!((message.host().as_str(), message.target()), ("a", "/x"));
        assert_eq!(message.trailers, [("x-sum".to_owned(), b"1".to_vec())]);
        let cut = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel";
        assert!(matches!(request(cut), Parsed::Partial(Some(_))));
        assert!(matches!(
            request(b"GET / HTTP/1.1\r\nHost: a\r\n"),
            Parsed::Partial(None)
        ));
    }

    #[test]
    fn what_is_not_canonical_is_wrong() {
        for head in [
            "GET  / HTTP/1.1\r\nHost: a",
            "GET /\u{e4} HTTP/1.1\r\nHost: a",
            "GET http://a/ HTTP/1.1\r\nHost: a",
            "GET / HTTP/1.0\r\nHost: a",
            "GET / HTTP/1.1",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a",
            "GET / HTTP/1.1\r\nHost: u@a",
            "GET / HTTP/1.1\r\nHost: a\nX: b",
            "GET / HTTP/1.1\r\nHost : a",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0",
            "GET / HTTP/1.1\r\nHost: a\r\nKeep-Alive: 5",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked",
        ] {
            assert!(is_wrong(format!("{head}\r\n\r\n").as_bytes()), "{head:?}");
        }
        for chunks in [
            "05\r\nhello\r\n0\r\n\r\n",
            "5;a\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
            "\r\n",
            "x",
        ] {
            let bytes = format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
            assert!(is_wrong(bytes.as_bytes()), "{chunks:?}");
        }
    }

    #[test]
    fn answers_end_where_they_say() {
        let open = b"HTTP/1.1 200 OK\r\n\r\nhello";
        assert!(matches!(response(open, false, false), Parsed::Partial(Some(_))));
        let Parsed::Whole(message, _) = response(open, false, true) else {
            panic!("it has ended");
        };
        assert_eq!((message.status(), message.body.as_slice()), (200, &b"hello"[..]));
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
        assert!(matches!(response(head, true, false), Parsed::Whole(..)));
        assert!(matches!(response(head, false, true), Parsed::Partial(Some(_))));
        for wrong in [
            "HTTP/1.1 204 No\r\nContent-Length: 0",
            "HTTP/1.1 2000 OK",
            "HTTP/2 200 OK",
            "HTTP/1.1 200",
        ] {
            let bytes = format!("{wrong}\r\n\r\n");
            assert!(
                matches!(response(bytes.as_bytes(), false, true), Parsed::Wrong(_)),
                "{wrong}"
            );
        }
    }
}
