//! `portcullis kill`: kill switches of a running gateway, set, listed and cleared at once.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use http::Method;

use super::client::Admin;
use super::format::{Format, say_line};
use crate::admin::wire::{KillList, KillRequest, KillSwitch};

/// What `kill --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis kill set jwt:sub mallory --ttl 1h --reason \"stolen token, INC-42\"
  portcullis kill list
  portcullis kill clear 90e7473aac7c

A switch that is set here is in force before the command ends, is kept over restarts, and ends by
itself. What must hold longer than 31 days belongs into the policy bundle.";

/// Set, list and clear kill switches of a running gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum Kill {
    /// Refuse every request whose KEY has VALUE, from now on.
    #[command(after_help = "\
Examples:
  portcullis kill set jwt:sub mallory --ttl 1h --reason \"stolen token, INC-42\"
  portcullis kill set ip:address 203.0.113.9 --ttl 15m --reason scraping
  portcullis kill set header:x-tenant-id 42 --route /v1/export --ttl 1d --reason \"runaway job\"")]
    Set(Set),
    /// Show the switches that are active, the bundle's included.
    #[command(after_help = "\
Examples:
  portcullis kill list
  portcullis kill list --format json")]
    List(List),
    /// End a switch that was set at run time.
    #[command(after_help = "\
Example:
  portcullis kill clear 90e7473aac7c")]
    Clear(Clear),
}

/// Arguments of `kill set`.
#[derive(Debug, clap::Args)]
pub(crate) struct Set {
    #[command(flatten)]
    admin: Admin,
    /// What is compared: jwt:CLAIM, header:NAME, query:NAME, ip:address.
    key: String,
    /// With what, exactly.
    value: String,
    /// Only for this path.
    #[arg(long)]
    route: Option<String>,
    /// For how long: 30s, 15m, 2h, 7d.
    #[arg(long)]
    ttl: String,
    /// Why.
    #[arg(long)]
    reason: String,
    /// Who. Default: the user's name.
    #[arg(long, env = "USER", hide_env_values = true)]
    by: Option<String>,
}

/// Arguments of `kill list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    admin: Admin,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `kill clear`.
#[derive(Debug, clap::Args)]
pub(crate) struct Clear {
    #[command(flatten)]
    admin: Admin,
    /// The id that `kill set` and `kill list` show.
    id: String,
}

impl Kill {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Set(set) => set.run(),
            Self::List(list) => list.run(),
            Self::Clear(clear) => {
                let path = format!("/-/kill/{}", clear.id);
                let cleared: KillSwitch = clear.admin.ask(Method::DELETE, &path, None)?.success()?.json()?;
                say_line(format_args!("cleared: {}", describe(&cleared)));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}

impl Set {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Self {
            admin,
            key,
            value,
            route,
            ttl,
            reason,
            by,
        } = self;
        let request = serde_json::to_value(KillRequest {
            key,
            value,
            route,
            ttl,
            reason,
            by,
        })?;
        let set: KillSwitch = admin.ask(Method::POST, "/-/kill", Some(&request))?.success()?.json()?;
        say_line(format_args!("set: {}", describe(&set)));
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.ask(Method::GET, "/-/kill", None)?.success()?;
        if self.format == Format::Json {
            say_line(String::from_utf8_lossy(&answer.body));
            return Ok(ExitCode::SUCCESS);
        }
        let list: KillList = answer.json()?;
        if list.switches.is_empty() {
            say_line("no kill switch is active");
        }
        for switch in &list.switches {
            say_line(describe(switch));
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// A switch in one line.
fn describe(switch: &KillSwitch) -> String {
    let mut line = format!(
        "{}  {} = {}",
        switch.id.as_deref().unwrap_or("(bundle)"),
        switch.key,
        switch.value
    );
    for (name, value) in [("route", &switch.route), ("reason", &switch.reason), ("by", &switch.by)] {
        if let Some(value) = value {
            let _ = write!(line, "  {name}: {value}");
        }
    }
    if let Some(until) = &switch.expires_at {
        let _ = write!(line, "  until: {until}");
    }
    line
}
