//! An origin that answers with whatever bytes a test wants, well-formed or not, and remembers which connection each request
//! came on. It reads requests as far as it must and judges nothing.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What is sent for one request.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pieces: Vec<Vec<u8>>,
    closes: bool,
}

impl Script {
    /// These bytes at once; the connection stays open.
    pub fn send(bytes: impl AsRef<[u8]>) -> Self {
        Self {
            pieces: vec![bytes.as_ref().to_vec()],
            closes: false,
        }
    }

    /// Then these, a moment later.
    #[must_use]
    pub fn then(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.pieces.push(bytes.as_ref().to_vec());
        self
    }

    /// Then the connection is closed.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.closes = true;
        self
    }
}

/// Between two pieces: long enough that they are read apart.
const PAUSE: Duration = Duration::from_millis(60);

/// A running origin.
pub struct Evil {
    /// Where it listens.
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
    connections: Arc<AtomicUsize>,
}

impl Evil {
    /// Answers each request by what `answer` says for its target.
    pub fn start(answer: impl Fn(&str) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let evil = Self {
            address: listener.local_addr().expect("its address"),
            seen: Arc::default(),
            connections: Arc::default(),
        };
        let (seen, connections, answer) = (Arc::clone(&evil.seen), Arc::clone(&evil.connections), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let number = connections.fetch_add(1, Ordering::SeqCst);
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream, number, &seen, &*answer));
            }
        });
        evil
    }

    /// The number of the connection that each request for this target came on.
    pub fn connections_of(&self, target: &str) -> Vec<usize> {
        let seen = self.seen.lock().expect("the list");
        seen.iter()
            .filter(|(_, seen)| seen == target)
            .map(|(number, _)| *number)
            .collect()
    }

    /// How many connections were opened.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(mut stream: TcpStream, number: usize, seen: &Mutex<Vec<(usize, String)>>, answer: &dyn Fn(&str) -> Script) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = buffer.windows(4).position(|window: &[u8]| window == b"\r\n\r\n") {
                break end + 4;
            }
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            }
        };
        let head = String::from_utf8_lossy(&buffer.drain(..end).collect::<Vec<u8>>()).into_owned();
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().expect("the list").push((number, target.clone()));
        let script = answer(&target);
        for (place, piece) in script.pieces.iter().enumerate() {
            if place > 0 {
                std::thread::sleep(PAUSE);
            }
            if stream.write_all(piece).is_err() {
                return;
            }
        }
        if script.closes {
            return;
        }
    }
}
