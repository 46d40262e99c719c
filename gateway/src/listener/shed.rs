//! The cheapest refusal there is: a request that the gateway has no time for is answered from its first bytes, before
//! it is parsed or routed. Only what is plainly a whole request without a body; everything else takes the long way and is
//! refused there.

/// Whether `bytes` are one GET request of HTTP/1.1, whole, without a body and without a wish for the connection.
pub(super) fn is_plain_get(bytes: &[u8]) -> bool {
    let Some(head) = bytes.strip_suffix(b"\r\n\r\n") else {
        return false;
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    if !first.starts_with(b"GET /") || !first.strip_suffix(b"\r").unwrap_or(first).ends_with(b" HTTP/1.1") {
        return false;
    }
    lines.all(|line| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let other = ["content-length", "transfer-encoding", "connection", "expect", "upgrade"];
        // An empty line would be the end of a request before this one's.
        line.len() > 1
            && !other
                .iter()
                .any(|other| name.trim_ascii().eq_ignore_ascii_case(other.as_bytes()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_get_is_answered() {
        for good in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /x?y HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
        ] {
            assert!(is_plain_get(good.as_bytes()), "{good:?}");
        }
        for other in [
            "",
            "\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nCONTENT-LENGTH : 0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert!(!is_plain_get(other.as_bytes()), "{other:?}");
        }
    }
}
