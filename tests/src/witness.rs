//! An origin that keeps every byte it is sent, reads it with the strict parser, and answers with what it understood, or
//! with whatever bytes a test wants. It decides nothing: what it saw is for the test to judge.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::strict::{self, Message, Parsed};

/// What the origin saw.
#[derive(Debug, Clone)]
pub enum Event {
    /// A whole request.
    Request(Message),
    /// A connection that ended within a request; its header, when that was whole.
    Partial(Option<Message>, Vec<u8>),
    /// Bytes that are no request.
    Wrong(String, Vec<u8>),
}

/// A piece of what it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A moment in which what is there already is sent and read.
    Pause,
    /// Waits for an answer, where one is expected.
    Wait,
    /// The connection's end.
    End,
}

/// A running origin.
pub struct Witness {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    events: Mutex<Vec<Event>>,
    script: Mutex<Option<Vec<Piece>>>,
    connections: Mutex<u64>,
}

/// How long a pause is.
pub const PAUSE: Duration = Duration::from_millis(20);

impl Witness {
    /// Starts it. It answers with what [`echo`] gives; `/early` as soon as the header is there.
    pub fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let address = listener.local_addr().expect("its address");
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                *state.connections.lock().expect("the count") += 1;
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    /// Takes what it saw since this was asked last.
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.state.events.lock().expect("the list"))
    }

    /// What it answers to `/x` from now on, in place of what it understood.
    pub fn answer(&self, script: Option<Vec<Piece>>) {
        *self.state.script.lock().expect("the script") = script;
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> u64 {
        *self.state.connections.lock().expect("the count")
    }
}

/// What it says to a request that it understood so.
pub fn echo(method: &str, target: &str, host: &str, body: usize) -> String {
    format!("{method} {target} {host} {body}")
}

/// What was done already for the request that is being read.
#[derive(Default)]
struct Done {
    continued: bool,
    answered: bool,
}

fn serve(mut stream: TcpStream, state: &State) {
    let _ = stream.set_nodelay(true);
    let saw = |event| state.events.lock().expect("the list").push(event);
    let (mut buffer, mut done) = (Vec::new(), Done::default());
    loop {
        match strict::request(&buffer) {
            Parsed::Whole(message, length) => {
                buffer.drain(..length);
                saw(Event::Request(message.clone()));
                if !done.answered && !reply(&mut stream, &message, state) {
                    return;
                }
                done = Done::default();
                continue;
            }
            Parsed::Partial(Some(head)) if !done.answered && head.target() == "/early" => {
                done.answered = true;
                reply(&mut stream, &head, state);
            }
            Parsed::Partial(Some(head)) if !done.continued && !head.all("expect").is_empty() => {
                done.continued = true;
                let _ = stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            Parsed::Partial(_) => {}
            Parsed::Wrong(what) => {
                saw(Event::Wrong(what, buffer));
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return;
            }
        }
        let mut chunk = [0; 16384];
        let read = stream.read(&mut chunk).unwrap_or_default();
        if read == 0 {
            if let (false, Parsed::Partial(head)) = (buffer.is_empty(), strict::request(&buffer)) {
                saw(Event::Partial(head, buffer));
            }
            return;
        }
        buffer.extend_from_slice(&chunk[..read]);
    }
}

/// Answers; whether the connection goes on.
fn reply(stream: &mut TcpStream, message: &Message, state: &State) -> bool {
    let script = state.script.lock().expect("the script").clone();
    if let Some(script) = script.filter(|_| message.target() == "/x") {
        return play(stream, &script);
    }
    let body = echo(message.method(), message.target(), &message.host(), message.body.len());
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
    let body = if message.method() == "HEAD" { "" } else { &body };
    stream.write_all(format!("{head}{body}").as_bytes()).is_ok()
}

fn play(stream: &mut TcpStream, script: &[Piece]) -> bool {
    for piece in script {
        match piece {
            Piece::Bytes(bytes) if stream.write_all(bytes).is_err() => return false,
            Piece::Bytes(_) => {}
            Piece::Pause | Piece::Wait => std::thread::sleep(PAUSE),
            Piece::End => {
                let _ = stream.shutdown(std::net::Shutdown::Write);
                // What is still unread would turn the end into a reset, which takes away what was sent.
                let _ = stream.set_read_timeout(Some(PAUSE * 5));
                while matches!(stream.read(&mut [0; 4096]), Ok(1..)) {}
                return false;
            }
        }
    }
    true
}
