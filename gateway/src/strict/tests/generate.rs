//! Requests for the tests: valid ones from the grammar, and ones that were made worse.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// A valid request within the bounds of the tests.
pub(crate) fn request() -> impl Strategy<Value = Vec<u8>> {
    (line(), fields(), body(), any::<bool>()).prop_map(|(line, fields, (framing, body), empty_line)| {
        let before: &[u8] = if empty_line { b"\r\n" } else { b"" };
        let fields = fields.concat();
        [
            before,
            line.as_bytes(),
            b"\r\nHost: a.example\r\n",
            fields.as_bytes(),
            framing.as_bytes(),
            b"\r\n",
            &body,
        ]
        .concat()
    })
}

fn line() -> impl Strategy<Value = String> {
    let method = select(vec!["GET", "POST", "HEAD", "OPTIONS", "X-!#$%&'*+.^_`|~"]);
    let target = prop_oneof!["/[!-\"$-~]{0,40}", "https?://a\\.example(/[a-z%?]{0,9})?"];
    (method, target).prop_map(|(method, target)| format!("{method} {target} HTTP/1.1"))
}

fn fields() -> impl Strategy<Value = Vec<String>> {
    let field = prop_oneof![
        "X-[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}:[ \t]{0,2}[ -~\t]{0,30}\r\n",
        Just("Expect: 100-continue\r\n".to_owned()),
        Just("Connection: keep-alive, upgrade\r\n".to_owned()),
    ];
    vec(field, 0..16)
}

/// A field that frames, and the body that it frames.
fn body() -> impl Strategy<Value = (String, Vec<u8>)> {
    prop_oneof![
        Just((String::new(), Vec::new())),
        vec(any::<u8>(), 0..60).prop_map(|body| (format!("Content-Length: {}\r\n", body.len()), body)),
        chunked().prop_map(|body| ("Transfer-Encoding: chunked\r\n".to_owned(), body)),
    ]
}

fn chunked() -> impl Strategy<Value = Vec<u8>> {
    let extension = prop_oneof![
        3 => Just(String::new()),
        1 => "[ \t]{0,2};[ ]{0,2}[a-z]{1,5}",
        1 => ";[a-z]{1,3}[ ]?=[ ]?[a-z]{1,3}",
        1 => ";[a-z]=\"([a-z =;]|\\\\[\"a-z\\\\]){0,9}\"",
    ];
    let chunk = (vec(any::<u8>(), 1..40), extension, 0..4_usize, any::<bool>());
    let trailer = "X-[a-z]{1,5}:[ -~\t]{0,20}\r\n";
    (vec(chunk, 0..6), vec(trailer, 0..3)).prop_map(|(chunks, trailers)| {
        let mut body = Vec::new();
        for (data, extension, zeros, upper) in chunks {
            let size = format!("{}{:x}", "0".repeat(zeros), data.len());
            let size = if upper { size.to_uppercase() } else { size };
            body.extend_from_slice(format!("{size}{extension}\r\n").as_bytes());
            body.extend_from_slice(&data);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"0\r\n");
        body.extend_from_slice(trailers.concat().as_bytes());
        body.extend_from_slice(b"\r\n");
        body
    })
}

/// Sizes of the pieces that something comes in.
pub(crate) fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(1..9_usize, 0..400)
}

const WORSE: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"\"",
    b"\\",
    b"=",
    b"\x7f",
    b"\x80",
    b"#",
    b"0",
    b"f",
    b"HTTP/1.0",
    b"CONNECT ",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: a.example\r\n",
    b"Host: b\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"7fffffffffffffff",
    b"http://a.example",
    b"3\r\nabc\r\n",
    b"Expect: x\r\n",
    b" x\r\n",
    b"chunked",
];

/// A request that was made worse in a few places.
pub(crate) fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let change = (any::<Index>(), select(WORSE.to_vec()), 0..4_usize, 0..6_usize);
    (request(), vec(change, 0..4)).prop_map(|(mut bytes, changes)| {
        for (place, worse, kind, length) in changes {
            let at = place.index(bytes.len() + 1);
            let end = (at + length).min(bytes.len());
            match kind {
                0 => drop(bytes.splice(at..at, worse.iter().copied())),
                1 => drop(bytes.splice(at..end, worse.iter().copied())),
                2 => drop(bytes.drain(at..end)),
                _ => bytes.truncate(at.max(1)),
            }
        }
        bytes
    })
}
