//! `portcullis bundle rollout`: the bundle that a running gateway tries on a part of its requests: how it does, and ending
//! that by hand.

use clap::Subcommand;
use http::Method;

use super::Judged;
use crate::admin::wire::{Counts, RolloutEnd, RolloutState, RolloutStatus};
use crate::cli::client::Admin;
use crate::cli::format::{Format, Page, say, say_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle rollout status
  portcullis bundle rollout promote --admin 10.0.0.7:9901
  portcullis bundle rollout abort

Exit codes: 0 = done, 2 = nothing is on trial, or no answer.";

/// Show, promote or abort the bundle on trial.
#[derive(Debug, Subcommand)]
pub(crate) enum Rollout {
    /// Show the bundle on trial, and how the last trial ended.
    #[command(after_help = "\
Examples:
  portcullis bundle rollout status
  portcullis bundle rollout status --format json")]
    Status(Asked),
    /// Let the bundle on trial come into force now, for all requests.
    #[command(after_help = "\
Example:
  portcullis bundle rollout promote")]
    Promote(Asked),
    /// End the trial. The bundle is not tried again: publish another under a higher version.
    #[command(after_help = "\
Example:
  portcullis bundle rollout abort --admin 10.0.0.7:9901")]
    Abort(Asked),
}

/// Arguments of all of them.
#[derive(Debug, clap::Args)]
pub(crate) struct Asked {
    #[command(flatten)]
    admin: Admin,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Rollout {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let (asked, method, path) = match self {
            Self::Status(asked) => (asked, Method::GET, "/-/rollout"),
            Self::Promote(asked) => (asked, Method::POST, "/-/rollout/promote"),
            Self::Abort(asked) => (asked, Method::POST, "/-/rollout/abort"),
        };
        let answer = asked.admin.ask(method, path, None)?.success()?;
        let status: RolloutStatus = answer.json()?;
        match asked.format {
            Format::Json => say_line(String::from_utf8_lossy(&answer.body)),
            Format::Text => say(page(&status)),
        }
        Ok(Judged::Good)
    }
}

fn page(status: &RolloutStatus) -> String {
    let mut page = Page::default();
    match &status.rollout {
        None => page.line("on trial", "nothing"),
        Some(state) => lines(&mut page, state),
    }
    if let Some(last) = &status.last {
        let RolloutEnd {
            version,
            outcome,
            at,
            detail,
            ..
        } = last;
        page.line("last", format_args!("version {version} {outcome} at {at}: {detail}"));
    }
    page.into_string()
}

/// A bundle on trial, for people.
pub(crate) fn lines(page: &mut Page, state: &RolloutState) {
    let share = match (state.by.as_str(), state.here) {
        ("node", true) => format!("on this gateway, as one of {} %", state.percent),
        ("node", false) => format!("not on this gateway, but on {} % of all", state.percent),
        _ => format!("on {} % of identities", state.percent),
    };
    page.line(
        "on trial",
        format_args!(
            "version {} {share}, {} s of {} s",
            state.version, state.elapsed_seconds, state.window_seconds
        ),
    );
    page.line("", format_args!("decided by it: {}", told(state.on_trial)));
    page.line("", format_args!("meanwhile: {}", told(state.in_force)));
    if state.on_trial.requests < state.min_requests && state.here {
        let wanted = state.min_requests;
        page.line("", format_args!("nothing is concluded before {wanted} requests"));
    }
}

fn told(counts: Counts) -> String {
    let Counts {
        requests,
        rejected,
        failed,
    } = counts;
    format!("{requests} requests, {rejected} refused, {failed} with 5xx")
}
