//! `portcullis bundle replay`: what another bundle would have made of the requests that a gateway has recorded.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::seal::{StateKeys, Vault};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_config::activation::{Activation, Budget};
use portcullis_config::secret::SecretRef;
use portcullis_filters::policy::{Changes, Recording, Report, replay};

use super::Judged;
use super::file::Text;
use crate::cli::format::{Format, say, say_line, tell, tell_line};
use crate::live::record::over_budget;
use crate::recorder::{self, SECRET_FILE};
use crate::state;

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle replay new.yaml --against /var/lib/portcullis/record
  portcullis bundle replay new.bundle --old policy.bundle --against record --key record-key
  portcullis bundle replay new.yaml --against record --max-new-denies 0.1% --max-new-allows 0

The ring is the file `record` of a gateway's policy.state_dir; the key with which its values were
hashed lies beside it. With --old both bundles are tried from full counters; without it the new one
is held against what became of the requests.

Exit codes: 0 = within the budget, or there is none; 1 = over it; 2 = could not be tried.";

/// Arguments of `bundle replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The new bundle: signed or an author's file. Its signature is not checked.
    new: PathBuf,
    /// The recorded requests.
    #[arg(long, value_name = "RING")]
    against: PathBuf,
    /// The key of the recording. Default: `record-key` beside the ring.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The state key, where the folder of the recording is sealed: env:NAME or file:PATH.
    #[arg(long, value_name = "KEY")]
    state_key: Option<SecretRef>,
    /// The bundle of before.
    #[arg(long, value_name = "FILE")]
    old: Option<PathBuf>,
    /// Most requests that were let through and would be refused: a number, or a percentage.
    #[arg(long, value_name = "BUDGET")]
    max_new_denies: Option<Budget>,
    /// Most requests that were refused and would be let through.
    #[arg(long, value_name = "BUDGET")]
    max_new_allows: Option<Budget>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Replay {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let new = policies(&self.new)?;
        let old = self.old.as_deref().map(policies).transpose()?;
        let recording = self.recording(old.as_ref(), &new)?;
        let report = replay(&recording, old.as_ref(), &new);
        let over = self.budget().and_then(|budget| over_budget(&report, &budget));
        match self.format {
            Format::Text => {
                say(text(&report));
                if let Some(over) = &over {
                    tell_line(format_args!("OVER THE BUDGET: {over}"));
                }
            }
            Format::Json => say_line(format_args!("{:#}", json(&report, over.is_none()))),
        }
        Ok(if over.is_none() { Judged::Good } else { Judged::Bad })
    }

    /// What is not given has no bound; with neither there is no budget.
    fn budget(&self) -> Option<Activation> {
        if self.max_new_denies.is_none() && self.max_new_allows.is_none() {
            return None;
        }
        let any = Budget::Percent(100.0);
        Some(Activation {
            max_new_denies: self.max_new_denies.unwrap_or(any),
            max_new_allows: self.max_new_allows.unwrap_or(any),
        })
    }

    /// What a file of a state folder holds.
    fn file(&self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        let key = self.state_key.as_ref().map(|key| StateKeys::resolve(key, &[]));
        let vault = Vault::look(folder, key.transpose()?.as_ref())?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(state::read(folder, &name, &vault)?)
    }

    fn recording(&self, old: Option<&Policies>, new: &Policies) -> anyhow::Result<Recording> {
        let ring = &self.against;
        let key = self.key.clone().unwrap_or_else(|| ring.with_file_name(SECRET_FILE));
        let secret = self.file(&key).and_then(|text| Ok(recorder::secret_of(&text)?));
        let secret = secret.with_context(|| format!("cannot read {}", key.display()))?;
        let lines = self.file(ring).and_then(|text| Ok(recorder::lines_of(&text)?));
        let lines = lines.with_context(|| format!("cannot read {}", ring.display()))?;
        let bundles: Vec<&Policies> = old.into_iter().chain([new]).collect();
        let lines = lines.iter().map(|line| &**line);
        Recording::read(lines, &secret, &bundles).with_context(|| ring.display().to_string())
    }
}

fn policies(path: &Path) -> anyhow::Result<Policies> {
    match Text::read(path)?.authored() {
        Ok(authored) => Ok(authored.compiled.policies),
        Err(wrong) => {
            tell(wrong.render_text());
            bail!("{} is no bundle that a gateway could use", path.display())
        }
    }
}

fn text(report: &Report) -> String {
    let mut text = String::new();
    let moment = |ms: u64| Timestamp::from_unix(i64::try_from(ms / 1000).unwrap_or(i64::MAX));
    let span = report
        .span_ms
        .map(|(first, last)| format!(", {} to {}", moment(first), moment(last)));
    let _ = writeln!(text, "{} requests{}", report.requests, span.unwrap_or_default());
    for (key, count) in &report.missing_keys {
        let _ = writeln!(text, "not judged: `{key}` was not recorded of {count}");
    }
    for (name, changes) in [("new denies", &report.new_denies), ("new allows", &report.new_allows)] {
        let _ = writeln!(
            text,
            "{name}: {}{}",
            changes.total,
            share(changes.total, report.requests)
        );
        for (group, change) in &changes.groups {
            let _ = writeln!(text, "  {group}: {}", change.count);
            for example in &change.examples {
                let _ = writeln!(text, "    {example}");
            }
        }
    }
    text
}

#[allow(clippy::cast_precision_loss)] // counts of requests are far below 2^52
fn share(count: u64, all: u64) -> String {
    if count == 0 || all == 0 {
        return String::new();
    }
    format!(" ({:.3} %)", count as f64 * 100.0 / all as f64)
}

fn json(report: &Report, within: bool) -> serde_json::Value {
    let changes = |changes: &Changes| {
        let groups = changes.groups.iter().map(
            |(name, change)| serde_json::json!({ "rule": name, "count": change.count, "examples": change.examples }),
        );
        serde_json::json!({ "total": changes.total, "rules": groups.collect::<Vec<_>>() })
    };
    serde_json::json!({
        "requests": report.requests, "unjudged": report.unjudged,
        "missing_keys": report.missing_keys.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        "new_denies": changes(&report.new_denies), "new_allows": changes(&report.new_allows), "within_budget": within,
    })
}
