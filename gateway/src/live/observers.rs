//! Everything that tells operators what goes on: metrics, access log, process log, traces; and who is told of
//! connections. Set up once, adjusted by each configuration.

use std::sync::Arc;
use std::time::Duration;

use portcullis_config::gateway::Config;
use portcullis_filters::verdict::Reason;

use crate::control_plane::Shared;
use crate::listener::{Attempt, CloseReason, Connection, ConnectionEvents, Cut, HandshakeFailure, Refusal, Rejected};
use crate::telemetry::access_log::{AccessLog, AccessLogError, AccessRecord, Prepared, TlsRecord};
use crate::telemetry::log::Log;
use crate::telemetry::metrics::{Metrics, Observation};
use crate::telemetry::stamp::Stamp;
use crate::telemetry::traces::{Traces, TracesError};

/// Longest that the end of the process waits for what is still to be written.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a configuration's telemetry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ObserverError {
    /// The access log.
    #[error("telemetry.access_log: {0}")]
    AccessLog(#[from] AccessLogError),
    /// Traces.
    #[error("telemetry.traces: {0}")]
    Traces(#[from] TracesError),
}

/// What observes.
pub struct Observers {
    /// Counters and gauges.
    pub metrics: Arc<Metrics>,
    /// A line a request.
    pub access_log: Arc<AccessLog>,
    /// Spans over OTLP.
    pub traces: Arc<Traces>,
    /// What the control plane is told.
    pub control_plane: Arc<Shared>,
    /// The process's own log; `None` where somebody else has set one up.
    log: Option<Log>,
}

impl Observers {
    /// Sets up what `config` asks for. The process log comes first, so that the rest can be heard.
    pub fn start(config: &Config) -> Result<Self, ObserverError> {
        config.telemetry.traces.as_ref().map(Traces::check).transpose()?;
        let log = Log::init(&config.telemetry.log).ok();
        let metrics = Arc::new(Metrics::new());
        let access_log = Arc::new(AccessLog::off());
        access_log.commit(access_log.prepare(&config.telemetry.access_log)?);
        metrics.add_source(Arc::clone(&access_log) as _);
        let traces = Arc::new(Traces::off());
        metrics.add_source(Arc::clone(&traces) as _);
        if let Some(log) = &log {
            metrics.add_source(Arc::new(log.clone()));
        }
        Ok(Self {
            metrics,
            access_log,
            traces,
            control_plane: Arc::default(),
            log,
        })
    }

    /// Opens what a new configuration asks for. Nothing changes yet.
    pub fn prepare(&self, config: &Config) -> Result<Prepared, ObserverError> {
        config.telemetry.traces.as_ref().map(Traces::check).transpose()?;
        Ok(self.access_log.prepare(&config.telemetry.access_log)?)
    }

    /// Uses what was prepared.
    pub fn commit(&self, config: &Config, prepared: Prepared) {
        self.access_log.commit(prepared);
        self.trace(config);
        if let Some(log) = &self.log {
            log.apply(&config.telemetry.log);
        }
    }

    /// Sends spans where `config` says. Within a tokio runtime only.
    pub fn trace(&self, config: &Config) {
        if let Err(error) = self.traces.apply(config.telemetry.traces.as_ref()) {
            tracing::error!(%error, "traces stay as they were");
        }
    }

    /// Writes and sends what still waits. Not from within a tokio runtime.
    pub fn finish(&self) {
        if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
            runtime.block_on(self.traces.shutdown(PATIENCE));
        }
        self.access_log.flush(PATIENCE);
        if let Some(log) = &self.log {
            log.flush(PATIENCE);
        }
    }
}

/// Counts what happens to connections, and counts and logs what never becomes a request.
pub struct ConnectionWatch {
    metrics: Arc<Metrics>,
    access_log: Arc<AccessLog>,
    control_plane: Arc<Shared>,
}

impl ConnectionWatch {
    /// Tells these.
    pub fn new(observers: &Observers) -> Self {
        Self {
            metrics: Arc::clone(&observers.metrics),
            access_log: Arc::clone(&observers.access_log),
            control_plane: Arc::clone(&observers.control_plane),
        }
    }
}

impl ConnectionEvents for ConnectionWatch {
    fn accepted(&self, connection: &Arc<Connection>) {
        self.metrics.connections.accepted(connection.listener());
    }

    fn refused(&self, attempt: &Attempt, reason: Refusal) {
        self.metrics.connections.refused(&attempt.listener, reason);
        tracing::debug!(listener = &*attempt.listener.name, peer = %attempt.peer, reason = reason.as_str(), "connection refused");
    }

    fn handshake_failed(&self, attempt: &Attempt, reason: HandshakeFailure) {
        self.metrics.connections.handshake_failed(&attempt.listener, reason);
        tracing::debug!(listener = &*attempt.listener.name, peer = %attempt.peer, reason = reason.as_str(), "handshake failed");
    }

    fn early_reject(&self, connection: &Connection, rejected: &Rejected<'_>) {
        let listener = connection.listener();
        let status = rejected.reason.status();
        self.metrics.connections.early_reject(listener, rejected.reason);
        let observation = Observation {
            status,
            took: rejected.took,
            ..Observation::default()
        };
        self.metrics.unrouted().record(Some(listener), &observation);
        let reason = Reason(rejected.reason.as_str());
        self.control_plane.events().count_refused(status, reason);
        tracing::debug!(listener = &*listener.name, peer = %connection.peer(), reason = rejected.reason.as_str(), "refused before it was a request");
        let (path, query) = match rejected.line.target.iter().position(|byte| *byte == b'?') {
            Some(at) => (rejected.line.target.get(..at), rejected.line.target.get(at + 1..)),
            None => (Some(rejected.line.target), None),
        };
        self.access_log.write(&AccessRecord {
            time: Stamp::now(),
            request_id: rejected.request_id,
            client: Some(connection.peer().ip()),
            peer: Some(connection.peer()),
            listener: &listener.name,
            tls: connection.tls().map(|tls| TlsRecord {
                version: tls.version,
                server_name: tls.server_name.as_deref(),
                client: tls.client.as_deref(),
            }),
            method: rejected.line.method,
            path: path.unwrap_or_default(),
            query: query.map(Into::into),
            protocol: rejected.line.version,
            status,
            reason: Some(rejected.reason.as_str()),
            duration: rejected.took,
            ..AccessRecord::default()
        });
    }

    fn closed(&self, connection: &Connection, reason: CloseReason) {
        self.metrics.connections.closed(connection.listener(), reason);
        // Every idle connection ends by its timeout unless its client is quicker: no news.
        if let CloseReason::Cut(cut) = reason
            && cut != Cut::KeepaliveTimeout
        {
            let listener = &*connection.listener().name;
            tracing::info!(listener, peer = %connection.peer(), reason = cut.as_str(), "connection cut");
        }
    }
}
