//! Names of servers, looked up in the background again and again. A failed look-up keeps the addresses that are known:
//! a name server that is down takes no server out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::background::jittered;
use super::passive::count;
use super::server::{MAX_ADDRESSES, Server};

/// How often a name is looked up. The system's resolver does not tell how long an answer is good.
pub(super) const EVERY: Duration = Duration::from_secs(10);
/// How soon again while a name has no address at all.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// Who is asked.
pub(super) trait Lookup: Send + Sync + 'static {
    /// All addresses of a name.
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>>;
}

/// The operating system's resolver.
pub(super) struct System;

impl Lookup for System {
    fn lookup<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, port)).await?.collect()) })
    }
}

/// Keeps a server's addresses fresh until the task is dropped. One look-up of a name at a time.
pub(super) async fn keep_resolved(
    server: Arc<Server>,
    host: Box<str>,
    port: u16,
    lookup: Arc<dyn Lookup>,
    gate: Arc<Semaphore>,
) {
    if server.is_resolved() {
        sleep(EVERY.mul_f64(fastrand::f64())).await;
    }
    loop {
        resolve(&server, &host, port, lookup.as_ref(), &gate).await;
        sleep(jittered(if server.is_resolved() { EVERY } else { SOON })).await;
    }
}

/// Looks a name up once.
pub(super) async fn resolve(server: &Server, host: &str, port: u16, lookup: &dyn Lookup, gate: &Semaphore) {
    // The gate is never closed.
    let Ok(_permit) = gate.acquire().await else { return };
    let problem = match lookup.lookup(host, port).await {
        Ok(addresses) if addresses.is_empty() => "the name has no address".to_owned(),
        Ok(addresses) => return take(server, &addresses),
        Err(error) => error.to_string(),
    };
    count(&server.state.totals.lookups_failed);
    let news = server
        .state
        .lookup_problem
        .swap(Some(Arc::new(problem.clone())))
        .is_none();
    if news {
        tracing::warn!(
            upstream = %server.group.name,
            server = server.address(),
            reason = problem,
            has_addresses = server.is_resolved(),
            "look-up of a server's name failed"
        );
    }
}

fn take(server: &Server, addresses: &[SocketAddr]) {
    server.state.lookup_problem.store(None);
    if server.state.set_addresses(addresses) {
        server.state.resolved.notify_one();
        tracing::info!(
            upstream = %server.group.name,
            server = server.address(),
            addresses = ?addresses.get(..MAX_ADDRESSES).unwrap_or(addresses),
            "server has new addresses"
        );
    }
}
