//! Choosing a server for an attempt, and the guard that counts it. No lock is taken here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pingora_core::upstreams::peer::HttpPeer;

use super::Upstream;
use super::balance::Member;
use super::endpoint::{Chosen, Endpoint};
use super::passive::{Outcome, count};
use super::response::Expect;
use super::server::Server;
use super::wire::Call;

/// What the choice goes by.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// For consistent hashing: [`hash_key`](super::hash_key) of the request's key. Without it, round robin.
    pub hash: Option<u64>,
    /// Servers that this request was already sent to: [`Selected::index`]. Left out while there is another.
    pub tried: &'a [usize],
}

/// A chosen server. It counts as in flight until this is dropped.
#[derive(Debug)]
pub struct Selected {
    index: usize,
    server: Arc<Server>,
    endpoint: Arc<Endpoint>,
}

impl Upstream {
    /// Chooses a server. In this order: a healthy primary, a healthy backup, one that was tried already; and when nothing is
    /// healthy, any primary with an address (refusing everything would be worse than trying), then any backup.
    /// `None` only when no server has an address yet.
    pub fn select(&self, choice: Choice<'_>) -> Option<Selected> {
        let fresh = |member: &Member| !choice.tried.contains(&member.index);
        let healthy = |member: &Member| member.server.is_available();
        let fresh_and_healthy = |member: &Member| fresh(member) && healthy(member);
        let there = |member: &Member| member.server.is_resolved();
        let fresh_and_there = |member: &Member| fresh(member) && there(member);
        let cursor = &self.group.shared.cursor;
        // With nothing tried, "no fresh healthy primary" means "no healthy primary": backups stay idle until then.
        let member = None
            .or_else(|| {
                self.primaries
                    .pick(self.strategy, cursor, choice.hash, fresh_and_healthy)
            })
            .or_else(|| self.backups.pick(self.strategy, cursor, choice.hash, fresh_and_healthy))
            .or_else(|| self.primaries.pick(self.strategy, cursor, choice.hash, healthy))
            .or_else(|| self.backups.pick(self.strategy, cursor, choice.hash, healthy))
            .or_else(|| self.primaries.pick(self.strategy, cursor, choice.hash, fresh_and_there))
            .or_else(|| self.primaries.pick(self.strategy, cursor, choice.hash, there))
            .or_else(|| self.backups.pick(self.strategy, cursor, choice.hash, there))?;
        Selected::new(member, !fresh(member))
    }
}

impl Selected {
    fn new(member: &Member, again: bool) -> Option<Self> {
        let server = Arc::clone(&member.server);
        let endpoint = server
            .state
            .next_endpoint(server.group.kinds, &server.group.clock, again)?;
        server.state.in_flight.fetch_add(1, Ordering::Relaxed);
        count(&server.state.totals.requests);
        Some(Self {
            index: member.index,
            server,
            endpoint,
        })
    }

    /// The server's place in its upstream, for [`Choice::tried`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// Where it will be connected to.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address
    }

    /// What Pingora's connector needs; with HTTP/1 also our own way to the server.
    pub fn peer(&self, expect: Expect) -> (Box<HttpPeer>, Option<Arc<Call>>) {
        self.server.template.peer(&self.endpoint, expect)
    }

    /// Finds out which protocol the server speaks, where it has a choice. To be called before [`Selected::peer`].
    pub async fn agree(&self) {
        self.server.template.agree(&self.endpoint).await;
    }

    /// The server did not keep to the protocol it chose, or cannot be reached: it is asked again.
    pub fn forget_protocol(&self) {
        self.endpoint.choose(Chosen::Unknown);
    }

    /// Says what became of the attempt, before the next one is chosen: once, or twice when the answer began well and then
    /// broke; not at all when the client left before anything could be known.
    pub fn report(&self, outcome: Outcome) {
        self.server.report(&self.endpoint, outcome);
    }
}

impl Drop for Selected {
    fn drop(&mut self) {
        self.server.state.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
