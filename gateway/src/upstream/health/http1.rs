//! One GET over HTTP/1.1, of which only the status matters. No client for anything else: it reads no body and reuses nothing.

use http::uri::PathAndQuery;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::MAX_HEADER;

/// Bytes read at once.
const READ: u64 = 2048;

/// Sends the GET and returns the final status.
pub(super) async fn get<S>(mut stream: S, host: &str, path: &PathAndQuery) -> Result<u16, String>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let agent = concat!("portcullis-health/", env!("CARGO_PKG_VERSION"));
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|error| format!("cannot write: {error}"))?;
    stream.flush().await.map_err(|error| format!("cannot write: {error}"))?;
    let mut seen = Vec::new();
    loop {
        if let Some(status) = final_status(&seen)? {
            return Ok(status);
        }
        if seen.len() > MAX_HEADER {
            return Err("the response header is too long".into());
        }
        let read = (&mut stream).take(READ).read_buf(&mut seen).await;
        if read.map_err(|error| format!("cannot read: {error}"))? == 0 {
            return Err("the connection was closed before a status came".into());
        }
    }
}

// Interim responses (1xx) are passed over. `None`: more bytes are needed.
fn final_status(mut seen: &[u8]) -> Result<Option<u16>, String> {
    loop {
        let Some(end) = memchr::memchr(b'\n', seen) else {
            return Ok(None);
        };
        let line = seen.get(..end).unwrap_or_default();
        let status = status_of(line).ok_or("the answer is not HTTP/1.x")?;
        if status >= 200 {
            return Ok(Some(status));
        }
        let Some(end) = memchr::memmem::find(seen, b"\r\n\r\n") else {
            return Ok(None);
        };
        seen = seen.get(end + 4..).unwrap_or_default();
    }
}

// `HTTP/1.1 200 OK`
fn status_of(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (version, rest) = rest.split_first()?;
    let (digits, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let ends = rest.first().is_none_or(|byte| matches!(byte, b' ' | b'\r'));
    let valid = version.is_ascii_digit() && ends && digits.iter().all(u8::is_ascii_digit);
    let status = valid.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0')))?;
    (100..600).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read() {
        assert_eq!(final_status(b""), Ok(None));
        assert_eq!(final_status(b"HTTP/1.1 200"), Ok(None));
        assert_eq!(final_status(b"HTTP/1.1 200 OK\r\n"), Ok(Some(200)));
        assert_eq!(final_status(b"HTTP/1.0 503\r\n"), Ok(Some(503)));
        assert_eq!(final_status(b"HTTP/1.1 204 \nDate: x\r\n"), Ok(Some(204)));
        assert_eq!(final_status(b"HTTP/1.1 100 Continue\r\n"), Ok(None));
        assert_eq!(
            final_status(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"),
            Ok(Some(200))
        );
    }

    #[test]
    fn other_protocols_are_refused() {
        for line in [
            "SSH-2.0-x\r\n",
            "HTTP/2 200\r\n",
            "HTTP/1.1 20\r\n",
            "HTTP/1.1 2000\r\n",
            "HTTP/1.1 099 x\r\n",
            "\n",
        ] {
            assert!(final_status(line.as_bytes()).is_err(), "{line:?}");
        }
    }
}
