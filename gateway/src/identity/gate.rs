//! Where requests ask for newer keys: any number may ask, one fetch answers them all, and within the cooldown after one nobody waits.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use portcullis_filters::verdict::Waiting;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// Between requests and the one task that fetches.
pub(super) struct Gate {
    state: Mutex<State>,
    /// Wakes the task.
    wanted: Notify,
    /// Fetches that have ended.
    ended: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// From when on a fetch may begin. `None` before the first: that one is on its way.
    open_from: Option<Instant>,
    /// A fetch is under way.
    busy: bool,
    /// One is asked for and has not begun.
    asked: bool,
    /// The task is gone.
    closed: bool,
}

impl Gate {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            wanted: Notify::new(),
            ended: watch::Sender::new(0),
        })
    }

    /// Asks for a fetch. Ready when one has ended, or at once when none may begin now.
    pub(super) fn ask(&self) -> Waiting {
        // In this order: a fetch that ends in between is then seen.
        let mut ended = self.ended.subscribe();
        let known = *ended.borrow_and_update();
        {
            let mut state = self.lock();
            let open = state.open_from.is_none_or(|from| Instant::now() >= from);
            if state.closed || !(state.busy || open) {
                return Box::pin(std::future::ready(()));
            }
            if !state.busy && !state.asked {
                state.asked = true;
                self.wanted.notify_one();
            }
        }
        Box::pin(async move {
            // An error means that nobody fetches any more.
            let _ = ended.wait_for(|now| *now != known).await;
        })
    }

    /// Waits until somebody asks.
    pub(super) async fn wanted(&self) {
        // A wake-up may be left over from somebody whose fetch another one has been since.
        while !self.lock().asked {
            self.wanted.notified().await;
        }
    }

    /// From when on a fetch may begin.
    pub(super) fn open_from(&self) -> Option<Instant> {
        self.lock().open_from
    }

    /// A fetch begins. It ends with the guard, and the cooldown is counted from its begin.
    pub(super) fn begin(self: &Arc<Self>, cooldown: Duration) -> Fetching {
        let mut state = self.lock();
        state.busy = true;
        state.asked = false;
        let now = Instant::now();
        state.open_from = Some(now.checked_add(cooldown).unwrap_or(now));
        drop(state);
        Fetching(Arc::clone(self))
    }

    /// The task ends, and with it the guard.
    pub(super) fn close_after(self: &Arc<Self>) -> Open {
        Open(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A fetch under way.
pub(super) struct Fetching(Arc<Gate>);

impl Drop for Fetching {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
    }
}

/// A task that fetches.
pub(super) struct Open(Arc<Gate>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.ended.send_modify(|ended| *ended = ended.wrapping_add(1));
    }
}
