//! `portcullis bundle inspect`: what is in a bundle. Whether anybody trustworthy signed it is not looked at, and is said.

use std::path::PathBuf;

use portcullis_bundles::compile::compile;
use portcullis_bundles::digest::Digest;
use portcullis_bundles::format::{Bundle, Mode, OnMissing};
use portcullis_bundles::inspect::{OverrideSummary, PolicySummary, RuleSummary, Summary};
use portcullis_bundles::policies::Provenance;

use super::Judged;
use super::file::{Signed, Text};
use crate::cli::format::{Format, Page, count, say, say_line, tell};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle inspect policy.bundle
  portcullis bundle inspect policy.yaml --format json

Whether the signature is good says `portcullis bundle verify`.";

/// Arguments of `bundle inspect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Inspect {
    /// A signed bundle or an author's file (YAML or JSON).
    file: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Inspect {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let text = Text::read(&self.file)?;
        let authored = match text.authored() {
            Ok(authored) => authored,
            Err(wrong) => {
                tell(wrong.render_text());
                return Ok(Judged::Bad);
            }
        };
        let signed_text = match text.signed {
            Signed::No => authored.canonical_json()?,
            Signed::Line | Signed::Dsse(_) => text.bytes.clone(),
        };
        let origin = Provenance {
            version: authored.bundle.bundle_version.get(),
            digest: Digest::of(&signed_text),
            signed_by: Box::default(),
        };
        // It compiled a moment ago; this time it carries its digest.
        let compiled = compile(&authored.bundle, origin)
            .map_err(|problems| anyhow::anyhow!("{} problems appeared at the second look", problems.count()))?;
        let summary = Summary::of(&compiled.policies);
        match self.format {
            Format::Text => say(page(&text, &authored.bundle, &summary)),
            Format::Json => say_line(format_args!("{:#}", json(&text, &summary)?)),
        }
        Ok(Judged::Good)
    }
}

fn json(text: &Text, summary: &Summary) -> anyhow::Result<serde_json::Value> {
    let mut all = serde_json::to_value(summary)?;
    if let Some(all) = all.as_object_mut() {
        // Nobody was asked, so nobody vouches.
        all.remove("signed_by");
        all.insert("file".into(), text.name.as_str().into());
        all.insert("signature_checked".into(), false.into());
        let claims = match &text.signed {
            Signed::No => serde_json::Value::Null,
            Signed::Line => serde_json::json!({ "form": "line" }),
            Signed::Dsse(keys) => serde_json::json!({ "form": "dsse", "key_ids": keys }),
        };
        all.insert("signature".into(), claims);
    }
    Ok(all)
}

fn page(text: &Text, bundle: &Bundle, summary: &Summary) -> String {
    let mut page = Page::default();
    page.line(
        "bundle",
        format_args!("version {}, {}", summary.bundle_version, text.name),
    );
    page.line("signature", signature(&text.signed));
    page.line("sha256", &summary.sha256);
    for (name, time) in [
        ("issued", summary.issued_at),
        ("not before", summary.not_before),
        ("expires", summary.expires_at),
    ] {
        let missing = if name == "expires" {
            Some("never".to_owned())
        } else {
            None
        };
        if let Some(time) = time.map(|time| time.to_string()).or(missing) {
            page.line(name, time);
        }
    }
    if let Some(names) = &summary.audience {
        page.line("for", names.join(", "));
    }
    for (name, suspended) in [
        ("shadow", &summary.global_shadow),
        ("override", &summary.kill_switch_override),
    ] {
        if let Some(OverrideSummary { reason, until }) = suspended {
            let what = if name == "shadow" {
                "every policy only records"
            } else {
                "kill switches are suspended"
            };
            page.line(name, format_args!("{what} until {until}: {reason}"));
        }
    }
    page.line(
        "switches",
        count(summary.kill_switch_count, "kill switch", "kill switches"),
    );
    page.line(
        "requires",
        count(summary.requirement_count, "requirement", "requirements"),
    );
    page.line("tests", format_args!("{}, not run", bundle.tests.len()));
    let policies = count(summary.policy_count, "policy", "policies");
    page.line(
        "policies",
        format_args!("{policies}, {}", count(summary.rule_count, "rule", "rules")),
    );
    for policy in &summary.policies {
        self::policy(&mut page, policy);
    }
    let untold = summary.policy_count.saturating_sub(summary.policies.len());
    if untold > 0 {
        page.line("", format_args!("and {untold} more"));
    }
    page.into_string()
}

fn signature(signed: &Signed) -> String {
    match signed {
        Signed::No => "none: this is an author's file".to_owned(),
        Signed::Line => "NOT CHECKED: HMAC-SHA256 in the line form".to_owned(),
        Signed::Dsse(keys) if keys.is_empty() => "none: the DSSE envelope is empty".to_owned(),
        Signed::Dsse(keys) => format!("NOT CHECKED: DSSE, naming {}", keys.join(", ")),
    }
}

fn policy(page: &mut Page, policy: &PolicySummary) {
    let mode = match policy.mode {
        Mode::Enforce => "",
        Mode::Shadow => ", in shadow",
    };
    let priority = match policy.priority {
        0 => String::new(),
        priority => format!(", priority {priority}"),
    };
    page.text(&format!("\n{}{mode}{priority}\n", policy.id));
    for rule in &policy.rules {
        let RuleSummary {
            name,
            limit_keys,
            on_missing,
            limit,
        } = rule;
        let keys = match limit_keys.as_slice() {
            [] => "one counter for all".to_owned(),
            keys => format!("by {}", keys.join(" + ")),
        };
        let missing = match (on_missing, limit_keys.is_empty()) {
            (_, true) | (OnMissing::Anonymous, _) => "",
            (OnMissing::Skip, _) => ", not without",
            (OnMissing::Deny, _) => ", refused without",
        };
        page.text(&format!("  {name}: {limit}, {keys}{missing}\n"));
    }
}
