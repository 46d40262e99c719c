//! The end of a chunked HTTP/1 body, left unread on purpose.
//!
//! Pingora sends a body up while it reads it, and not one that it has read to its end. Who wants to see all of a body first, and
//! cannot know from its length which piece is the last, leaves the end where it is: the guarded stream keeps the last byte and
//! says so here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::connection::Connection;

const PASSED_ON: u8 = 0;
const LEFT: u8 = 1;
const CAME: u8 = 2;

/// What becomes of the end of a connection's current body.
#[derive(Debug, Default)]
pub(super) struct BodyEnd(AtomicU8);

impl BodyEnd {
    /// Whether it is to be left unread.
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Relaxed) != PASSED_ON
    }

    /// It is there, and all data before it was passed on.
    pub(super) fn came(&self) {
        self.0.store(CAME, Relaxed);
    }
}

/// The end of a body, left unread. Dropping it lets it be read.
#[derive(Debug)]
pub struct LeftEnd(Arc<Connection>);

impl LeftEnd {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        connection.body_end().0.store(LEFT, Relaxed);
        Self(connection)
    }

    /// Whether all data was read and the end is there. It changes only while somebody reads.
    pub fn is_here(&self) -> bool {
        self.0.body_end().0.load(Relaxed) == CAME
    }
}

impl Drop for LeftEnd {
    fn drop(&mut self) {
        self.0.body_end().0.store(PASSED_ON, Relaxed);
    }
}
