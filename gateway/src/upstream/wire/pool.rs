//! Idle connections to one address of one upstream. Nobody else's requests use them: not those of another upstream that names
//! the same server, nor of one with other CAs, certificates or names.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pingora_error::Result;

use super::dial::{Dialer, Wire, is_quiet};

/// Idle connections that are kept for one address: as many as a burst of slow answers leaves, so that the next one does not
/// open them all again.
const MAX_IDLE: usize = 1024;

/// The way to one address.
#[derive(Debug)]
pub(in crate::upstream) struct Line {
    dialer: Arc<Dialer>,
    address: SocketAddr,
    idle: Mutex<VecDeque<Parked>>,
}

#[derive(Debug)]
struct Parked {
    wire: Box<Wire>,
    until: Instant,
}

impl Line {
    pub(in crate::upstream) fn new(dialer: Arc<Dialer>, address: SocketAddr) -> Self {
        Self {
            dialer,
            address,
            idle: Mutex::default(),
        }
    }

    /// A connection, and whether it was used before.
    pub(super) async fn connection(&self) -> Result<(Box<Wire>, bool)> {
        match self.take() {
            Some(wire) => Ok((wire, true)),
            None => Ok((self.dialer.dial(self.address).await?, false)),
        }
    }

    /// The idle connection that was used last, if it is still good.
    fn take(&self) -> Option<Box<Wire>> {
        loop {
            // Nothing is read or closed under the lock.
            let Parked { mut wire, until } = self.idle().pop_back()?;
            if until > Instant::now() && is_quiet(&mut wire.io) {
                return Some(wire);
            }
        }
    }

    /// Keeps a connection whose last answer is whole.
    pub(in crate::upstream) fn park(&self, wire: Box<Wire>, idle_for: Duration) {
        let Some(until) = Instant::now().checked_add(idle_for) else {
            return;
        };
        let mut idle = self.idle();
        let pushed_out = if idle.len() < MAX_IDLE { None } else { idle.pop_front() };
        idle.push_back(Parked { wire, until });
        drop(idle);
        drop(pushed_out);
    }

    /// Closes what has been idle for too long or was closed by the server.
    pub(in crate::upstream) fn sweep(&self) {
        // Out of the pool while they are looked at: a request that comes now opens one more.
        let parked = std::mem::take(&mut *self.idle());
        let now = Instant::now();
        let kept: VecDeque<_> = parked
            .into_iter()
            .filter_map(|mut parked| (parked.until > now && is_quiet(&mut parked.wire.io)).then_some(parked))
            .collect();
        let mut idle = self.idle();
        for parked in kept.into_iter().rev() {
            if idle.len() < MAX_IDLE {
                idle.push_front(parked);
            }
        }
    }

    /// How many are idle.
    pub(in crate::upstream) fn idle_connections(&self) -> usize {
        self.idle().len()
    }

    fn idle(&self) -> MutexGuard<'_, VecDeque<Parked>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
