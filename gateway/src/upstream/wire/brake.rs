//! How a client's connection tells those who read answers for it that it has enough of them. What is enough is decided there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Shared by a client's connection and the answers that are read for it.
#[derive(Debug, Clone, Default)]
pub struct Brake(Arc<AtomicBool>);

impl Brake {
    /// Little is to be read ahead from now on, or as much as there is.
    pub fn set(&self, on: bool) {
        if self.is_on() != on {
            self.0.store(on, Relaxed);
        }
    }

    /// Whether little is to be read ahead.
    pub fn is_on(&self) -> bool {
        self.0.load(Relaxed)
    }
}
