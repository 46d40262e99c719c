//! `portcullis status` and `portcullis reload`: what a running gateway does, and making it look again.

use std::process::ExitCode;

use http::{Method, StatusCode};

use super::client::Admin;
use super::format::{Format, Page, say, say_line, tell_line};
use crate::admin::wire::{BundleState, ControlPlaneStatus, ReadyStatus, Reloaded, Status as Wire, UpstreamStatus};
use crate::control_plane::Link;

/// What `status --help` ends with.
pub(crate) const STATUS_EXAMPLES: &str = "\
Examples:
  portcullis status
  portcullis status --admin 10.0.0.7:9901 --format json

Exit codes: 0 = ready, 1 = no answer, 2 = not ready.";

/// What `reload --help` ends with.
pub(crate) const RELOAD_EXAMPLES: &str = "\
Examples:
  portcullis reload
  portcullis reload --admin 10.0.0.7:9901

All or nothing: what is wrong is refused whole, and what was in force stays. Files are watched, so
this only spares the moment until a change is noticed.

Exit codes: 0 = what is on the disk is in force, 1 = refused, or no answer.";

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    #[command(flatten)]
    admin: Admin,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Reload {
    #[command(flatten)]
    admin: Admin,
}

impl Status {
    /// Shows it. Exit code 2: not ready.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.ask(Method::GET, "/-/status", None)?.success()?;
        let status: Wire = answer.json()?;
        if self.format == Format::Json {
            say_line(String::from_utf8_lossy(&answer.body));
        } else {
            say(page(&status));
        }
        Ok(match status.readiness.status {
            ReadyStatus::Ready => ExitCode::SUCCESS,
            ReadyStatus::NotReady => ExitCode::from(2),
        })
    }
}

impl Reload {
    /// Reloads. Exit code 1: refused, and what was in force still is.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.ask(Method::POST, "/-/reload", None)?;
        if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
            let problem: serde_json::Value = answer.json()?;
            let part = |name: &str| {
                problem
                    .get(name)
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or("unknown")
            };
            tell_line(format_args!("refused: {}: {}", part("reason"), part("detail")));
            tell_line("what was in force still is");
            return Ok(ExitCode::FAILURE);
        }
        let reloaded: Reloaded = answer.success()?.json()?;
        say_line(format_args!(
            "{}  snapshot {}",
            if reloaded.changed {
                "reloaded"
            } else {
                "nothing has changed"
            },
            reloaded.snapshot
        ));
        for change in &reloaded.needs_restart {
            say_line(format_args!("needs a restart or an upgrade: {change}"));
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn page(status: &Wire) -> String {
    let readiness = &status.readiness;
    let mut page = Page::default();
    let ready = match readiness.status {
        ReadyStatus::Ready => "ready".to_owned(),
        ReadyStatus::NotReady => format!("NOT READY: {}", readiness.reasons.join(", ")),
    };
    page.line(
        "portcullis",
        format_args!("{}, pid {}, since {}", status.version, status.pid, status.started_at),
    );
    page.line("state", &ready);
    for warning in &readiness.warnings {
        page.line("warning", warning);
    }
    if let Some(config) = &readiness.config {
        page.line(
            "config",
            format_args!("{} since {}", short(&config.digest), config.loaded_at),
        );
        if let Some(error) = &config.last_error {
            page.line(
                "",
                format_args!("refused at {}: {}: {}", error.at, error.reason, error.detail),
            );
        }
    }
    if let Some(bundle) = &readiness.bundle {
        bundle_lines(&mut page, bundle);
    }
    if let Some(rollout) = &status.rollout {
        super::bundle::rollout::lines(&mut page, rollout);
    }
    page.line("in flight", format_args!("{} requests", status.requests_in_flight));
    page.line("switches", format_args!("{} active", status.kill_switches));
    for listener in &status.listeners {
        let tls = if listener.tls { ", TLS" } else { "" };
        page.line(
            "listener",
            format_args!(
                "{} on {}{tls}: {} connections",
                listener.name, listener.address, listener.connections
            ),
        );
    }
    upstream_lines(&mut page, &status.upstreams);
    for issuer in &status.issuers {
        let trouble = issuer
            .last_error
            .as_ref()
            .map(|error| format!("; last fetch failed: {}", error.reason));
        page.line(
            "issuer",
            format_args!("{}: {} keys{}", issuer.name, issuer.keys, trouble.unwrap_or_default()),
        );
    }
    if let Some(control_plane) = &status.control_plane {
        control_plane_lines(&mut page, control_plane);
    }
    page.into_string()
}

fn upstream_lines(page: &mut Page, upstreams: &[UpstreamStatus]) {
    for upstream in upstreams {
        for server in &upstream.servers {
            let health = match (&server.reason, server.healthy) {
                (_, true) => "healthy".to_owned(),
                (Some(reason), false) => format!("OUT: {reason}"),
                (None, false) => "OUT".to_owned(),
            };
            page.line(
                "upstream",
                format_args!(
                    "{} {}: {health}, {} in flight",
                    upstream.name, server.address, server.in_flight
                ),
            );
        }
    }
}

fn control_plane_lines(page: &mut Page, status: &ControlPlaneStatus) {
    let state = match (status.reachable, status.registered, status.link) {
        (true, true, _) => "connected",
        (true, false, _) => "connected, NOT REGISTERED",
        (false, _, Link::HalfOpen) => "NOT REACHABLE, trying again",
        (false, _, Link::Disconnected) => "NOT REACHABLE",
        (false, _, Link::Connected) => "not reached yet",
    };
    page.line("control", format_args!("{} at {}: {state}", status.edge_id, status.url));
    if let Some(error) = &status.last_error {
        page.line(
            "",
            format_args!("failed at {}: {}: {}", error.at, error.reason, error.detail),
        );
    }
    if let Some(seconds) = status.clock_skew_seconds {
        page.line("", format_args!("CLOCKS DIFFER: its is {seconds:.0} s ahead"));
    }
}

fn bundle_lines(page: &mut Page, bundle: &BundleState) {
    match (bundle.version, &bundle.digest) {
        (Some(version), Some(digest)) => {
            let expiry = match (&bundle.expires_at, bundle.expired) {
                (Some(at), true) => format!(", EXPIRED at {at}"),
                (Some(at), false) => format!(", expires at {at}"),
                (None, _) => String::new(),
            };
            let unsigned = if bundle.insecure_unsigned {
                ", SIGNATURE NOT REQUIRED"
            } else {
                ""
            };
            page.line(
                "bundle",
                format_args!("version {version} ({}){expiry}{unsigned}", short(digest)),
            );
        }
        _ => page.line("bundle", "NONE: every request is refused"),
    }
    if let Some(error) = &bundle.last_error {
        page.line(
            "",
            format_args!("refused at {}: {}: {}", error.at, error.reason, error.detail),
        );
    }
}

fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
