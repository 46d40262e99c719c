//! `portcullis explain`: why a request is decided as it is, step by step, against a configuration and a bundle. Everything
//! is judged with the code that serves requests, on counters of its own; no running gateway is asked, nothing is fetched.

mod curl;
mod page;
mod request;
mod trace;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use portcullis_config::load::load;

use self::request::Asked;
use self::trace::Trace;
use super::bundle::file::Text;
use super::format::{Format, say, say_line, tell};

/// What `explain --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis explain --config portcullis.yaml --curl 'curl -H \"X-Api-Key: k1\" http://api.example.com/v1/items'
  portcullis explain --config portcullis.yaml --bundle policy.yaml --request request.http --repeat 21
  portcullis explain --config portcullis.yaml --curl 'http://a/v1' --claims '{\"sub\": \"alice\"}' --format json

A request file is what a client sends: request line, header fields, an empty line. Counters begin
full, and --repeat sends the request that often; the last one is told. Keys of tokens are not
fetched: --claims stands for a token that was verified. Kill switches set at run time and those of
the kill-switch document are not known here.

Exit codes: 0 = it is let through, 1 = it is refused, 2 = the command could not be carried out.";

/// Most repetitions.
const MOST: u32 = 100_000;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub(crate) struct Explain {
    /// The configuration.
    #[arg(short, long, default_value = super::DEFAULT_CONFIG, env = "PORTCULLIS_CONFIG")]
    config: PathBuf,
    /// The bundle: signed or an author's file; its signature is not checked. Default: what the
    /// configuration names, if that is a file.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// The request as a client sends it.
    #[arg(long, value_name = "FILE", group = "what")]
    request: Option<PathBuf>,
    /// The request as a command line of curl, or a URL.
    #[arg(long, value_name = "COMMAND", group = "what")]
    curl: Option<String>,
    /// The listener that it comes in on. Default: the first.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The address of the connection's peer.
    #[arg(long, value_name = "ADDRESS", default_value = "203.0.113.1")]
    from: IpAddr,
    /// Claims of a verified token, as a JSON object. Filters that verify tokens are left out.
    #[arg(long, value_name = "JSON")]
    claims: Option<String>,
    /// How often it is sent; the last one is told.
    #[arg(long, value_name = "TIMES", default_value_t = 1)]
    repeat: u32,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Explain {
    /// Explains and prints.
    pub(crate) fn run(self) -> ExitCode {
        // TLS settings are built on the process's provider, as at a start.
        let _ = rustls::crypto::ring::default_provider().install_default();
        match self.explain() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                super::tell_line(format_args!("portcullis: {error:#}"));
                ExitCode::from(2)
            }
        }
    }

    /// Whether the request is let through.
    fn explain(self) -> anyhow::Result<bool> {
        if !(1..=MOST).contains(&self.repeat) {
            bail!("--repeat: from 1 to {MOST}");
        }
        let asked = match (&self.request, &self.curl) {
            (Some(path), _) => Asked::read(path)?,
            (None, Some(command)) => Asked::of_curl(command)?,
            (None, None) => bail!("--request or --curl says what to explain"),
        };
        let loaded = match load(&self.config) {
            Ok(loaded) => loaded,
            Err(failed) => bail!("{} cannot be used\n{failed}", self.config.display()),
        };
        let claims = self.claims.as_deref().map(serde_json::from_str).transpose();
        let trace = Trace {
            loaded,
            bundle: self.bundle.as_deref().map(Text::read),
            listener: self.listener.clone(),
            from: self.from,
            claims: claims.context("--claims is a JSON object")?,
            repeat: self.repeat,
        };
        let told = trace.run(&asked)?;
        match self.format {
            Format::Text => say(page::text(&told)),
            Format::Json => say_line(format_args!("{:#}", page::json(&told))),
        }
        if let Some(wrong) = &told.bundle_note {
            tell(format_args!("note: {wrong}\n"));
        }
        Ok(told.refusal.is_none())
    }
}
