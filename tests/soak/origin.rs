//! A cheap origin: answers every request with the same bytes, on a thread of its own. It can be made slow, and be given
//! a number of requests that it works on at once, as a real one has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::wire::Reader;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 14\r\n\r\nHello, world!\n";

/// How an origin behaves.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// How long a request takes.
    pub(crate) takes: Duration,
    /// How many are worked on at once; 0: all.
    pub(crate) slots: usize,
}

/// Starts one; it runs as long as the process.
pub(crate) fn start(manner: Manner) -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket that does not block");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        crate::runtime().block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the listener");
            let slots = Arc::new(Semaphore::new(match manner.slots {
                0 => Semaphore::MAX_PERMITS,
                slots => slots,
            }));
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, manner.takes, Arc::clone(&slots)));
            }
        });
    });
    address
}

async fn serve(mut stream: TcpStream, takes: Duration, slots: Arc<Semaphore>) {
    let _ = stream.set_nodelay(true);
    let mut reader = Reader::default();
    while reader.message(&mut stream).await.is_ok() {
        if !takes.is_zero() {
            let _slot = slots.acquire().await;
            tokio::time::sleep(takes).await;
        }
        if stream.write_all(ANSWER).await.is_err() {
            return;
        }
    }
}
