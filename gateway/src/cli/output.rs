//! `portcullis schema` and `portcullis completions`: what tools and shells want to know.

use std::process::ExitCode;

use super::format::{say, say_line};
use clap::ValueEnum;

/// What `schema --help` ends with.
pub(crate) const SCHEMA_EXAMPLES: &str = "\
Examples:
  portcullis schema > portcullis.schema.json
  portcullis schema bundle > bundle.schema.json

In an editor with YAML support, as the first line of portcullis.yaml:
  # yaml-language-server: $schema=portcullis.schema.json";

/// What `completions --help` ends with.
pub(crate) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > /usr/local/share/zsh/site-functions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish";

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(crate) struct Schema {
    /// Of what.
    #[arg(default_value = "config")]
    of: Document,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Document {
    /// `portcullis.yaml`.
    Config,
    /// The policy bundle.
    Bundle,
}

impl Schema {
    /// Prints it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let schema = match self.of {
            Document::Config => portcullis_config::schema::schema(&portcullis_filters::registry::schemas()),
            Document::Bundle => serde_json::to_value(schemars::schema_for!(portcullis_bundles::format::Bundle))?,
        };
        say_line(serde_json::to_string_pretty(&schema)?);
        Ok(ExitCode::SUCCESS)
    }
}

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// For this shell.
    shell: clap_complete::Shell,
}

impl Completions {
    /// Prints the script.
    pub(crate) fn run(self, mut command: clap::Command) {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "portcullis", &mut script);
        say(String::from_utf8_lossy(&script));
    }
}
