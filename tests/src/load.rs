//! Clients that ask again and again over connections that they keep, and remember every answer that is not as it must be.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::gateway::wait;
use crate::h1::{Answer, Connection};

/// Running clients.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    wrong: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Starts `clients` that send `request` until they are stopped. `judge` says what is wrong with an answer.
    pub fn start(
        address: SocketAddr,
        clients: usize,
        request: &str,
        judge: impl Fn(&Answer) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let load = Self {
            stop: Arc::default(),
            answered: Arc::default(),
            wrong: Arc::default(),
            clients: Vec::new(),
        };
        let judge = Arc::new(judge);
        let threads = (0..clients).map(|_| {
            let (stop, answered, wrong) = (
                Arc::clone(&load.stop),
                Arc::clone(&load.answered),
                Arc::clone(&load.wrong),
            );
            let (request, judge) = (request.to_owned(), Arc::clone(&judge));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Err(error) = keep_asking(address, &request, &*judge, &stop, &answered) {
                        wrong.lock().expect("the list").push(error);
                    }
                }
            })
        });
        let clients = threads.collect();
        Self { clients, ..load }
    }

    /// Two clients who must get 200, whatever happens meanwhile.
    pub fn of_200(address: SocketAddr) -> Self {
        Self::start(address, 2, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", |answer| {
            (answer.status != 200).then(|| format!("{} {}", answer.status, answer.text()))
        })
    }

    /// Runs on for some answers, and ends.
    #[track_caller]
    pub fn finish_later(self) {
        let until = self.answered() + 50;
        wait("answers", || self.answered() >= until);
        self.finish();
    }

    /// Requests answered so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    /// Stops the clients; gives the number of answers, and panics when one was missing or wrong.
    #[track_caller]
    pub fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.join().expect("a client");
        }
        let wrong = self.wrong.lock().expect("the list");
        let answered = self.answered.load(Ordering::Relaxed);
        assert!(
            wrong.is_empty(),
            "{} of {answered} requests failed, such as: {:?}",
            wrong.len(),
            wrong.iter().take(5).collect::<Vec<_>>()
        );
        answered
    }
}

/// One connection, until it is said to close.
fn keep_asking(
    address: SocketAddr,
    request: &str,
    judge: &dyn Fn(&Answer) -> Option<String>,
    stop: &AtomicBool,
    answered: &AtomicU64,
) -> Result<(), String> {
    let stream = std::net::TcpStream::connect(address).map_err(|error| format!("connect: {error}"))?;
    stream
        .set_read_timeout(Some(crate::gateway::PATIENCE))
        .map_err(|error| error.to_string())?;
    let mut connection = Connection::over(stream);
    while !stop.load(Ordering::Relaxed) {
        let answer = connection.ask(request).ok_or("no answer")?;
        answered.fetch_add(1, Ordering::Relaxed);
        if let Some(wrong) = judge(&answer) {
            return Err(wrong);
        }
        if answer
            .header("connection")
            .is_some_and(|value| value.eq_ignore_ascii_case("close"))
        {
            break;
        }
    }
    Ok(())
}
