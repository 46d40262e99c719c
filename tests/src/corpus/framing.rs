//! Requests whose end is a matter of opinion, and lines that are none (RFC 9112, 2.2, 5 and 6).

use super::{ASKED, BAD, Case, OK, SMUGGLED, case, get};

/// Bodies whose length two readers could see differently.
pub fn framings() -> Vec<Case> {
    const UNKNOWN: &[u16] = &[501];
    const EITHER: &[u16] = &[400, 501];
    let body = SMUGGLED.len();
    let mut cases = Vec::new();
    for (name, lines, statuses) in [
        (
            "CL then TE",
            "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n".to_owned(),
            BAD,
        ),
        (
            "TE then CL",
            "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".into(),
            BAD,
        ),
        (
            "TE then a broken CL",
            "Transfer-Encoding: chunked\r\nContent-Length: x\r\n".into(),
            BAD,
        ),
        (
            "TE then an empty CL",
            "Transfer-Encoding: chunked\r\nContent-Length:\r\n".into(),
            BAD,
        ),
        (
            "CL and a TE nobody knows",
            "Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n".into(),
            EITHER,
        ),
        (
            "chunked twice",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n".into(),
            BAD,
        ),
        (
            "chunked, chunked",
            "Transfer-Encoding: chunked, chunked\r\n".into(),
            EITHER,
        ),
        (
            "identity, then chunked",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n".into(),
            BAD,
        ),
        (
            "chunked, then identity",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".into(),
            BAD,
        ),
        ("gzip, chunked", "Transfer-Encoding: gzip, chunked\r\n".into(), UNKNOWN),
        ("chunked, gzip", "Transfer-Encoding: chunked, gzip\r\n".into(), EITHER),
        ("identity", "Transfer-Encoding: identity\r\n".into(), EITHER),
        ("xchunked", "Transfer-Encoding: xchunked\r\n".into(), EITHER),
        (
            "chunked with a parameter",
            "Transfer-Encoding: chunked;q=1\r\n".into(),
            EITHER,
        ),
        ("chunked in quotes", "Transfer-Encoding: \"chunked\"\r\n".into(), EITHER),
        ("an empty TE", "Transfer-Encoding:\r\n".into(), EITHER),
        (
            "a comma before chunked",
            "Transfer-Encoding: ,chunked\r\n".into(),
            EITHER,
        ),
        (
            "a vertical tab before chunked",
            "Transfer-Encoding: \u{b}chunked\r\n".into(),
            EITHER,
        ),
        (
            "a space before the colon",
            "Transfer-Encoding : chunked\r\n".into(),
            BAD,
        ),
        ("a tab before the colon", "Transfer-Encoding\t: chunked\r\n".into(), BAD),
        ("a folded TE", "Transfer-Encoding:\r\n chunked\r\n".into(), BAD),
        ("a folded CL", "Content-Length:\r\n 4\r\n".into(), BAD),
        (
            "the same CL twice",
            format!("Content-Length: {body}\r\nContent-Length: {body}\r\n"),
            BAD,
        ),
        (
            "two CLs",
            format!("Content-Length: 0\r\nContent-Length: {body}\r\n"),
            BAD,
        ),
        (
            "two CLs the other way round",
            format!("Content-Length: {body}\r\nContent-Length: 0\r\n"),
            BAD,
        ),
        ("a list of CLs", format!("Content-Length: {body}, {body}\r\n"), BAD),
        ("a CL with a sign", format!("Content-Length: +{body}\r\n"), BAD),
        ("a negative CL", "Content-Length: -1\r\n".into(), BAD),
        ("a CL in hexadecimal", "Content-Length: 0x4\r\n".into(), BAD),
        ("a CL of two words", "Content-Length: 4 4\r\n".into(), BAD),
        ("a CL with an underscore", "Content-Length: 1_0\r\n".into(), BAD),
        ("a CL with a fraction", "Content-Length: 4.0\r\n".into(), BAD),
        ("an empty CL", "Content-Length:\r\n".into(), BAD),
        (
            "a CL beyond 64 bits",
            "Content-Length: 18446744073709551620\r\n".into(),
            &[400, 413],
        ),
        (
            "a CL beyond 63 bits",
            "Content-Length: 9223372036854775809\r\n".into(),
            &[400, 413],
        ),
        ("a CL beyond the limit", "Content-Length: 999999999\r\n".into(), &[413]),
        (
            "a CL with a space before its colon",
            "Content-Length : 4\r\n".into(),
            BAD,
        ),
    ] {
        for target in ["/public/x", "/admin/x"] {
            let bytes = format!("POST {target} HTTP/1.1\r\nHost: a\r\n{lines}\r\n0\r\n\r\n{SMUGGLED}");
            cases.push(case(format!("{name}, {target}"), bytes, statuses));
        }
    }
    for (name, bytes, statuses) in [
        (
            "TE over HTTP/1.0",
            format!("POST /public/x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"),
            BAD,
        ),
        (
            "TE over HTTP/1.0, kept alive",
            format!(
                "POST /public/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
            ),
            BAD,
        ),
        (
            "a GET with CL",
            format!("GET /public/x HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}"),
            OK,
        ),
        (
            "a GET with CL, protected",
            format!("GET /admin/x HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}"),
            ASKED,
        ),
        (
            "a GET with TE",
            format!(
                "GET /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
            ),
            OK,
        ),
        (
            "a HEAD with CL",
            format!("HEAD /admin/x HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}"),
            ASKED,
        ),
        (
            "chunked in capitals",
            format!(
                "POST /public/x HTTP/1.1\r\nHost: a\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n{body:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
            ),
            OK,
        ),
        (
            "an Expect that is agreed to",
            format!(
                "POST /public/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}"
            ),
            OK,
        ),
        (
            "an Expect that is refused",
            format!(
                "POST /admin/x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {body}\r\n\r\n{SMUGGLED}"
            ),
            ASKED,
        ),
        (
            "an underscore for a hyphen",
            "POST /public/x HTTP/1.1\r\nHost: a\r\nContent_Length: 4\r\nContent-Length: 0\r\n\r\n".into(),
            OK,
        ),
    ] {
        cases.push(case(name, bytes, statuses));
    }
    cases.extend(chunks());
    cases
}

/// Chunks that are none (RFC 9112, 7.1). The status may already be the origin's when the error is found.
fn chunks() -> Vec<Case> {
    const BROKEN: &[u16] = &[0, 400];
    /// Pingora reads the last chunk there, and the rest as its trailer: nothing of it goes on.
    const EMPTY: &[u16] = &[0, 200, 400];
    let mut cases = Vec::new();
    for (name, chunks, statuses) in [
        ("good", "3\r\nabc\r\n0\r\n\r\n".to_owned(), OK),
        ("an extension", "3;a=b\r\nabc\r\n0\r\n\r\n".into(), OK),
        ("leading zeros", "0003\r\nabc\r\n00\r\n\r\n".into(), OK),
        ("a trailer", "3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n".into(), OK),
        (
            "a trailer that frames",
            "3\r\nabc\r\n0\r\nContent-Length: 40\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            &[200, 400],
        ),
        (
            "a trailer that identifies",
            "3\r\nabc\r\n0\r\nX-User: root\r\nAuthorization: Bearer x\r\n\r\n".into(),
            &[200, 400],
        ),
        ("an empty size", format!("\r\n{SMUGGLED}"), EMPTY),
        ("an empty size with an extension", format!(";a\r\n{SMUGGLED}"), EMPTY),
        ("a size with a prefix", "0x3\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        ("a size with a sign", "+3\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        ("a negative size", "-3\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        ("a size with an underscore", "1_0\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        ("no digits", "xyz\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        (
            "a size beyond 64 bits",
            format!("10000000000000003\r\nabc\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "the largest size",
            format!("ffffffffffffffff\r\nabc\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "data longer than its size",
            format!("3\r\nabcd\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "data shorter than its size",
            format!("5\r\nabc\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "a bare LF behind a size",
            format!("3\nabc\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "a bare LF behind data",
            format!("3\r\nabc\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "a bare LF in an extension",
            format!("3;a\nbbb\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        (
            "a bare CR behind a size",
            format!("3\rabc\r\n0\r\n\r\n{SMUGGLED}"),
            BROKEN,
        ),
        ("a NUL in a size", "3\u{0}\r\nabc\r\n0\r\n\r\n".into(), BROKEN),
        ("a bare LF at the end", format!("3\r\nabc\r\n0\n\n{SMUGGLED}"), BROKEN),
    ] {
        let bytes = format!("POST /public/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
        cases.push(case(format!("chunks: {name}"), bytes, statuses));
    }
    cases
}

/// Request lines and field lines that are none.
pub fn lines() -> Vec<Case> {
    /// Refused, or the connection ends: a header that never ends has no answer in HTTP.
    const NEVER: &[u16] = &[0, 400, 408];
    const VERSION: &[u16] = &[0, 400, 505];
    let mut cases = Vec::new();
    for target in ["/public/x", "/admin/x"] {
        // Pingora escapes what it should refuse, before anything of ours sees it.
        let escaped: &[u16] = if target == "/admin/x" { &[400, 401] } else { &[200, 400] };
        for (name, lines) in [
            ("obs-fold", "X-A: b\r\n c\r\n"),
            ("obs-fold with a tab", "X-A: b\r\n\tc\r\n"),
            ("a first line that is folded", " X-A: b\r\n"),
            ("a NUL in a value", "X-A: b\u{0}c\r\n"),
            ("a NUL in a name", "X\u{0}A: b\r\n"),
            ("a bare CR in a value", "X-A: b\rX-User: root\r\n"),
            ("a bare CR at an end", "X-A: b\r\r\n"),
            ("a control character in a value", "X-A: \u{1}\r\n"),
            ("DEL in a value", "X-A: \u{7f}\r\n"),
            ("a space before a colon", "X-A : b\r\n"),
            ("a space in a name", "X A: b\r\n"),
            ("no name", ": b\r\n"),
            ("no colon", "X-A\r\n"),
            ("a slash in a name", "X/A: b\r\n"),
            ("an at in a name", "X@A: b\r\n"),
            ("a letter beyond ASCII in a name", "X-\u{e4}: b\r\n"),
        ] {
            cases.push(case(format!("{name}, {target}"), get(target, lines), BAD));
        }
        for (name, bytes, statuses) in [
            ("bare LFs", format!("GET {target} HTTP/1.1\nHost: a\n\n"), BAD),
            (
                "one bare LF",
                format!("GET {target} HTTP/1.1\r\nHost: a\nX-A: b\r\n\r\n"),
                BAD,
            ),
            (
                "a bare LF behind the request line",
                format!("GET {target} HTTP/1.1\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "a bare LF at the end of the header",
                format!("GET {target} HTTP/1.1\r\nHost: a\r\n\n"),
                BAD,
            ),
            (
                "a space before the method",
                format!(" GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "two spaces before the target",
                format!("GET  {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "two spaces behind the target",
                format!("GET {target}  HTTP/1.1\r\nHost: a\r\n\r\n"),
                escaped,
            ),
            (
                "a tab before the target",
                format!("GET\t{target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "a tab behind the target",
                format!("GET {target}\tHTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "a space in the target",
                format!("GET {target} y HTTP/1.1\r\nHost: a\r\n\r\n"),
                escaped,
            ),
            (
                "a space behind the version",
                format!("GET {target} HTTP/1.1 \r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "a NUL in the target",
                format!("GET {target}\u{0} HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            (
                "a CR in the target",
                format!("GET {target}\r HTTP/1.1\r\nHost: a\r\n\r\n"),
                escaped,
            ),
            (
                "a method that is no token",
                format!("G(T {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            ("no method", format!("{target} HTTP/1.1\r\nHost: a\r\n\r\n"), BAD),
            (
                "two versions",
                format!("GET {target} HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n"),
                BAD,
            ),
            ("no version", format!("GET {target}\r\nHost: a\r\n\r\n"), NEVER),
            ("HTTP/0.9", format!("GET {target}\r\n"), NEVER),
            ("HTTP/1.2", format!("GET {target} HTTP/1.2\r\nHost: a\r\n\r\n"), VERSION),
            ("HTTP/2.0", format!("GET {target} HTTP/2.0\r\nHost: a\r\n\r\n"), VERSION),
            (
                "HTTP/0.9 by name",
                format!("GET {target} HTTP/0.9\r\nHost: a\r\n\r\n"),
                VERSION,
            ),
            (
                "HTTP/01.1",
                format!("GET {target} HTTP/01.1\r\nHost: a\r\n\r\n"),
                VERSION,
            ),
            (
                "a version in small letters",
                format!("GET {target} http/1.1\r\nHost: a\r\n\r\n"),
                VERSION,
            ),
            (
                "another protocol",
                format!("GET {target} ICAP/1.0\r\nHost: a\r\n\r\n"),
                VERSION,
            ),
            (
                "a header without an end",
                format!("GET {target} HTTP/1.1\r\nHost: a\r\n"),
                NEVER,
            ),
        ] {
            cases.push(case(format!("{name}, {target}"), bytes, statuses));
        }
    }
    let many = (0..200).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let long = format!("X-A: {}\r\n", "y".repeat(40_000));
    for (name, bytes, statuses) in [
        ("HTTP/1.0", "GET /public/x HTTP/1.0\r\nHost: a\r\n\r\n".to_owned(), OK),
        (
            "HTTP/1.0, protected",
            "GET /admin/x HTTP/1.0\r\nHost: a\r\n\r\n".into(),
            ASKED,
        ),
        ("HTTP/1.0 without Host", "GET /public/x HTTP/1.0\r\n\r\n".into(), OK),
        (
            "HTTP/1.0 without Host, protected",
            "GET /admin/x HTTP/1.0\r\n\r\n".into(),
            ASKED,
        ),
        (
            "HTTP/1.0, kept alive",
            "GET /admin/x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n".into(),
            ASKED,
        ),
        (
            "an empty line first",
            format!("\r\n{}", get("/admin/x", "")),
            &[400, 401],
        ),
        ("two hundred fields", get("/public/x", &many), &[400, 431]),
        ("a long field", get("/public/x", &long), &[431]),
        (
            "a long target",
            get(&format!("/public/{}", "y".repeat(40_000)), ""),
            &[400, 414, 431],
        ),
        (
            "empty names of fields that count",
            get("/public/x", "X-User:\r\nX-Forwarded-For:\r\nForwarded:\r\n"),
            OK,
        ),
        ("empty lines first", "\r\n\r\n\r\n\r\n".into(), &[200, 400]),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}".into(), NEVER),
        ("half the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\n".into(), VERSION),
    ] {
        cases.push(case(name, bytes, statuses));
    }
    cases
}
