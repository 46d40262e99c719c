//! HTTP/1 requests: the gateway's scanner says the same however the bytes are cut, lets nothing through that a second,
//! differently written reader refuses, and sees the end of a request where that one does.

use crate::http1_model::{Bounds, Verdict, judge};
use crate::seeds::Seed;
use crate::strict::{Case, Compat, Leniency, Rules, Scanner};

const BOUNDS: Bounds = Bounds {
    header_bytes: 8192,
    fields: 32,
};

const LENIENCIES: [Leniency; 4] = [
    Leniency::BareLf,
    Leniency::LeadingEmptyLines,
    Leniency::DuplicateContentLength,
    Leniency::PaddedChunkSize,
];

/// What must hold for a request. The first byte says how it is cut, the second which leniencies are granted.
///
/// # Panics
///
/// When it does not.
pub fn check(data: &[u8]) {
    let [cut, granted, bytes @ ..] = data else { return };
    let granted: Vec<Leniency> = (0..)
        .zip(LENIENCIES)
        .filter_map(|(bit, leniency)| (granted >> bit & 1 == 1).then_some(leniency))
        .collect();
    let rules = Rules {
        header_bytes: BOUNDS.header_bytes,
        fields: 32,
        compat: Compat::new(&granted),
    };
    let whole = scan(rules, bytes, bytes.len());
    assert_eq!(scan(rules, bytes, usize::from(*cut)), whole, "in pieces of {cut}");
    if granted.is_empty() {
        agree(whole, judge(bytes, BOUNDS));
    } else if let Ok(Some(length)) = scan(
        Rules {
            compat: Compat::NONE,
            ..rules
        },
        bytes,
        bytes.len(),
    ) {
        assert_eq!(whole, Ok(Some(length)), "a leniency takes nothing away");
    }
}

/// The length of the first request, if all of it is there.
fn scan(rules: Rules, bytes: &[u8], piece: usize) -> Result<Option<usize>, Case> {
    let mut scanner = Scanner::new(rules);
    let (mut shown, mut passed) = (0, 0);
    while shown < bytes.len() {
        shown = shown.saturating_add(piece.max(1)).min(bytes.len());
        passed += scanner.advance(bytes.get(passed..shown).unwrap_or_default())?;
        assert!(passed <= shown, "more is passed than was shown");
        if scanner.is_done() {
            return Ok(Some(passed));
        }
    }
    Ok(None)
}

fn agree(found: Result<Option<usize>, Case>, expected: Verdict) {
    match (found, expected) {
        (Ok(Some(length)), _) => assert_eq!(Verdict::Request(length), expected),
        (Ok(None), _) => assert_eq!(Verdict::Unfinished, expected),
        // Sooner, or on a bound that the other reader does not keep.
        (Err(_), Verdict::Refused | Verdict::Unfinished)
        | (Err(Case::ChunkExtensionTooLong | Case::TrailerTooLarge), _) => {}
        (Err(case), Verdict::Request(_)) => panic!("{case:?} and {expected:?}"),
    }
}

/// Requests to begin with.
pub fn seeds() -> Vec<Seed> {
    const CHUNKED: &str = "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\r\nGET /a?b=c HTTP/1.1\r\nHost: a.example:8080\r\nAccept: */*\r\nCookie: a=b\r\n\r\n".into(),
        "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\n".into(),
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:80\r\n\r\n".into(),
        "GET / HTTP/1.0\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nabc".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".into(),
        "GET / HTTP/1.1\nHost: a\n\n".into(),
        "GET / HTTP/1.1\r\nHost: a\r\n b\r\nX : y\r\n\r\n".into(),
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".into(),
        "GET / HTTP/2.0\r\n\r\n".into(),
        format!("{CHUNKED}3\r\nabc\r\n0\r\n\r\n"),
        format!("{CHUNKED}3;a;b=c ; d = \"e\\\"f\"\r\nabc\r\nA\r\n0123456789\r\n000\r\nX-Sum: 1\r\n\r\n"),
        format!("{CHUNKED}3 \r\nabc\r\n0\r\n\r\n"),
        format!("{CHUNKED}\r\n{CHUNKED}"),
        format!("{CHUNKED}ffffffffffffffff\r\n"),
        format!("{CHUNKED}0\r\nContent-Length: 3\r\n\r\n"),
    ];
    let seed = |(number, request): (usize, &String)| {
        [(3, 0), (1, 15)].map(|(cut, granted)| Seed {
            name: format!("{number}-{granted}"),
            bytes: [&[cut, granted], request.as_bytes()].concat(),
        })
    };
    requests.iter().enumerate().flat_map(seed).collect()
}
