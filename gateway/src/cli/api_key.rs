//! `portcullis api-key`: keys are issued, listed, rotated and revoked, by a running gateway or, while none runs, in its state
//! folder.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use http::Method;
use ipnet::IpNet;
use portcullis_config::load::load;
use portcullis_filters::api_key::record::{Class, Environment};
use serde::Serialize;

use super::client::Admin;
use super::format::{Format, say, say_line};
use crate::admin::key_wire::{Issued, KeyRequest, KeyView, RotateRequest};
use crate::identity::ApiKeys;

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis api-key issue acme --class secret --name backend
  portcullis api-key issue acme --class publishable --origin https://shop.example.com
  portcullis api-key issue acme --class restricted --scope read:orders --ttl 90d
  portcullis api-key list
  portcullis api-key rotate key_0123456789abcdef --overlap 24h
  portcullis api-key revoke key_0123456789abcdef

A key is shown once. Where no gateway runs, --config names the configuration whose state folder the
keys are in. What has been revoked is refused from the next request on, and stays so.";

/// Issue, list, rotate and revoke API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum ApiKey {
    /// Make a key for an organisation, and show it.
    #[command(after_help = "\
Examples:
  portcullis api-key issue acme --class secret --name backend
  portcullis api-key issue acme --class publishable --origin https://shop.example.com
  portcullis api-key issue acme --class restricted --scope read:orders --ttl 90d")]
    Issue(Issue),
    /// Show all keys, without their texts.
    #[command(after_help = "\
Examples:
  portcullis api-key list
  portcullis api-key list --format json")]
    List(List),
    /// Make another text of a key, and show it.
    #[command(after_help = "\
Examples:
  portcullis api-key rotate key_0123456789abcdef --overlap 24h")]
    Rotate(Rotate),
    /// End a key at once.
    #[command(after_help = "\
Examples:
  portcullis api-key revoke key_0123456789abcdef
  portcullis api-key revoke key_0123456789abcdef --config portcullis.yaml")]
    Revoke(Revoke),
}

/// Who is asked.
#[derive(Debug, clap::Args)]
struct Whom {
    #[command(flatten)]
    admin: Admin,
    /// Work in the state folder of this configuration, while no gateway runs.
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Arguments of `api-key issue`.
#[derive(Debug, clap::Args)]
pub(crate) struct Issue {
    #[command(flatten)]
    whom: Whom,
    /// Whose it is.
    organisation: String,
    /// What it may be used for: publishable, secret or restricted.
    #[arg(long, value_parser = class)]
    class: Class,
    /// Where: live or test.
    #[arg(long, value_parser = environment, default_value = "live")]
    environment: Environment,
    /// For people.
    #[arg(long, default_value = "")]
    name: String,
    /// What it may do. Again for each.
    #[arg(long = "scope")]
    scopes: Vec<String>,
    /// Origins of pages that may send it. Again for each.
    #[arg(long = "origin")]
    origins: Vec<String>,
    /// Networks that it may come from. Again for each.
    #[arg(long = "network")]
    networks: Vec<IpNet>,
    /// For how long: 30d. For good unless given.
    #[arg(long)]
    ttl: Option<String>,
}

/// Arguments of `api-key list`.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    whom: Whom,
}

/// Arguments of `api-key rotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    #[command(flatten)]
    whom: Whom,
    /// The id that `issue` and `list` show.
    id: String,
    /// How long the text of before is still good.
    #[arg(long, default_value = "0s")]
    overlap: String,
}

/// Arguments of `api-key revoke`.
#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    whom: Whom,
    /// The id that `issue` and `list` show.
    id: String,
}

fn class(text: &str) -> Result<Class, String> {
    let found = Class::ALL.into_iter().find(|class| class.as_str() == text);
    found.ok_or_else(|| "publishable, secret or restricted".to_owned())
}

fn environment(text: &str) -> Result<Environment, String> {
    let found = Environment::ALL.into_iter().find(|known| known.as_str() == text);
    found.ok_or_else(|| "live or test".to_owned())
}

impl ApiKey {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Issue(issue) => issue.run(),
            Self::List(list) => list.run(),
            Self::Rotate(rotate) => rotate.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

impl Issue {
    fn run(self) -> anyhow::Result<ExitCode> {
        let request = KeyRequest {
            organisation: self.organisation,
            class: self.class,
            environment: self.environment,
            name: self.name,
            scopes: self.scopes,
            origins: self.origins,
            networks: self.networks,
            ttl: self.ttl,
        };
        let issued = match self.whom.offline()? {
            Some(keys) => keys.issue(&request, now())?,
            None => self.whom.ask(Method::POST, "/-/api-keys", Some(&request))?.json()?,
        };
        self.whom.tell_issued(&issued)
    }
}

impl List {
    fn run(self) -> anyhow::Result<ExitCode> {
        let keys: Vec<KeyView> = match self.whom.offline()? {
            Some(keys) => keys.list(now()),
            None => self.whom.ask::<()>(Method::GET, "/-/api-keys", None)?.json()?,
        };
        if self.whom.format == Format::Json {
            say_line(serde_json::to_string_pretty(&keys)?);
        } else {
            let mut page = String::new();
            for key in &keys {
                let _ = writeln!(page, "{}", line(key));
            }
            say(page);
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Rotate {
    fn run(self) -> anyhow::Result<ExitCode> {
        let overlap = self.overlap;
        let issued = if let Some(keys) = self.whom.offline()? {
            keys.rotate(&self.id, &overlap, now())?
        } else {
            let path = format!("/-/api-keys/{}/rotate", self.id);
            let asked = self.whom.ask(Method::POST, &path, Some(&RotateRequest { overlap }))?;
            asked.json()?
        };
        self.whom.tell_issued(&issued)
    }
}

impl Revoke {
    fn run(self) -> anyhow::Result<ExitCode> {
        let revoked: KeyView = if let Some(keys) = self.whom.offline()? {
            keys.revoke(&self.id, now())?
        } else {
            let path = format!("/-/api-keys/{}", self.id);
            self.whom.ask::<()>(Method::DELETE, &path, None)?.json()?
        };
        match self.whom.format {
            Format::Json => say_line(serde_json::to_string_pretty(&revoked)?),
            Format::Text => say_line(line(&revoked)),
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Whom {
    /// The keys in a state folder, where one is named.
    fn offline(&self) -> anyhow::Result<Option<ApiKeys>> {
        let Some(config) = &self.config else { return Ok(None) };
        let loaded = load(config).map_err(|failed| anyhow::anyhow!("{}", failed.render_text()))?;
        let keys = ApiKeys::offline(&loaded.config);
        keys.map(Some)
            .with_context(|| format!("the keys of {} cannot be opened", config.display()))
    }

    fn ask<T: Serialize>(&self, method: Method, path: &str, body: Option<&T>) -> anyhow::Result<super::client::Answer> {
        let body = body.map(serde_json::to_value).transpose()?;
        self.admin.ask(method, path, body.as_ref())?.success()
    }

    fn tell_issued(&self, issued: &Issued) -> anyhow::Result<ExitCode> {
        match self.format {
            Format::Json => say_line(serde_json::to_string_pretty(issued)?),
            Format::Text => {
                say_line(&issued.key);
                super::format::tell_line(format_args!("{}; it is not shown again", line(&issued.issued)));
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn now() -> u64 {
    crate::live::now().unix_ms / 1000
}

/// A key, for people.
fn line(key: &KeyView) -> String {
    let mut line = format!(
        "{} {} {} {} {}",
        key.id,
        key.status,
        key.class.as_str(),
        key.environment.as_str(),
        key.organisation
    );
    for (what, at) in [
        ("expires", key.expires_at),
        ("revoked", key.revoked_at),
        ("last used", key.last_used_at),
    ] {
        if let Some(at) = at {
            let _ = write!(line, ", {what} {at}");
        }
    }
    if !key.scopes.is_empty() {
        let _ = write!(line, ", scopes {}", key.scopes.join(" "));
    }
    if !key.name.is_empty() {
        let _ = write!(line, ", {}", key.name);
    }
    line
}
