//! The running gateway: the snapshot that new requests take, the counters of what is going on, and (in the folder) the
//! cold path that makes the next snapshot. Start is a reload from nothing.
//!
//! [`bundle`] verifies bundles, [`load`] loads, [`settle`] swaps, [`rollout`] tries bundles on a part of the requests, [`note`] says how that went, [`kill`] sets and clears switches, [`kill_state`] keeps
//! them, [`kill_document`] fetches them, [`tasks`] watches and refreshes, [`control`] answers the admin listener, [`counters`] keeps
//! counters over restarts,
//! [`state`] says how state is kept, [`control_plane`] keeps the control plane's client, [`observers`] and [`metrics`] tell.

mod api_keys;
mod aside;
mod audit;
pub mod bundle;
mod config_source;
pub mod control;
mod control_plane;
mod counters;
mod first;
pub mod kill;
pub mod kill_document;
pub mod kill_state;
pub mod load;
pub mod metrics;
pub mod note;
pub mod observers;
pub mod record;
pub mod report;
mod retired;
mod rollout;
mod secrets;
mod settle;
mod state;
pub mod takeover;
pub mod tasks;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_filters::client::Now;
use tokio::sync::watch;

use crate::control_plane as control_plane_client;
use crate::debug::Sessions;
use crate::edge::EdgeMode;
use crate::identity::{ApiKeys, Identity};
use crate::listener::{EdgeShared, ListenerHandles};
use crate::overload::Pressure;
use crate::recorder::Recorder;
use crate::session::UserSessions;
use crate::snapshot::Snapshot;
use crate::state::{StateFolder, seal_for_next};
use crate::telemetry::stamp::Stamp;

use self::aside::aside;
pub use self::config_source::ConfigSource;
use self::kill_state::KillState;
use self::load::Cold;
use self::observers::Observers;
use self::report::Report;
use self::retired::Retired;
use self::rollout::Rollouts;

/// Largest hand-over of counters to a new process.
const MAX_COUNTER_BYTES: usize = 256 << 20;

/// Longest that the end of the process waits for the control plane to take the last events.
const PATIENCE: Duration = Duration::from_secs(2);

/// Settings that only the start of a process reads.
struct Startup {
    admin: portcullis_config::gateway::Admin,
    runtime: portcullis_config::gateway::Runtime,
}

/// The running gateway.
pub struct Live {
    /// Where the configuration is written.
    source: ConfigSource,
    /// What is different where this process stands in for another gateway.
    stand_in: Option<EdgeMode>,
    /// Who is told how requests are decided.
    debug: Sessions,
    current: ArcSwap<Snapshot>,
    retired: Retired<Snapshot>,
    /// Told of every new snapshot.
    published: watch::Sender<()>,
    in_flight: AtomicU64,
    served: AtomicU64,
    draining: AtomicBool,
    started: Stamp,
    /// What only the start reads.
    startup: Startup,
    /// Whether another process takes over.
    handed_over: watch::Sender<bool>,
    /// Writes of the counters to the state folder: one at a time.
    counters_saved: Mutex<counters::Saved>,
    edge: Arc<EdgeShared>,
    listeners: Arc<ListenerHandles>,
    observers: Observers,
    identity: Identity,
    sessions: UserSessions,
    control_plane: Arc<control_plane_client::Shared>,
    /// What operators are told of the last loads.
    report: Mutex<Report>,
    /// One load at a time.
    cold: tokio::sync::Mutex<Cold>,
    /// Kill switches beside the bundle. Never held while something is waited for: a load that takes long holds up none.
    kill: Mutex<Option<KillState>>,
    /// Where requests are recorded.
    recorder: ArcSwapOption<Recorder>,
    /// What survives a restart.
    state: ArcSwapOption<StateFolder>,
    /// API keys, where a route asks for them.
    api_keys: ArcSwapOption<ApiKeys>,
    /// Bundles on trial.
    rollouts: Rollouts,
    /// How often switches were set and cleared.
    kill_changes: audit::Changes,
    /// One swap of the snapshot at a time: each is made of parts of the one before.
    swap: Mutex<()>,
}

impl Live {
    /// What is different where this process stands in for another gateway.
    pub fn edge_mode(&self) -> Option<&EdgeMode> {
        self.stand_in.as_ref()
    }

    /// What is told of the control plane.
    pub fn control_plane(&self) -> &control_plane_client::Shared {
        &self.control_plane
    }

    /// Who is told how requests are decided.
    pub fn debug(&self) -> &Sessions {
        &self.debug
    }

    /// The snapshot that a request arriving now takes.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// A request has begun.
    pub fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// A request has ended.
    pub fn leave(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Requests that are being served.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Requests that have ended since the start.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// Open client connections.
    pub fn connections(&self) -> u64 {
        u64::from(self.edge.admission.open())
    }

    /// Seconds that an idle connection is kept; `None` while draining: the next answer closes it.
    pub fn keepalive(&self) -> Option<u64> {
        if self.is_draining() || self.edge.overload.memory.pressure() > Pressure::None {
            return None;
        }
        Some(
            self.current
                .load()
                .gateway
                .config
                .limits
                .keepalive_timeout
                .get()
                .as_secs()
                .max(1),
        )
    }

    /// No new traffic is wanted.
    pub fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether no new traffic is wanted.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Another process takes over: it wants the admin address now.
    pub fn hand_over(&self) {
        self.begin_draining();
        self.handed_over.send_replace(true);
        // What the other process is told from now on, it writes itself.
        if let Some(keys) = self.api_keys.load_full() {
            aside(|| keys.release());
        }
    }

    /// Ends when another process takes over.
    pub async fn until_handed_over(&self) {
        let mut handed_over = self.handed_over.subscribe();
        // An error would mean that the sender is gone, and it is ours.
        let _ = handed_over.wait_for(|over| *over).await;
    }

    /// Puts a snapshot into force that is made of the one before.
    fn put(&self, make: impl FnOnce(&Snapshot) -> Snapshot) {
        {
            let _one = self.swap.lock().unwrap_or_else(PoisonError::into_inner);
            let snapshot = make(&self.current.load());
            self.retired.hold(self.current.swap(Arc::new(snapshot)));
        }
        self.published.send_replace(());
    }

    fn kill(&self) -> std::sync::MutexGuard<'_, Option<KillState>> {
        self.kill.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What survives a restart, where the configuration says where.
    pub fn state_folder(&self) -> Option<Arc<StateFolder>> {
        self.state.load_full()
    }

    /// What all listeners share.
    pub fn edge(&self) -> &Arc<EdgeShared> {
        &self.edge
    }

    /// The listeners' certificates and settings.
    pub fn listeners(&self) -> &Arc<ListenerHandles> {
        &self.listeners
    }

    /// Logs, metrics, traces.
    pub fn observers(&self) -> &Observers {
        &self.observers
    }

    /// Writes what the next process needs to go on counting where this one stops.
    pub fn export_counters(&self, path: &Path) -> std::io::Result<usize> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let bytes = self.snapshot().gateway.zones.export(now(), MAX_COUNTER_BYTES);
        let sealed = seal_for_next(self.state_folder().as_deref(), bytes);
        let bytes = sealed.map_err(std::io::Error::other)?;
        let new = path.with_extension("counters.new");
        let _ = std::fs::remove_file(&new);
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(&bytes)?;
        std::fs::rename(&new, path)?;
        Ok(bytes.len())
    }

    /// How often the counters were written to the state folder.
    pub fn counters_saved(&self) -> u64 {
        self.saved().count
    }

    /// Writes out what is still waiting to be written.
    pub fn finish(&self) {
        self.save_counters();
        self.write_record();
        self.write_used();
        self.control_plane.finish(PATIENCE);
        self.observers.finish();
    }

    fn report(&self) -> std::sync::MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The time: a clock that never goes back and is the same for every process of this boot, and the wall clock.
pub fn now() -> Now {
    now_at(Instant::now())
}

/// The same, for a moment that was read just now.
pub fn now_at(moment: Instant) -> Now {
    /// One moment in both forms: what the standard library hides, asked for once.
    static ORIGIN: LazyLock<(Instant, u64)> = LazyLock::new(|| {
        let monotonic = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(monotonic.tv_sec).unwrap_or(0);
        let nanoseconds = u64::try_from(monotonic.tv_nsec).unwrap_or(0);
        (
            Instant::now(),
            seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds),
        )
    });
    let (origin, origin_ns) = *ORIGIN;
    let since = u64::try_from(moment.saturating_duration_since(origin).as_nanos()).unwrap_or(u64::MAX);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now {
        monotonic_ns: origin_ns.saturating_add(since),
        unix_ms: u64::try_from(unix.as_millis()).unwrap_or(u64::MAX),
    }
}
