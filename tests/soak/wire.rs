//! As much HTTP/1.1 as a load generator needs: a message ends after its header and as many bytes as Content-Length says.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// Reads one message after the other from a stream.
#[derive(Default)]
pub(crate) struct Reader {
    buffer: Vec<u8>,
}

/// What matters of a message.
#[derive(Clone, Copy)]
pub(crate) struct Message {
    /// Of an answer; 0 for a request.
    pub(crate) status: u16,
    /// Whether the connection ends after it.
    pub(crate) closes: bool,
}

impl Reader {
    /// The next message.
    pub(crate) async fn message(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Message> {
        loop {
            if let Some((message, length)) = parse(&self.buffer) {
                self.buffer.drain(..length);
                return Ok(message);
            }
            let mut piece = [0; 2048];
            match stream.read(&mut piece).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&piece[..count]),
            }
        }
    }
}

/// The message that `bytes` begin with, and its length, once it is all there.
fn parse(bytes: &[u8]) -> Option<(Message, usize)> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?;
    let mut lines = text.split("\r\n");
    let first = lines.next()?;
    let status = first
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok())
        .unwrap_or(0);
    let (mut body, mut closes) = (0, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            body = value.trim().parse().ok()?;
        } else if name.eq_ignore_ascii_case("connection") {
            closes = value.trim().eq_ignore_ascii_case("close");
        }
    }
    (bytes.len() >= head + body).then_some((Message { status, closes }, head + body))
}
