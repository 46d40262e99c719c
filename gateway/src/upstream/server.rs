//! A server of an upstream: what the configuration says of it, and its state, which outlives configurations.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use super::address::Target;
use super::clock::Clock;
use super::endpoint::{Endpoint, HealthKinds};
use super::peer::PeerTemplate;

/// Addresses kept of one name. A name server must not be able to make us hold more.
pub(super) const MAX_ADDRESSES: usize = 64;

/// A server of an upstream, compiled.
#[derive(Debug)]
pub struct Server {
    address: Box<str>,
    pub(super) target: Target,
    pub(super) weight: u32,
    pub(super) backup: bool,
    pub(super) state: Arc<ServerState>,
    pub(super) group: Arc<Group>,
    pub(super) template: Arc<PeerTemplate>,
}

impl Server {
    pub(super) fn new(
        written: &portcullis_config::upstream::Server,
        target: Target,
        state: Arc<ServerState>,
        group: Arc<Group>,
        template: Arc<PeerTemplate>,
    ) -> Self {
        let address = written.address.as_str().into();
        Self {
            address,
            target,
            weight: written.weight,
            backup: written.backup,
            state,
            group,
            template,
        }
    }

    /// `host:port` as written.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Used only while no other server is healthy.
    pub fn is_backup(&self) -> bool {
        self.backup
    }

    /// Requests in flight.
    pub fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// May it take traffic now?
    pub(super) fn is_available(&self) -> bool {
        self.state.is_available(self.group.kinds, &self.group.clock)
    }

    /// Does it have an address at all?
    pub(super) fn is_resolved(&self) -> bool {
        !self.state.endpoints.load().is_empty()
    }
}

/// What all servers of one upstream share in one snapshot.
#[derive(Debug)]
pub(super) struct Group {
    /// The upstream's name.
    pub(super) name: Box<str>,
    /// Which kinds of health count.
    pub(super) kinds: HealthKinds,
    /// When to eject.
    pub(super) passive: portcullis_config::upstream::PassiveHealth,
    pub(super) clock: Clock,
    /// Every server's state, to know which one is the last.
    pub(super) members: Box<[Arc<ServerState>]>,
    pub(super) shared: Arc<GroupState>,
}

/// The state of an upstream that outlives snapshots.
#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// Where round robin stands.
    pub(super) cursor: AtomicUsize,
    /// One ejection at a time, so that two threads cannot eject the last two servers. Never taken to choose a server.
    pub(super) ejecting: Mutex<()>,
    /// How many requests may wait.
    pub(super) limiter: Arc<crate::overload::Limiter>,
}

/// The state of a server. Handed from snapshot to snapshot by (upstream, address).
#[derive(Debug, Default)]
pub(super) struct ServerState {
    pub(super) in_flight: AtomicUsize,
    /// Where it is. Empty until a name was resolved.
    pub(super) endpoints: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Why the last look-up failed.
    pub(super) lookup_problem: ArcSwapOption<String>,
    /// Addresses came: check them.
    pub(super) resolved: Notify,
    pub(super) totals: Totals,
    turn: AtomicUsize,
}

/// Counters since the server was first configured. They only go up.
#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) requests: AtomicU64,
    pub(super) connect_errors: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) timeouts: AtomicU64,
    pub(super) status_5xx: AtomicU64,
    pub(super) malformed: AtomicU64,
    pub(super) ejections: AtomicU64,
    pub(super) checks_failed: AtomicU64,
    pub(super) became_unhealthy: AtomicU64,
    pub(super) became_healthy: AtomicU64,
    pub(super) lookups_failed: AtomicU64,
}

impl ServerState {
    pub(super) fn for_target(target: &Target) -> Self {
        let state = Self::default();
        if let Target::Ip(address) = target {
            state.set_addresses(&[*address]);
        }
        state
    }

    pub(super) fn is_available(&self, kinds: HealthKinds, clock: &Clock) -> bool {
        self.endpoints
            .load()
            .iter()
            .any(|endpoint| endpoint.is_available(kinds, clock))
    }

    /// The next address in turn: an available one if there is one. `again`: the request was already sent to this server, so
    /// an address that failed last is left out while there is another.
    pub(super) fn next_endpoint(&self, kinds: HealthKinds, clock: &Clock, again: bool) -> Option<Arc<Endpoint>> {
        let endpoints = self.endpoints.load();
        if let [only] = endpoints.as_slice() {
            return Some(Arc::clone(only));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(endpoints.len())?;
        let in_turn = || endpoints.iter().cycle().skip(turn).take(endpoints.len());
        let available = || in_turn().filter(|endpoint| endpoint.is_available(kinds, clock));
        let fresh = || available().find(|endpoint| !(again && endpoint.is_failing()));
        fresh()
            .or_else(|| available().next())
            .or_else(|| in_turn().next())
            .cloned()
    }

    /// Takes new addresses; those that stay keep their health. Returns whether anything changed.
    pub(super) fn set_addresses(&self, addresses: &[SocketAddr]) -> bool {
        let old = self.endpoints.load_full();
        let mut new: Vec<Arc<Endpoint>> = Vec::new();
        for address in addresses {
            if new.len() == MAX_ADDRESSES {
                break;
            }
            if new.iter().any(|endpoint| endpoint.address == *address) {
                continue;
            }
            let kept = old.iter().find(|endpoint| endpoint.address == *address).cloned();
            new.push(kept.unwrap_or_else(|| Arc::new(Endpoint::new(*address))));
        }
        let same = new.len() == old.len() && new.iter().all(|n| old.iter().any(|o| Arc::ptr_eq(n, o)));
        if !same {
            self.endpoints.store(Arc::new(new));
        }
        !same
    }
}
