//! What servers answer: bad answers become 502 with a reason, good ones leave in one form, and neither is felt by the next
//! request.

use portcullis_e2e::evil::{Evil, Script};
use portcullis_e2e::gateway::Gateway;
use portcullis_e2e::h1::{self, Connection};

const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

fn gateway(evil: &Evil) -> Gateway {
    let servers = evil.address;
    Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{servers}\"], timeouts: {{ read: 10s }}, passive_health: {{ failures: 0 }} }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n"
    ))
}

fn ok(fields: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{body}")
}

/// Answers that nobody may see, and the reason that is given instead.
fn bad_answers() -> Vec<(String, &'static str)> {
    let chunked = |body: &str| ok("Transfer-Encoding: chunked", body);
    vec![
        ("<html>HTTP/0.9</html>\r\n".into(), "upstream_status_line"),
        ("no line end at all".into(), "upstream_status_line"),
        (
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_status_line",
        ),
        (
            "HTTP/1.1 2x0 OK\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_status_line",
        ),
        (
            "HTTP/2 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_http_version",
        ),
        (
            "HTTP/1.9 200 OK\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_http_version",
        ),
        (
            "HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_status",
        ),
        (
            "HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n".into(),
            "upstream_status",
        ),
        (
            format!("{}{GOOD}", "HTTP/1.1 103 Hints\r\n\r\n".repeat(40)),
            "upstream_too_many_interim",
        ),
        (
            "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".into(),
            "upstream_switch_unasked",
        ),
        (ok("Content-Length: 4x", "good"), "upstream_framing"),
        (ok("Content-Length: +4", "good"), "upstream_framing"),
        (ok("Content-Length: 4, 4", "good"), "upstream_framing"),
        (ok("Content-Length: 4\r\nContent-Length: 5", "good"), "upstream_framing"),
        (ok("Content-Length: 4\r\nContent-Length: 4", "good"), "upstream_framing"),
        (
            ok("Content-Length: 4\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "upstream_framing",
        ),
        (ok("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), "upstream_framing"),
        (ok("Transfer-Encoding: identity", "good"), "upstream_framing"),
        (
            ok("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
            "upstream_framing",
        ),
        (
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "upstream_framing",
        ),
        (
            "HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into(),
            "upstream_framing",
        ),
        (
            "HTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\ngood".into(),
            "upstream_framing",
        ),
        (
            format!("HTTP/1.1 100 Continue\r\nContent-Length: 4\r\n\r\ngood{GOOD}"),
            "upstream_framing",
        ),
        ("HTTP/1.1 204 No\r\n\r\nbody".into(), "upstream_body_forbidden"),
        (
            "HTTP/1.1 304 Not\r\nContent-Length: 4\r\n\r\nbody".into(),
            "upstream_body_forbidden",
        ),
        (
            "HTTP/1.1 200 OK\nContent-Length: 0\n\n".into(),
            "upstream_line_malformed",
        ),
        (ok("X: a\nY: b\r\nContent-Length: 0", ""), "upstream_line_malformed"),
        (ok("X: a\rY: b\r\nContent-Length: 0", ""), "upstream_line_malformed"),
        (ok("X: a\r\n b\r\nContent-Length: 0", ""), "upstream_obs_fold"),
        (ok(" X: a\r\nContent-Length: 0", ""), "upstream_obs_fold"),
        (ok("X: a\0b\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (ok("X: a\x1bb\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (ok("X : a\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (ok(": a\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (ok("X(: a\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (ok("X\r\nContent-Length: 0", ""), "upstream_field_malformed"),
        (
            ok(&format!("{}Content-Length: 0", "X: a\r\n".repeat(300)), ""),
            "upstream_header_too_large",
        ),
        (
            ok(&format!("X: {}\r\nContent-Length: 0", "a".repeat(70_000)), ""),
            "upstream_header_too_large",
        ),
        (
            ok(&format!("Connection: {}a\r\nContent-Length: 0", "a, ".repeat(100)), ""),
            "upstream_connection_options",
        ),
        (chunked("\r\n"), "upstream_chunk_malformed"),
        (chunked("x\r\n"), "upstream_chunk_malformed"),
        (chunked("-4\r\ngood\r\n0\r\n\r\n"), "upstream_chunk_malformed"),
        (chunked("4 \r\ngood\r\n0\r\n\r\n"), "upstream_chunk_malformed"),
        (chunked("4;=\r\ngood\r\n0\r\n\r\n"), "upstream_chunk_malformed"),
        (chunked("4;a\0\r\ngood\r\n0\r\n\r\n"), "upstream_chunk_malformed"),
        (chunked("ffffffffffffffff1\r\ngood"), "upstream_chunk_malformed"),
        (chunked("4\r\ngoodness\r\n0\r\n\r\n"), "upstream_chunk_malformed"),
        (chunked("4;a\ngood\r\n0\r\n\r\n"), "upstream_line_malformed"),
        (chunked("0\r\nX\r\n\r\n"), "upstream_trailer_malformed"),
    ]
}

#[test]
fn bad_answers_become_502_and_their_connection_is_gone() {
    let answers = bad_answers();
    let scripts: Vec<_> = answers.iter().map(|(bytes, _)| Script::send(bytes)).collect();
    let evil = Evil::start(move |target| {
        let place = target.trim_start_matches("/bad/").parse::<usize>().ok();
        place
            .and_then(|place| scripts.get(place).cloned())
            .unwrap_or_else(|| Script::send(GOOD))
    });
    let gateway = gateway(&evil);
    let mut client = Connection::open(gateway.public);
    for (place, (bytes, reason)) in answers.iter().enumerate() {
        let bad = format!("/bad/{place}");
        let answer = h1::get(gateway.public, "a", &bad, &[]);
        assert_eq!((answer.status, answer.reason().as_str()), (502, *reason), "{bytes:?}");
        assert_eq!(evil.connections_of(&bad).len(), 1, "it is not asked again: {bytes:?}");
        // The next request, of somebody else, is not touched by it.
        let good = format!("/good/{place}");
        let next = client
            .ask(format!("GET {good} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .expect("an answer");
        assert_eq!((next.status, next.text().as_str()), (200, "good"), "after {bytes:?}");
        assert_ne!(
            evil.connections_of(&good),
            evil.connections_of(&bad),
            "not on the same connection: {bytes:?}"
        );
    }
    let log = gateway.access_log(2 * answers.len());
    for (_, reason) in &answers {
        assert!(
            log.iter().any(|line| line["reason"] == *reason),
            "{reason} is in the log"
        );
    }
}

#[test]
fn what_comes_behind_an_answer_reaches_nobody() {
    let evil = Evil::start(|target| match target {
        "/at-once" => Script::send(format!("{GOOD}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")),
        "/later" => Script::send(GOOD).then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        "/chunked" => Script::send(ok(
            "Transfer-Encoding: chunked",
            "4\r\ngood\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
        )),
        "/head" => Script::send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n").then("evil"),
        "/empty" => Script::send("HTTP/1.1 204 No\r\n\r\n").then("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        _ => Script::send(GOOD),
    });
    let gateway = gateway(&evil);
    let mut client = Connection::open(gateway.public);
    for target in ["/at-once", "/later", "/chunked", "/head", "/empty"] {
        let method = if target == "/head" { "HEAD" } else { "GET" };
        let answer = h1::request(gateway.public, method, "a", target, &[], b"");
        let expected = match target {
            "/empty" => (204, ""),
            "/head" => (200, ""),
            _ => (200, "good"),
        };
        assert_eq!((answer.status, answer.text().as_str()), expected, "{target}");
        std::thread::sleep(std::time::Duration::from_millis(200));
        let next = format!("{target}/next");
        let answer = client
            .ask(format!("GET {next} HTTP/1.1\r\nHost: a\r\n\r\n"))
            .expect("an answer");
        assert_eq!((answer.status, answer.text().as_str()), (200, "good"), "after {target}");
        assert_ne!(evil.connections_of(&next), evil.connections_of(target), "{target}");
    }
}

#[test]
fn an_answer_that_is_cut_off_looks_cut_off() {
    let evil = Evil::start(|target| match target {
        "/length" => Script::send(ok("Content-Length: 9", "good")).close(),
        "/chunked" => Script::send(ok("Transfer-Encoding: chunked", "4\r\ngood\r\n")).close(),
        "/last-line" => Script::send(ok("Transfer-Encoding: chunked", "4\r\ngood\r\n0\r\n")).close(),
        "/broken" => Script::send(ok("Transfer-Encoding: chunked", "4\r\ngood\r\n")).then("zz\r\n"),
        "/header" => Script::send("HTTP/1.1 200 OK\r\nContent-Le").close(),
        _ => Script::send(ok("X: y", "good")).close(),
    });
    let gateway = gateway(&evil);
    for target in ["/length", "/chunked", "/last-line", "/broken"] {
        let mut client = Connection::open(gateway.public);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let answer = client.read(false);
        let refused = answer.as_ref().is_some_and(|answer| answer.status == 502);
        assert!(answer.is_none() || refused, "{target}: {answer:?}");
    }
    assert_eq!(h1::get(gateway.public, "a", "/header", &[]).status, 502);
    let answer = h1::get(gateway.public, "a", "/to-the-end", &[]);
    assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
    let log = gateway.access_log(6);
    let reasons: Vec<_> = log
        .iter()
        .map(|line| line["reason"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(
        reasons
            .iter()
            .any(|reason| reason == "upstream_truncated" || reason == "upstream_aborted"),
        "{reasons:?}"
    );
}

#[test]
fn good_answers_leave_in_one_form() {
    let evil = Evil::start(|target| match target {
        "/hop-by-hop" => Script::send(ok(
            "Connection: keep-alive, X-Private, content-length\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Trailer: x\r\nTE: x\r\nUpgrade: h2c\r\nX-Public: 1\r\nContent-Length: 4",
            "good",
        )),
        "/twice" => Script::send(ok(
            "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nDate: Fri, 02 Jan 1970 00:00:00 GMT\r\nServer: one\r\nServer: two\r\n\
             Content-Type: text/plain\r\nContent-Type: text/html\r\nSet-Cookie: a\r\nSet-Cookie: b\r\nContent-Length: 4",
            "good",
        )),
        "/chunked" => Script::send(ok(
            "Transfer-Encoding: CHUNKED",
            "2;secret=\"x;y\"\r\ngo\r\n0002\r\nod\r\n0;x\r\nX-Trailer: a\r\n\r\n",
        )),
        "/empty" => Script::send("HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n"),
        "/zeros" => Script::send(ok("Content-Length: 0004", "good")),
        "/interim" => Script::send(format!(
            "HTTP/1.1 103 Hints\r\nLink: x\r\nConnection: X-Private\r\nX-Private: 1\r\n\r\n{GOOD}"
        )),
        "/old" => Script::send("HTTP/1.0 200 OK\r\n\r\ngood").close(),
        _ => Script::send(GOOD),
    });
    let gateway = gateway(&evil);
    let get = |target| h1::get(gateway.public, "a", target, &[]);

    let answer = get("/hop-by-hop");
    assert_eq!((answer.text().as_str(), answer.header("x-public")), ("good", Some("1")));
    for name in [
        "x-private",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "te",
        "upgrade",
    ] {
        assert_eq!(answer.all(name), [""; 0], "{name}");
    }
    assert_eq!(answer.all("content-length"), ["4"]);

    let answer = get("/twice");
    for name in ["date", "server", "content-type"] {
        assert_eq!(answer.all(name).len(), 1, "{name}");
    }
    assert_eq!(answer.all("set-cookie"), ["a", "b"]);
    assert_eq!(answer.header("server"), Some("one"));

    let mut client = Connection::open(gateway.public);
    client.send("GET /chunked HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.read_head().expect("a header");
    assert_eq!(head.all("transfer-encoding"), ["chunked"]);
    let mut raw = Vec::new();
    while !raw.ends_with(b"0\r\n\r\n") {
        raw.extend(client.next_bytes().expect("the rest"));
    }
    let raw = String::from_utf8(raw).expect("text");
    assert!(raw.contains("go") && raw.contains("od"), "{raw}");
    assert!(!raw.contains("secret") && !raw.contains("000"), "{raw}");

    assert_eq!(get("/zeros").all("content-length"), ["4"]);

    let answer = get("/empty");
    assert_eq!((answer.status, answer.all("content-length")), (204, vec![]));

    client.send("GET /interim HTTP/1.1\r\nHost: a\r\n\r\n");
    let interim = client.read_head().expect("an interim answer");
    assert_eq!(
        (interim.status, interim.header("link"), interim.header("x-private")),
        (103, Some("x"), None)
    );
    assert_eq!(client.read(false).expect("the final one").text(), "good");

    let answer = get("/old");
    assert_eq!((answer.status, answer.text().as_str()), (200, "good"));
}

#[test]
fn connections_are_used_again_after_good_answers_only() {
    let evil = Evil::start(|target| match target {
        "/close" => Script::send(ok("Connection: close\r\nContent-Length: 4", "good")),
        "/old" => Script::send("HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\ngood"),
        "/chunked" => Script::send(ok("Transfer-Encoding: chunked", "4\r\ngood\r\n0\r\n\r\n")),
        _ => Script::send(GOOD),
    });
    let gateway = gateway(&evil);
    for target in ["/a", "/b", "/chunked", "/c", "/close"] {
        assert_eq!(h1::get(gateway.public, "a", target, &[]).text(), "good");
        // The connection is kept a moment after the client has its answer.
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_eq!(evil.connections(), 1, "one for all of them");
    assert_eq!(h1::get(gateway.public, "a", "/old", &[]).text(), "good");
    assert_eq!(evil.connections(), 2, "the server ended the first");
    assert_eq!(h1::get(gateway.public, "a", "/d", &[]).text(), "good");
    assert_eq!(evil.connections(), 3, "HTTP/1.0 does not stay");
    let (_, metrics) = gateway.admin("GET", "/metrics", "");
    let reused = metrics
        .lines()
        .find(|line| line.starts_with("portcullis_upstream_connections_total{reused=\"true\""));
    assert!(reused.is_some_and(|line| line.ends_with(" 4")), "{reused:?}");
}

#[test]
fn a_malformed_answer_is_counted_and_ejects_nobody() {
    let evil = Evil::start(|target| match target {
        "/bad" => Script::send("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        _ => Script::send(GOOD),
    });
    let spare = Evil::start(|_| Script::send(GOOD));
    let gateway = Gateway::start(&format!(
        "upstreams: {{ app: {{ servers: [\"{}\", {{ address: \"{}\", backup: true }}], passive_health: {{ failures: 1 }} }} }}\n\
         sites: [{{ hosts: [\"*\"], routes: [{{ proxy: {{ upstream: app }} }}] }}]\n",
        evil.address, spare.address
    ));
    for _ in 0..5 {
        assert_eq!(h1::get(gateway.public, "a", "/bad", &[]).reason(), "upstream_framing");
    }
    assert_eq!(h1::get(gateway.public, "a", "/good", &[]).text(), "good");
    assert_eq!(
        spare.connections(),
        0,
        "whoever can ask for a bad answer cannot take a server out"
    );
    let series = format!(
        "portcullis_upstream_server_failures_total{{kind=\"malformed\",server=\"{}\",upstream=\"app\"}}",
        evil.address
    );
    assert!((gateway.metric(&series) - 5.0).abs() < f64::EPSILON);
}
