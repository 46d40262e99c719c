//! `portcullis bundle init`: an author's file to begin with, with tests, that lints and loads as it stands.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use portcullis_bundles::timestamp::Timestamp;

use super::{Judged, now};
use crate::cli::format::{say, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle init api
  portcullis bundle init llm --out policies/llm.yaml
  portcullis bundle init webhook --out -

A file that is there is not overwritten.

Exit codes: 0 = written, 2 = could not be written.";

/// How long the bundle of a template is good for.
const LIFETIME_S: i64 = 90 * 24 * 3600;

/// Arguments of `bundle init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// What the gateway stands before.
    template: Template,
    /// Where it is written; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "policy.yaml")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Template {
    /// An HTTP API: limits by key and by address.
    Api,
    /// A language model.
    Llm,
    /// A receiver of webhooks: bursts that are worked off.
    Webhook,
}

impl Template {
    const fn text(self) -> &'static str {
        match self {
            Self::Api => include_str!("templates/api.yaml"),
            Self::Llm => include_str!("templates/llm.yaml"),
            Self::Webhook => include_str!("templates/webhook.yaml"),
        }
    }
}

impl Init {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        // A day is written, not a second: what is made twice a day is the same.
        let today = now() - now().rem_euclid(24 * 3600);
        let text = self
            .template
            .text()
            .replace("{issued_at}", &Timestamp::from_unix(today).to_string())
            .replace("{expires_at}", &Timestamp::from_unix(today + LIFETIME_S).to_string());
        if self.out.as_os_str() == "-" {
            say(text);
            return Ok(Judged::Good);
        }
        let name = self.out.display();
        let file = OpenOptions::new().write(true).create_new(true).open(&self.out);
        let mut file = match file {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                bail!("{name} is there already; `--out` names another file")
            }
            file => file.with_context(|| format!("cannot write {name}"))?,
        };
        file.write_all(text.as_bytes())
            .with_context(|| format!("cannot write {name}"))?;
        tell_line(format_args!("{name}: written; next: portcullis bundle lint {name}"));
        Ok(Judged::Good)
    }
}
