//! What the admin listener asks, answered from the running gateway.

use async_trait::async_trait;

use super::Live;
use crate::admin::control::{Control, KillError, Refused};
use crate::admin::key_wire::{Issued, KeyRequest, KeyView, RotateRequest};
use crate::admin::wire::{
    DebugSession, KillList, KillRequest, KillStatus, KillSwitch, ListenerStatus, Readiness, Reloaded, RolloutStatus,
    ServerStatus, Status, UpstreamStatus,
};
use crate::debug;
use crate::identity::KeyError;
use crate::overload::{Pressure, Shed};
use crate::session::RevokeError;
use crate::session::wire::{SessionList, SessionRevoke, SessionsRevoked};
use crate::telemetry::exposition::{Collect as _, Exposition};

#[async_trait]
impl Control for Live {
    fn readiness(&self) -> Readiness {
        let snapshot = self.snapshot();
        let mut readiness = self.report().readiness(&snapshot, self.is_draining());
        // No reason to send traffic elsewhere: where one gateway has too much to do, the others would be next.
        let load = &self.edge.overload;
        if load.memory.pressure() > Pressure::None {
            readiness.warnings.push(Shed::Memory.as_str().to_owned());
        }
        if (0..snapshot.gateway.config.listeners.len()).any(|listener| load.lag(listener).is_late()) {
            readiness.warnings.push(Shed::Lag.as_str().to_owned());
        }
        readiness
    }

    fn status(&self) -> Status {
        let snapshot = self.snapshot();
        let config = &snapshot.gateway.config;
        let listeners = config.listeners.iter().map(|listener| ListenerStatus {
            name: listener.name.clone(),
            address: listener.address,
            tls: listener.tls.is_some(),
            connections: self.observers.metrics.connections.open(&listener.name),
        });
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at: self.started,
            readiness: self.readiness(),
            snapshot: Some(snapshot.digest.to_string()),
            requests_in_flight: self.in_flight(),
            listeners: listeners.collect(),
            upstreams: snapshot.gateway.upstreams.status().into_iter().map(upstream).collect(),
            issuers: self.identity.status(),
            kill_switches: self.kill_status_now().active.all(),
            rollout: super::rollout::state(&snapshot),
            control_plane: self.control_plane.status(),
        }
    }

    fn config(&self) -> String {
        self.snapshot().gateway.source.clone()
    }

    async fn reload(&self) -> Result<Reloaded, Refused> {
        self.load_again().await
    }

    fn rollout(&self) -> RolloutStatus {
        self.rollout_now()
    }

    async fn rollout_promote(&self) -> Result<RolloutStatus, Refused> {
        self.promote_now().await
    }

    async fn rollout_abort(&self) -> Result<RolloutStatus, Refused> {
        self.abort_now().await
    }

    async fn rotate_state_key(&self) -> Result<(), Refused> {
        self.rotate_key().await
    }

    fn kill_list(&self) -> KillList {
        self.active_switches()
    }

    fn kill_status(&self) -> KillStatus {
        self.kill_status_now()
    }

    async fn kill_set(&self, request: KillRequest) -> Result<KillSwitch, KillError> {
        self.set_switch(&request)
    }

    async fn kill_clear(&self, id: &str) -> Result<KillSwitch, KillError> {
        self.clear_switch(id)
    }

    fn api_keys(&self) -> Result<Vec<KeyView>, KeyError> {
        Ok(self.keys()?.list(super::now().unix_ms / 1000))
    }

    async fn api_key_issue(&self, request: KeyRequest) -> Result<Issued, KeyError> {
        self.issue_key(&request)
    }

    async fn api_key_rotate(&self, id: &str, request: RotateRequest) -> Result<Issued, KeyError> {
        self.rotate_key_of(id, &request.overlap)
    }

    async fn api_key_revoke(&self, id: &str) -> Result<KeyView, KeyError> {
        self.revoke_key(id)
    }

    fn debug_open(&self) -> Option<DebugSession> {
        let value = self.debug.open(super::now().unix_ms / 1000).ok()?;
        Some(DebugSession {
            cookie: format!("{}={value}", self.debug.cookie()),
            max_age: debug::LASTS,
        })
    }

    fn debug_end(&self) -> usize {
        self.debug.end_all()
    }

    fn sessions(&self) -> SessionList {
        self.sessions.list()
    }

    async fn sessions_revoke(&self, request: SessionRevoke) -> Result<SessionsRevoked, RevokeError> {
        self.sessions.revoke(request).await
    }

    fn metrics(&self, out: &mut Exposition) {
        self.observers.metrics.collect(out);
    }
}

fn upstream(status: crate::upstream::UpstreamStatus) -> UpstreamStatus {
    let servers = status.servers.into_iter().map(|server| ServerStatus {
        address: server.address,
        healthy: server.healthy,
        reason: server.reason,
        in_flight: server.in_flight as u64,
    });
    UpstreamStatus {
        name: status.name,
        servers: servers.collect(),
    }
}
