//! What operators are told of the control plane: the status page's part, counters. Written by the client, read by the
//! admin listener; neither waits for the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::breaker::Link;
use super::call::{Caller, Trouble};
use super::client::Settings;
use super::course::Call;
use super::events::Reporter;
use super::token::Tokens;
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
    /// What became of events.
    #[serde(default)]
    pub events: EventsStatus,
}

/// Events as the status page shows them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventsStatus {
    /// Batches that wait on the disk.
    pub batches_waiting: u64,
    /// Events that the control plane took.
    pub sent: u64,
    /// Events that it refused for good.
    pub refused: u64,
    /// Events that were lost because there were too many, or because the disk failed.
    pub lost: u64,
}

/// What the client tells, and how it is asked to look for a bundle.
#[derive(Debug, Default)]
pub struct Shared {
    status: Mutex<Option<ControlPlaneStatus>>,
    good: [AtomicU64; Call::ALL.len()],
    bad: [AtomicU64; Call::ALL.len()],
    pull: Notify,
    events: Reporter,
    /// What the client goes by, until the process ends.
    active: Mutex<Option<Settings>>,
    /// Whether the start of the process was told.
    started: AtomicBool,
}

impl Shared {
    /// What the status page shows. `None`: there is no control plane.
    pub fn status(&self) -> Option<ControlPlaneStatus> {
        let mut status = self.lock().clone()?;
        let [sent, refused, lost] = self.events.counts();
        status.events = EventsStatus {
            batches_waiting: self.events.waiting() as u64,
            sent,
            refused,
            lost,
        };
        Some(status)
    }

    /// Where events are gathered.
    pub fn events(&self) -> &Reporter {
        &self.events
    }

    /// Seals what is left, and sends what it can within `patience`. Not from within a tokio runtime.
    pub fn finish(&self, patience: Duration) {
        let Some(settings) = self.active().clone() else { return };
        self.events.gateway("stopping");
        self.seal();
        *self.active() = None;
        let connected = self
            .status()
            .is_some_and(|status| status.registered && status.link == Link::Connected);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if let (true, Ok(runtime)) = (connected, runtime) {
            let before = self.events.counts();
            // What was not sent is on the disk, and the next process sends it.
            let _ = runtime.block_on(async { tokio::time::timeout(patience, send_all(&settings, &self.events)).await });
            let [sent, ..] = self.events.counts();
            tracing::info!(
                events = sent - before[0],
                waiting = self.events.waiting(),
                "last events sent"
            );
        }
    }

    /// Seals what was gathered. This is I/O.
    pub(super) fn seal(&self) {
        let active = self.active();
        let Some(settings) = active.as_ref() else { return };
        let skew = self.lock().as_ref().and_then(|status| status.clock_skew_seconds);
        if let Err(error) = self.events.seal(&settings.written.edge_id, skew) {
            tracing::error!(%error, "events for the control plane could not be kept");
        }
    }

    /// Tells the start of this process, once.
    pub(super) fn started(&self) {
        if !self.started.swap(true, Relaxed) {
            self.events.gateway("started");
        }
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
        *self.active() = None;
        *self.lock() = None;
        self.events.end();
    }

    /// There is this control plane now.
    pub(super) fn begin(&self, settings: Settings, status: ControlPlaneStatus) {
        *self.active() = Some(settings);
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

    fn active(&self) -> MutexGuard<'_, Option<Settings>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Option<ControlPlaneStatus>> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends batch after batch until one cannot be sent.
async fn send_all(settings: &Settings, events: &Reporter) {
    let caller = Caller::new(&settings.written, settings.max_bundle);
    let Ok(tokens) = Tokens::read(&settings.written.token) else {
        return;
    };
    while let Some(sealed) = events.first() {
        let Ok(taken) = caller.post_batch(&tokens, sealed.clone()).await else {
            return;
        };
        events.done(&sealed, taken);
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
        let help = "Batches of events that wait to be sent to the control plane.";
        let waiting = status.events.batches_waiting;
        out.gauge_u64("portcullis_control_plane_batches_waiting", help, &[], waiting);
        let EventsStatus {
            sent, refused, lost, ..
        } = status.events;
        for (result, count) in [("success", sent), ("refused", refused), ("lost", lost)] {
            let help = "Events for the control plane, by what became of them.";
            out.counter(
                "portcullis_control_plane_events_total",
                help,
                &[("status", result)],
                count,
            );
        }
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
