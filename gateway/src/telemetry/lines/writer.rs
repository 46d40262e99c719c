//! The thread that writes lines: in batches, again and again while the disk refuses, never half a line twice.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvError, SyncSender, TryRecvError};
use std::thread::sleep;
use std::time::Duration;

use super::{Message, Order, Output, Shared};

/// A batch is written when it is this large or nothing more waits.
const BATCH: usize = 64 << 10;
/// How long lines are gathered before they are written: otherwise each line would be a system call, and the worker that has it would have to
/// wake the thread. Only for a queue that can hold what comes meanwhile.
const GATHER: Duration = Duration::from_millis(5);
const GATHER_FROM: usize = 1024;
/// After a failed write: the first pause, doubled up to the longest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The thread's state.
pub(super) struct Writer {
    receiver: Receiver<Message>,
    output: Output,
    shared: Arc<Shared>,
    gather: bool,
    batch: Vec<u8>,
    lines: u64,
    /// Nobody can send lines any more.
    orphaned: bool,
    /// Those who wait for a flush that is under way.
    flushing: Vec<SyncSender<bool>>,
}

impl Writer {
    pub(super) fn new(receiver: Receiver<Message>, capacity: usize, output: Output, shared: Arc<Shared>) -> Self {
        Self {
            gather: capacity >= GATHER_FROM,
            receiver,
            output,
            shared,
            batch: Vec::with_capacity(BATCH),
            lines: 0,
            orphaned: false,
            flushing: Vec::new(),
        }
    }

    pub(super) fn run(mut self) {
        while !self.orphaned {
            match self.receiver.recv() {
                Ok(message) => self.take(message),
                Err(RecvError) => self.orphaned = true,
            }
            if self.gather && !self.shared.ordered.load(Relaxed) && !self.orphaned {
                sleep(GATHER);
            }
            self.obey();
            self.fill();
            self.write();
            self.obey();
        }
    }

    fn take(&mut self, message: Message) {
        if let Message::Line(line) = message {
            self.shared.bytes.fetch_sub(line.len(), Relaxed);
            self.batch.extend_from_slice(&line);
            self.lines += 1;
        }
    }

    /// Takes what waits, up to a batch or an order. True when the queue was emptied.
    fn fill(&mut self) -> bool {
        while self.batch.len() < BATCH {
            match self.receiver.try_recv() {
                Ok(Message::Wake) => return false,
                Ok(message) => self.take(message),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    self.orphaned = true;
                    return true;
                }
            }
        }
        false
    }

    /// Carries out orders that wait.
    fn obey(&mut self) {
        self.note_orders();
        while !self.flushing.is_empty() {
            let empty = self.fill();
            self.write();
            if empty {
                self.flushed(true);
            }
        }
    }

    /// True when there is another output now.
    fn note_orders(&mut self) -> bool {
        let mut reopened = false;
        for order in self.shared.take_orders() {
            match order {
                Order::Reopen(output) => {
                    self.output = output;
                    reopened = true;
                }
                Order::Flush(done) => self.flushing.push(done),
            }
        }
        reopened
    }

    fn flushed(&mut self, worked: bool) {
        for done in self.flushing.drain(..) {
            // Who waited may have lost patience.
            let _ = done.try_send(worked);
        }
    }

    /// Writes the batch, however often that takes.
    fn write(&mut self) {
        let mut pause = SHORTEST_PAUSE;
        let mut from = 0;
        while let Some(rest) = self.batch.get(from..).filter(|rest| !rest.is_empty()) {
            let failure = match self.output.write(rest) {
                Ok(0) => ErrorKind::WriteZero,
                Ok(written) => {
                    from += written;
                    pause = SHORTEST_PAUSE;
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => error.kind(),
            };
            if failure != ErrorKind::WouldBlock {
                self.shared.counters.errors.fetch_add(1, Relaxed);
            }
            self.flushed(false);
            if self.orphaned || Arc::strong_count(&self.shared) == 1 {
                self.orphaned = true;
                self.give_up(from);
                return;
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
            if self.note_orders() {
                from = line_start(&self.batch, from);
            }
        }
        self.shared.counters.written.fetch_add(self.lines, Relaxed);
        self.batch.clear();
        self.lines = 0;
    }

    /// Nobody is left to read an answer, and the output fails: the rest is lost, and counted.
    fn give_up(&mut self, from: usize) {
        let lost = memchr::memchr_iter(b'\n', self.batch.get(from..).unwrap_or_default()).count() as u64;
        let counters = &self.shared.counters;
        counters.drop_lines(lost);
        counters.written.fetch_add(self.lines.saturating_sub(lost), Relaxed);
        let waiting: VecDeque<Message> = self.receiver.try_iter().collect();
        counters.drop_lines(
            waiting
                .iter()
                .filter(|message| matches!(message, Message::Line(_)))
                .count() as u64,
        );
        self.batch.clear();
        self.lines = 0;
    }
}

/// Where the line begins that the byte at `place` is in.
fn line_start(batch: &[u8], place: usize) -> usize {
    let before = batch.get(..place).unwrap_or_default();
    before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
}
