//! `portcullis bundle push`: puts a signed bundle where gateways look for it, and asks them what they made of it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, StatusCode};
use portcullis_bundles::digest::Digest;
use portcullis_bundles::loader::{Loader, Refused};
use portcullis_filters::policy::PolicyExaminer;

use super::file::{self, MAX_BYTES, Signed, Text};
use super::{Judged, now, verify};
use crate::admin::wire::{BundleState, Readiness};
use crate::cli::client::Admin;
use crate::cli::format::{say_line, tell, tell_line};
use crate::http_client::{Client, Url};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle push policy.bundle --to /etc/portcullis/policy.bundle --gateway 127.0.0.1:9901
  portcullis bundle push policy.bundle --to https://policy.example.com/policy.bundle \\
    --trust portcullis.yaml --gateway 10.0.0.7:9901 --gateway 10.0.0.8:9901

A file is replaced whole; a URL is asked with PUT. With --trust a bundle that a gateway of this
configuration would refuse is not pushed. Each --gateway is told to look, and asked what it has in
force then.

Exit codes: 0 = pushed, and in force at every --gateway; 1 = refused, which ones and why is told;
2 = the command could not be carried out as given.";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(60);
/// Largest answer to a PUT that is read.
const MAX_ANSWER: u64 = 64 << 10;

/// Arguments of `bundle push`.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// The signed bundle.
    file: PathBuf,
    /// Where gateways look for it: a file, or a URL that takes PUT.
    #[arg(long, value_name = "FILE|URL")]
    to: String,
    /// A gateway's configuration: its keys and its bounds count.
    #[arg(long, value_name = "PORTCULLIS.YAML")]
    trust: Option<PathBuf>,
    /// The admin listener of a gateway that must have it in force. May be given again.
    #[arg(long = "gateway", value_name = "ADDRESS")]
    gateways: Vec<std::net::SocketAddr>,
    /// CA certificates to trust for the URL instead of the public ones (PEM).
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Push {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let bytes = file::read(&self.file)?;
        let text = Text::read(&self.file)?;
        ensure!(
            text.signed != Signed::No,
            "{} is not signed; `portcullis bundle sign` does that",
            text.name
        );
        if let Some(refused) = self.refused(&bytes)? {
            tell_line(format_args!("{}: not pushed: refused: {refused}", text.name));
            tell(refused.explanation.render_text());
            return Ok(Judged::Bad);
        }
        let digest = Digest::of(&text.bytes).to_string();
        self.put(&bytes)?;
        say_line(format_args!("{}: pushed to {}, sha256 {digest}", text.name, self.to));
        let mut all = Judged::Good;
        for gateway in &self.gateways {
            match ask(&Admin::at(*gateway), &digest) {
                Ok(version) => say_line(format_args!("{gateway}: version {version} is in force")),
                Err(why) => {
                    tell_line(format_args!("{gateway}: NOT in force: {why:#}"));
                    all = Judged::Bad;
                }
            }
        }
        Ok(all)
    }

    /// Why a gateway of the configuration would refuse it.
    fn refused(&self, bytes: &[u8]) -> anyhow::Result<Option<Refused>> {
        let Some(path) = &self.trust else { return Ok(None) };
        let (settings, trust) = verify::of_configuration(path)?;
        let loader = Loader::new(settings, trust, Box::new(PolicyExaminer));
        Ok(loader.accept(bytes, now(), None).err())
    }

    fn put(&self, bytes: &[u8]) -> anyhow::Result<()> {
        if !self.to.contains("://") {
            return file::replace(self.to.as_ref(), bytes);
        }
        ensure!(bytes.len() as u64 <= MAX_BYTES, "the bundle is too large");
        let url = Url::parse(&self.to).with_context(|| format!("--to {}", self.to))?;
        let client = Client {
            ca: self.ca.clone(),
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
            max_bytes: MAX_ANSWER,
        };
        let mut request = Request::new(Bytes::copy_from_slice(bytes));
        *request.method_mut() = Method::PUT;
        request
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let answer = runtime
            .block_on(client.send(&url, request))
            .with_context(|| format!("cannot push to {}", self.to))?;
        if !answer.status().is_success() {
            bail!("{} answered {}", self.to, answer.status());
        }
        Ok(())
    }
}

/// Makes a gateway look, and says which version is in force if it is that bundle.
fn ask(gateway: &Admin, digest: &str) -> anyhow::Result<u64> {
    let reloaded = gateway.ask(Method::POST, "/-/reload", None)?;
    let ready: Readiness = gateway.ask(Method::GET, "/readyz", None)?.json()?;
    let bundle = ready.bundle.context("its configuration has no `policy`")?;
    let BundleState {
        version,
        digest: in_force,
        last_error,
        ..
    } = bundle;
    if in_force.as_deref() == Some(digest) {
        return version.context("it has no version");
    }
    let other = version.map_or_else(|| "none".to_owned(), |version| format!("version {version}"));
    match last_error {
        Some(error) => bail!("{}: {} ({other} is in force)", error.reason, error.detail),
        None if reloaded.status != StatusCode::OK => {
            let why = reloaded.success().err();
            bail!(
                "{} ({other} is in force)",
                why.map(|error| error.to_string()).unwrap_or_default()
            )
        }
        None => bail!("{other} is in force: it looks elsewhere for its bundle"),
    }
}
