//! Upstreams: groups of servers, which of them an attempt goes to, how it is connected to, and how healthy each is.
//!
//! `compile` turns the configuration into [`Upstreams`]; `select` chooses (no lock, no I/O); `peer` and `tls` say how to
//! connect, `wire` does it for HTTP/1 and `response` judges what comes back; `resolve` and `health` keep names and verdicts fresh in the background; `passive` ejects; `retry` holds the rules
//! of trying again; `status` shows it all. The state of a server outlives configurations. Nothing here knows of requests.

mod address;
mod background;
mod balance;
mod clock;
mod compile;
mod concurrency;
mod endpoint;
mod health;
mod passive;
mod peer;
mod resolve;
pub mod response;
mod retry;
mod ring;
mod san;
mod select;
mod server;
mod status;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use portcullis_config::key::Key;
use portcullis_config::upstream::{Retry, UpstreamHost, UpstreamProtocol};

pub use self::address::AddressError;
pub use self::background::{Background, spawn_background};
pub use self::compile::{CompileError, Problem};
pub use self::passive::Outcome;
pub use self::retry::{Failure, Replay, is_idempotent, may_retry};
pub use self::ring::hash_key;
pub use self::select::{Choice, Selected};
pub use self::server::Server;
pub use self::status::{AddressStatus, ServerStatus, ServerTotals, UpstreamStatus};
pub use self::wire::{Brake, Call, certificate_reason, fault_of};

use self::balance::{Strategy, Tier};
use self::clock::Clock;
use self::health::Check;
use self::server::{Group, ServerState};

/// All upstreams of a snapshot.
#[derive(Debug)]
pub struct Upstreams {
    // In the order of their names.
    list: Box<[Arc<Upstream>]>,
    retired: Box<[Retired]>,
    clock: Clock,
}

/// A server that an earlier snapshot had and that still has requests in flight.
#[derive(Debug)]
struct Retired {
    upstream: Box<str>,
    address: Box<str>,
    state: Arc<ServerState>,
}

impl Retired {
    fn is_busy(&self) -> bool {
        self.state.in_flight.load(Ordering::Relaxed) > 0
    }
}

/// A group of servers.
#[derive(Debug)]
pub struct Upstream {
    name: Box<str>,
    strategy: Strategy,
    primaries: Tier,
    backups: Tier,
    servers: Box<[Arc<Server>]>,
    group: Arc<Group>,
    check: Option<Arc<Check>>,
    retry: Retry,
    host: UpstreamHost,
    protocol: UpstreamProtocol,
    hash_key: Option<Key>,
    /// Between which the limit on waiting requests may move.
    concurrency: std::ops::RangeInclusive<u32>,
    tls13_only: bool,
}

impl Upstreams {
    /// Where an upstream is: for [`Upstreams::get`], in this snapshot only.
    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.list.binary_search_by(|upstream| upstream.name().cmp(name)).ok()
    }

    /// The upstream at a place.
    pub fn get(&self, index: usize) -> Option<&Arc<Upstream>> {
        self.list.get(index)
    }

    /// All of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Upstream>> {
        self.list.iter()
    }

    fn state(&self, upstream: &str, address: &str) -> Option<Arc<ServerState>> {
        let serving = self.index_of(upstream).and_then(|index| self.get(index));
        let server = serving.and_then(|upstream| upstream.servers.iter().find(|server| server.address() == address));
        let gone = || {
            self.retired
                .iter()
                .find(|gone| &*gone.upstream == upstream && &*gone.address == address)
        };
        server
            .map(|server| &server.state)
            .or_else(|| gone().map(|gone| &gone.state))
            .cloned()
    }

    fn states(&self) -> impl Iterator<Item = Retired> {
        let serving = self.list.iter().flat_map(|upstream| {
            upstream
                .servers
                .iter()
                .map(|server| (&upstream.name, server.address(), &server.state))
        });
        let gone = self
            .retired
            .iter()
            .map(|gone| (&gone.upstream, &*gone.address, &gone.state));
        serving.chain(gone).map(|(upstream, address, state)| Retired {
            upstream: upstream.clone(),
            address: address.into(),
            state: Arc::clone(state),
        })
    }
}

impl Upstream {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its servers, in the order of the configuration: [`Selected::index`] points into them.
    pub fn servers(&self) -> &[Arc<Server>] {
        &self.servers
    }

    /// What is tried again, for [`may_retry`].
    pub fn retry(&self) -> &Retry {
        &self.retry
    }

    /// What [`Choice::hash`] is computed from, with consistent hashing.
    pub fn hash_key(&self) -> Option<&Key> {
        self.hash_key.as_ref()
    }

    /// Whether a connection that Pingora made has a TLS version that will do. Our own have, or are none.
    pub fn takes_version(&self, version: Option<&str>) -> bool {
        !self.tls13_only || version == Some("TLSv1_3")
    }

    /// Can it take a WebSocket handshake? Not with `protocol: http2`.
    pub fn can_upgrade(&self) -> bool {
        self.protocol != UpstreamProtocol::Http2
    }

    /// What to send as Host (or `:authority`).
    pub fn host_for<'a>(&'a self, client_host: &'a str, server: &'a Server) -> &'a str {
        match &self.host {
            // HTTP/1.0 may go without one, and no server that takes HTTP/1.1 wants to see it empty.
            UpstreamHost::Client if client_host.is_empty() => server.address(),
            UpstreamHost::Client => client_host,
            UpstreamHost::Server => server.address(),
            UpstreamHost::Name(name) => name,
        }
    }
}
