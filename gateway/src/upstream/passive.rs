//! Passive health: what became of an attempt, and ejecting an address that failed too often in a row.
//! An answer ends the row, be it a 5xx: the server is there. The last address that is left is never ejected.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::clock::millis;
use super::endpoint::Endpoint;
use super::retry::Failure;
use super::server::Server;

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An answer below 500.
    Ok,
    /// No connection could be made.
    ConnectError,
    /// The connection broke before the answer was whole.
    Reset,
    /// No answer in time.
    Timeout,
    /// An answer of 500 or above.
    Status5xx,
    /// An answer that breaks the rules of HTTP.
    Malformed,
    /// The server said that it did not touch the request.
    Unprocessed,
}

impl Outcome {
    /// The outcome of an answer with this status.
    pub fn of_status(status: u16) -> Self {
        if status >= 500 { Self::Status5xx } else { Self::Ok }
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::ConnectError => Self::ConnectError,
            Failure::Reset => Self::Reset,
            Failure::Timeout => Self::Timeout,
            Failure::Unprocessed => Self::Unprocessed,
        }
    }
}

impl Server {
    pub(super) fn report(&self, endpoint: &Endpoint, outcome: Outcome) {
        let totals = &self.state.totals;
        match outcome {
            Outcome::Ok => return endpoint.record_answer(),
            Outcome::Status5xx => {
                count(&totals.status_5xx);
                return endpoint.record_answer();
            }
            // Whoever can make one server answer so can make them all: nobody is ejected for it.
            Outcome::Malformed => return count(&totals.malformed),
            Outcome::Unprocessed => return count(&totals.resets),
            Outcome::ConnectError => count(&totals.connect_errors),
            Outcome::Reset => count(&totals.resets),
            Outcome::Timeout => count(&totals.timeouts),
        }
        let row = endpoint.record_failure();
        if self.group.kinds.passive && row >= self.group.passive.failures {
            self.eject(endpoint);
        }
    }

    fn eject(&self, endpoint: &Endpoint) {
        let group = &self.group;
        let _one_at_a_time = group.shared.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        if endpoint.ejected_for_ms(&group.clock).is_some() || !self.another_is_available(endpoint) {
            return;
        }
        let eject_for = group.passive.eject_for.get();
        endpoint.eject(group.clock.now_ms().saturating_add(millis(eject_for)));
        count(&self.state.totals.ejections);
        tracing::warn!(
            upstream = %group.name,
            server = self.address(),
            address = %endpoint.address,
            failures = group.passive.failures,
            eject_for_ms = millis(eject_for),
            "server ejected"
        );
    }

    fn another_is_available(&self, endpoint: &Endpoint) -> bool {
        let group = &self.group;
        group.members.iter().any(|member| {
            let endpoints = member.endpoints.load();
            endpoints
                .iter()
                .any(|other| !std::ptr::eq(other.as_ref(), endpoint) && other.is_available(group.kinds, &group.clock))
        })
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
