//! How whoever reads an answer learns, also while it waits, that nobody wants the rest. Who decides that is not known here.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Context;

use futures_util::task::AtomicWaker;

/// Shared by an exchange and the stream that its answer is read from.
#[derive(Debug, Default)]
pub(super) struct HangUp {
    due: AtomicBool,
    reader: AtomicWaker,
}

impl HangUp {
    /// The rest is not wanted.
    pub(super) fn now(&self) {
        self.due.store(true, Relaxed);
        self.reader.wake();
    }

    /// Whether that was said. If not, who asks is woken when it is.
    pub(super) fn is_due(&self, cx: &mut Context<'_>) -> bool {
        // Register first, look after: what is said in between is seen.
        self.reader.register(cx.waker());
        self.due.load(Relaxed)
    }
}
