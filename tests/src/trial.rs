//! Runs a case against a proxy and judges what became of it: what the client was told, what the strict origin saw, and
//! whether a second client that comes right after gets exactly its own answer.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::corpus::portable::{Allowed, Case, Form, Kind};
use crate::h2raw::{self, Outcome};
use crate::proxies::{Proxy, Which};
use crate::strict::{self, Message, Parsed};
use crate::witness::{Event, PAUSE, Piece, Witness, echo};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long is waited where the end without an answer is allowed.
const SILENCE: Duration = Duration::from_millis(600);
/// How long nothing more must come before the client leaves.
const QUIET: Duration = Duration::from_millis(30);

/// A proxy with its origin, for one case after the other.
pub struct Lane {
    /// The proxy.
    pub proxy: Proxy,
    /// Behind it.
    pub witness: Witness,
    victims: u64,
}

/// What a client read.
#[derive(Debug, Default)]
pub struct Got {
    /// Answers, without interim ones.
    pub answers: Vec<Message>,
    /// What is left that is no whole answer.
    pub rest: Vec<u8>,
    /// Why that is none.
    pub wrong: Option<String>,
    /// Whether the connection has ended.
    pub ended: bool,
}

impl Lane {
    /// Starts both. `None`: the proxy is not installed.
    pub fn start(which: Which) -> Option<Self> {
        let witness = Witness::start();
        let proxy = Proxy::start(which, witness.address)?;
        let mut lane = Self {
            proxy,
            witness,
            victims: 0,
        };
        lane.second_client(None).expect("a sound proxy");
        lane.witness.take();
        Some(lane)
    }

    /// Runs a case; what is wrong with what came of it.
    pub fn run(&mut self, case: &Case) -> Result<(), String> {
        self.witness.take();
        let judged = match case.kind {
            Kind::Request => {
                let got = client(self.proxy.plain, &case.pieces, case.allowed.closed);
                let verdict = judge_request(case, &got, &self.witness.take());
                verdict.map_err(|what| format!("{what}; the client got {}", got.said()))
            }
            Kind::Response => {
                self.witness.answer(Some(case.pieces.clone()));
                let method = if case.allowed.head { "HEAD" } else { "GET" };
                let ask = format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes();
                let got = client(
                    self.proxy.plain,
                    &[Piece::Bytes(ask)],
                    case.allowed.closed || case.allowed.cut,
                );
                self.witness.answer(None);
                let asked = seen(&self.witness.take()).map(|_| ());
                let verdict = asked.and_then(|()| judge_response(&case.allowed, &got));
                verdict.map_err(|what| format!("{what}; the client got {}", got.said()))
            }
            Kind::Downgrade => self.downgrade(case),
        };
        // Twice, so that every connection of the pool is used.
        let sound = (0..2).try_for_each(|_| self.second_client(case.allowed.forwarded.as_ref()));
        judged.and(sound)
    }

    fn downgrade(&mut self, case: &Case) -> Result<(), String> {
        let stream = self.proxy.http2(PATIENCE).map_err(|error| error.to_string())?;
        let mut connection = h2raw::Connection::over(stream);
        for piece in &case.pieces {
            if let Piece::Bytes(bytes) = piece {
                connection.send(bytes);
            }
        }
        let outcome = connection.outcome(1);
        std::thread::sleep(QUIET);
        judge_downgrade(case, &outcome, &self.witness.take())
    }

    /// Another client asks, and must get exactly its own answer, from an origin that saw exactly its own request, and at
    /// most what may follow the case.
    fn second_client(&mut self, form: Option<&Form>) -> Result<(), String> {
        let others = self.second_client_among_others()?;
        let odd = others.iter().find(|event| match event {
            // The rest of a body that was answered early comes when it comes.
            Event::Request(seen) => seen.target() != "/early" && !form.is_some_and(|form| may_follow(form, seen)),
            Event::Partial(head, _) => head.is_none(),
            Event::Wrong(..) => true,
        });
        odd.map_or(Ok(()), |odd| Err(format!("with the second client came {}", told(odd))))
    }

    /// Another client asks, and must get exactly its own answer; gives what else the origin saw in the meantime.
    pub fn second_client_among_others(&mut self) -> Result<Vec<Event>, String> {
        self.victims += 1;
        let target = format!("/second/{}", self.victims);
        let ask = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes();
        let got = client(self.proxy.plain, &[Piece::Bytes(ask)], false);
        let answer = echo("GET", &target, "a", 0);
        let is_own = |message: &Message| message.status() == 200 && message.body == answer.as_bytes();
        if got.answers.len() != 1 || !is_own(&got.answers[0]) || !got.rest.is_empty() {
            return Err(format!("the second client got {}", got.said()));
        }
        let is_own =
            |event: &Event| matches!(event, Event::Request(seen) if seen.target() == target && seen.body.is_empty());
        let (own, others): (Vec<Event>, Vec<Event>) = self.witness.take().into_iter().partition(is_own);
        match own.len() {
            1 => Ok(others),
            count => Err(format!("the second client's request came {count} times")),
        }
    }
}

impl Got {
    /// What it got, in short.
    pub fn said(&self) -> String {
        let answers = self.answers.iter().map(|answer| {
            let body = String::from_utf8_lossy(&answer.body).into_owned();
            format!("{} {:?}", answer.status(), short(&body))
        });
        let mut said: Vec<String> = answers.collect();
        if !self.rest.is_empty() {
            let rest = self.rest.escape_ascii().to_string();
            let why = self.wrong.as_deref().unwrap_or("not whole");
            said.push(format!("({why}) {:?}", short(&rest)));
        }
        if said.is_empty() {
            said.push("nothing".into());
        }
        format!("{}{}", said.join(" | "), if self.ended { ", the end" } else { "" })
    }
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

/// An event, in short.
pub fn told(event: &Event) -> String {
    match event {
        Event::Request(seen) => format!(
            "{:?} host {:?} fields {:?} body {:?}",
            short(&seen.first),
            seen.host(),
            seen.fields
                .iter()
                .map(|(name, _)| name.as_str())
                .take(12)
                .collect::<Vec<_>>(),
            short(&seen.body.escape_ascii().to_string())
        ),
        Event::Partial(_, bytes) => format!("half of {:?}", short(&bytes.escape_ascii().to_string())),
        Event::Wrong(what, bytes) => format!(
            "{what} in {:?}",
            bytes.escape_ascii().to_string().chars().take(400).collect::<String>()
        ),
    }
}

/// Sends and reads until everything is said. `silent`: it may stay without an answer.
pub fn client(address: SocketAddr, pieces: &[Piece], silent: bool) -> Got {
    let Ok(mut stream) = TcpStream::connect(address) else {
        return Got::default();
    };
    let _ = stream.set_nodelay(true);
    let _ = stream.set_write_timeout(Some(PATIENCE));
    let head = matches!(pieces.first(), Some(Piece::Bytes(bytes)) if bytes.starts_with(b"HEAD "));
    let mut reader = Reader {
        head,
        ..Reader::default()
    };
    for piece in pieces {
        match piece {
            Piece::Bytes(bytes) => {
                let _ = stream.write_all(bytes);
            }
            Piece::Wait => reader.read(&mut stream, Duration::from_millis(150)),
            Piece::Pause => std::thread::sleep(PAUSE),
            Piece::End => {
                let _ = stream.shutdown(Shutdown::Write);
            }
        }
    }
    let patience = if silent { SILENCE } else { PATIENCE };
    reader.until_answered(&mut stream, patience);
    if reader.got.answers.is_empty() {
        // Who has nothing more to say gets what is left to get.
        let _ = stream.shutdown(Shutdown::Write);
        reader.until_answered(&mut stream, Duration::from_secs(2));
    }
    reader.got
}

/// Reads answers from a connection.
#[derive(Default)]
struct Reader {
    head: bool,
    got: Got,
}

impl Reader {
    fn until_answered(&mut self, stream: &mut TcpStream, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let settled = !self.got.answers.is_empty() && self.got.rest.is_empty();
            let before = self.got.rest.len() + self.got.answers.len();
            self.read(stream, if settled { QUIET } else { Duration::from_millis(100) });
            let quiet = before == self.got.rest.len() + self.got.answers.len();
            if self.got.ended || self.got.wrong.is_some() || (settled && quiet) || Instant::now() > deadline {
                return;
            }
        }
    }

    fn read(&mut self, stream: &mut TcpStream, patience: Duration) {
        if self.got.ended {
            return;
        }
        let _ = stream.set_read_timeout(Some(patience));
        let mut chunk = [0; 16384];
        match stream.read(&mut chunk) {
            Ok(0) => self.got.ended = true,
            Ok(read) => self.got.rest.extend_from_slice(&chunk[..read]),
            Err(error) if is_timeout(&error) => {}
            Err(_) => self.got.ended = true,
        }
        self.parse();
    }

    fn parse(&mut self) {
        while !self.got.rest.is_empty() {
            let head = self.head && self.got.answers.is_empty();
            match strict::response(&self.got.rest, head, self.got.ended) {
                Parsed::Whole(message, length) => {
                    self.got.rest.drain(..length);
                    if message.status() >= 200 || message.status() == 101 {
                        self.got.answers.push(message);
                    }
                }
                Parsed::Partial(_) => return,
                Parsed::Wrong(what) => {
                    self.got.wrong = Some(what);
                    return;
                }
            }
        }
    }
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut | std::io::ErrorKind::Interrupted
    )
}

/// Sorts what the origin saw; an error when some of it is no canonical request.
fn seen(events: &[Event]) -> Result<Vec<&Message>, String> {
    let mut whole = Vec::new();
    for event in events {
        match event {
            Event::Request(message) => whole.push(message),
            // The connection ended within a body: nobody takes that for a request.
            Event::Partial(Some(_), _) => {}
            Event::Partial(None, _) | Event::Wrong(..) => return Err(format!("the origin got {}", told(event))),
        }
    }
    Ok(whole)
}

fn judge_request(case: &Case, got: &Got, events: &[Event]) -> Result<(), String> {
    if let Some(wrong) = &got.wrong {
        return Err(format!("an answer that is none: {wrong}"));
    }
    let whole = seen(events)?;
    let allowed = &case.allowed;
    let status = got.answers.first().map_or(0, Message::status);
    let form = allowed.forwarded.clone().unwrap_or_default();
    if form.early && status == 200 {
        return follows(&form, whole.get(1..).unwrap_or_default());
    }
    if whole.is_empty() {
        return refused(allowed, status, got.answers.len());
    }
    if allowed.forwarded.is_none() {
        return Err(format!("answered with {status}, and forwarded: {}", list(&whole)));
    }
    let first = whole[0];
    matches(&form, first)?;
    let own = echo(first.method(), first.target(), &first.host(), first.body.len());
    let answer = got.answers.first().ok_or("forwarded without an answer")?;
    if answer.status() != 200 || !(first.method() == "HEAD" || answer.body == own.as_bytes()) {
        return Err(format!("forwarded, and answered with {status}"));
    }
    follows(&form, whole.get(1..).unwrap_or_default())
}

/// Nothing whole has reached the origin.
fn refused(allowed: &Allowed, status: u16, answers: usize) -> Result<(), String> {
    if status == 0 {
        let text = "no answer, and nothing forwarded";
        return if allowed.closed { Ok(()) } else { Err(text.into()) };
    }
    if !allowed.statuses.contains(&status) {
        return Err(format!("answered with {status} and not {:?}", allowed.statuses));
    }
    if answers > 1 && [400, 501].contains(&status) {
        return Err(format!("answered with {status}, and went on"));
    }
    Ok(())
}

/// Whether what was forwarded is what should be.
fn matches(form: &Form, seen: &Message) -> Result<(), String> {
    let target = form.target == "*" || form.target == seen.target();
    if seen.method() != form.first || !target {
        return Err(format!("forwarded as {:?}", seen.first));
    }
    if form.host.as_ref().is_some_and(|host| *host != seen.host()) {
        return Err(format!("forwarded to the host {:?}", seen.host()));
    }
    if !form.early && seen.body != form.body {
        return Err(format!(
            "forwarded with the body {:?}",
            short(&seen.body.escape_ascii().to_string())
        ));
    }
    has_fields(form, seen)
}

fn has_fields(form: &Form, seen: &Message) -> Result<(), String> {
    let of = |name: &String| {
        let trailing = seen.trailers.iter().any(|(known, _)| known == name);
        trailing || !seen.all(name).is_empty()
    };
    if let Some(name) = form.absent.iter().find(|name| of(name)) {
        return Err(format!("forwarded with {name}"));
    }
    let lacks = form
        .present
        .iter()
        .find(|(name, value)| seen.all(name) != [value.clone()]);
    lacks.map_or(Ok(()), |(name, _)| {
        Err(format!("forwarded with {name}: {:?}", seen.all(name)))
    })
}

/// Whether what reached the origin behind the first may be there.
fn follows(form: &Form, rest: &[&Message]) -> Result<(), String> {
    match rest {
        [] => Ok(()),
        [one] if may_follow(form, one) => Ok(()),
        _ => Err(format!("forwarded more than was asked: {}", list(rest))),
    }
}

fn may_follow(form: &Form, seen: &Message) -> bool {
    let behind = form.behind.as_ref();
    let is_behind = behind.is_some_and(|(target, host)| (target.as_str(), host) == (seen.target(), &seen.host()));
    is_behind || (form.piped && seen.target() == "/smuggled")
}

fn list(seen: &[&Message]) -> String {
    seen.iter()
        .map(|seen| format!("{:?}", short(&seen.first)))
        .collect::<Vec<_>>()
        .join(", ")
}

fn judge_response(allowed: &Allowed, got: &Got) -> Result<(), String> {
    if let Some(wrong) = &got.wrong {
        // A body that is cut is noticed: it does not end as it should.
        return if allowed.cut && strict_head(&got.rest) {
            Ok(())
        } else {
            Err(format!("an answer that is none: {wrong}"))
        };
    }
    let status = got.answers.first().map_or(0, Message::status);
    if got.answers.len() > 1 {
        return Err("answers that nobody asked for".into());
    }
    if status == 0 {
        let cut = !got.rest.is_empty() && got.ended;
        return match (cut, got.rest.is_empty() && got.ended) {
            (true, _) if allowed.cut => Ok(()),
            // An end without an answer is as good as a 502: the client takes nothing for an answer.
            (_, true) if allowed.closed || allowed.cut || allowed.statuses.contains(&502) => Ok(()),
            (true, _) => Err("cut short".into()),
            (_, true) => Err("no answer".into()),
            _ => Err("no end".into()),
        };
    }
    if !got.rest.is_empty() {
        return Err("bytes behind the answer".into());
    }
    let answer = &got.answers[0];
    if allowed.statuses.contains(&status) && !(200..300).contains(&status) {
        return Ok(());
    }
    let Some(form) = &allowed.forwarded else {
        return Err(format!("passed on with {status}"));
    };
    let wanted = form.first.parse().unwrap_or(200);
    if status != wanted || answer.body != form.body {
        return Err(format!(
            "passed on with {status} and {:?}",
            short(&answer.body.escape_ascii().to_string())
        ));
    }
    has_fields(form, answer)
}

fn strict_head(bytes: &[u8]) -> bool {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    end.is_some_and(|end| !matches!(strict::response(&bytes[..end + 4], false, false), Parsed::Wrong(_)))
}

fn judge_downgrade(case: &Case, outcome: &Outcome, events: &[Event]) -> Result<(), String> {
    let whole = seen(events)?;
    let allowed = &case.allowed;
    let status = outcome.status();
    if whole.is_empty() {
        return refused(allowed, status, 1);
    }
    let Some(form) = &allowed.forwarded else {
        return Err(format!("answered with {status}, and forwarded: {}", list(&whole)));
    };
    let first = whole[0];
    matches(form, first)?;
    follows(form, whole.get(1..).unwrap_or_default())?;
    let own = echo(first.method(), first.target(), &first.host(), first.body.len());
    match outcome {
        Outcome::Answer(200, body) if *body == own.as_bytes() => Ok(()),
        Outcome::Answer(..) => Err(format!("forwarded, and answered with {status}")),
        Outcome::Refused if allowed.closed => Ok(()),
        Outcome::Refused => Err("forwarded, and reset".into()),
    }
}
