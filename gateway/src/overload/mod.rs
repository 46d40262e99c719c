//! What keeps the gateway and its upstreams answering when more is asked than there is: how many requests may wait for an
//! upstream ([`gradient`], [`limiter`]), how long work may wait for a worker ([`lag`]), how much memory may be used
//! ([`memory`]), how much of it by bodies that are held back ([`held`]). Who is refused is decided here; who tells the client
//! is not known here.

pub mod gradient;
pub mod held;
pub mod lag;
pub mod limiter;
pub mod memory;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis_config::gateway::Config;
use portcullis_config::site::Priority;

pub use self::held::{HeldBodies, Room};
pub use self::lag::Lag;
pub use self::limiter::{Limiter, Slot};
pub use self::memory::{Memory, Meter, Pressure};

/// Delays that are measured apart. A gateway has at most 30 listeners.
const LISTENERS: usize = 32;

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// Work waits too long for a worker.
    Lag,
    /// Memory is low.
    Memory,
}

impl Shed {
    /// The reason code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lag => crate::problem::OVERLOADED,
            Self::Memory => "memory_low",
        }
    }
}

/// The gateway's own load. Outlives configurations.
#[derive(Debug)]
pub struct Overload {
    lags: [Arc<Lag>; LISTENERS],
    /// The memory.
    pub memory: Memory,
    /// Request bodies that are held back.
    pub held: Arc<HeldBodies>,
    most_lag_ms: AtomicU64,
    has_critical: AtomicBool,
    shed_for_lag: AtomicU64,
    shed_for_memory: AtomicU64,
}

impl Default for Overload {
    fn default() -> Self {
        Self {
            lags: std::array::from_fn(|_| Arc::default()),
            memory: Memory::default(),
            held: Arc::default(),
            most_lag_ms: AtomicU64::new(0),
            has_critical: AtomicBool::new(false),
            shed_for_lag: AtomicU64::new(0),
            shed_for_memory: AtomicU64::new(0),
        }
    }
}

impl Overload {
    /// Goes by the settings of a configuration from now on.
    pub fn apply(&self, config: &Config) {
        let milliseconds = u64::try_from(config.overload.lag.get().as_millis()).unwrap_or(u64::MAX);
        let routes = config.sites.iter().flat_map(|site| &site.routes);
        let critical = routes.into_iter().any(|route| route.priority == Priority::Critical);
        self.most_lag_ms.store(milliseconds, Relaxed);
        self.held.apply(config.limits.held_body_bytes.get());
        self.has_critical.store(critical, Relaxed);
    }

    /// How late the work of a listener is.
    pub fn lag(&self, listener: usize) -> &Arc<Lag> {
        let [first, ..] = &self.lags;
        self.lags.get(listener % LISTENERS).unwrap_or(first)
    }

    /// Measures how late a listener's work is, on the runtime that calls.
    pub fn watch(self: &Arc<Self>, listener: usize) {
        let lag = self.lag(listener);
        if !lag.is_watched() {
            let settings = Arc::clone(self);
            lag.watch(move || Duration::from_millis(settings.most_lag_ms.load(Relaxed)));
        }
    }

    /// Whether a request can be refused before it is known what it asks for.
    pub fn is_blind(&self) -> bool {
        !self.has_critical.load(Relaxed)
    }

    /// Whether there is no room for a request that came in on this listener. `judged`: it was asked before what the request is.
    pub fn refuses(&self, listener: usize, priority: Priority, judged: bool) -> Option<Shed> {
        let low = match self.memory.pressure() {
            Pressure::None => false,
            Pressure::Soft => priority == Priority::Sheddable,
            Pressure::Hard => priority != Priority::Critical,
        };
        if low {
            return Some(Shed::Memory);
        }
        let again = judged && priority == Priority::Default;
        (!again && self.lag(listener).refuses(priority)).then_some(Shed::Lag)
    }

    /// Counts a request that was refused.
    pub fn count(&self, shed: Shed) {
        self.counter(shed).fetch_add(1, Relaxed);
    }

    /// Requests that were refused since the start.
    pub fn shed(&self, shed: Shed) -> u64 {
        self.counter(shed).load(Relaxed)
    }

    fn counter(&self, shed: Shed) -> &AtomicU64 {
        match shed {
            Shed::Lag => &self.shed_for_lag,
            Shed::Memory => &self.shed_for_memory,
        }
    }
}

/// Seconds after which a refused client may come again: not all of them at once.
pub fn retry_after() -> u32 {
    fastrand::u32(1..=3)
}
