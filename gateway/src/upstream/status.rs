//! What the admin API and the metrics show of upstreams: read from atomics, never waited for.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::endpoint::{Endpoint, Verdict};
use super::server::{Server, Totals};
use super::{Upstream, Upstreams};

/// An upstream as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UpstreamStatus {
    /// Its name.
    pub name: String,
    /// Any of its servers is healthy.
    pub healthy: bool,
    /// Its servers, as configured.
    pub servers: Vec<ServerStatus>,
}

/// A server as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerStatus {
    /// `host:port` as written.
    pub address: String,
    /// Its share.
    pub weight: u32,
    /// Used only while no other server is healthy.
    pub backup: bool,
    /// Any of its addresses takes traffic.
    pub healthy: bool,
    /// Why not, or what is odd although it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Requests in flight.
    pub in_flight: usize,
    /// Counters since it was first configured.
    pub totals: ServerTotals,
    /// Where it is: one for an IP address, any number for a name.
    pub addresses: Vec<AddressStatus>,
}

/// One address of a server as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AddressStatus {
    /// `ip:port`.
    pub address: String,
    /// It takes traffic.
    pub healthy: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// HTTP/1 connections that wait for their next request.
    pub idle_connections: usize,
}

/// Counters of a server. They only go up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct ServerTotals {
    /// Attempts sent to it.
    pub requests: u64,
    /// Attempts that could not connect.
    pub connect_errors: u64,
    /// Attempts whose connection broke.
    pub resets: u64,
    /// Attempts that were not answered in time.
    pub timeouts: u64,
    /// Answers of 500 and above.
    pub status_5xx: u64,
    /// Answers that break the rules of HTTP.
    pub malformed: u64,
    /// Times an address was ejected after failures in a row.
    pub ejections: u64,
    /// Active checks that failed.
    pub checks_failed: u64,
    /// Times active checks took an address out.
    pub became_unhealthy: u64,
    /// Times active checks brought one back.
    pub became_healthy: u64,
    /// Look-ups of its name that failed.
    pub lookups_failed: u64,
}

impl Upstreams {
    /// All upstreams as they are now.
    pub fn status(&self) -> Vec<UpstreamStatus> {
        self.iter().map(|upstream| upstream.status()).collect()
    }
}

impl Upstream {
    /// This upstream as it is now.
    pub fn status(&self) -> UpstreamStatus {
        let servers: Vec<_> = self.servers().iter().map(|server| server.status()).collect();
        let healthy = servers.iter().any(|server| server.healthy);
        UpstreamStatus {
            name: self.name().into(),
            healthy,
            servers,
        }
    }
}

impl Server {
    fn status(&self) -> ServerStatus {
        let addresses: Vec<_> = self
            .state
            .endpoints
            .load()
            .iter()
            .map(|endpoint| self.address_status(endpoint))
            .collect();
        let lookup = self
            .state
            .lookup_problem
            .load()
            .as_ref()
            .map(|problem| format!("look-up failed: {problem}"));
        let first_sick = || addresses.iter().find_map(|address| address.reason.clone());
        let reason = match (addresses.is_empty(), lookup) {
            (_, Some(lookup)) => Some(lookup),
            (true, None) => Some("not resolved yet".into()),
            (false, None) => first_sick(),
        };
        ServerStatus {
            address: self.address().into(),
            weight: self.weight,
            backup: self.backup,
            healthy: addresses.iter().any(|address| address.healthy),
            reason,
            in_flight: self.in_flight(),
            totals: self.state.totals.read(),
            addresses,
        }
    }

    fn address_status(&self, endpoint: &Endpoint) -> AddressStatus {
        let group = &self.group;
        let down = group.kinds.active && endpoint.verdict() == Verdict::Down;
        let ejected = endpoint.ejected_for_ms(&group.clock).filter(|_| group.kinds.passive);
        let reason = match (down, ejected) {
            (true, _) => Some(match endpoint.problem() {
                Some(problem) => format!("health check: {problem}"),
                None => "health check: passes again, but not often enough yet".into(),
            }),
            (false, Some(left)) => Some(format!("ejected for {left} ms more")),
            (false, None) => None,
        };
        AddressStatus {
            address: endpoint.address.to_string(),
            healthy: !down && ejected.is_none(),
            reason,
            idle_connections: endpoint.idle_connections(),
        }
    }
}

impl Totals {
    fn read(&self) -> ServerTotals {
        ServerTotals {
            requests: self.requests.load(Ordering::Relaxed),
            connect_errors: self.connect_errors.load(Ordering::Relaxed),
            resets: self.resets.load(Ordering::Relaxed),
            timeouts: self.timeouts.load(Ordering::Relaxed),
            status_5xx: self.status_5xx.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            ejections: self.ejections.load(Ordering::Relaxed),
            checks_failed: self.checks_failed.load(Ordering::Relaxed),
            became_unhealthy: self.became_unhealthy.load(Ordering::Relaxed),
            became_healthy: self.became_healthy.load(Ordering::Relaxed),
            lookups_failed: self.lookups_failed.load(Ordering::Relaxed),
        }
    }
}
