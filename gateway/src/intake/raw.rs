//! The bytes of an HTTP/1 header as they came, for what Pingora's reading hides: lines that end in a bare line feed, and a
//! fragment in the target, which it drops (RFC 9112, 2.2 and 3.2). What it refuses itself is not looked at again.

use super::IntakeError;

/// Checks a header, from its request line to its empty line.
pub(super) fn check(header: &[u8]) -> Result<(), IntakeError> {
    let mut request = None;
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', header) {
        let line = header.get(start..end).unwrap_or_default();
        let Some(line) = line.strip_suffix(b"\r") else {
            return Err(IntakeError::Line);
        };
        // Empty lines before a request are passed over (RFC 9112, 2.2).
        if !line.is_empty() {
            request.get_or_insert(line);
        }
        start = end + 1;
    }
    match request {
        Some(request) if memchr::memchr(b'#', request).is_some() => Err(IntakeError::TargetForm),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_in_both() {
        for (header, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], Ok(())),
            (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Ok(())),
            (b"GET /?a=%23 HTTP/1.1\r\nHost: a\r\nX: #\r\n\r\n", Ok(())),
            (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Err(IntakeError::Line)),
            (b"GET / HTTP/1.1\r\nHost: a\n\r\n", Err(IntakeError::Line)),
            (b"GET / HTTP/1.1\r\nHost: a\r\n\n", Err(IntakeError::Line)),
            (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Err(IntakeError::Line)),
            (b"GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", Err(IntakeError::TargetForm)),
            (
                b"\r\nGET /?x#y HTTP/1.1\r\nHost: a\r\n\r\n",
                Err(IntakeError::TargetForm),
            ),
        ] {
            assert_eq!(check(header), expected, "{}", header.escape_ascii());
        }
    }
}
