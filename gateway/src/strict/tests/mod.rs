//! Every case of the table by a request that is one, and the scanner against another reader, over any pieces.

mod generate;
mod reference;

use proptest::prelude::*;

use self::reference::{Bounds, Verdict, judge};
use crate::strict::*;

const RULES: Rules = Rules {
    header_bytes: 2048,
    fields: 20,
    compat: Compat::NONE,
};

const BOUNDS: Bounds = Bounds {
    header_bytes: 2048,
    fields: 20,
};

/// Shows `bytes` to a scanner in these pieces. Gives its verdict on the first request: its length, if it is complete.
fn scan(rules: Rules, bytes: &[u8], pieces: &[usize]) -> Result<Option<usize>, Case> {
    let mut scanner = Scanner::new(rules);
    let (mut shown, mut passed) = (0, 0);
    let mut pieces = pieces.iter().copied().chain(std::iter::repeat(bytes.len().max(1)));
    while shown < bytes.len() {
        shown = (shown + pieces.next().unwrap().max(1)).min(bytes.len());
        passed += scanner.advance(&bytes[passed..shown])?;
        if scanner.is_done() {
            return Ok(Some(passed));
        }
    }
    Ok(None)
}

#[track_caller]
fn is(case: Case, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    assert_eq!(scan(RULES, bytes, &[]), Err(case), "{}", bytes.escape_ascii());
    assert_eq!(
        scan(RULES, bytes, &vec![1; bytes.len()]),
        Err(case),
        "bytewise {}",
        bytes.escape_ascii()
    );
}

#[track_caller]
fn passes(bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    assert_eq!(
        scan(RULES, bytes, &[]),
        Ok(Some(bytes.len())),
        "{}",
        bytes.escape_ascii()
    );
}

fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n")
}

fn chunked(body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
}

#[test]
fn request_lines() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /",
        "GET",
        "GET / a HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /\tHTTP/1.1",
        "GET /  HTTP/1.1",
    ] {
        is(Case::RequestLine, format!("{line}\r\nHost: a\r\n\r\n"));
    }
    for line in [
        " GET / HTTP/1.1",
        "G(T / HTTP/1.1",
        "/ HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "\u{16}\u{3}",
        "GET\r/ HTTP/1.1",
        "\r\r",
    ] {
        is(Case::Method, format!("{line}\r\n\r\n"));
    }
    is(Case::MethodTooLong, format!("{} / HTTP/1.1\r\n\r\n", "A".repeat(33)));
    is(
        Case::TargetTooLong,
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(2040)),
    );
    for target in ["/a\0", "/a\rb", "/\u{7f}", "/\u{1}"] {
        is(
            Case::TargetCharacter,
            format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"),
        );
    }
    for target in ["*", "a", "a:80", "ftp://a/", "/a#b", "http:/a", "http://a?b", "?x"] {
        is(Case::TargetForm, format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    for version in [
        "http/1.1",
        "HTTP/1",
        "HTTP/01.1",
        "ICAP/1.0",
        "HTTP/1.1\u{b}",
        "HTTP/x.1",
    ] {
        is(Case::Version, format!("GET / {version}\r\nHost: a\r\n\r\n"));
    }
    for version in ["HTTP/2.0", "HTTP/0.9", "HTTP/1.2", "HTTP/3.0"] {
        is(Case::VersionUnsupported, format!("GET / {version}\r\nHost: a\r\n\r\n"));
    }
    is(Case::Connect, "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn lines_and_fields() {
    is(Case::LineEnd, "GET / HTTP/1.1\nHost: a\r\n\r\n");
    is(Case::LineEnd, "GET / HTTP/1.1\r\nHost: a\r\n\n");
    is(Case::LineEnd, "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    is(Case::BareCr, get("X: a\rb\r\n"));
    is(Case::BareCr, get("X: a\r\r\n"));
    is(Case::EmptyLines, "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    is(Case::SpaceFirst, "GET / HTTP/1.1\r\n Host: a\r\n\r\n");
    is(Case::ObsFold, get(" folded\r\n"));
    is(Case::ObsFold, get("\tfolded\r\n"));
    is(Case::FieldColon, get("nothing\r\n"));
    is(Case::FieldColon, get("nothing here\r\n"));
    is(Case::SpaceBeforeColon, get("X : a\r\n"));
    is(Case::SpaceBeforeColon, get("X\t: a\r\n"));
    is(Case::FieldName, get(": a\r\n"));
    is(Case::FieldName, get("X(: a\r\n"));
    is(Case::FieldName, get("X\0: a\r\n"));
    is(Case::FieldValue, get("X: a\0\r\n"));
    is(Case::FieldValue, get("X: a\u{7f}\r\n"));
    is(Case::TooManyFields, get(&"X: y\r\n".repeat(20)));
    passes(get(&"X: y\r\n".repeat(19)));
    is(Case::HeaderTooLarge, get(&format!("X: {}\r\n", "y".repeat(2048))));
    is(
        Case::HeaderTooLarge,
        format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(2048)),
    );
    passes("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    passes(get("X:\r\nY: \t a\tb \r\nZ: \u{e4}\r\n"));
}

#[test]
fn hosts() {
    is(Case::HostMissing, "GET / HTTP/1.1\r\n\r\n");
    is(Case::HostMissing, "GET http://a/ HTTP/1.1\r\n\r\n");
    is(Case::HostRepeated, get("host: a\r\n"));
    for host in ["", "a b", "a,b", "u@a", "a/b", "a:x", "[::1", "\u{e4}", "a..b"] {
        is(Case::HostInvalid, format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    }
    is(Case::HostInvalid, "GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n");
    is(Case::HostMismatch, "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n");
    is(Case::HostMismatch, "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n");
    is(Case::HostInvalid, "GET http://u@b/ HTTP/1.0\r\n\r\n");
    passes("GET / HTTP/1.0\r\n\r\n");
    passes("GET http://a/b HTTP/1.0\r\n\r\n");
    passes("GET http://a:1/b HTTP/1.1\r\nHost: a:1\r\n\r\n");
    passes("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[test]
fn framings() {
    for length in [
        "",
        "+3",
        "-1",
        "3 3",
        "0x3",
        "3.0",
        "1_0",
        "18446744073709551620",
        "3, 3",
    ] {
        is(Case::LengthMalformed, get(&format!("Content-Length: {length}\r\n")));
    }
    is(Case::LengthRepeated, get("Content-Length: 3\r\ncontent-length: 3\r\n"));
    is(
        Case::CodingRepeated,
        get("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
    );
    is(
        Case::CodingRepeated,
        get("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
    );
    is(
        Case::CodingOverHttp10,
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    for coding in ["", ",chunked", "chunked, chunked", "gzip,,chunked"] {
        is(Case::CodingMalformed, get(&format!("Transfer-Encoding: {coding}\r\n")));
    }
    for coding in [
        "gzip, chunked",
        "identity",
        "xchunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked, gzip",
    ] {
        is(Case::CodingUnknown, get(&format!("Transfer-Encoding: {coding}\r\n")));
    }
    is(
        Case::LengthAndCoding,
        get("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"),
    );
    is(
        Case::LengthAndCoding,
        get("Transfer-Encoding: x\r\nContent-Length: 3\r\n"),
    );
    is(Case::Expectation, get("Expect: 200-ok\r\n"));
    passes(get("Expect: 100-Continue\r\n"));
    passes("GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n");
    passes(format!("{}abc", get("Content-Length: 3\r\n")));
}

#[test]
fn chunks() {
    for size in [
        "",
        ";a",
        "0x3",
        "+3",
        "-3",
        "x",
        "3\0",
        " 3",
        "8000000000000000",
        "00000000000000003",
        "3 ",
        "3\rx",
    ] {
        is(Case::ChunkSize, chunked(&format!("{size}\r\nabc\r\n0\r\n\r\n")));
    }
    is(Case::ChunkSize, chunked("3\nabc\r\n0\r\n\r\n"));
    for extension in [
        ";",
        ";=b",
        ";a=",
        ";a b",
        ";a=\"b",
        ";a=\"\n\"",
        ";a\n",
        ";a=b c",
        ";a ",
        ";a=b ",
        ";a=\"\\\r\"",
        ";a;;b",
        ";\0",
    ] {
        is(
            Case::ChunkExtension,
            chunked(&format!("3{extension}\r\nabc\r\n0\r\n\r\n")),
        );
    }
    passes(chunked("3;a;b=c ; d = \"e\\\"\u{e4}\"\r\nabc\r\n0;x\r\n\r\n"));
    is(
        Case::ChunkExtensionTooLong,
        chunked(&format!("3;{}\r\n", "a".repeat(1024))),
    );
    is(
        Case::ChunkExtensionTooLong,
        chunked(&format!("1;{}\r\na\r\n", "a".repeat(900)).repeat(20)),
    );
    for end in ["abcd\r\n", "abc\n0", "abc\r0"] {
        is(Case::ChunkEnd, chunked(&format!("3\r\n{end}\r\n\r\n")));
    }
    for trailer in [
        "X\r\n",
        " X: y\r\n",
        "X : y\r\n",
        "X: a\rb\r\n",
        "X: \0\r\n",
        "X: y\n",
        ": y\r\n",
        "X: y\r\n z\r\n",
    ] {
        is(Case::Trailer, chunked(&format!("0\r\n{trailer}\r\n")));
    }
    is(Case::Trailer, chunked("0\r\n\rX"));
    is(Case::TrailerForbidden, chunked("0\r\nContent-LENGTH: 40\r\n\r\n"));
    is(Case::TrailerForbidden, chunked("0\r\nHost: b\r\n\r\n"));
    is(
        Case::TrailerTooLarge,
        chunked(&format!("0\r\n{}\r\n", "X: yyyyyyyyyyyyyyyyyyy\r\n".repeat(100))),
    );
    is(
        Case::TrailerTooLarge,
        chunked(&format!("0\r\nX: {}\r\n\r\n", "y".repeat(3000))),
    );
    passes(chunked("3\r\nabc\r\nA\r\n0123456789\r\n000\r\nX-Sum: 1\r\nY:\r\n\r\n"));
    passes(chunked("0\r\n\r\n"));
}

#[test]
fn leniencies() {
    let with = |leniency| Rules {
        compat: Compat::new(&[leniency]),
        ..RULES
    };
    for (leniency, bytes) in [
        (Leniency::BareLf, "GET / HTTP/1.1\nHost: a\nX: y\r\n\n".to_owned()),
        (Leniency::LeadingEmptyLines, format!("{}{}", "\r\n".repeat(16), get(""))),
        (
            Leniency::DuplicateContentLength,
            format!("{}abc", get("Content-Length: 3\r\nContent-Length: 3, 3\r\n")),
        ),
        (Leniency::PaddedChunkSize, chunked("3 \t\r\nabc\r\n0 \r\n\r\n")),
    ] {
        assert_eq!(
            scan(with(leniency), bytes.as_bytes(), &[]),
            Ok(Some(bytes.len())),
            "{leniency:?}"
        );
        assert!(scan(RULES, bytes.as_bytes(), &[]).is_err(), "{leniency:?}");
    }
    for (leniency, case, bytes) in [
        (Leniency::LeadingEmptyLines, Case::EmptyLines, "\r\n".repeat(17)),
        (
            Leniency::DuplicateContentLength,
            Case::LengthRepeated,
            get("Content-Length: 3, 4\r\n"),
        ),
        (
            Leniency::DuplicateContentLength,
            Case::LengthRepeated,
            get("Content-Length: 3\r\nContent-Length: 4\r\n"),
        ),
        (
            Leniency::DuplicateContentLength,
            Case::LengthMalformed,
            get("Content-Length: 3,\r\n"),
        ),
        (Leniency::BareLf, Case::ChunkSize, chunked("3\nabc\r\n0\r\n\r\n")),
        (Leniency::BareLf, Case::BareCr, get("X: a\rb\n")),
    ] {
        assert_eq!(scan(with(leniency), bytes.as_bytes(), &[]), Err(case), "{leniency:?}");
    }
}

#[test]
fn the_next_request_waits() {
    let (first, second) = (chunked("1\r\na\r\n0\r\n\r\n"), get(""));
    let both = format!("{first}{second}");
    let mut scanner = Scanner::new(RULES);
    assert_eq!(scanner.advance(both.as_bytes()), Ok(first.len()));
    assert!(scanner.is_done());
    assert_eq!(scanner.advance(second.as_bytes()), Ok(0));
    scanner.next_request();
    assert_eq!(scanner.advance(second.as_bytes()), Ok(second.len()));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_valid_passes(bytes in generate::request(), behind in any::<[u8; 4]>(), pieces in generate::pieces()) {
        let all = [&bytes[..], &behind].concat();
        prop_assert_eq!(scan(RULES, &all, &pieces), Ok(Some(bytes.len())), "{}", bytes.escape_ascii());
    }

    #[test]
    fn pieces_make_no_difference(bytes in generate::mutated(), pieces in generate::pieces()) {
        prop_assert_eq!(scan(RULES, &bytes, &pieces), scan(RULES, &bytes, &[]), "{}", bytes.escape_ascii());
    }

    #[test]
    fn another_reader_agrees(bytes in generate::mutated()) {
        let expected = judge(&bytes, BOUNDS);
        match (scan(RULES, &bytes, &[]), expected) {
            (Ok(Some(length)), expected) => prop_assert_eq!(Verdict::Request(length), expected, "{}", bytes.escape_ascii()),
            (Ok(None), expected) => prop_assert_eq!(Verdict::Unfinished, expected, "{}", bytes.escape_ascii()),
            // Sooner or on a bound that the other reader does not keep.
            (Err(_), Verdict::Refused | Verdict::Unfinished)
            | (Err(Case::ChunkExtensionTooLong | Case::TrailerTooLarge), _) => {}
            (Err(case), expected) => prop_assert!(false, "{case:?} and {expected:?}: {}", bytes.escape_ascii()),
        }
    }
}
