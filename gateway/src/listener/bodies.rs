//! Request bodies of an HTTP/2 connection that are waited for.
//!
//! The stream of bytes does not show which of them is a body whose end is awaited and which is one side of a
//! conversation, and Pingora sets no time for either. So the request phases say it, and the guarded stream keeps the
//! time. HTTP/1 needs none of this: there, who reads wants the body.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::connection::Connection;
use super::events::Cut;
use super::pace::Pace;
use super::watch::body_cut;

/// The bodies that are watched on one connection: no more than it has streams.
#[derive(Debug, Default)]
pub(super) struct Bodies(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    next_id: u64,
    paces: Vec<(u64, Pace)>,
}

impl Bodies {
    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Nothing can panic while the lock is held.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a body from now on; gives the id of its watch.
    pub(super) fn add(&self, mut pace: Pace, now: Instant) -> u64 {
        pace.wait(now);
        let mut watched = self.lock();
        let id = watched.next_id;
        watched.next_id += 1;
        watched.paces.push((id, pace));
        id
    }

    fn received(&self, id: u64, bytes: u64, now: Instant) -> Result<(), Cut> {
        let mut watched = self.lock();
        let Some((_, pace)) = watched.paces.iter_mut().find(|(other, _)| *other == id) else {
            return Ok(());
        };
        pace.moved(bytes, now).map_err(body_cut)?;
        pace.wait(now);
        Ok(())
    }

    fn remove(&self, id: u64) {
        self.lock().paces.retain(|(other, _)| *other != id);
    }

    /// When to [`Self::check`] next, if ever.
    pub(super) fn wait(&self, now: Instant) -> Option<Instant> {
        self.lock().paces.iter_mut().map(|(_, pace)| pace.wait(now)).min()
    }

    /// Whether one of them is too slow.
    pub(super) fn check(&self, now: Instant) -> Result<(), Cut> {
        self.lock()
            .paces
            .iter_mut()
            .try_for_each(|(_, pace)| pace.check(now).map_err(body_cut))
    }
}

/// A request body that is waited for. Dropping it ends the watch.
#[derive(Debug)]
pub struct BodyWatch {
    connection: Arc<Connection>,
    id: u64,
}

impl BodyWatch {
    pub(super) fn new(connection: Arc<Connection>, id: u64) -> Self {
        Self { connection, id }
    }

    /// `bytes` of the body came. A body slower than `limits.min_rate` ends its connection.
    pub fn received(&self, bytes: usize) {
        if let Err(cut) = self.connection.bodies().received(self.id, bytes as u64, Instant::now()) {
            self.connection.end(cut);
        }
    }
}

impl Drop for BodyWatch {
    fn drop(&mut self) {
        self.connection.bodies().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_slowest_counts_and_the_finished_do_not() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let pace = || Pace::new(Duration::from_secs(20), 256);
        let bodies = Bodies::default();
        assert_eq!(bodies.wait(at(0)), None);
        let first = bodies.add(pace(), at(0));
        let second = bodies.add(pace(), at(5));
        assert_eq!(bodies.wait(at(5)), Some(at(20)));
        assert_eq!(bodies.received(first, 6000, at(15)), Ok(()));
        assert_eq!(bodies.check(at(20)), Ok(()), "enough for its window");
        assert_eq!(bodies.check(at(25)), Err(Cut::BodyIdle), "the second has sent nothing");
        bodies.remove(second);
        assert_eq!(bodies.check(at(25)), Ok(()));
        assert_eq!(bodies.received(first, 1, at(34)), Ok(()));
        assert_eq!(bodies.received(first, 1, at(41)), Err(Cut::BodyRate));
        bodies.remove(first);
        assert_eq!(bodies.wait(at(50)), None);
    }
}
