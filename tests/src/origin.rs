//! An origin that answers and remembers: every request that reaches it, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A request that reached the origin.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The request line and header, as they came.
    pub head: String,
    /// The body, chunks joined.
    pub body: Vec<u8>,
}

impl Seen {
    /// The request line's target.
    pub fn target(&self) -> &str {
        self.head.split(' ').nth(1).unwrap_or_default()
    }

    /// All values of a field.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        fields
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
            .collect()
    }
}

/// A running origin.
pub struct Origin {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    stopped: Arc<AtomicBool>,
}

impl Origin {
    /// Answers every request with 200 and `answer`.
    pub fn start(answer: &str) -> Self {
        let answer = answer.to_owned();
        Self::with(move |_| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{answer}", answer.len()).into_bytes())
    }

    /// Answers every request with the bytes that `respond` makes. Empty bytes close the connection.
    pub fn with(respond: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), respond)
    }

    /// The same, remembering nothing: for millions of requests.
    pub fn forgetful(respond: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(SocketAddr::from(([127, 0, 0, 1], 0)), respond, false)
    }

    /// The same at a given address, such as one that was free when the gateway was told of it.
    pub fn at(address: SocketAddr, respond: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::listen(address, respond, true)
    }

    fn listen(
        address: SocketAddr,
        respond: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static,
        remembers: bool,
    ) -> Self {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("its address");
        let (seen, stopped) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (shared, flag, respond) = (Arc::clone(&seen), Arc::clone(&stopped), Arc::new(respond));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if flag.load(Ordering::SeqCst) {
                    return;
                }
                let (seen, respond) = (Arc::clone(&shared), Arc::clone(&respond));
                std::thread::spawn(move || serve(stream, remembers.then_some(&*seen), &*respond));
            }
        });
        Self { address, seen, stopped }
    }

    /// Refuses connections from now on. Those that are open stay.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The listener looks at the flag when somebody comes, and is gone when nobody can come any more.
        while TcpStream::connect(self.address).is_ok() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// What reached it so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("the list").clone()
    }
}

fn serve(mut stream: TcpStream, seen: Option<&Mutex<Vec<Seen>>>, respond: &dyn Fn(&Seen) -> Vec<u8>) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer) {
        if let Some(seen) = seen {
            seen.lock().expect("the list").push(request.clone());
        }
        let answer = respond(&request);
        if answer.is_empty() || stream.write_all(&answer).is_err() || says_close(&answer) {
            return;
        }
    }
}

/// Whether an answer's header ends the connection.
fn says_close(answer: &[u8]) -> bool {
    let head = String::from_utf8_lossy(answer.get(..1024).unwrap_or(answer)).to_ascii_lowercase();
    let head = head.split("\r\n\r\n").next().unwrap_or_default();
    head.lines().any(|line| line == "connection: close")
}

/// Reads a request; `None` when there is none, or not all of it.
pub(crate) fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        fill(stream, buffer)?;
    };
    let head = String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
    let mut seen = Seen { head, body: Vec::new() };
    if seen
        .all("transfer-encoding")
        .iter()
        .any(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        loop {
            let line_end = loop {
                if let Some(end) = buffer.windows(2).position(|window| window == b"\r\n") {
                    break end;
                }
                fill(stream, buffer)?;
            };
            let line = String::from_utf8_lossy(&buffer[..line_end]).into_owned();
            let size = usize::from_str_radix(line.split(';').next()?.trim(), 16).ok()?;
            while buffer.len() < line_end + 2 + size + 2 {
                fill(stream, buffer)?;
            }
            seen.body.extend_from_slice(&buffer[line_end + 2..line_end + 2 + size]);
            buffer.drain(..line_end + 2 + size + 2);
            if size == 0 {
                return Some(seen);
            }
        }
    }
    let length = seen
        .all("content-length")
        .first()
        .and_then(|length| length.parse().ok())
        .unwrap_or(0);
    while buffer.len() < length {
        fill(stream, buffer)?;
    }
    seen.body = buffer.drain(..length).collect();
    Some(seen)
}

fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<()> {
    let mut chunk = [0; 16384];
    match stream.read(&mut chunk) {
        Ok(0) | Err(_) => None,
        Ok(count) => {
            buffer.extend_from_slice(&chunk[..count]);
            Some(())
        }
    }
}
