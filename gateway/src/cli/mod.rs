//! The command line: what can be said to `portcullis`, and who does it.

mod admin;
mod api_key;
pub(crate) mod bundle;
mod check;
pub(crate) mod client;
mod connect;
mod explain;
pub(crate) mod format;
mod kill;
mod logs;
mod output;
mod session;
mod state;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use self::format::{say_line, tell_line};
use crate::server;

/// Where the configuration is looked for unless told otherwise.
const DEFAULT_CONFIG: &str = "/etc/portcullis/portcullis.yaml";

/// An edge gateway whose security policy is provably enforced.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Check the configuration and leave, as `portcullis check` does.
    #[arg(short = 't')]
    test: bool,
    /// The configuration of -t.
    #[arg(short = 'c', long = "config", default_value = DEFAULT_CONFIG, requires = "test")]
    config: PathBuf,
}

const EXAMPLES: &str = "\
Examples:
  portcullis demo                                    try it: no file, no network needed
  portcullis check --config portcullis.yaml          is the configuration right?
  portcullis run --config portcullis.yaml            serve
  portcullis status                                  what is it doing?
  portcullis kill set jwt:sub mallory --ttl 1h --reason \"stolen token\"
  portcullis bundle sign policy.yaml --key env:KEY --key-id k1 --out policy.bundle";

const RUN_EXAMPLES: &str = "\
Examples:
  portcullis run --config portcullis.yaml

To a new binary without losing a request (needs runtime.upgrade_socket):
  portcullis run --config portcullis.yaml --upgrade &
  kill -QUIT PID-OF-THE-OLD-ONE

Signals: SIGHUP loads configuration and bundle anew, SIGTERM drains and leaves, SIGINT leaves at
once, SIGQUIT hands the listening sockets over to a process that was started with --upgrade.";

const EDGE_EXAMPLES: &str = "\
Examples:
  FAIRVISOR_CONFIG_FILE=policy.json portcullis edge
  FAIRVISOR_MODE=reverse_proxy FAIRVISOR_BACKEND_URL=http://app:8080 \\
    FAIRVISOR_CONFIG_FILE=policy.json PORTCULLIS_LISTEN=0.0.0.0:80 portcullis edge

The environment is that of Fairvisor Edge; docs/edge.md has what is added and what differs.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve until told to stop. SIGHUP reloads, SIGTERM drains, SIGQUIT hands over to a new process.
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Check the configuration, everything it names and the bundle, without serving.
    #[command(after_help = check::EXAMPLES)]
    Check(check::Check),
    /// Print the JSON Schema of the configuration or of the policy bundle.
    #[command(after_help = output::SCHEMA_EXAMPLES)]
    Schema(output::Schema),
    /// Show what a running gateway is doing.
    #[command(after_help = admin::STATUS_EXAMPLES)]
    Status(admin::Status),
    /// Make a running gateway load its configuration and bundle anew.
    #[command(after_help = admin::RELOAD_EXAMPLES)]
    Reload(admin::Reload),
    /// Show a control plane this gateway's token, and write down what a gateway needs to begin.
    #[command(after_help = connect::EXAMPLES)]
    Connect(connect::Connect),
    /// Print the lines of an access log that are asked for.
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::Logs),
    /// Make, sign, verify and look at policy bundles.
    #[command(subcommand, after_help = bundle::EXIT_CODES)]
    Bundle(bundle::Bundle),
    /// Say step by step why a request is decided as it is.
    #[command(after_help = explain::EXAMPLES)]
    Explain(explain::Explain),
    /// Set, list and clear kill switches of a running gateway.
    #[command(subcommand, after_help = kill::EXAMPLES)]
    Kill(kill::Kill),
    /// List and end sessions of users.
    #[command(subcommand, after_help = session::EXAMPLES)]
    Session(session::Session),
    /// Issue, list, rotate and revoke API keys.
    #[command(subcommand, after_help = api_key::EXAMPLES)]
    ApiKey(api_key::ApiKey),
    /// Change the key that state is sealed with.
    #[command(subcommand, after_help = state::EXAMPLES)]
    State(state::State),
    /// Show Portcullis at work on this machine: no file, no network needed.
    #[command(after_help = crate::demo::EXAMPLES)]
    Demo(crate::demo::Demo),
    /// Serve in the place of Fairvisor Edge's container, from the same environment.
    #[command(after_help = EDGE_EXAMPLES)]
    Edge,
    /// Print a completion script for a shell.
    #[command(after_help = output::COMPLETIONS_EXAMPLES)]
    Completions(output::Completions),
    /// Print the version.
    Version,
}

/// Arguments of `run`.
#[derive(Debug, clap::Args)]
struct Run {
    /// The configuration.
    #[arg(short, long, default_value = DEFAULT_CONFIG, env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// Take the listening sockets over from the running process, then send it SIGQUIT.
    #[arg(long)]
    upgrade: bool,
}

/// Parses the arguments and does what they say.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None if arguments.test => Ok(check::Check::of(arguments.config).run()),
        None => {
            let _ = Arguments::command().print_help();
            return ExitCode::from(2);
        }
        Some(command) => command.run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            tell_line(format_args!("portcullis: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

impl Command {
    fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Run(run) => server::run(&server::Options {
                config: run.config,
                upgrade: run.upgrade,
            })
            .map(|()| ExitCode::SUCCESS),
            Self::Check(check) => Ok(check.run()),
            Self::Schema(schema) => schema.run(),
            Self::Status(status) => status.run(),
            Self::Reload(reload) => reload.run(),
            Self::Connect(connect) => connect.run(),
            Self::Logs(logs) => logs.run(),
            Self::Bundle(bundle) => Ok(bundle.run()),
            Self::Explain(explain) => Ok(explain.run()),
            Self::Kill(kill) => kill.run(),
            Self::Session(session) => session.run(),
            Self::ApiKey(api_key) => api_key.run(),
            Self::State(state) => state.run(),
            Self::Demo(demo) => demo.run(),
            Self::Edge => server::run_edge(),
            Self::Completions(completions) => {
                completions.run(Arguments::command());
                Ok(ExitCode::SUCCESS)
            }
            Self::Version => {
                say_line(format_args!("portcullis {}", env!("CARGO_PKG_VERSION")));
                Ok(ExitCode::SUCCESS)
            }
        }
    }
}
