//! The process: Pingora's server with our listeners, the background tasks, and a way out. Start is a reload from
//! nothing, so nothing is loaded here.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use pingora_core::server::configuration::{Opt, ServerConf};
use pingora_core::server::{RunArgs, Server, ShutdownWatch};
use pingora_core::services::background::{BackgroundService, background_service};

use crate::cli::format::tell_line;
use crate::edge;
use crate::listener::Listeners;
use crate::live::{ConfigSource, Live};
use crate::proxy::Portcullis;
use crate::signals::{self, Signals};

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// `portcullis.yaml`.
    pub config: PathBuf,
    /// Take the listening sockets over from a running process.
    pub upgrade: bool,
}

/// Runs until told to stop.
pub fn run(options: &Options) -> anyhow::Result<()> {
    // Pingora would install the same one later; a second attempt is of no consequence.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let live = Live::start(&options.config)?;
    serve(&live, options.upgrade)
}

/// Runs in the place of Fairvisor Edge's container until told to stop.
pub fn run_edge() -> anyhow::Result<ExitCode> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let edge::Start { text, edge, warnings } = match edge::start() {
        Ok(start) => start,
        Err(wrong) => {
            tell_line(format_args!("fairvisor: {wrong}"));
            return Ok(ExitCode::FAILURE);
        }
    };
    let live = Live::start_from(ConfigSource::Text(text), Some(edge))?;
    for warning in &warnings {
        tracing::warn!("{warning}");
    }
    tracing::warn!(
        "bundles need no signature and tokens are not verified here: whoever can write the bundle decides, and who clients are is what they say; `portcullis run` has both"
    );
    serve(&live, false).map(|()| ExitCode::SUCCESS)
}

/// Serves what `live` holds.
pub fn serve(live: &Arc<Live>, upgrade: bool) -> anyhow::Result<()> {
    let snapshot = live.snapshot();
    let config = &snapshot.gateway.config;
    let runtime = &config.runtime;
    let socket = runtime.upgrade_socket.as_deref();
    if upgrade {
        socket.context("--upgrade needs runtime.upgrade_socket in the configuration")?;
    }
    let mut server = Server::new_with_opt_and_conf(
        Opt {
            upgrade,
            ..Opt::default()
        },
        configuration(runtime),
    );
    // Waits for the old process's sockets.
    server.bootstrap();
    if let (true, Some(socket)) = (upgrade, socket) {
        live.take_over(&signals::counters_beside(socket));
    }
    let proxy = Portcullis::new(Arc::clone(live));
    for service in Listeners::build(
        &server.configuration,
        proxy,
        &config.listeners,
        live.listeners(),
        live.edge(),
    )
    .services
    {
        server.add_service(service);
    }
    server.add_service(background_service("background", Background(Arc::clone(live))));
    signals::leave_when_idle(
        Arc::clone(live),
        server.watch_execution_phase(),
        runtime.grace_period.get(),
    );
    let signals = Signals::new(Arc::clone(live), socket);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        snapshot = &*snapshot.digest,
        "portcullis starts"
    );
    server.run(RunArgs {
        shutdown_signal: Box::new(signals),
    });
    live.finish();
    Ok(())
}

/// A file without a certificate.
const NO_CERTIFICATES: &str = "/dev/null";

fn trust_store_is_usable() -> bool {
    let mut store = rustls::RootCertStore::empty();
    pingora_rustls::load_platform_certs_incl_env_into_store(&mut store).is_ok()
}

fn configuration(runtime: &portcullis_config::gateway::Runtime) -> ServerConf {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = match runtime.threads {
        0 => cores,
        threads => threads as usize,
    };
    let mut configuration = ServerConf {
        threads,
        grace_period_seconds: Some(runtime.grace_period.get().as_secs()),
        graceful_shutdown_timeout_seconds: Some(1),
        // The exchange counts attempts itself; this only bounds it.
        max_retries: 16,
        upstream_keepalive_pool_size: 256,
        ..ServerConf::default()
    };
    if !trust_store_is_usable() {
        // Pingora would panic. Nothing is trusted by an empty store, and upstreams that need the system's are refused.
        tracing::warn!("the system's trust store cannot be used");
        configuration.ca_file = Some(NO_CERTIFICATES.into());
    }
    if let Some(socket) = &runtime.upgrade_socket {
        configuration.upgrade_sock = socket.display().to_string();
        // One a second: how long a new process waits for the old one to be told.
        configuration.upgrade_sock_connect_accept_max_retries = Some(60);
    }
    configuration
}

/// Everything that is not a request: admin listener, watchers, refreshers, health checks. On a runtime of its own, so
/// that no worker ever waits for it.
struct Background(Arc<Live>);

#[async_trait]
impl BackgroundService for Background {
    async fn start(&self, _shutdown: ShutdownWatch) {
        // Runs to the end of the process: draining is when operators look most.
        self.0.background().await;
    }
}
