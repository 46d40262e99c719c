//! What operators are told of the control plane: the status page's part, counters. Written by the client, read by the
//! admin listener; neither waits for the other.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::breaker::Link;
use super::call::Trouble;
use super::course::Call;
use crate::admin::wire::LastError;
use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::stamp::Stamp;

/// The control plane as the status page shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ControlPlaneStatus {
    /// Its base URL.
    pub url: String,
    /// The name of this gateway.
    pub edge_id: String,
    /// Whether calls are made.
    pub link: Link,
    /// Whether it knows this gateway.
    pub registered: bool,
    /// Whether calls work: there was one, and the breaker is closed.
    pub reachable: bool,
    /// When a call last worked.
    pub last_success_at: Option<Stamp>,
    /// The last call, where that failed.
    pub last_error: Option<LastError>,
    /// How far its clock is ahead of ours, in seconds, where that is more than 10 either way.
    pub clock_skew_seconds: Option<f64>,
}

/// What the client tells, and how it is asked to look for a bundle.
#[derive(Debug, Default)]
pub struct Shared {
    status: Mutex<Option<ControlPlaneStatus>>,
    good: [AtomicU64; Call::ALL.len()],
    bad: [AtomicU64; Call::ALL.len()],
    pull: Notify,
}

impl Shared {
    /// What the status page shows. `None`: there is no control plane.
    pub fn status(&self) -> Option<ControlPlaneStatus> {
        self.lock().clone()
    }

    /// Asks for a bundle soon.
    pub fn pull_soon(&self) {
        self.pull.notify_one();
    }

    /// Calls of a kind so far: those that worked, those that did not.
    pub fn calls(&self, call: Call) -> (u64, u64) {
        let of = |counts: &[AtomicU64]| {
            let counts = Call::ALL.iter().zip(counts);
            counts
                .filter(|(kind, _)| **kind == call)
                .map(|(_, count)| count.load(Relaxed))
                .sum()
        };
        (of(&self.good), of(&self.bad))
    }

    pub(super) async fn asked_to_pull(&self) {
        self.pull.notified().await;
    }

    /// There is no control plane, until one begins.
    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    /// There is this control plane now.
    pub(super) fn begin(&self, status: ControlPlaneStatus) {
        *self.lock() = Some(status);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut ControlPlaneStatus)) {
        if let Some(status) = self.lock().as_mut() {
            change(status);
        }
    }

    pub(super) fn succeeded(&self, call: Call) {
        Self::count(&self.good, call);
        self.update(|status| {
            status.last_success_at = Some(Stamp::now());
            status.last_error = None;
        });
    }

    pub(super) fn failed(&self, call: Call, trouble: &Trouble) {
        Self::count(&self.bad, call);
        self.update(|status| {
            status.last_error = Some(LastError {
                at: Stamp::now(),
                reason: trouble.reason.to_owned(),
                detail: format!("{}: {}", call.as_str(), trouble.detail),
            });
        });
    }

    fn count(counts: &[AtomicU64], call: Call) {
        for (kind, count) in Call::ALL.iter().zip(counts) {
            if *kind == call {
                count.fetch_add(1, Relaxed);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<ControlPlaneStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Collect for Shared {
    fn collect(&self, out: &mut Exposition) {
        let Some(status) = self.status() else { return };
        out.gauge_bool(
            "portcullis_control_plane_reachable",
            "1 while calls to the control plane work.",
            &[],
            status.reachable,
        );
        out.gauge(
            "portcullis_control_plane_clock_skew_seconds",
            "How far the control plane's clock is ahead, where that is more than 10 s either way; else 0.",
            &[],
            status.clock_skew_seconds.unwrap_or(0.0),
        );
        for call in Call::ALL {
            let (good, bad) = self.calls(call);
            for (result, count) in [("success", good), ("error", bad)] {
                let labels = [("operation", call.as_str()), ("status", result)];
                let help = "Calls to the control plane.";
                out.counter("portcullis_control_plane_calls_total", help, &labels, count);
            }
        }
    }
}
