//! What goes on beside the requests: the admin listener, watching files and SIGHUP, polling, and the tasks behind
//! upstreams and key sets. None of it is on a worker's runtime.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::geoip::GeoIp;
use portcullis_config::listener::ListenerTls;
use portcullis_config::units::Duration as Interval;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Live, aside};
use crate::admin;
use crate::listener::{Staple, tend_staple};
use crate::overload::{Meter, Pressure};
use crate::upstream::{self, Upstreams};
use crate::watch::Fingerprint;

/// How often a URL is polled unless the configuration says otherwise.
const POLL: Duration = Duration::from_secs(30);
/// How often the memory is looked at.
const MEMORY: Duration = Duration::from_millis(100);
/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);

impl Live {
    /// Runs until the process ends.
    pub async fn background(self: &Arc<Self>) {
        {
            let snapshot = self.snapshot();
            self.identity.apply(&snapshot.gateway.zones, &snapshot.gateway.config);
            self.sessions.apply(&snapshot.gateway.zones);
            self.observers.trace(&snapshot.gateway.config);
        }
        let _admin = tokio::spawn(Arc::clone(self).admin());
        let _kill = tokio::spawn(Arc::clone(self).tend_kill_document());
        // Each on a task of its own: a load that takes long holds up none.
        let mut tasks = JoinSet::new();
        let live = || Arc::clone(self);
        tasks.spawn(live().watch_files());
        tasks.spawn(live().hang_ups());
        tasks.spawn(live().poll_source());
        tasks.spawn(live().tend_upstreams());
        tasks.spawn(live().tend_control_plane());
        tasks.spawn(live().watch_memory());
        tasks.spawn(live().free_snapshots());
        tasks.spawn(live().tend_staples());
        tasks.spawn(live().keep_counters());
        tasks.spawn(live().flush_record());
        tasks.spawn(live().flush_keys());
        tasks.spawn(live().tend_rollout());
        while tasks.join_next().await.is_some() {}
    }

    /// The admin listener. After a hand-over its address may still be the old process's for a moment.
    async fn admin(self: Arc<Self>) {
        let address = self.snapshot().gateway.config.admin.address;
        let mut told = false;
        loop {
            let bound = admin::Server::bind(address, Arc::clone(&self)).await;
            match bound {
                Ok(server) => {
                    server.serve(self.until_handed_over()).await;
                    return;
                }
                Err(error) => {
                    if !told {
                        tracing::warn!(%address, %error, "the admin listener cannot be bound yet; trying on");
                        told = true;
                    }
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
    }

    /// Reloads when a file of the configuration, the bundle or a certificate has changed.
    async fn watch_files(self: Arc<Self>) {
        let mut known = self.fingerprint();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.fingerprint();
            if now == known {
                continue;
            }
            // A tree that is being written is waited for: it must look the same twice.
            tokio::time::sleep(LOOK / 5).await;
            if self.fingerprint() != now {
                continue;
            }
            known = now;
            tracing::info!("files have changed");
            let _ = self.load_again().await;
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        let snapshot = self.snapshot();
        let config = &snapshot.gateway.config;
        let own = self.source.file().into_iter();
        let files = snapshot.gateway.files.iter().map(PathBuf::as_path);
        let bundle = config.policy.as_ref().and_then(|policy| policy.bundle.file.as_deref());
        let certificates = config.listeners.iter().filter_map(|listener| listener.tls.as_ref());
        let certificates = certificates.flat_map(ListenerTls::files);
        let upstreams = config.upstreams.values().filter_map(|upstream| upstream.tls.as_ref());
        let upstreams = upstreams
            .flat_map(|tls| [&tls.ca, &tls.certificate, &tls.key])
            .flatten()
            .map(PathBuf::as_path);
        let geoip = config.geoip.iter().flat_map(GeoIp::files);
        let files = files.chain(geoip);
        Fingerprint::of(own.chain(files).chain(bundle).chain(certificates).chain(upstreams))
    }

    /// SIGHUP reloads.
    async fn hang_ups(self: Arc<Self>) {
        let Ok(mut hang_ups) = signal(SignalKind::hangup()) else {
            tracing::error!("SIGHUP cannot be listened for");
            return;
        };
        while hang_ups.recv().await.is_some() {
            tracing::info!("SIGHUP: reloading");
            let _ = self.load_again().await;
        }
    }

    /// Polls a bundle that comes from a URL.
    async fn poll_source(self: Arc<Self>) {
        loop {
            let wait = {
                let snapshot = self.snapshot();
                let bundle = snapshot.gateway.config.policy.as_ref().map(|policy| &policy.bundle);
                bundle
                    .filter(|bundle| bundle.url.is_some())
                    .map(|bundle| bundle.poll_interval.map_or(POLL, Interval::get))
            };
            // The first look is at once: the start only knows the last good bundle of the state folder.
            if let Some(wait) = wait {
                let _ = self.load_bundle().await;
                tokio::time::sleep(wait.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
            } else {
                tokio::time::sleep(LOOK).await;
            }
        }
    }

    /// Keeps names resolved and servers checked, for the upstreams of the snapshot in force.
    async fn tend_upstreams(self: Arc<Self>) {
        let (_stop, stopped) = watch::channel(false);
        let mut published = self.published.subscribe();
        let mut tended: Option<(Arc<Upstreams>, upstream::Background)> = None;
        loop {
            let upstreams = Arc::clone(&self.snapshot().gateway.upstreams);
            if !tended.as_ref().is_some_and(|(known, _)| Arc::ptr_eq(known, &upstreams)) {
                let background = upstream::spawn_background(Arc::clone(&upstreams), stopped.clone());
                tended = Some((upstreams, background));
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }

    /// Keeps an eye on the memory, and makes room while it is low.
    async fn watch_memory(self: Arc<Self>) {
        let configured = || {
            let memory = self.snapshot().gateway.config.overload.memory;
            memory.map(portcullis_config::units::ByteSize::get)
        };
        let mut known = configured();
        let mut meter = Meter::new(known);
        let overload = &self.edge.overload;
        loop {
            let (before, after) = overload.memory.look(&meter);
            if after > Pressure::None {
                self.edge.close_idle();
            }
            if before != after {
                let (used, ceiling) = (overload.memory.used(), overload.memory.ceiling());
                tracing::warn!(
                    pressure = after.as_str(),
                    before = before.as_str(),
                    used,
                    ceiling,
                    "memory"
                );
            }
            tokio::time::sleep(MEMORY).await;
            let now = configured();
            if now != known {
                (known, meter) = (now, Meter::new(now));
            }
        }
    }

    /// Frees replaced snapshots, away from the workers and from everything that is watched here.
    async fn free_snapshots(self: Arc<Self>) {
        loop {
            tokio::time::sleep(LOOK).await;
            let unused = self.retired.unused();
            if !unused.is_empty() {
                aside(move || drop(unused));
            }
        }
    }

    /// Keeps OCSP answers fresh, for the certificates that are served.
    async fn tend_staples(self: Arc<Self>) {
        let mut published = self.published.subscribe();
        let mut tended: Vec<(Arc<Staple>, JoinSet<()>)> = Vec::new();
        loop {
            let wanted = self.listeners.staples();
            tended.retain(|(known, _)| wanted.iter().any(|(_, staple)| Arc::ptr_eq(staple, known)));
            for (_, staple) in wanted {
                if !tended.iter().any(|(known, _)| Arc::ptr_eq(known, &staple)) {
                    let mut task = JoinSet::new();
                    task.spawn(tend_staple(Arc::clone(&staple)));
                    tended.push((staple, task));
                }
            }
            if published.changed().await.is_err() {
                return;
            }
        }
    }
}
