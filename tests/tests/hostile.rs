//! No way of asking reaches the upstream without the route's filters. Hundreds of odd requests are sent, each with a good
//! one behind it in the same packet and another client's right after it; then everything that the origin saw is held
//! against the receipts in the access log, and must have come in one canonical form.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::corpus::{self, Case};
use portcullis_e2e::fortress::Fortress;
use portcullis_e2e::h1::{self, Answer, Connection};
use portcullis_e2e::h2raw::{self, END_HEADERS, END_STREAM, Kind, Outcome, block, frame};

/// Sends every case and judges all of them. `ends`: a refusal that leaves the end of a request in doubt ends the connection.
fn run(fortress: &Fortress, cases: &[Case], ends: bool) {
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Err(what) = send(fortress, number, case, ends) {
            wrong.push(format!("{}: {what}", case.name));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    nothing_got_through(fortress, cases.len());
}

/// Everything that reached the origin had its receipt, and the gateway is as sound as before.
fn nothing_got_through(fortress: &Fortress, cases: usize) {
    let reached = fortress.judge();
    assert!(reached > cases, "all the other clients' requests reached the origin");
    let smuggled = fortress
        .origin
        .seen()
        .into_iter()
        .find(|seen| seen.target().contains("smuggled"));
    assert!(smuggled.is_none(), "{smuggled:?}");
    fortress.assert_sound();
}

fn send(fortress: &Fortress, number: usize, case: &Case, ends: bool) -> Result<(), String> {
    let public = fortress.gateway.public;
    let follow = format!("/public/follow-{number}");
    let behind = format!("GET {follow} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let mut connection = Connection::open(public);
    connection.send([&case.bytes[..], behind.as_bytes()].concat());
    let mut answers = Vec::new();
    while let Some(answer) = connection.read(answers.is_empty() && case.bytes.starts_with(b"HEAD ")) {
        answers.push(answer);
    }
    let victim = format!("/public/victim-{number}");
    let answer = h1::get(public, "a", &victim, &[]);
    if (answer.status, answer.text().as_str()) != (200, &victim) {
        return Err(format!("another client got {}: {}", answer.status, answer.text()));
    }
    let status = answers.first().map_or(0, |answer| answer.status);
    let said = || answers.iter().map(said).collect::<Vec<_>>().join(" | ");
    if !case.statuses.contains(&status) {
        return Err(format!("{status} and not {:?}: {}", case.statuses, said()));
    }
    let reason = answers.first().map(Answer::reason).unwrap_or_default();
    let in_doubt = [400, 501].contains(&status) && !reason.starts_with("path_") && reason != "target_form";
    if ends && in_doubt && answers.len() > 1 {
        return Err(format!("the connection went on: {}", said()));
    }
    let odd = answers.iter().skip(1).find(|answer| {
        let served = answer.status == 200 && answer.text() == follow;
        // What was meant to be smuggled may be taken for what it is, and refused.
        !served && answer.reason() != "token_missing"
    });
    odd.map_or(Ok(()), |_| Err(format!("odd answers behind it: {}", said())))
}

fn said(answer: &Answer) -> String {
    format!("{} {}", answer.status, answer.text().trim())
}

#[test]
fn upgrades_run_the_filters() {
    let fortress = Fortress::start("");
    run(&fortress, &corpus::upgrades(&fortress.bearer), false);
}

#[test]
fn no_field_can_be_nominated_away_from_the_filters() {
    let fortress = Fortress::start("");
    run(&fortress, &corpus::connections(&fortress.bearer), false);
}

#[test]
fn there_is_one_host() {
    run(&Fortress::start(""), &corpus::hosts(), false);
}

#[test]
fn a_path_is_one_path_to_everybody() {
    run(&Fortress::start(""), &corpus::paths(), false);
}

#[test]
fn a_target_is_a_path_or_names_the_same_host() {
    run(&Fortress::start(""), &corpus::targets(), false);
}

#[test]
fn a_request_ends_where_everybody_sees_its_end() {
    run(&Fortress::start(""), &corpus::framings(), true);
}

#[test]
fn a_line_is_a_line() {
    run(&Fortress::start(""), &corpus::lines(), true);
}

#[test]
fn http2_is_no_way_around() {
    let fortress = Fortress::start("");
    let cases = corpus::http2::requests(&fortress.bearer);
    let mut wrong = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let mut connection = h2raw::Connection::open(fortress.gateway.public);
        connection.send(&case.frames);
        let outcome = connection.outcome(1);
        if !case.statuses.contains(&outcome.status()) {
            wrong.push(format!("{}: {outcome:?} and not {:?}", case.name, case.statuses));
        }
        // Another stream of the connection, and another client.
        let follow = format!("/public/follow-{number}");
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":path", &follow),
            (":authority", "a"),
        ];
        connection.send(&frame(Kind::Headers, END_STREAM | END_HEADERS, 3, &block(&fields)));
        let next = connection.outcome(3);
        if ![Outcome::Answer(200, follow.into_bytes()), Outcome::Refused].contains(&next) {
            wrong.push(format!("{}: the next stream got {next:?}", case.name));
        }
        let victim = format!("/public/victim-{number}");
        let answer = h1::get(fortress.gateway.public, "a", &victim, &[]);
        if (answer.status, answer.text()) != (200, victim) {
            wrong.push(format!("{}: another client got {}", case.name, said(&answer)));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {}:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    nothing_got_through(&fortress, cases.len());
    let cookies = fortress
        .origin
        .seen()
        .into_iter()
        .find(|seen| seen.all("cookie").len() == 1 && seen.all("cookie")[0].contains(';'));
    assert_eq!(cookies.expect("crumbs, joined").all("cookie"), ["a=b; c=d; e=f"]);
}

#[test]
fn what_is_pipelined_behind_a_refusal_is_judged_by_itself() {
    let fortress = Fortress::start("");
    let bearer = &fortress.bearer;
    let (open, body) = (
        "GET /public/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /admin/smuggled HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let closed = "GET /admin/x HTTP/1.1\r\nHost: a\r\n\r\n";
    let good = format!("GET /admin/y HTTP/1.1\r\nHost: a\r\nAuthorization: {bearer}\r\n\r\n");
    let post = format!(
        "POST /admin/x HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let chunked = format!(
        "POST /admin/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    let nowhere = "GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n";
    let odd = "GET /public/%2f HTTP/1.1\r\nHost: a\r\n\r\n";
    let all = [
        (closed, 401),
        (open, 200),
        (&post, 401),
        (open, 200),
        (&good, 200),
        (&chunked, 401),
        (closed, 401),
        (&good, 200),
        (nowhere, 404),
        (odd, 400),
        (open, 200),
    ];
    let mut connection = None;
    for (index, (request, status)) in all.iter().enumerate() {
        let connection_now = connection.get_or_insert_with(|| {
            let mut connection = Connection::open(fortress.gateway.public);
            let rest = all.get(index..).unwrap_or_default();
            connection.send(rest.iter().map(|(request, _)| *request).collect::<String>());
            connection
        });
        let answer = connection_now
            .read(false)
            .unwrap_or_else(|| panic!("no answer to {index}: {request:?}"));
        assert_eq!(answer.status, *status, "{index}: {request:?}");
        // An answer before the body was read ends the connection, and nothing behind it is read.
        if answer.header("connection") == Some("close") {
            assert!(request.starts_with("POST"), "{index}: {request:?}");
            assert!(connection_now.is_closed(), "{index}: {request:?}");
            connection = None;
        }
    }
    nothing_got_through(&fortress, 5);
}

#[test]
fn the_judge_of_these_tests_sees_what_goes_around_the_gateway() {
    let fortress = Fortress::start("");
    fortress.judge();
    h1::get(fortress.origin.address, "a", "/admin/x", &[("x-user", "alice")]);
    let judged = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fortress.judge()));
    assert!(judged.is_err());
}

/// What requests are made worse with.
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
    b"\x0b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"#",
    b"?",
    b"%2e",
    b"%2f",
    b"%00",
    b"/../",
    b"//",
    b"..;",
    b"admin",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"Content-Length: 5\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ",
    b"chunked",
    b"identity",
    b"Host: private.test\r\n",
    b"Connection: ",
    b"Connection: x-user\r\n",
    b"Upgrade: websocket\r\n",
    b"Expect: 100-continue\r\n",
    b"X-User: root\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"ffffffffffffffff",
    b"GET /admin/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET http://private.test/ HTTP/1.1\r\nHost: a\r\n\r\n",
];

/// Numbers that are the same in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).expect("31 bits") % bound
    }
}

/// A request, made worse in one to four places.
fn mutated(bases: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = bases[chance.below(bases.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len() + 1);
        let end = (at + chance.below(12)).min(bytes.len());
        let worse = WORSE[chance.below(WORSE.len())].to_vec();
        match chance.below(5) {
            0 => drop(bytes.splice(at..at, worse)),
            1 => drop(bytes.splice(at..end, worse)),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
    }
    bytes
}

#[test]
fn requests_that_are_made_worse_at_random_are_refused_or_come_out_canonical() {
    const EACH: usize = 700;
    let fortress = Fortress::start("");
    let corpus = [corpus::framings(), corpus::lines(), corpus::hosts(), corpus::targets()];
    let bases: Vec<Vec<u8>> = corpus
        .into_iter()
        .flatten()
        .map(|case| case.bytes)
        .filter(|bytes| bytes.len() < 1000)
        .collect();
    std::thread::scope(|scope| {
        for seed in 1..=4 {
            let (fortress, bases) = (&fortress, &bases);
            scope.spawn(move || {
                let mut chance = Chance(seed);
                for _ in 0..EACH {
                    let mut connection = Connection::open(fortress.gateway.public);
                    let _ = connection
                        .stream()
                        .set_read_timeout(Some(std::time::Duration::from_millis(100)));
                    connection.send(mutated(bases, &mut chance));
                    while connection.read(false).is_some() {}
                }
            });
        }
    });
    fortress.judge();
    fortress.assert_sound();
}
