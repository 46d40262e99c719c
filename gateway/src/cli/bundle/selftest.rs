//! `portcullis bundle test`: the tests that a bundle brings along, run as a gateway runs them before it accepts the bundle.

use std::fmt::Write as _;
use std::path::PathBuf;

use portcullis_bundles::examine::{self, Decision, Examiner as _};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::sample::Test;
use portcullis_filters::policy::PolicyExaminer;

use super::file::{Signed, Text};
use super::{Judged, now};
use crate::cli::format::{Format, count, say, say_line, tell, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle test policy.yaml
  portcullis bundle test policy.yaml --format json

A test in the bundle:
  tests:
    - name: ten at once and not eleven
      request: { path: /v1/items, claims: { sub: alice } }
      repeat: 11
      expect: { decision: reject, reason: token_bucket_exceeded }";

/// Arguments of `bundle test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Selftest {
    /// An author's file (YAML or JSON) or a signed bundle.
    file: PathBuf,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// How a test went.
struct Ran<'a> {
    test: &'a Test,
    /// What came, or why nothing did.
    decision: Result<Decision, String>,
    /// What is wrong with that.
    failure: Option<String>,
}

impl Selftest {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let text = Text::read(&self.file)?;
        let authored = match text.authored() {
            Ok(authored) => authored,
            Err(wrong) => {
                tell(wrong.render_text());
                return Ok(Judged::Bad);
            }
        };
        let (policies, now) = (&authored.compiled.policies, now());
        let ran: Vec<_> = authored
            .compiled
            .tests
            .iter()
            .map(|test| run(policies, test, now))
            .collect();
        let failed = ran.iter().filter(|ran| ran.failure.is_some()).count();
        match self.format {
            Format::Text => {
                say(table(&ran));
                say_line(format_args!(
                    "{}: {}, {failed} failed",
                    text.name,
                    count(ran.len(), "test", "tests")
                ));
                if text.signed != Signed::No {
                    tell_line(format_args!(
                        "{}: its signature was not checked (`portcullis bundle verify` does)",
                        text.name
                    ));
                }
            }
            Format::Json => say_line(format_args!("{:#}", json(&text, &ran, failed))),
        }
        Ok(if failed == 0 { Judged::Good } else { Judged::Bad })
    }
}

fn run<'a>(policies: &Policies, test: &'a Test, now: i64) -> Ran<'a> {
    let failure = examine::run(&PolicyExaminer, policies, std::slice::from_ref(test), now).pop();
    Ran {
        test,
        decision: PolicyExaminer.examine(policies, &test.request, test.repeat, now),
        failure: failure.map(|failure| failure.detail),
    }
}

fn table(ran: &[Ran<'_>]) -> String {
    let widest = ran
        .iter()
        .map(|ran| ran.test.name.chars().count())
        .max()
        .unwrap_or(0)
        .min(60);
    let line = |ran: &Ran<'_>| {
        let verdict = if ran.failure.is_some() { "FAIL" } else { "ok" };
        let outcome = match (&ran.failure, &ran.decision) {
            (Some(failure), _) => failure.clone(),
            (None, Ok(decision)) => describe(decision),
            (None, Err(error)) => error.clone(),
        };
        format!("{verdict:<4}  {:widest$}  {outcome}\n", ran.test.name)
    };
    ran.iter().map(line).collect()
}

fn describe(decision: &Decision) -> String {
    let mut text = format!("{:<6}  {}", decision.outcome.as_str(), decision.reason);
    if let (Some(policy), Some(rule)) = (&decision.policy, &decision.rule) {
        let _ = write!(text, " ({policy}/{rule})");
    }
    text
}

fn json(text: &Text, ran: &[Ran<'_>], failed: usize) -> serde_json::Value {
    let one = |ran: &Ran<'_>| {
        let decision = ran.decision.as_ref().ok();
        serde_json::json!({
            "name": ran.test.name,
            "ok": ran.failure.is_none(),
            "failure": ran.failure,
            "decision": decision.map(|decision| decision.outcome.as_str()),
            "reason": decision.map(|decision| decision.reason.as_str()),
            "policy": decision.and_then(|decision| decision.policy.as_deref()),
            "rule": decision.and_then(|decision| decision.rule.as_deref()),
        })
    };
    serde_json::json!({
        "ok": failed == 0, "file": text.name, "failed": failed, "tests": ran.iter().map(one).collect::<Vec<_>>(),
    })
}
