//! `portcullis connect`: shows a control plane the token of this gateway, and writes down what a gateway needs to begin.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use portcullis_config::control_plane::Token;
use portcullis_config::secret::SecretRef;

use super::bundle::file;
use super::format::{say, say_line, tell_line};
use crate::control_plane::join;
use crate::control_plane::manifest::manifest;

/// What `connect --help` ends with.
pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis connect --url https://control.example.com --token file:/run/secrets/edge-token
  FAIRVISOR_SAAS_URL=https://control.example.com FAIRVISOR_EDGE_TOKEN=... portcullis connect

Asks nothing. The bundle is written as it came: `portcullis bundle verify` says whether a gateway
would accept it.

Exit codes: 0 = connected, 1 = a file cannot be written, 2 = no connection, or the token is not
known, 3 = no URL or no token.";

/// Arguments of `connect`.
#[derive(Debug, clap::Args)]
pub(crate) struct Connect {
    /// The base URL of the control plane.
    #[arg(long, alias = "saas-url", env = "FAIRVISOR_SAAS_URL")]
    url: Option<String>,
    /// The token: `env:NAME` or `file:PATH`.
    #[arg(long, value_name = "REFERENCE", default_value = "env:FAIRVISOR_EDGE_TOKEN")]
    token: String,
    /// CA certificates to trust instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Where the environment of the gateway is written, readable by you alone.
    #[arg(long, value_name = "FILE", default_value = "edge.env")]
    output: PathBuf,
    /// Where the bundle is written.
    #[arg(long, value_name = "FILE", default_value = "policy.bundle")]
    bundle: PathBuf,
    /// Print every field that may ever leave to a control plane, as JSON, and connect to nothing.
    #[arg(long)]
    manifest: bool,
}

/// No URL or no token.
const INCOMPLETE: u8 = 3;
/// No connection, or not welcome.
const NOT_CONNECTED: u8 = 2;

impl Connect {
    /// Connects.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        if self.manifest {
            say_line(serde_json::to_string_pretty(&manifest())?);
            return Ok(ExitCode::SUCCESS);
        }
        let Some(url) = self.url.as_deref().filter(|url| !url.is_empty()) else {
            tell_line("portcullis: --url or FAIRVISOR_SAAS_URL is needed");
            return Ok(ExitCode::from(INCOMPLETE));
        };
        // Not for clap to read: it would repeat what is wrong, which may be the token itself.
        let current: SecretRef = match self.token.parse() {
            Ok(reference) => reference,
            Err(error) => {
                tell_line(format_args!("portcullis: --token: {error}"));
                return Ok(ExitCode::from(INCOMPLETE));
            }
        };
        let secret = match current.resolve() {
            Ok(secret) => secret,
            Err(error) => {
                tell_line(format_args!("portcullis: --token: {error}"));
                return Ok(ExitCode::from(INCOMPLETE));
            }
        };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let token = Token {
            current: current.clone(),
            previous: None,
        };
        let joined = match runtime.block_on(join(url, self.ca.clone(), &token)) {
            Ok(joined) => joined,
            Err(error) => {
                tell_line(format_args!("Connection failed: {error}"));
                return Ok(ExitCode::from(NOT_CONNECTED));
            }
        };
        let token = std::str::from_utf8(secret.expose()).context("--token")?;
        let environment = format!(
            "FAIRVISOR_SAAS_URL={url}\nFAIRVISOR_EDGE_ID={}\nFAIRVISOR_EDGE_TOKEN={token}\n",
            joined.edge_id
        );
        file::replace_secret(&self.output, environment.as_bytes())?;
        say_line(format_args!(
            "Wrote {} (mode 0600: the token is in it)",
            self.output.display()
        ));
        match &joined.bundle {
            Some(bundle) => {
                file::replace(&self.bundle, bundle)?;
                say_line(format_args!(
                    "Downloaded initial policy bundle: {}",
                    self.bundle.display()
                ));
            }
            None => say_line("The control plane has no policy bundle for this gateway yet"),
        }
        say_line(format_args!("Connected. Edge ID: {}", joined.edge_id));
        say(section(url, &joined.edge_id, &current, self.ca.as_deref()));
        Ok(ExitCode::SUCCESS)
    }
}

/// What portcullis.yaml needs.
fn section(url: &str, edge_id: &str, token: &SecretRef, ca: Option<&Path>) -> String {
    let text = |text: &str| serde_json::Value::from(text).to_string();
    let ca = ca.map(|path| format!("  ca: {}\n", text(&path.display().to_string())));
    format!(
        "\nIn portcullis.yaml:\n\ncontrol_plane:\n  url: {}\n  edge_id: {}\n  token: {{ current: {} }}\n{}",
        text(url),
        text(edge_id),
        text(&token.to_string()),
        ca.unwrap_or_default()
    )
}
