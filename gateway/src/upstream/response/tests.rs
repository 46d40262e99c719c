//! Answers, whole and in pieces: where they end, and what is refused about them.

use proptest::prelude::*;

use super::*;

const GET: Expect = Expect {
    head: false,
    upgrade: false,
    chunked: false,
};
const HEAD: Expect = Expect {
    head: true,
    upgrade: false,
    chunked: false,
};

/// Reads an answer in pieces of `piece` bytes: how many bytes belong to it, and whether it is whole.
fn read_in(expect: Expect, bytes: &[u8], piece: usize) -> Result<(usize, bool), Fault> {
    let mut scanner = Scanner::new();
    scanner.begin(expect);
    let mut used = 0;
    for piece in bytes.chunks(piece) {
        let taken = scanner.scan(piece)?;
        used += taken;
        if taken < piece.len() {
            return Ok((used, true));
        }
    }
    Ok((used, scanner.is_done()))
}

fn read(expect: Expect, bytes: &[u8]) -> Result<(usize, bool), Fault> {
    read_in(expect, bytes, usize::MAX)
}

#[track_caller]
fn is_whole(expect: Expect, answer: &str) {
    for piece in [1, 2, 3, 7, usize::MAX] {
        assert_eq!(
            read_in(expect, answer.as_bytes(), piece),
            Ok((answer.len(), true)),
            "{answer:?} by {piece}"
        );
    }
}

#[test]
fn answers_that_are_whole() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
        "HTTP/1.0 200\r\nContent-Length: \t2 \r\n\r\nab",
        "HTTP/1.1 204 \r\n\r\n",
        "HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 No\r\nContent-Length: 99\r\n\r\n",
        "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00a;x=y;z=\"\\\"q;\" ; w\r\n0123456789\r\n0;e\r\nX-T: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na",
        "HTTP/1.1 599 \u{fc}\r\nX: \u{fc}\r\nContent-Length: 0\r\n\r\n",
    ] {
        is_whole(GET, answer);
    }
    is_whole(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    is_whole(HEAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
}

#[test]
fn an_answer_may_last_to_the_end_of_the_connection() {
    let mut scanner = Scanner::new();
    scanner.begin(GET);
    assert_eq!(scanner.scan(b"HTTP/1.1 200 OK\r\n\r\nabc"), Ok(22));
    assert!(!scanner.is_done());
    assert_eq!(scanner.end(), Ok(()));
}

#[test]
fn a_tunnel_is_not_looked_at() {
    let upgrade = Expect {
        head: false,
        upgrade: true,
        chunked: false,
    };
    let answer = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n\x00\x01HTTP/9";
    assert_eq!(read(upgrade, answer), Ok((answer.len(), false)));
}

#[track_caller]
fn refuses(expect: Expect, answer: &str, fault: Fault) {
    for piece in [1, 2, 5, usize::MAX] {
        assert_eq!(
            read_in(expect, answer.as_bytes(), piece),
            Err(fault),
            "{answer:?} by {piece}"
        );
    }
}

#[test]
fn lines_that_are_refused() {
    for (answer, fault) in [
        ("<html>\r\n", Fault::StatusLine),
        ("\r\nHTTP/1.1 200 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1  200 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1 20 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1 2000 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1 +20 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1 200\tOK\r\n", Fault::StatusLine),
        ("HTTP/1.1 200 O\0K\r\n", Fault::StatusLine),
        ("HTTP/2 200 OK\r\n", Fault::Version),
        ("HTTP/1.2 200 OK\r\n", Fault::Version),
        ("http/1.1 200 OK\r\n", Fault::StatusLine),
        ("HTTP/1.1 099 OK\r\n", Fault::Status),
        ("HTTP/1.1 600 OK\r\n", Fault::Status),
        ("HTTP/1.1 200 OK\n", Fault::LineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\n", Fault::LineEnd),
        ("HTTP/1.1 200 OK\r\nA: b\rc\r\n", Fault::LineEnd),
        ("HTTP/1.1 200 OK\r\n A: b\r\n", Fault::ObsFold),
        ("HTTP/1.1 200 OK\r\nA: b\r\n\tc\r\n", Fault::ObsFold),
        ("HTTP/1.1 200 OK\r\nA\r\n", Fault::FieldColon),
        ("HTTP/1.1 200 OK\r\n: a\r\n", Fault::FieldName),
        ("HTTP/1.1 200 OK\r\nA : b\r\n", Fault::FieldName),
        ("HTTP/1.1 200 OK\r\nA\u{fc}: b\r\n", Fault::FieldName),
        ("HTTP/1.1 200 OK\r\nA: \0\r\n", Fault::FieldValue),
        ("HTTP/1.1 200 OK\r\nA: \x7f\r\n", Fault::FieldValue),
    ] {
        refuses(GET, answer, fault);
    }
}

#[test]
fn framing_that_is_refused() {
    for (fields, fault) in [
        ("Content-Length: 1, 1", Fault::LengthMalformed),
        ("Content-Length: ", Fault::LengthMalformed),
        ("Content-Length: -1", Fault::LengthMalformed),
        ("Content-Length: 0x1", Fault::LengthMalformed),
        ("Content-Length: 18446744073709551616", Fault::LengthMalformed),
        ("Content-Length: 1\r\ncontent-length: 1", Fault::LengthRepeated),
        ("Transfer-Encoding: gzip, chunked", Fault::CodingUnknown),
        ("Transfer-Encoding: identity", Fault::CodingUnknown),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            Fault::CodingRepeated,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 1",
            Fault::LengthAndCoding,
        ),
    ] {
        refuses(GET, &format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"), fault);
    }
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    refuses(GET, &format!("HTTP/1.0 200 OK\r\n{chunked}"), Fault::CodingOverHttp10);
    refuses(GET, &format!("HTTP/1.1 204 No\r\n{chunked}"), Fault::FramingWithoutBody);
    refuses(
        GET,
        &format!("HTTP/1.1 103 Hints\r\n{chunked}"),
        Fault::FramingWithoutBody,
    );
    refuses(
        GET,
        "HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n",
        Fault::FramingWithoutBody,
    );
    refuses(
        GET,
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\n\r\n",
        Fault::SwitchUnasked,
    );
    refuses(GET, &"HTTP/1.1 100 Continue\r\n\r\n".repeat(17), Fault::TooManyInterim);
}

#[test]
fn chunks_that_are_refused() {
    for (body, fault) in [
        ("\r\n", Fault::ChunkSize),
        ("x\r\n", Fault::ChunkSize),
        ("-1\r\n", Fault::ChunkSize),
        ("0x1\r\n", Fault::ChunkExtension),
        ("1000000000000000\r\n", Fault::ChunkSize),
        ("1 \r\n", Fault::ChunkExtension),
        ("1;\r\n", Fault::ChunkExtension),
        ("1;a=\r\n", Fault::ChunkExtension),
        ("1;a=\"b\r\n", Fault::ChunkExtension),
        ("1;a\0\r\n", Fault::ChunkExtension),
        ("1\n", Fault::LineEnd),
        ("1\r\nab\r\n", Fault::ChunkEnd),
        ("1\r\na\n", Fault::ChunkEnd),
        ("0\r\nX\r\n", Fault::Trailer),
        ("0\r\n X: y\r\n", Fault::Trailer),
    ] {
        refuses(
            GET,
            &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"),
            fault,
        );
    }
    let long = format!("1;{}\r\n", "a".repeat(600));
    refuses(
        GET,
        &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{long}"),
        Fault::ChunkExtensionTooLong,
    );
    let many = format!("1;{}\r\na\r\n", "a".repeat(300)).repeat(60);
    refuses(
        GET,
        &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{many}"),
        Fault::ChunkExtensionTooLong,
    );
    let trailers = format!("X: {}\r\n", "a".repeat(600)).repeat(30);
    refuses(
        GET,
        &format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}"),
        Fault::TrailerTooLarge,
    );
}

#[test]
fn headers_are_bounded() {
    refuses(
        GET,
        &format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(201)),
        Fault::TooManyFields,
    );
    refuses(
        GET,
        &format!("HTTP/1.1 200 OK\r\nA: {}", "b".repeat(65 << 10)),
        Fault::HeaderTooLarge,
    );
    refuses(
        GET,
        &format!("HTTP/1.1 200 {}", "b".repeat(65 << 10)),
        Fault::HeaderTooLarge,
    );
}

#[test]
fn bytes_behind_the_end() {
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na";
    let two = format!("{whole}{whole}");
    assert_eq!(read(GET, two.as_bytes()), Ok((whole.len(), true)), "the first is whole");
    let mut scanner = Scanner::new();
    scanner.begin(GET);
    assert_eq!(scanner.scan(two.as_bytes()), Ok(whole.len()));
    assert!(!scanner.is_done(), "the connection is of no more use");
    assert_eq!(scanner.scan(b"x"), Err(Fault::Excess));
    for (expect, answer) in [
        (GET, "HTTP/1.1 204 No\r\n\r\nx"),
        (GET, "HTTP/1.1 304 No\r\nContent-Length: 1\r\n\r\nx"),
        (HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
    ] {
        assert_eq!(read(expect, answer.as_bytes()), Err(Fault::BodyForbidden), "{answer:?}");
    }
    let mut idle = Scanner::new();
    assert_eq!(idle.scan(b"HTTP/1.1 200 OK\r\n"), Err(Fault::Unasked));
}

#[test]
fn a_body_that_ends_too_early() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
    ] {
        let mut scanner = Scanner::new();
        scanner.begin(GET);
        assert_eq!(scanner.scan(answer.as_bytes()), Ok(answer.len()));
        assert_eq!(scanner.end(), Err(Fault::Truncated), "{answer:?}");
    }
}

proptest! {
    /// However the bytes are cut into pieces, the verdict is the same; and nothing panics.
    #[test]
    fn pieces_make_no_difference(
        parts in prop::collection::vec(prop::sample::select(vec![
            "HTTP/1.1 ", "200 ", "204 ", "100 ", "101 ", "OK", "\r\n", "\n", "\r", "Content-Length: 3", "Transfer-Encoding: chunked",
            "\r\n\r\n", "3\r\n", "abc", "0\r\n\r\n", ";a=b", "A: b", " ", "\0", ":",
        ]), 0..24),
        piece in 1..9_usize,
        head in any::<bool>(),
    ) {
        let bytes = parts.concat();
        let expect = Expect { head, ..GET };
        let (whole, cut) = (read(expect, bytes.as_bytes()), read_in(expect, bytes.as_bytes(), piece));
        // What comes behind an answer without a body in the same piece is known to be its doing; later it is only too much.
        match (whole, cut) {
            (Err(Fault::BodyForbidden), cut) => prop_assert!(matches!(cut, Ok(_) | Err(Fault::BodyForbidden | Fault::Excess))),
            (Ok((used, true)), Err(Fault::Excess)) => prop_assert!(used < bytes.len()),
            (whole, cut) => prop_assert_eq!(whole, cut),
        }
    }
}
