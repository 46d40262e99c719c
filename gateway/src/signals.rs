//! What the process is told from outside: SIGTERM drains, SIGQUIT hands the sockets over, SIGINT leaves at once, SIGHUP
//! reloads. And when it may leave: as soon as nothing is in flight, at the latest when the grace period ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora_core::server::{ExecutionPhase, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::live::Live;

/// How long a connection that is kept alive may stay quiet before nobody is expected to use it again. Meanwhile its
/// next answer says `Connection: close`, so that no client sends into a closing socket.
const QUIET: Duration = Duration::from_secs(2);

/// The signals, for Pingora's main loop.
pub struct Signals {
    live: Arc<Live>,
    /// Where a new process takes the sockets over. `None`: no hand-over.
    socket: Option<PathBuf>,
}

impl Signals {
    /// With a socket for the hand-over, if there is one.
    pub fn new(live: Arc<Live>, upgrade_socket: Option<&Path>) -> Self {
        Self {
            live,
            socket: upgrade_socket.map(Path::to_owned),
        }
    }

    /// Stops being ready, and waits until load balancers have noticed. A second signal ends the wait.
    async fn drain(&self, terminate: &mut Signal) {
        self.live.begin_draining();
        let delay = self.live.snapshot().gateway.config.runtime.drain_delay.get();
        tracing::info!(delay_ms = delay.as_millis(), "SIGTERM: draining");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = terminate.recv() => {}
        }
    }

    /// Leaves the counters for the next process. `false`: there is no next process, and this one goes on.
    fn hand_over(&self) -> bool {
        let Some(socket) = &self.socket else {
            tracing::error!("SIGQUIT: no hand-over, because runtime.upgrade_socket is not set; the process goes on");
            return false;
        };
        if !is_waited_at(socket) {
            tracing::error!(socket = %socket.display(), "SIGQUIT: nobody waits for the sockets; start `portcullis run --upgrade` first");
            return false;
        }
        self.live.hand_over();
        let path = counters_beside(socket);
        match self.live.export_counters(&path) {
            Ok(bytes) => tracing::info!(bytes, "SIGQUIT: handing over; counters written"),
            Err(error) => tracing::error!(%error, path = %path.display(), "SIGQUIT: handing over without counters"),
        }
        true
    }
}

/// Whether a process listens on this Unix socket. Connecting to find out would be taken for the hand-over itself.
fn is_waited_at(socket: &Path) -> bool {
    /// `__SO_ACCEPTCON` of linux/net.h.
    const LISTENS: &str = "00010000";
    let sockets = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = socket.display().to_string();
    sockets.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(3) == Some(LISTENS) && fields.nth(3) == Some(&path)
    })
}

/// The file of counters beside the upgrade socket.
pub fn counters_beside(upgrade_socket: &Path) -> PathBuf {
    upgrade_socket.with_extension("counters")
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let kinds = [SignalKind::terminate(), SignalKind::quit(), SignalKind::interrupt()];
        let [Ok(mut terminate), Ok(mut quit), Ok(mut interrupt)] = kinds.map(signal) else {
            tracing::error!("signal handlers could not be installed");
            return ShutdownSignal::FastShutdown;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => {
                    self.drain(&mut terminate).await;
                    return ShutdownSignal::GracefulTerminate;
                }
                _ = quit.recv() => {
                    if self.hand_over() {
                        return ShutdownSignal::GracefulUpgrade;
                    }
                }
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
            }
        }
    }
}

/// Leaves the process once the listeners are closed and nothing is in flight, instead of sleeping the grace period out.
pub fn leave_when_idle(live: Arc<Live>, mut phases: Receiver<ExecutionPhase>, grace: Duration) {
    std::thread::spawn(move || {
        loop {
            match phases.blocking_recv() {
                Ok(ExecutionPhase::ShutdownGracePeriod) => break,
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
        let deadline = Instant::now() + grace;
        let mut last_seen = Instant::now();
        let mut served = live.served();
        loop {
            if live.in_flight() > 0 || live.served() != served {
                served = live.served();
                last_seen = Instant::now();
            }
            let quiet = last_seen.elapsed() >= QUIET || live.connections() == 0;
            if (live.in_flight() == 0 && quiet) || Instant::now() >= deadline {
                live.finish();
                std::process::exit(0);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}
