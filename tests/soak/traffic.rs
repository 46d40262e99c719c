//! Clients that ask: as fast as they are answered (closed loop), or at a rate, whatever becomes of what they have asked
//! before (open loop).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::wire::{Message, Reader};

/// Longest that an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of requests.
#[derive(Default)]
pub(crate) struct Tally {
    /// Answers by status.
    pub(crate) statuses: BTreeMap<u16, u64>,
    /// Connections that failed or said nothing in time.
    pub(crate) failed: u64,
    /// Requests that were due while every connection was taken.
    pub(crate) unsent: u64,
    /// How long the answers with 200 took, from when they were due: answers a step of five hundredths.
    took: BTreeMap<u16, u64>,
}

/// Each step of the times is so much longer than the one before.
const STEP: f64 = 1.05;

impl Tally {
    fn answered(&mut self, status: u16, took: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        if status == 200 {
            *self.took.entry(step(took)).or_default() += 1;
        }
    }

    pub(crate) fn good(&self) -> u64 {
        self.statuses.get(&200).copied().unwrap_or(0)
    }

    /// How long at most this share of the good answers took, such as 0.99, to five hundredths.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
        let wanted = self.good() as f64 * share;
        let mut seen = 0;
        for (step, count) in &self.took {
            seen += count;
            #[expect(clippy::cast_precision_loss, reason = "a share of a count")]
            if seen as f64 >= wanted {
                return Duration::from_secs_f64(STEP.powi(i32::from(*step)) / 1e6);
            }
        }
        Duration::ZERO
    }
}

fn step(took: Duration) -> u16 {
    let steps = (took.as_secs_f64() * 1e6).max(1.0).log(STEP).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few hundred")]
    {
        steps as u16
    }
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
    reader: Reader,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            reader: Reader::default(),
        })
    }

    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Message> {
        self.stream.write_all(request).await?;
        self.reader.message(&mut self.stream).await
    }

    /// Sends something and does not wait for what comes of it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }
}

/// `clients` ask as fast as they are answered.
pub(crate) async fn closed_loop(address: SocketAddr, clients: usize, request: &'static [u8], lasts: Duration) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let until = Instant::now() + lasts;
    let set = LocalSet::new();
    for _ in 0..clients {
        let tally = Rc::clone(&tally);
        set.spawn_local(async move {
            while Instant::now() < until {
                let Ok(mut client) = Client::connect(address).await else {
                    tally.borrow_mut().failed += 1;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                };
                while Instant::now() < until {
                    let asked = Instant::now();
                    let Ok(answer) = client.ask(request).await else {
                        tally.borrow_mut().failed += 1;
                        break;
                    };
                    tally.borrow_mut().answered(answer.status, asked.elapsed());
                    if answer.closes {
                        break;
                    }
                }
            }
        });
    }
    set.await;
    take(&tally)
}

/// Asks `rate` times a second over at most `most` connections, which are opened when they are needed.
pub(crate) async fn open_loop(
    address: SocketAddr,
    rate: f64,
    most: usize,
    request: &'static [u8],
    lasts: Duration,
) -> Tally {
    let tally = Rc::new(RefCell::new(Tally::default()));
    let idle: Rc<RefCell<Vec<Client>>> = Rc::default();
    let busy = Rc::new(std::cell::Cell::new(0_usize));
    let set = LocalSet::new();
    let began = Instant::now();
    set.run_until(async {
        let mut sent = 0.0_f64;
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        while began.elapsed() < lasts {
            ticks.tick().await;
            let due = began.elapsed().as_secs_f64() * rate;
            while sent < due {
                sent += 1.0;
                if busy.get() >= most {
                    tally.borrow_mut().unsent += 1;
                    continue;
                }
                busy.set(busy.get() + 1);
                let (tally, idle, busy) = (Rc::clone(&tally), Rc::clone(&idle), Rc::clone(&busy));
                let asked = Instant::now();
                tokio::task::spawn_local(async move {
                    let kept = idle.borrow_mut().pop();
                    match tokio::time::timeout(PATIENCE, once(address, kept, request)).await {
                        Ok(Ok((client, answer))) => {
                            tally.borrow_mut().answered(answer.status, asked.elapsed());
                            if !answer.closes {
                                idle.borrow_mut().push(client);
                            }
                        }
                        Ok(Err(_)) | Err(_) => tally.borrow_mut().failed += 1,
                    }
                    busy.set(busy.get() - 1);
                });
            }
        }
        let patience = Instant::now() + PATIENCE;
        while busy.get() > 0 && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    drop(set);
    take(&tally)
}

async fn once(address: SocketAddr, kept: Option<Client>, request: &[u8]) -> io::Result<(Client, Message)> {
    let mut client = match kept {
        Some(client) => client,
        None => Client::connect(address).await?,
    };
    let answer = client.ask(request).await?;
    Ok((client, answer))
}

fn take(tally: &RefCell<Tally>) -> Tally {
    std::mem::take(&mut tally.borrow_mut())
}
