//! Active health checks: a GET to every address of every server, again and again. What the answers mean for an address is
//! `endpoint`'s; how a GET is sent is in `http1` and `http2`.

mod http1;
mod http2;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::uri::{Authority, PathAndQuery};
use portcullis_config::upstream::{Health, Upstream as Written, UpstreamProtocol};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use super::background::jittered;
use super::compile::Problem;
use super::endpoint::{Endpoint, Turns, Verdict};
use super::passive::count;
use super::server::Server;
use super::tls::Tls;

/// The shortest interval: shorter ones would be an attack on the servers.
const MIN_INTERVAL: Duration = Duration::from_millis(10);
/// First checks are spread over so much time at most.
const MAX_FIRST_WAIT: Duration = Duration::from_secs(1);
/// Bytes of a response header that are read.
const MAX_HEADER: usize = 16 * 1024;

/// A health check, compiled.
#[derive(Debug)]
pub(super) struct Check {
    path: PathAndQuery,
    host: Option<Authority>,
    interval: Duration,
    timeout: Duration,
    turns: Turns,
    statuses: Box<[u16]>,
    protocol: UpstreamProtocol,
    tls: Option<CheckTls>,
}

#[derive(Debug)]
struct CheckTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Check {
    pub(super) fn compile(written: &Written, tls: Option<&Tls>) -> Result<Option<Self>, Problem> {
        let Some(health) = &written.health else { return Ok(None) };
        if health.interval.get() < MIN_INTERVAL {
            return Err(Problem::CheckInterval { least: MIN_INTERVAL });
        }
        if health.timeout.get().is_zero() {
            return Err(Problem::CheckTimeout);
        }
        if health.statuses.is_empty() {
            return Err(Problem::NoCheckStatus);
        }
        Ok(Some(Self {
            path: check_path(health)?,
            host: health.host.as_deref().map(check_host).transpose()?,
            interval: health.interval.get(),
            timeout: health.timeout.get(),
            turns: Turns {
                up: health.healthy_after,
                down: health.unhealthy_after,
            },
            statuses: health.statuses.as_slice().into(),
            protocol: written.protocol,
            tls: tls.map(|tls| CheckTls {
                config: Arc::clone(&tls.check),
                name: tls.check_name.clone(),
            }),
        }))
    }

    /// Checks a server until the task is dropped.
    pub(super) async fn keep_checking(self: Arc<Self>, server: Arc<Server>, gate: Arc<Semaphore>) {
        sleep(self.interval.min(MAX_FIRST_WAIT).mul_f64(fastrand::f64())).await;
        loop {
            let endpoints = server.state.endpoints.load_full();
            join_all(endpoints.iter().map(|endpoint| self.check(&server, endpoint, &gate))).await;
            tokio::select! {
                () = sleep(jittered(self.interval)) => {}
                () = server.state.resolved.notified() => {}
            }
        }
    }

    async fn check(&self, server: &Server, endpoint: &Endpoint, gate: &Semaphore) {
        // The gate is never closed.
        let Ok(_permit) = gate.acquire().await else { return };
        let result = match timeout(self.timeout, self.probe(endpoint.address, server.address())).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer within {} ms", self.timeout.as_millis())),
        };
        if result.is_err() {
            count(&server.state.totals.checks_failed);
        }
        match endpoint.record_check(result, self.turns) {
            Some(Verdict::Up) => {
                count(&server.state.totals.became_healthy);
                tracing::info!(
                    upstream = %server.group.name,
                    server = server.address(),
                    address = %endpoint.address,
                    "server is healthy again"
                );
            }
            Some(_) => {
                count(&server.state.totals.became_unhealthy);
                let reason = endpoint
                    .problem()
                    .map(|problem| problem.to_string())
                    .unwrap_or_default();
                tracing::warn!(
                    upstream = %server.group.name,
                    server = server.address(),
                    address = %endpoint.address,
                    reason,
                    "server is unhealthy"
                );
            }
            None => {}
        }
    }

    async fn probe(&self, address: SocketAddr, server: &str) -> Result<(), String> {
        let stream = TcpStream::connect(address)
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        let host = self.host.as_ref().map_or(server, Authority::as_str);
        let status = match &self.tls {
            None if self.protocol == UpstreamProtocol::Http2 => http2::get(stream, "http", host, &self.path).await?,
            None => http1::get(stream, host, &self.path).await?,
            Some(tls) => {
                let connector = TlsConnector::from(Arc::clone(&tls.config));
                let stream = connector
                    .connect(tls.name.clone(), stream)
                    .await
                    .map_err(|error| format!("TLS: {error}"))?;
                // Like Pingora: what ALPN chose, and HTTP/1.1 where it chose nothing.
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    http2::get(stream, "https", host, &self.path).await?
                } else {
                    http1::get(stream, host, &self.path).await?
                }
            }
        };
        if self.statuses.contains(&status) {
            Ok(())
        } else {
            Err(format!("status {status}"))
        }
    }
}

fn check_path(health: &Health) -> Result<PathAndQuery, Problem> {
    let wrong = || Problem::CheckPath {
        path: health.path.clone(),
    };
    if !health.path.starts_with('/') {
        return Err(wrong());
    }
    health.path.parse().map_err(|_| wrong())
}

fn check_host(host: &str) -> Result<Authority, Problem> {
    let authority: Option<Authority> = host.parse().ok();
    authority
        .filter(|authority| !authority.as_str().contains('@'))
        .ok_or_else(|| Problem::CheckHost { host: host.to_owned() })
}
