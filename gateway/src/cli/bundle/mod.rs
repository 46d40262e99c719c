//! `portcullis bundle`: what authors and publishers of policy bundles need. Everything is judged with the code that the
//! gateway loads bundles with; nothing here has an opinion of its own.

mod build;
mod diff;
pub(crate) mod file;
mod init;
mod inspect;
mod judge;
mod keygen;
mod lint;
mod push;
mod replay;
pub(crate) mod rollout;
mod selftest;
pub(crate) mod sign;
mod verify;

use std::process::ExitCode;

use crate::cli::format::tell_line;
use clap::Subcommand;

/// What `bundle --help` ends with.
pub(crate) const EXIT_CODES: &str = "\
Exit codes: 0 = good, 1 = the bundle is not, 2 = the command could not be carried out as given.

From nothing to a bundle in force:
  portcullis bundle init api --out policy.yaml
  portcullis bundle keygen --id release --out release.pem
  portcullis bundle lint policy.yaml
  portcullis bundle sign policy.yaml --key file:release.pem --key-id release --out policy.bundle
  portcullis bundle verify policy.bundle --trust portcullis.yaml
  portcullis bundle push policy.bundle --to /etc/portcullis/policy.bundle";

/// Make, sign, verify and look at policy bundles.
#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Write a bundle to begin with.
    #[command(after_help = init::EXAMPLES)]
    Init(init::Init),
    /// Make a key to sign bundles with.
    #[command(after_help = keygen::EXAMPLES)]
    Keygen(keygen::Keygen),
    /// Write the JSON that is signed, unless a gateway would refuse it.
    #[command(after_help = build::EXAMPLES)]
    Build(build::Build),
    /// Sign a bundle, unless a gateway would refuse it.
    #[command(after_help = sign::EXAMPLES)]
    Sign(sign::Sign),
    /// Say whether a gateway would accept a signed bundle, and if not, why.
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::Verify),
    /// Find everything that is wrong with a bundle, and what is most likely not meant.
    #[command(after_help = lint::EXAMPLES)]
    Lint(lint::Lint),
    /// Show what is in a bundle. Does not check its signature.
    #[command(after_help = inspect::EXAMPLES)]
    Inspect(inspect::Inspect),
    /// Run the tests that a bundle brings along.
    #[command(after_help = selftest::EXAMPLES)]
    Test(selftest::Selftest),
    /// Show what changed between two bundles.
    #[command(after_help = diff::EXAMPLES)]
    Diff(diff::Diff),
    /// Put a signed bundle where gateways look for it, and ask them what they made of it.
    #[command(after_help = push::EXAMPLES)]
    Push(push::Push),
    /// Say what another bundle would have made of recorded requests.
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Replay),
    /// Show, promote or abort the bundle that a running gateway tries on a part of its requests.
    #[command(subcommand, after_help = rollout::EXAMPLES)]
    Rollout(rollout::Rollout),
}

/// What came of a command that judges a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Judged {
    /// It is as it should be.
    Good,
    /// It is not; why was printed.
    Bad,
}

impl Bundle {
    /// Does it.
    pub(crate) fn run(self) -> ExitCode {
        let done = match self {
            Self::Init(init) => init.run(),
            Self::Build(build) => build.run(),
            Self::Keygen(keygen) => keygen.run(),
            Self::Sign(sign) => sign.run(),
            Self::Verify(verify) => verify.run(),
            Self::Lint(lint) => lint.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Test(test) => test.run(),
            Self::Diff(diff) => diff.run(),
            Self::Push(push) => push.run(),
            Self::Replay(replay) => replay.run(),
            Self::Rollout(rollout) => rollout.run(),
        };
        exit(done)
    }
}

/// The exit code, and what could not be done.
pub(crate) fn exit(done: anyhow::Result<Judged>) -> ExitCode {
    match done {
        Ok(Judged::Good) => ExitCode::SUCCESS,
        Ok(Judged::Bad) => ExitCode::FAILURE,
        Err(error) => {
            tell_line(format_args!("portcullis: {error:#}"));
            ExitCode::from(2)
        }
    }
}

/// Seconds since 1970.
fn now() -> i64 {
    crate::live::now().unix()
}
