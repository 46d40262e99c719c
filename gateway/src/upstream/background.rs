//! The tasks behind the upstreams of a snapshot: one for each name to look up, one for each server to check. They end with the
//! snapshot; what they learnt is the servers' state and stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

use super::address::Target;
use super::resolve::{Lookup, System, keep_resolved};
use super::{Upstream, Upstreams};

/// Checks at once, over all upstreams.
const MAX_CHECKS: usize = 64;
/// Look-ups at once, over all upstreams: each holds a thread.
const MAX_LOOKUPS: usize = 16;

/// How soon an idle connection is noticed that its time or its server has ended.
const SWEEP: Duration = Duration::from_secs(5);

/// The running tasks of one snapshot. They end when this is dropped.
#[derive(Debug)]
pub struct Background(AbortHandle);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts the tasks of a snapshot that serves now. To be called within a tokio runtime, after the swap; then the previous
/// snapshot's [`Background`] is dropped. They also end when `shutdown` turns true or its sender is gone.
pub fn spawn_background(upstreams: Arc<Upstreams>, shutdown: watch::Receiver<bool>) -> Background {
    spawn_with(upstreams, shutdown, Arc::new(System))
}

pub(super) fn spawn_with(
    upstreams: Arc<Upstreams>,
    mut shutdown: watch::Receiver<bool>,
    lookup: Arc<dyn Lookup>,
) -> Background {
    let task = tokio::spawn(async move {
        let mut tasks = start(&upstreams, &lookup);
        loop {
            tokio::select! {
                // An error means that the sender is gone: the same as a shutdown.
                _ = shutdown.wait_for(|stop| *stop) => return,
                Some(ended) = tasks.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(%error, "a task behind the upstreams ended");
                    }
                }
            }
        }
    });
    Background(task.abort_handle())
}

fn start(upstreams: &Upstreams, lookup: &Arc<dyn Lookup>) -> JoinSet<()> {
    let (checks, lookups) = (
        Arc::new(Semaphore::new(MAX_CHECKS)),
        Arc::new(Semaphore::new(MAX_LOOKUPS)),
    );
    let mut tasks = JoinSet::new();
    tasks.spawn(keep_swept(upstreams.list.clone()));
    for upstream in upstreams.iter() {
        for server in upstream.servers() {
            if let Target::Name { host, port } = &server.target {
                let lookup = Arc::clone(lookup);
                tasks.spawn(keep_resolved(
                    Arc::clone(server),
                    host.clone(),
                    *port,
                    lookup,
                    Arc::clone(&lookups),
                ));
            }
            if let Some(check) = &upstream.check {
                tasks.spawn(Arc::clone(check).keep_checking(Arc::clone(server), Arc::clone(&checks)));
            } else {
                // A verdict that nobody renews must not come back to life with a later configuration.
                server
                    .state
                    .endpoints
                    .load()
                    .iter()
                    .for_each(|endpoint| endpoint.forget_checks());
            }
        }
    }
    tasks
}

/// Closes idle connections that are of no more use, until the task is dropped.
async fn keep_swept(upstreams: Box<[Arc<Upstream>]>) {
    loop {
        sleep(jittered(SWEEP)).await;
        let servers = upstreams.iter().flat_map(|upstream| upstream.servers());
        for server in servers {
            server
                .state
                .endpoints
                .load()
                .iter()
                .for_each(|endpoint| endpoint.sweep());
        }
    }
}

/// Ten per cent more or less, so that many gateways do not ask in step.
pub(super) fn jittered(span: Duration) -> Duration {
    span.mul_f64(0.9 + 0.2 * fastrand::f64())
}
