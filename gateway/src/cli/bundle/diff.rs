//! `portcullis bundle diff`: what changed between two bundles in any form. Whether anybody trustworthy signed them is not
//! looked at.

use std::path::{Path, PathBuf};

use portcullis_bundles::author::Authored;
use portcullis_bundles::diff;

use super::Judged;
use super::file::Text;
use crate::cli::format::{Format, count, say_line, tell};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle diff policy.bundle policy.yaml
  portcullis bundle diff old.bundle new.bundle --format json

Signatures are not checked. What the change means for real requests says `portcullis bundle replay`.

Exit codes: 0 = no difference, 1 = they differ, 2 = one of them is no bundle.";

/// Arguments of `bundle diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The bundle of before: a signed one or an author's file.
    old: PathBuf,
    /// The bundle of after.
    new: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Diff {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let (old, new) = (read(&self.old)?, read(&self.new)?);
        let changes = diff::diff(&old.bundle, &new.bundle)?;
        let (from, to) = (old.bundle.bundle_version.get(), new.bundle.bundle_version.get());
        match self.format {
            Format::Text => {
                for change in &changes {
                    say_line(change);
                }
                let changes = count(changes.len(), "change", "changes");
                say_line(format_args!("version {from} to version {to}: {changes}"));
            }
            Format::Json => {
                let told = serde_json::json!({
                    "old_version": from, "new_version": to, "signature_checked": false, "changes": changes,
                });
                say_line(format_args!("{told:#}"));
            }
        }
        Ok(if changes.is_empty() { Judged::Good } else { Judged::Bad })
    }
}

fn read(path: &Path) -> anyhow::Result<Authored> {
    Text::read(path)?.authored().map_err(|wrong| {
        tell(wrong.render_text());
        anyhow::anyhow!("{} is no bundle that a gateway could use", path.display())
    })
}
