//! `portcullis bundle keygen`: a key to sign with, and the lines that make gateways trust it.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use portcullis_bundles::signing::{NewKey, derive, generate};
use portcullis_bundles::trust::{KeyAlgorithm, Trust};
use portcullis_config::secret::SecretRef;

use super::Judged;
use crate::cli::format::{say, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle keygen --id release-2026 --out release-2026.pem
  portcullis bundle keygen --algorithm hmac_sha256 --id shared --out shared.key

A key for each gateway, from one that only the publisher holds:
  portcullis bundle keygen --algorithm hmac_sha256 --derive-from file:publisher.key \\
    --edge-id edge-1 --id edge-1 --out edge-1.key

The private key goes to FILE, readable by you alone, and the lines for portcullis.yaml to standard
output. Ed25519 is recommended: whoever holds an HMAC key to verify with can also sign with it.";

/// Arguments of `bundle keygen`.
#[derive(Debug, clap::Args)]
pub(crate) struct Keygen {
    /// How the key signs.
    #[arg(long, value_enum, default_value_t = Algorithm::Ed25519)]
    algorithm: Algorithm,
    /// The id under which gateways know the key.
    #[arg(long)]
    id: String,
    /// Derive the key of one gateway from this one, `env:NAME` or `file:PATH`, which only the publisher holds.
    #[arg(long, value_name = "REFERENCE", requires = "edge_id")]
    derive_from: Option<String>,
    /// The gateway that the derived key is for: its `control_plane.edge_id`.
    #[arg(long, value_name = "NAME", requires = "derive_from")]
    edge_id: Option<String>,
    /// Where the private key is written. An existing file is never overwritten.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// How a key signs, named as in portcullis.yaml.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Algorithm {
    /// Ed25519 (RFC 8032).
    #[value(name = "ed25519")]
    Ed25519,
    /// ECDSA over P-256 with SHA-256 (FIPS 186-5).
    #[value(name = "ecdsa_p256", alias = "ecdsa-p256")]
    EcdsaP256,
    /// HMAC with SHA-256 (RFC 2104): one key signs and verifies.
    #[value(name = "hmac_sha256", alias = "hmac-sha256")]
    HmacSha256,
}

impl From<Algorithm> for KeyAlgorithm {
    fn from(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Ed25519 => Self::Ed25519,
            Algorithm::EcdsaP256 => Self::EcdsaP256,
            Algorithm::HmacSha256 => Self::HmacSha256,
        }
    }
}

impl Keygen {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let key = self.key()?;
        check(&key, &self.id)?;
        write(&self.out, &key)?;
        tell_line(format_args!(
            "The private key is in {} (mode 0600). Keep it where bundles are signed.",
            self.out.display()
        ));
        tell_line("In portcullis.yaml:\n");
        say(trust(&key, &self.id, &self.out));
        Ok(Judged::Good)
    }
}

impl Keygen {
    fn key(&self) -> anyhow::Result<NewKey> {
        let (Some(from), Some(edge_id)) = (&self.derive_from, &self.edge_id) else {
            return Ok(generate(self.algorithm.into())?);
        };
        if self.algorithm != Algorithm::HmacSha256 {
            bail!("only HMAC keys are derived: --algorithm hmac_sha256");
        }
        // Not for clap to read: it would repeat what is wrong, which may be the key itself.
        let reference: SecretRef = from.parse().context("--derive-from")?;
        derive(&reference.resolve()?, edge_id).context("--derive-from")
    }
}

/// Whether a gateway would take the key under this id.
fn check(key: &NewKey, id: &str) -> anyhow::Result<()> {
    let mut trust = Trust::default();
    match (key.algorithm, &key.public_key) {
        (KeyAlgorithm::Ed25519, Some(public)) => trust.add_ed25519(id, public)?,
        (KeyAlgorithm::EcdsaP256, Some(public)) => trust.add_ecdsa_p256(id, public)?,
        _ => trust.add_hmac(id, &key.private)?,
    }
    Ok(())
}

fn write(path: &Path, key: &NewKey) -> anyhow::Result<()> {
    let mut file = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} is there already, and a key is never overwritten", path.display());
        }
        Err(error) => return Err(error).with_context(|| format!("cannot write {}", path.display())),
    };
    let written = file.write_all(key.private.expose()).and_then(|()| file.sync_all());
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// What portcullis.yaml needs.
fn trust(key: &NewKey, id: &str, path: &Path) -> String {
    let id = serde_json::Value::from(id);
    let (list, what) = match (key.algorithm, &key.public_key) {
        (KeyAlgorithm::Ed25519, Some(public)) => ("ed25519", format!("public_key: \"{public}\"")),
        (KeyAlgorithm::EcdsaP256, Some(public)) => ("ecdsa_p256", format!("public_key: \"{public}\"")),
        _ => {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
            (
                "hmac",
                format!(
                    "secret: {}",
                    serde_json::Value::from(format!("file:{}", path.display()))
                ),
            )
        }
    };
    format!("policy:\n  trust:\n    {list}:\n      - {{ id: {id}, {what} }}\n")
}
