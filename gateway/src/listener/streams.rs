//! The exchanges that one HTTP/2 connection has going, and how much of their answers is kept here because the client does not
//! take it.
//!
//! Pingora reads ahead of a client that does not read: up to a megabyte a stream, before it waits. So answers are read in small
//! pieces while a connection has much of them in it, measured by what the client takes. Exchanges whose answer has not begun
//! stand still while it has too much. They go on when that is taken, and end with the connection if it never is.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pingora_proxy::Session;
use tokio::sync::Notify;
use tokio::task;

use crate::upstream::Brake;

use super::connection::Connection;
use super::frames::Exchanges;
use super::serve::SEND_BUFFER;

/// Exchanges that may wait for their answers at once. Those beyond begin when the answer of another has, so that it shows
/// whether answers are taken; or one after the other in such steps, for answers may be a long time coming. While the client
/// leaves something lying the steps are so many times as long.
const AT_ONCE: u32 = 32;
const STEP: Duration = Duration::from_millis(5);
const CAUTION: u32 = 25;
/// Over which it is counted what a client takes.
const SPAN_NS: u64 = 2_000_000_000;
/// What part of that may wait, and how much at most: the systems on both sides take up to tens of megabytes for a client that
/// never reads.
const SHARE: u64 = 8;
const MOST_SHARE: u64 = 512 << 10;
/// What an exchange takes whose answer has begun, besides the answer.
const UPKEEP: u64 = 16 << 10;
/// From this part of what may be kept on it is looked at closely, and little is read ahead.
const MUCH: u64 = 4;

/// The exchanges of one HTTP/2 connection.
#[derive(Debug)]
pub(super) struct Streams {
    opened: Instant,
    /// Bytes of answers that may be kept of a client that takes nothing.
    most: u64,
    brake: Brake,
    running: AtomicU32,
    /// When the last one ended, in nanoseconds after `opened`.
    idle_since: AtomicU64,
    /// Bytes of answers that the HTTP/2 library had not taken when each exchange was asked last: more than there are.
    unsent: AtomicU64,
    /// Bytes of answers that came from upstream, without those that never will be sent, and bytes that were sent.
    handed: AtomicU64,
    sent: AtomicU64,
    /// What was sent since the time in `span_began` (nanoseconds after `opened`), and in the span before.
    in_span: AtomicU64,
    before_span: AtomicU64,
    span_began: AtomicU64,
    /// How many exchanges stand still.
    waiting: AtomicU32,
    /// Exchanges that have begun and whose answers have not.
    unanswered: AtomicU32,
    /// Exchanges that have not begun.
    queued: AtomicU32,
    /// One of the unanswered is none any more.
    turn: Notify,
    crowd: Mutex<Crowd>,
}

/// Only looked at while a connection has too much in it, and when an answer begins and ends.
#[derive(Debug, Default)]
struct Crowd {
    /// The tasks of exchanges whose answers have begun: only they can make room.
    answering: Vec<task::Id>,
    /// Those that stand still.
    waiting: Vec<Waker>,
}

impl Streams {
    pub(super) fn new(opened: Instant, most: u64) -> Self {
        Self {
            opened,
            most,
            brake: Brake::default(),
            running: AtomicU32::new(0),
            idle_since: AtomicU64::new(0),
            unsent: AtomicU64::new(0),
            handed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            in_span: AtomicU64::new(0),
            before_span: AtomicU64::new(0),
            span_began: AtomicU64::new(0),
            waiting: AtomicU32::new(0),
            unanswered: AtomicU32::new(0),
            queued: AtomicU32::new(0),
            turn: Notify::new(),
            crowd: Mutex::default(),
        }
    }

    /// What the watch over the connection wants to know.
    pub(super) fn exchanges(&self) -> Exchanges {
        let idle = self.running.load(Relaxed) == 0;
        Exchanges {
            idle_since: idle.then(|| self.opened + Duration::from_nanos(self.idle_since.load(Relaxed))),
            unsent: self.backlog() > 0,
        }
    }

    /// Bytes of answers that are kept here. What an exchange had at its last piece may long be sent, and what was lost with a stream
    /// never is: neither alone is right, and the lesser is at most a little too much.
    fn backlog(&self) -> u64 {
        let underway = self.handed.load(Relaxed).saturating_sub(self.sent.load(Relaxed));
        let buffered = u64::from(self.running.load(Relaxed)) * SEND_BUFFER as u64;
        underway.min(self.unsent.load(Relaxed).saturating_add(buffered))
    }

    /// Bytes that may be kept now: who takes much may have much waiting.
    fn room(&self) -> u64 {
        self.most.saturating_add((self.lately() / SHARE).min(MOST_SHARE))
    }

    /// Goes by what is kept.
    fn set_brake(&self) {
        self.brake.set(self.backlog() > self.room() / MUCH);
    }

    /// Whether as much is kept as may be.
    fn is_full(&self, answering: usize) -> bool {
        let backlog = self.backlog();
        backlog > 0 && backlog.saturating_add(UPKEEP * answering as u64) > self.room()
    }

    /// What those who read answers go by.
    pub(super) fn brake(&self) -> &Brake {
        &self.brake
    }

    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Bytes that the client took lately.
    fn lately(&self) -> u64 {
        match self.now().saturating_sub(self.span_began.load(Relaxed)) / SPAN_NS {
            0 => self
                .in_span
                .load(Relaxed)
                .saturating_add(self.before_span.load(Relaxed)),
            1 => self.in_span.load(Relaxed),
            _ => 0,
        }
    }

    /// Counts towards [`Self::lately`]. Only the connection's own task does.
    fn count_sent(&self, bytes: u64) {
        let now = self.now();
        let spans = now.saturating_sub(self.span_began.load(Relaxed)) / SPAN_NS;
        if spans > 0 {
            let before = self.in_span.swap(0, Relaxed);
            self.before_span.store(if spans == 1 { before } else { 0 }, Relaxed);
            self.span_began.store(now, Relaxed);
        }
        self.in_span.fetch_add(bytes, Relaxed);
    }

    /// So many bytes of answers went to the client.
    pub(super) fn sent(&self, bytes: u64) {
        if bytes > 0 {
            self.sent.fetch_add(bytes, Relaxed);
            self.count_sent(bytes);
            self.set_brake();
            if self.waiting.load(Relaxed) > 0 {
                self.go_on();
            }
        }
    }

    /// Runs an exchange, as long as no more bytes of answers are kept than may be or its own answer has begun. Until it begins
    /// there is nothing of it.
    pub(super) async fn run<T, E: Future<Output = T>>(&self, exchange: impl FnOnce() -> E) -> T {
        let _running = Running::new(self);
        let _begun = self.begin().await;
        let mut exchange = pin!(exchange());
        poll_fn(|cx| {
            if self.backlog() > self.most / MUCH && self.stands_still(cx) {
                return Poll::Pending;
            }
            exchange.as_mut().poll(cx)
        })
        .await
    }

    /// Waits until one more exchange may begin.
    async fn begin(&self) -> Begun<'_> {
        if let Some(begun) = self.try_begin() {
            return begun;
        }
        let queued = Queued::new(self);
        let mut steps = queued.place;
        let turn = async {
            loop {
                self.turn.notified().await;
                if let Some(begun) = self.try_begin() {
                    return begun;
                }
            }
        };
        let mut turn = pin!(turn);
        while steps > 0 {
            steps -= 1;
            let caution = if self.backlog() > 0 { CAUTION } else { 1 };
            if let Ok(begun) = tokio::time::timeout(STEP * caution, &mut turn).await {
                return begun;
            }
        }
        self.unanswered.fetch_add(1, Relaxed);
        Begun(self)
    }

    fn try_begin(&self) -> Option<Begun<'_>> {
        let room = |unanswered| (unanswered < AT_ONCE).then_some(unanswered + 1);
        self.unanswered.fetch_update(Relaxed, Relaxed, room).ok()?;
        Some(Begun(self))
    }

    /// One of the unanswered has its answer, or is over.
    fn answered(&self) {
        self.unanswered.fetch_sub(1, Relaxed);
        if self.queued.load(Relaxed) > 0 {
            self.turn.notify_one();
        }
    }

    fn stands_still(&self, cx: &Context<'_>) -> bool {
        let mut crowd = self.lock();
        // Looked at again under the lock, under which it is waited for too.
        if !self.is_full(crowd.answering.len()) || task::try_id().is_some_and(|id| crowd.answering.contains(&id)) {
            return false;
        }
        if !crowd.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            crowd.waiting.push(cx.waker().clone());
            self.waiting.fetch_add(1, Relaxed);
        }
        true
    }

    /// What is kept of one answer has changed.
    fn change(&self, before: u64, now: u64) {
        if now > before {
            self.unsent.fetch_add(now - before, Relaxed);
            return;
        }
        self.unsent.fetch_sub(before - now, Relaxed);
        if self.waiting.load(Relaxed) > 0 {
            self.go_on();
        }
    }

    /// Lets the exchanges that stand still look again.
    fn go_on(&self) {
        let mut crowd = self.lock();
        let waiting = std::mem::take(&mut crowd.waiting);
        self.waiting.store(0, Relaxed);
        drop(crowd);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, Crowd> {
        // Nothing can panic while the lock is held.
        self.crowd.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An exchange that runs.
struct Running<'a>(&'a Streams);

impl<'a> Running<'a> {
    fn new(streams: &'a Streams) -> Self {
        if streams.running.fetch_add(1, Relaxed) == 0 {
            // Nothing is underway. What was lost with a stream, if anything, is forgotten.
            streams.sent.store(streams.handed.load(Relaxed), Relaxed);
        }
        Self(streams)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.idle_since.fetch_max(self.0.now(), Relaxed);
        self.0.running.fetch_sub(1, Relaxed);
    }
}

/// An exchange that has not begun.
struct Queued<'a> {
    streams: &'a Streams,
    /// How many had not when it came, itself included.
    place: u32,
}

impl<'a> Queued<'a> {
    fn new(streams: &'a Streams) -> Self {
        let place = streams.queued.fetch_add(1, Relaxed) + 1;
        Self { streams, place }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.streams.queued.fetch_sub(1, Relaxed);
    }
}

/// An exchange that has begun. Counts as unanswered, except while its [`Delivery`] lasts.
struct Begun<'a>(&'a Streams);

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// The body of an answer over HTTP/2 on its way to the client. Dropping it says that the exchange is over.
#[derive(Debug)]
pub struct Delivery {
    connection: Arc<Connection>,
    task: Option<task::Id>,
    handed: u64,
    unsent: u64,
}

impl Delivery {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        let task = task::try_id();
        connection.streams().lock().answering.extend(task);
        connection.streams().answered();
        Self {
            connection,
            task,
            handed: 0,
            unsent: 0,
        }
    }

    /// A piece of so many bytes is about to be given to `session`. It must be taken at `limits.min_rate` at least.
    pub fn hand(&mut self, session: &mut Session, bytes: usize) {
        let downstream = session.as_downstream_mut();
        self.handed += bytes as u64;
        self.connection.streams().handed.fetch_add(bytes as u64, Relaxed);
        let unsent = self.handed.saturating_sub(downstream.body_bytes_sent() as u64);
        self.connection.streams().change(self.unsent, unsent);
        self.connection.streams().set_brake();
        self.unsent = unsent;
        let policy = self.connection.policy();
        let transfer = (bytes as u64).checked_div(u64::from(policy.min_rate)).unwrap_or(0);
        downstream.set_write_timeout(Some(policy.body_idle_timeout + Duration::from_secs(transfer)));
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        let streams = self.connection.streams();
        streams.unanswered.fetch_add(1, Relaxed);
        streams.lock().answering.retain(|id| Some(*id) != self.task);
        streams.handed.fetch_sub(self.unsent, Relaxed);
        streams.change(self.unsent, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// What `run` has done with an exchange that is ready at once.
    async fn runs(streams: &Streams) -> bool {
        let ran = AtomicBool::new(false);
        let exchange = || async { ran.store(true, Relaxed) };
        let _ = tokio::time::timeout(Duration::from_millis(200), streams.run(exchange)).await;
        ran.load(Relaxed)
    }

    #[tokio::test]
    async fn an_exchange_stands_still_while_too_much_waits() {
        let streams = Streams::new(Instant::now(), 1000);
        let first = Running::new(&streams);
        assert!(runs(&streams).await);
        streams.handed.store(2000, Relaxed);
        streams.change(0, 2000);
        assert!(!runs(&streams).await);
        assert!(streams.exchanges().unsent);
        streams.handed.store(1000, Relaxed);
        assert!(runs(&streams).await, "not too much");
        streams.handed.store(2000, Relaxed);
        streams.lock().answering.extend(task::try_id());
        drop(first);
        assert!(streams.exchanges().idle_since.is_some());
    }

    #[tokio::test]
    async fn it_goes_on_when_that_is_taken() {
        let streams = Streams::new(Instant::now(), 1000);
        let _first = Running::new(&streams);
        streams.handed.store(5000, Relaxed);
        streams.change(0, 5000);
        let (ran, ()) = tokio::join!(runs(&streams), async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            streams.sent(5000);
        });
        assert!(ran);
        assert!(
            !streams.exchanges().unsent,
            "what the exchange was asked for last is long sent"
        );
    }

    #[tokio::test]
    async fn who_takes_much_may_have_much_waiting() {
        let streams = Streams::new(Instant::now(), 1000);
        let _first = Running::new(&streams);
        streams.sent(80_000);
        streams.handed.store(90_000, Relaxed);
        streams.change(0, 10_000);
        assert_eq!(streams.lately(), 80_000);
        assert!(runs(&streams).await);
    }
}
