//! Hostile HTTP/2 requests (RFC 9113, 8.1 to 8.3), for a gateway that sends them on as HTTP/1.1.

use crate::h2raw::{END_HEADERS, END_STREAM, Kind, block, frame};

use super::{ASKED, BAD, MISSING, OK, path_targets};

/// A request as it is sent, on stream 1.
pub struct Case {
    /// What is the matter with it.
    pub name: String,
    /// Its frames.
    pub frames: Vec<u8>,
    /// The statuses that may answer it; 0: the stream or the connection ends without an answer.
    pub statuses: &'static [u16],
}

/// Refused, by whichever layer sees it first.
const REFUSED: &[u16] = &[0, 400];
const SMUGGLED: &str = "GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

type Field<'f> = (&'f str, &'f str);

/// A GET without a body, in one frame.
fn get(name: impl Into<String>, fields: &[Field<'_>], statuses: &'static [u16]) -> Case {
    Case {
        name: name.into(),
        frames: frame(Kind::Headers, END_STREAM | END_HEADERS, 1, &block(fields)),
        statuses,
    }
}

/// The four pseudo-header fields of a request, `changed` in place of what has its name, `more` behind them.
fn fields<'f>(path: &'f str, changed: &[Field<'f>], more: &[Field<'f>]) -> Vec<Field<'f>> {
    let mut all = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "a"),
    ];
    for (name, value) in changed {
        if let Some(field) = all.iter_mut().find(|(known, _)| known == name) {
            field.1 = value;
        }
    }
    all.extend(more);
    all
}

fn without<'f>(path: &'f str, name: &str, more: &[Field<'f>]) -> Vec<Field<'f>> {
    let mut all = fields(path, &[], more);
    all.retain(|(known, _)| *known != name);
    all
}

/// All of them.
pub fn requests(bearer: &str) -> Vec<Case> {
    let mut cases = pseudo(bearer);
    cases.extend(forms());
    cases.extend(regular(bearer));
    cases.extend(bodies());
    cases
}

/// Pseudo-header fields that are missing, repeated, unknown, or in the wrong place.
fn pseudo(bearer: &str) -> Vec<Case> {
    let token = ("authorization", bearer);
    let mut cases = vec![
        get("good", &fields("/public/x", &[], &[]), OK),
        get("without a token", &fields("/admin/x", &[], &[]), ASKED),
        get("with a token", &fields("/admin/x", &[], &[token]), OK),
    ];
    for path in ["/public/x", "/admin/x"] {
        for name in [":method", ":scheme", ":path"] {
            cases.push(get(format!("no {name}, {path}"), &without(path, name, &[]), REFUSED));
        }
        for field in [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/public/y"),
            (":authority", "private.test"),
        ] {
            cases.push(get(
                format!("{} twice, {path}", field.0),
                &fields(path, &[], &[field]),
                REFUSED,
            ));
        }
        for field in [
            (":foo", "x"),
            (":status", "200"),
            (":", "x"),
            (":path ", "/admin"),
            (":Path", "/admin"),
            (":protocol", "websocket"),
        ] {
            cases.push(get(
                format!("{:?}, {path}", field.0),
                &fields(path, &[], &[field]),
                REFUSED,
            ));
        }
        let mut late = vec![("x-a", "b")];
        late.extend(fields(path, &[], &[]));
        cases.push(get(format!("a field before them, {path}"), &late, REFUSED));
        let split = [
            (":method", "GET"),
            (":scheme", "http"),
            ("x-a", "b"),
            (":path", path),
            (":authority", "a"),
        ];
        cases.push(get(format!("a field among them, {path}"), &split, REFUSED));
    }
    let host = |name| [("host", name)];
    let asked_or = |path: &str| if path == "/admin/x" { ASKED } else { OK };
    for path in ["/public/x", "/admin/x"] {
        cases.push(get(
            format!("neither authority nor Host, {path}"),
            &without(path, ":authority", &[]),
            REFUSED,
        ));
        cases.push(get(
            format!("Host alone, {path}"),
            &without(path, ":authority", &host("a")),
            asked_or(path),
        ));
        cases.push(get(
            format!("Host alone names the protected one, {path}"),
            &without(path, ":authority", &host("private.test")),
            ASKED,
        ));
        cases.push(get(
            format!("Host and authority agree, {path}"),
            &fields(path, &[], &host("a")),
            asked_or(path),
        ));
        cases.push(get(
            format!("Host names another, {path}"),
            &fields(path, &[], &host("private.test")),
            REFUSED,
        ));
        cases.push(get(
            format!("authority names another, {path}"),
            &fields(path, &[(":authority", "private.test")], &host("a")),
            REFUSED,
        ));
        cases.push(get(
            format!("two Hosts, {path}"),
            &fields(path, &[], &[("host", "a"), ("host", "a")]),
            REFUSED,
        ));
        cases.push(get(
            format!("an empty Host, {path}"),
            &fields(path, &[], &host("")),
            REFUSED,
        ));
    }
    for name in ["private.test", "PRIVATE.TEST", "private.test.", "private.test:80"] {
        cases.push(get(
            format!("authority {name}"),
            &fields("/public/x", &[(":authority", name)], &[]),
            ASKED,
        ));
    }
    cases
}

/// Values of pseudo-header fields.
fn forms() -> Vec<Case> {
    let mut cases = Vec::new();
    for (statuses, path) in path_targets() {
        // A fragment is dropped, control characters and the like are refused, before anything of ours sees them.
        let lenient: &[u16] = match statuses {
            ASKED => &[0, 400, 401],
            MISSING => &[0, 400, 404],
            _ => &[0, 200, 400],
        };
        let plain = path
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&byte));
        let statuses = if plain { statuses } else { lenient };
        cases.push(get(
            format!(":path {}", path.escape_default()),
            &fields(&path, &[], &[]),
            statuses,
        ));
    }
    for path in [
        "",
        "admin",
        "public/x",
        "*",
        "?x",
        "http:",
        "a:80",
        " /public/x",
        "/public/x ",
        "/public/x y",
        "/public/\u{0}",
        "/public/x\t",
        "/public/x HTTP/1.1\r\nX-User: root",
        "/public/x HTTP/1.1\r\nHost: a\r\n\r\nGET /admin/smuggled",
        "/public/x\n",
        "/public/x\r",
    ] {
        cases.push(get(format!(":path {path:?}"), &fields(path, &[], &[]), REFUSED));
    }
    for (path, statuses) in [
        ("http://a/public/x", &[0, 200, 400][..]),
        ("http://a/admin/x", &[0, 400, 401]),
        ("http://private.test/x", &[0, 400, 401]),
    ] {
        cases.push(get(format!(":path {path}"), &fields(path, &[], &[]), statuses));
    }
    for method in [
        "",
        "G T",
        "GET ",
        " GET",
        "GET\r\n",
        "GET\u{0}",
        "GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\nGET",
        "G(T",
        "G\u{e4}T",
    ] {
        for path in ["/public/x", "/admin/x"] {
            cases.push(get(
                format!(":method {method:?} {path}"),
                &fields(path, &[(":method", method)], &[]),
                REFUSED,
            ));
        }
    }
    for (method, open, closed) in [
        ("get", OK, ASKED),
        ("FOO", OK, ASKED),
        ("TRACE", &[0, 405][..], &[0, 405][..]),
        ("CONNECT", &[0, 400, 405, 501], &[0, 400, 405, 501]),
    ] {
        cases.push(get(
            format!(":method {method}"),
            &fields("/public/x", &[(":method", method)], &[]),
            open,
        ));
        cases.push(get(
            format!(":method {method}, protected"),
            &fields("/admin/x", &[(":method", method)], &[]),
            closed,
        ));
    }
    let connect = [(":method", "CONNECT"), (":authority", "a:443")];
    cases.push(get("CONNECT as it should be", &connect, &[0, 400, 405, 501]));
    let extended = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/admin/x"),
        (":authority", "a"),
    ];
    cases.push(get("CONNECT to a WebSocket", &extended, &[0, 400, 405, 501]));
    cases.push(get(
        "OPTIONS *",
        &fields("*", &[(":method", "OPTIONS")], &[]),
        &[0, 204, 400],
    ));
    for authority in [
        "",
        "a b",
        "user@a",
        "a@private.test",
        "a/admin",
        "a, b",
        "a:99999",
        "a:x",
        "a#b",
        "a\r\nx-user: root",
        "a\u{0}",
        "[::1",
        "\u{e4}",
        "http://a",
    ] {
        cases.push(get(
            format!(":authority {authority:?}"),
            &fields("/public/x", &[(":authority", authority)], &[]),
            REFUSED,
        ));
    }
    for scheme in ["", "http\r\nx-user: root", "a b", "http://private.test/?"] {
        cases.push(get(
            format!(":scheme {scheme:?}"),
            &fields("/admin/x", &[(":scheme", scheme)], &[]),
            &[0, 400, 401],
        ));
    }
    cases
}

/// Fields that HTTP/2 has no use for, and names and values that HTTP/1.1 would break at.
fn regular(bearer: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for path in ["/public/x", "/admin/x"] {
        for field in [
            ("connection", "close"),
            ("connection", "authorization"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("upgrade", "h2c"),
            ("te", "gzip"),
            ("X-Upper", "x"),
            ("Host", "a"),
            ("x a", "b"),
            ("x\ta", "b"),
            ("x:a", "b"),
            ("x\r\na", "b"),
            ("x\u{0}", "b"),
            ("", "b"),
            (" x", "b"),
            ("x\u{7f}", "b"),
            ("x-a", "b\r\nx-user: root"),
            ("x-a", "b\nx-user: root"),
            ("x-a", "b\rc"),
            ("x-a", "b\u{0}c"),
            ("transfer-encoding", "identity"),
            ("content-length", "3, 3"),
            ("content-length", "+0"),
            ("content-length", "x"),
            ("content-length", ""),
        ] {
            cases.push(get(format!("{field:?}, {path}"), &fields(path, &[], &[field]), REFUSED));
        }
    }
    let token = ("authorization", bearer);
    for (field, open) in [
        (("te", "trailers"), OK),
        (("http2-settings", "AAMAAABkAAQCAAAAAAIAAAAA"), OK),
        (("x-user", "root"), OK),
        (("x_user", "root"), OK),
        (("cookie", "a=b"), OK),
        (("proxy-authorization", "Basic eDp5"), OK),
        (("x-request-id", "mine"), OK),
        (("forwarded", "for=6.6.6.6"), OK),
        (("trailer", "x"), OK),
        (("expect", "100-continue"), OK),
        (("x-a", " b "), &[0, 200, 400][..]),
        (("x-a", "\u{1}"), &[0, 200, 400]),
    ] {
        cases.push(get(format!("{field:?}"), &fields("/public/x", &[], &[field]), open));
        cases.push(get(
            format!("{field:?}, with a token"),
            &fields("/admin/x", &[], &[field, token]),
            open,
        ));
        let closed: &[u16] = if open == OK { ASKED } else { &[0, 400, 401] };
        cases.push(get(
            format!("{field:?}, protected"),
            &fields("/admin/x", &[], &[field]),
            closed,
        ));
    }
    let crumbs = [("cookie", "a=b"), ("cookie", "c=d"), ("cookie", "e=f"), token];
    cases.push(get("crumbs of a cookie", &fields("/admin/x", &[], &crumbs), OK));
    cases.push(get("two tokens", &fields("/admin/x", &[], &[token, token]), BAD));
    cases
}

/// Bodies against their length, trailers, and header blocks in pieces.
fn bodies() -> Vec<Case> {
    const BROKEN: &[u16] = &[0, 400];
    let mut cases = Vec::new();
    for (path, statuses) in [("/public/x", OK), ("/admin/x", ASKED)] {
        let post = |more: &[Field<'_>], flags: u8| {
            let fields = fields(path, &[(":method", "POST")], more);
            frame(Kind::Headers, flags | END_HEADERS, 1, &block(&fields))
        };
        let data = |flags: u8, body: &str| frame(Kind::Data, flags, 1, body.as_bytes());
        let length = SMUGGLED.len().to_string();
        let trailers = |fields: &[Field<'_>]| frame(Kind::Headers, END_STREAM | END_HEADERS, 1, &block(fields));
        let refused: &'static [u16] = if statuses == ASKED { &[0, 400, 401] } else { BROKEN };
        let either: &'static [u16] = if statuses == ASKED {
            &[0, 400, 401]
        } else {
            &[0, 200, 400]
        };
        for (name, frames, statuses) in [
            ("a body", [post(&[], 0), data(END_STREAM, SMUGGLED)].concat(), statuses),
            (
                "a body of its length",
                [post(&[("content-length", &length)], 0), data(END_STREAM, SMUGGLED)].concat(),
                statuses,
            ),
            (
                "a body beyond its length",
                [post(&[("content-length", "1")], 0), data(END_STREAM, SMUGGLED)].concat(),
                refused,
            ),
            (
                "a body although there is none",
                [post(&[("content-length", "0")], 0), data(END_STREAM, SMUGGLED)].concat(),
                refused,
            ),
            (
                "a body short of its length",
                [post(&[("content-length", "999")], 0), data(END_STREAM, SMUGGLED)].concat(),
                refused,
            ),
            (
                "a length without a body",
                post(&[("content-length", "5")], END_STREAM),
                refused,
            ),
            (
                "two lengths",
                [
                    post(&[("content-length", "1"), ("content-length", &length)], 0),
                    data(END_STREAM, SMUGGLED),
                ]
                .concat(),
                BROKEN,
            ),
            (
                "trailers",
                [post(&[], 0), data(0, "x"), trailers(&[("x-sum", "1")])].concat(),
                statuses,
            ),
            (
                "trailers that identify",
                [
                    post(&[], 0),
                    data(0, "x"),
                    trailers(&[("x-user", "root"), ("authorization", "Bearer x")]),
                ]
                .concat(),
                either,
            ),
            (
                "trailers that frame",
                [
                    post(&[], 0),
                    data(0, "x"),
                    trailers(&[("content-length", "9"), ("transfer-encoding", "chunked")]),
                ]
                .concat(),
                either,
            ),
            (
                "trailers with a path",
                [post(&[], 0), data(0, "x"), trailers(&[(":path", "/admin/x")])].concat(),
                either,
            ),
            (
                "trailers with a line break",
                [
                    post(&[], 0),
                    data(0, "x"),
                    trailers(&[("x-a", "b\r\n\r\nGET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n")]),
                ]
                .concat(),
                either,
            ),
        ] {
            cases.push(Case {
                name: format!("{name}, {path}"),
                frames,
                statuses,
            });
        }
        let whole = block(&fields(path, &[], &[]));
        let (head, tail) = whole.split_at(whole.len() / 2);
        let frames = [
            frame(Kind::Headers, END_STREAM, 1, head),
            frame(Kind::Continuation, END_HEADERS, 1, tail),
        ]
        .concat();
        cases.push(Case {
            name: format!("a header in two pieces, {path}"),
            frames,
            statuses,
        });
        let frames = [
            frame(Kind::Headers, END_STREAM, 1, head),
            frame(Kind::Data, END_STREAM, 1, b"x"),
        ]
        .concat();
        cases.push(Case {
            name: format!("a header that is interrupted, {path}"),
            frames,
            statuses: &[0],
        });
    }
    cases
}
