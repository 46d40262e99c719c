//! `portcullis kill`: kill switches of a running gateway, set, listed and cleared at once.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use http::Method;

use super::client::Admin;
use super::format::{Format, Page, say, say_line};
use crate::admin::wire::{KillList, KillOrigins, KillRequest, KillStatus, KillSwitch};

/// What `kill --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis kill set jwt:sub mallory --ttl 1h --reason \"stolen token, INC-42\"
  portcullis kill list
  portcullis kill clear 90e7473aac7c
  portcullis kill status

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
    /// Show how many switches of which source are in force, and the state of the kill-switch document.
    #[command(after_help = "\
Examples:
  portcullis kill status
  portcullis kill status --format json

Exit codes: 0 = as it should be, 1 = no answer, 2 = the kill-switch document was refused or cannot be had.")]
    Status(List),
    /// Sign a kill-switch document: what `policy.kill_switches.document` names.
    #[command(after_help = "\
Examples:
  portcullis kill sign kill.yaml --key file:kill.pem --key-id kill --out kill.signed

A document:
  version: 7
  kill_switches:
    - { scope_key: \"jwt:sub\", scope_value: mallory, reason: \"INC-42: stolen token\" }

It is the whole list: what is not in it any more has ended. Raise `version` with every change.

Exit codes: 0 = signed, 1 = the document is not right, 2 = the command could not be carried out as given.")]
    Sign(super::bundle::sign::SignKill),
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

/// Arguments of `kill list` and `kill status`.
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
            Self::Status(status) => status.status(),
            Self::Sign(sign) => Ok(super::bundle::exit(sign.run())),
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
        if list.omitted > 0 {
            say_line(format_args!("and {} more", list.omitted));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn status(self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.ask(Method::GET, "/-/kill/status", None)?.success()?;
        let status: KillStatus = answer.json()?;
        match self.format {
            Format::Json => say_line(String::from_utf8_lossy(&answer.body).trim_end()),
            Format::Text => say(page(&status)),
        }
        let refused = status.document.is_some_and(|document| document.last_error.is_some());
        Ok(if refused { ExitCode::from(2) } else { ExitCode::SUCCESS })
    }
}

fn page(status: &KillStatus) -> String {
    let mut page = Page::default();
    let origins = |origins: &KillOrigins| {
        let KillOrigins {
            runtime,
            document,
            bundle,
        } = origins;
        format!("{runtime} set at run time, {document} of the document, {bundle} of the bundle")
    };
    page.line("active", origins(&status.active));
    if status.suspended.all() > 0 {
        page.line("suspended", origins(&status.suspended));
    }
    let Some(document) = &status.document else {
        page.line("document", "none: the configuration has no policy.kill_switches");
        return page.into_string();
    };
    page.line("document", &document.source);
    match (document.version, document.loaded_at) {
        (Some(version), since) => {
            let since = since.map(|since| format!(" since {since}")).unwrap_or_default();
            let keys = document.signed_by.join(", ");
            page.line("", format_args!("version {version}, signed by {keys}{since}"));
        }
        (None, _) => page.line("", "none was accepted yet"),
    }
    if let Some(error) = &document.last_error {
        page.line(
            "",
            format_args!("refused at {}: {}: {}", error.at, error.reason, error.detail),
        );
    }
    page.into_string()
}

/// A switch in one line.
fn describe(switch: &KillSwitch) -> String {
    let mut line = format!(
        "{}  {} = {}",
        switch.id.clone().unwrap_or_else(|| format!("({})", switch.origin)),
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
