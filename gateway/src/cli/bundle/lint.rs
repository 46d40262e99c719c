//! `portcullis bundle lint`: everything that would make a gateway refuse a bundle, each at its place, and hints about what
//! is allowed and most likely not meant.

use std::path::PathBuf;

use portcullis_bundles::author::Authored;
use portcullis_bundles::explain::Explanation;

use super::file::{Signed, Text};
use super::{Judged, judge, now};
use crate::cli::format::{Format, count, say_line, tell, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle lint policy.yaml
  portcullis bundle lint policy.yaml --strict          hints count as errors
  portcullis bundle lint policy.bundle --format json   a signed bundle; its signature is not checked";

/// Arguments of `bundle lint`.
#[derive(Debug, clap::Args)]
pub(crate) struct Lint {
    /// An author's file (YAML or JSON) or a signed bundle.
    file: PathBuf,
    /// Hints count as errors.
    #[arg(long)]
    strict: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Lint {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let text = Text::read(&self.file)?;
        let now = now();
        let (authored, errors, hints) = match text.authored() {
            Err(errors) => (None, errors, Explanation::default()),
            Ok(authored) => {
                let errors = judge::explain(&authored, &judge::faults(&authored, now));
                let hints = judge::explain(&authored, &judge::hints(&authored.bundle, now));
                (Some(authored), errors, hints)
            }
        };
        let good = errors.diagnostics.is_empty() && (hints.diagnostics.is_empty() || !self.strict);
        match self.format {
            Format::Text => report(&text, authored.filter(|_| good).as_ref(), &errors, &hints),
            Format::Json => say_line(format_args!("{:#}", json(&text, good, &errors, &hints))),
        }
        Ok(if good { Judged::Good } else { Judged::Bad })
    }
}

fn report(text: &Text, good: Option<&Authored>, errors: &Explanation, hints: &Explanation) {
    let errors = errors.render_text();
    let hinted = judge::render_hints(hints);
    tell(&errors);
    if !errors.is_empty() && !hinted.is_empty() {
        tell_line("");
    }
    tell(&hinted);
    if text.signed != Signed::No {
        tell_line(format_args!(
            "{}: its signature was not checked (`portcullis bundle verify` does)",
            text.name
        ));
    }
    let Some(authored) = good else { return };
    let policies = &authored.bundle.policies;
    let rules = policies
        .iter()
        .map(|policy| policy.spec.rules.len() + usize::from(policy.spec.fallback_limit.is_some()));
    let parts = [
        format!("version {}", authored.bundle.bundle_version.get()),
        count(policies.len(), "policy", "policies"),
        count(rules.sum(), "rule", "rules"),
        format!("{} passed", count(authored.compiled.tests.len(), "test", "tests")),
        count(hints.diagnostics.len(), "hint", "hints"),
    ];
    say_line(format_args!("{}: ok ({})", text.name, parts.join(", ")));
}

fn json(text: &Text, good: bool, errors: &Explanation, hints: &Explanation) -> serde_json::Value {
    let mut all = errors.diagnostics.render_json(&errors.sources);
    let mut hints = hints.diagnostics.render_json(&hints.sources);
    if let Some(all) = all.as_object_mut() {
        all.insert("ok".into(), good.into());
        all.insert("file".into(), text.name.as_str().into());
        all.insert("signature_checked".into(), false.into());
        all.insert(
            "hints".into(),
            hints.get_mut("errors").map(serde_json::Value::take).unwrap_or_default(),
        );
    }
    all
}
