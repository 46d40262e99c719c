//! Lines on their way to a file or to standard output: a bounded queue and one thread that writes. Whoever has a line never waits: when
//! the queue is full, or the disk is, lines are dropped and counted.

mod output;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use output::{Output, Target};

use crate::telemetry::exposition::{Collect, Exposition};

/// Longest line. A longer one is dropped and counted.
pub const LONGEST_LINE: usize = 64 << 10;
/// Bytes that may wait, for each line of the queue.
const BYTES_A_LINE: usize = 2 << 10;

/// What happened to lines. It outlives the queues that count in it.
#[derive(Debug)]
pub struct LineCounters {
    /// The value of the label `log`.
    name: &'static str,
    written: AtomicU64,
    dropped: AtomicU64,
    errors: AtomicU64,
}

impl LineCounters {
    /// Counters under a name.
    pub fn new(name: &'static str) -> Arc<Self> {
        Arc::new(Self {
            name,
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            errors: AtomicU64::new(0),
        })
    }

    /// Lines that were written.
    pub fn written(&self) -> u64 {
        self.written.load(Relaxed)
    }

    /// Lines that were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Writes that failed; they are tried again.
    pub fn errors(&self) -> u64 {
        self.errors.load(Relaxed)
    }

    fn drop_lines(&self, n: u64) {
        self.dropped.fetch_add(n, Relaxed);
    }
}

impl Collect for LineCounters {
    fn collect(&self, out: &mut Exposition) {
        let log = [("log", self.name)];
        out.counter("portcullis_log_lines_total", "Log lines written.", &log, self.written());
        let help = "Log lines dropped because the queue was full.";
        out.counter("portcullis_log_dropped_lines_total", help, &log, self.dropped());
        let help = "Writes of log lines that failed. They are tried again.";
        out.counter("portcullis_log_write_errors_total", help, &log, self.errors());
    }
}

/// The way to the writing thread. Cheap to clone; the thread ends when the last is gone and its lines are written.
#[derive(Debug, Clone)]
pub struct Lines {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Look at the orders.
    Wake,
}

#[derive(Debug)]
enum Order {
    Reopen(Output),
    /// Write everything that came before, then say whether that worked.
    Flush(SyncSender<bool>),
}

/// Most orders that wait.
const MOST_ORDERS: usize = 16;

#[derive(Debug)]
struct Shared {
    counters: Arc<LineCounters>,
    /// Bytes in the queue.
    bytes: AtomicUsize,
    most_bytes: usize,
    orders: Mutex<VecDeque<Order>>,
    ordered: AtomicBool,
}

impl Lines {
    /// Starts the thread. `capacity` lines may wait (at least one).
    pub fn start(output: Output, capacity: u32, counters: Arc<LineCounters>) -> io::Result<Self> {
        let capacity = usize::try_from(capacity.max(1)).unwrap_or(usize::MAX);
        let (sender, receiver) = sync_channel(capacity);
        let shared = Arc::new(Shared {
            counters,
            bytes: AtomicUsize::new(0),
            most_bytes: capacity.saturating_mul(BYTES_A_LINE).max(LONGEST_LINE),
            orders: Mutex::default(),
            ordered: AtomicBool::new(false),
        });
        let writer = writer::Writer::new(receiver, capacity, output, Arc::clone(&shared));
        let name = format!("{}-log", shared.counters.name);
        std::thread::Builder::new().name(name).spawn(move || writer.run())?;
        Ok(Self { sender, shared })
    }

    /// Hands a line over, its line feed included. False when it was dropped.
    pub fn send(&self, line: &[u8]) -> bool {
        let shared = &self.shared;
        let before = shared.bytes.fetch_add(line.len(), Relaxed);
        let fits = line.len() <= LONGEST_LINE && before.saturating_add(line.len()) <= shared.most_bytes;
        let sent = fits && self.sender.try_send(Message::Line(line.into())).is_ok();
        if !sent {
            shared.bytes.fetch_sub(line.len(), Relaxed);
            shared.counters.drop_lines(1);
        }
        sent
    }

    /// Writes to this from now on. What is in the queue goes there too.
    pub fn reopen(&self, output: Output) {
        self.order(Order::Reopen(output));
    }

    /// Waits until everything that was sent before is written. False when that failed or took too long.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        self.order(Order::Flush(done));
        wait.recv_timeout(patience).unwrap_or(false)
    }

    fn order(&self, order: Order) {
        {
            let mut orders = self.shared.orders.lock().unwrap_or_else(PoisonError::into_inner);
            if orders.len() >= MOST_ORDERS {
                orders.pop_front();
            }
            orders.push_back(order);
        }
        self.shared.ordered.store(true, Relaxed);
        // A full queue needs no waking: the thread looks at the orders after each batch.
        match self.sender.try_send(Message::Wake) {
            Ok(()) | Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Shared {
    fn take_orders(&self) -> VecDeque<Order> {
        if !self.ordered.swap(false, Relaxed) {
            return VecDeque::new();
        }
        std::mem::take(&mut *self.orders.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
