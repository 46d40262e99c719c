//! `portcullis state`: the folder of what survives a restart, and the key that it is sealed with.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use http::Method;
use portcullis_config::load::load;

use super::client::Admin;
use super::format::{say_line, tell};
use crate::state;

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis state rotate-key --config portcullis.yaml          no gateway runs with the folder
  portcullis state rotate-key --admin 127.0.0.1:9901            the running one does it

Write the new key, name it in `state.key` and the old one in `state.previous_keys`, rotate, and
remove the old one. A running gateway reads both from its configuration file when it is told to.";

/// Change how state is kept.
#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Seal the state folder with the key that `state.key` refers to by now.
    #[command(after_help = EXAMPLES)]
    RotateKey(RotateKey),
}

/// Arguments of `state rotate-key`.
#[derive(Debug, clap::Args)]
pub(crate) struct RotateKey {
    /// The configuration of a gateway that does not run.
    #[arg(short, long, default_value = super::DEFAULT_CONFIG, env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// The admin listener of one that does.
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,
}

impl State {
    /// Does it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::RotateKey(rotate) => rotate.run(),
        }
    }
}

impl RotateKey {
    fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(address) = self.admin {
            let asked = Admin::at(address).ask(Method::POST, "/-/state/rotate-key", None);
            asked?.success()?;
            say_line("rotated: what is written from now on has another data key, and the old state key opens nothing");
            return Ok(ExitCode::SUCCESS);
        }
        let loaded = match load(&self.config) {
            Ok(loaded) => loaded,
            Err(failed) => {
                tell(failed.render_text());
                return Ok(ExitCode::FAILURE);
            }
        };
        let folder = state::rotate(&loaded.config).context("the key was not rotated")?;
        say_line(format_args!(
            "rotated: every file in {} is sealed anew",
            folder.display()
        ));
        Ok(ExitCode::SUCCESS)
    }
}
