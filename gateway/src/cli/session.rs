//! `portcullis session`: the sessions of a running gateway, listed and ended at once.

use std::fmt::Write as _;
use std::process::ExitCode;

use clap::Subcommand;
use http::Method;

use super::client::Admin;
use super::format::{Format, say_line};
use crate::session::wire::{SessionEntry, SessionList, SessionRevoke, SessionsRevoked};

/// What `session --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis session list
  portcullis session revoke --id 3f1c9a52e07b4d6688aa10f2
  portcullis session revoke --user alice
  portcullis session revoke --tenant acme

The next request of a session that was revoked is refused, and no crash brings it back.";

/// List and end sessions of users.
#[derive(Debug, Subcommand)]
pub(crate) enum Session {
    /// Show the sessions there are.
    #[command(after_help = "\
Examples:
  portcullis session list
  portcullis session list --format json")]
    List(List),
    /// End sessions: one, all of a user, or all of a tenant.
    #[command(after_help = "\
Examples:
  portcullis session revoke --id 3f1c9a52e07b4d6688aa10f2
  portcullis session revoke --user alice")]
    Revoke(Revoke),
}

/// Arguments of `session list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    admin: Admin,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `session revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    admin: Admin,
    #[command(flatten)]
    which: Which,
}

/// Which sessions end.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Which {
    /// This one, as `session list` calls it.
    #[arg(long)]
    id: Option<String>,
    /// All of this user (`sub`).
    #[arg(long)]
    user: Option<String>,
    /// All that act for this tenant.
    #[arg(long)]
    tenant: Option<String>,
}

impl Session {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::List(list) => list.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let answer = self.admin.ask(Method::GET, "/-/sessions", None)?.success()?;
        if self.format == Format::Json {
            say_line(String::from_utf8_lossy(&answer.body).trim_end());
            return Ok(ExitCode::SUCCESS);
        }
        let list: SessionList = answer.json()?;
        if list.sessions.is_empty() {
            say_line("there is no session");
        }
        for session in &list.sessions {
            say_line(describe(session));
        }
        if list.total > list.sessions.len() {
            say_line(format_args!("and {} more", list.total - list.sessions.len()));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<ExitCode> {
        let Which { id, user, tenant } = self.which;
        let request = serde_json::to_value(SessionRevoke { id, user, tenant })?;
        let answer = self.admin.ask(Method::POST, "/-/sessions/revoke", Some(&request))?;
        let revoked: SessionsRevoked = answer.success()?.json()?;
        say_line(format_args!("revoked: {}", revoked.revoked));
        Ok(ExitCode::SUCCESS)
    }
}

/// A session in one line.
fn describe(session: &SessionEntry) -> String {
    let mut line = format!("{}  {} of {}", session.id, session.user, session.issuer);
    if let Some(tenant) = &session.tenant {
        let _ = write!(line, "  tenant: {tenant}");
    }
    let _ = write!(line, "  since: {}  seen: {}", session.created_at, session.seen_at);
    line
}
