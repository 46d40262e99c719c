//! `portcullis demo --once`: runs what the demo would print and holds it against what it promises. It sends the requests
//! itself, and runs this very program for the rest.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Full;

use super::script::{Action, Command, PATH, Promise, Step};
use super::world::World;
use crate::admin::control::Control as _;
use crate::cli::client::{Answer, send};
use crate::cli::format::say_line;

/// Longest that a request is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came of a command.
struct Outcome {
    /// For people.
    text: String,
    /// Whether it is what was promised.
    kept: bool,
}

/// Runs everything; says whether every promise was kept.
pub(super) async fn run(world: &World, steps: &[Step]) -> bool {
    let mut kept = true;
    for step in steps {
        say_line(format_args!("# {}", step.title));
        for command in &step.commands {
            let outcome = match perform(world, command).await {
                Ok(outcome) => outcome,
                Err(error) => Outcome {
                    text: format!("{error:#}"),
                    kept: false,
                },
            };
            let verdict = if outcome.kept {
                String::new()
            } else {
                format!("   WRONG: promised: {}", command.promise)
            };
            say_line(format_args!("{} -> {}{verdict}", command.shell, outcome.text));
            kept &= outcome.kept;
        }
        say_line("");
    }
    say_line(if kept {
        "ok: every promise was kept"
    } else {
        "WRONG: see above"
    });
    kept
}

async fn perform(world: &World, command: &Command) -> anyhow::Result<Outcome> {
    match &command.action {
        Action::Request { token } => requests(world, token.as_deref(), &command.promise).await,
        Action::Portcullis(arguments) => {
            let mut process = Process::new(std::env::current_exe()?);
            process.args(arguments).stdin(Stdio::null());
            let done = tokio::task::spawn_blocking(move || process.output()).await??;
            let refused = matches!(command.promise, Promise::Refused(_));
            if done.status.code() == Some(i32::from(refused)) {
                return Ok(in_force(world, &command.promise));
            }
            let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
            Ok(Outcome {
                text: format!("{}: {said}", done.status),
                kept: false,
            })
        }
        Action::Append(path) => {
            OpenOptions::new().append(true).open(path)?.write_all(b"x")?;
            Ok(in_force(world, &command.promise))
        }
    }
}

/// Sends as many requests as there are promised statuses.
async fn requests(world: &World, token: Option<&str>, promise: &Promise) -> anyhow::Result<Outcome> {
    let Promise::Statuses(promised, promised_reason) = promise else {
        anyhow::bail!("a request has a status, and {promise} was promised");
    };
    let (mut statuses, mut reason) = (Vec::new(), None);
    for _ in promised {
        let token = match token {
            Some(path) => {
                let answer = get(world.addresses.provider, &format!("/{path}"), None).await?;
                Some(String::from_utf8(answer.body.to_vec()).context("the token is not text")?)
            }
            None => None,
        };
        let answer = get(world.addresses.public, PATH, token.as_deref()).await?;
        statuses.push(answer.status.as_u16());
        reason = reason_of(&answer);
    }
    let came = statuses
        .iter()
        .map(ToString::to_string)
        .chain(reason.clone())
        .collect::<Vec<_>>();
    let kept = statuses == *promised && reason.as_deref() == *promised_reason;
    Ok(Outcome {
        text: came.join(" "),
        kept,
    })
}

async fn get(address: SocketAddr, path: &str, token: Option<&str>) -> anyhow::Result<Answer> {
    let mut request = Request::builder().uri(path).header(header::HOST, address.to_string());
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = request.body(Full::new(Bytes::new()))?;
    tokio::time::timeout(PATIENCE, send(address, request))
        .await
        .context("no answer in time")?
}

/// The reason code of a refusal.
fn reason_of(answer: &Answer) -> Option<String> {
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    Some(problem.get("reason")?.as_str()?.to_owned())
}

/// Whether the bundle that was promised is in force.
fn in_force(world: &World, promise: &Promise) -> Outcome {
    let bundle = world.live.readiness().bundle;
    let version = bundle.as_ref().and_then(|bundle| bundle.version);
    let refused = bundle.and_then(|bundle| bundle.last_error).map(|error| error.reason);
    let kept = match promise {
        Promise::Version(promised) => version == Some(*promised) && refused.is_none(),
        Promise::Refused(promised) => version == Some(*promised) && refused.is_some(),
        Promise::Success | Promise::Statuses(..) => {
            return Outcome {
                text: "done".to_owned(),
                kept: true,
            };
        }
    };
    let version = version.map_or_else(|| "no bundle".to_owned(), |version| format!("bundle version {version}"));
    let refused = refused.map_or_else(String::new, |reason| format!("; another was refused: {reason}"));
    Outcome {
        text: format!("{version} is in force{refused}"),
        kept,
    }
}
