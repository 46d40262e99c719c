//! `portcullis bundle sign`: from an author's file to signed bytes, and only if a gateway that trusts the key would accept
//! them.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use portcullis_bundles::author::{Authored, format_of};
use portcullis_bundles::digest::Digest;
use portcullis_bundles::envelope;
use portcullis_bundles::kill_document::{KillDocument, KillLoader};
use portcullis_bundles::loader::{Loader, Settings};
use portcullis_bundles::signing::SigningKey;
use portcullis_bundles::trust::{KeyAlgorithm, Trust};
use portcullis_config::secret::{Secret, SecretRef};
use portcullis_filters::policy::PolicyExaminer;

use super::file::{self, MAX_BYTES};
use super::judge::Acceptable;
use super::keygen::Algorithm;
use super::{Judged, now};
use crate::cli::format::{count, tell, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle sign policy.yaml --key file:release.pem --key-id release --out policy.bundle
  portcullis bundle sign policy.yaml --key env:BUNDLE_KEY --key-id release > policy.bundle
  portcullis bundle sign policy.yaml --key file:shared.key --key-id shared \\
    --algorithm hmac_sha256 --out policy.bundle

While a key is being replaced, sign with both: gateways that trust either accept the bundle.
  portcullis bundle sign policy.yaml --key file:old.pem --key-id old \\
    --key file:new.pem --key-id new --out policy.bundle";

/// Arguments of `bundle sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// The author's file: YAML (.yaml, .yml) or JSON.
    file: PathBuf,
    /// The private key, `env:NAME` or `file:PATH`. Given twice: two signatures.
    #[arg(long, value_name = "REFERENCE", required = true)]
    key: Vec<String>,
    /// The id under which gateways know the key; one for each --key, in the same order.
    #[arg(long, value_name = "ID", required = true)]
    key_id: Vec<String>,
    /// How the keys sign. Default: what their PEM files say; for the line form, HMAC.
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    /// The form of the signed bundle.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
    /// Why it may change more than a gateway's policy.activation allows. The reason is signed and logged.
    #[arg(long, value_name = "REASON")]
    override_activation: Option<String>,
    /// Where it is written, whole or not at all. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// A DSSE envelope.
    #[default]
    Dsse,
    /// A line BASE64(HMAC-SHA256) before the text; for HMAC keys.
    Line,
}

/// Keys, with what it takes to verify their signatures.
struct Keys {
    signing: Vec<SigningKey>,
    secrets: Vec<Secret>,
}

impl Sign {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let keys = Keys::read(&self.key, &self.key_id, self.algorithm())?;
        let Some(Acceptable { name, authored, at }) = Acceptable::read(&self.file, "sign")? else {
            return Ok(Judged::Bad);
        };
        let json = authored.canonical_json()?;
        let bytes = self.sign(&json, &keys.signing)?;
        // What goes out is what a gateway will see: it is judged once more as one would.
        let accepted = keys.loader()?.accept(&bytes, at, None);
        if let Err(refused) = accepted {
            tell_line(format_args!("{name}: a gateway would refuse it: {refused}"));
            return Ok(Judged::Bad);
        }
        let out = write(self.out.as_deref(), &bytes)?;
        report(&out, &authored, &json, &keys.signing);
        Ok(Judged::Good)
    }

    fn algorithm(&self) -> Option<KeyAlgorithm> {
        match (self.algorithm, self.format) {
            (None, Form::Line) => Some(KeyAlgorithm::HmacSha256),
            (algorithm, _) => algorithm.map(KeyAlgorithm::from),
        }
    }

    fn sign(&self, json: &[u8], keys: &[SigningKey]) -> anyhow::Result<Vec<u8>> {
        match (self.format, keys) {
            (Form::Line, _) if self.override_activation.is_some() => {
                bail!("--override-activation: the line form has no room for a reason")
            }
            (Form::Dsse, keys) => match &self.override_activation {
                None => Ok(envelope::sign_dsse(json, keys)?),
                Some(reason) => envelope::sign_dsse_overriding(json, keys, reason)?
                    .context("--override-activation: a reason of 1 to 256 bytes"),
            },
            (Form::Line, [key]) => {
                envelope::sign_line(json, key)?.context("the line form is signed with HMAC keys only")
            }
            (Form::Line, _) => bail!("the line form has room for one signature"),
        }
    }
}

/// What was done, for people; standard output may be the bundle.
fn report(out: &str, authored: &Authored, json: &[u8], keys: &[SigningKey]) {
    let ids: Vec<_> = keys
        .iter()
        .map(|key| format!("{} ({})", key.id(), key.algorithm()))
        .collect();
    let (version, digest) = (authored.bundle.bundle_version.get(), Digest::of(json));
    tell_line(format_args!(
        "{out}: version {version}, signed by {}, sha256 {digest}",
        ids.join(", ")
    ));
    if let Some(from) = authored.bundle.not_before.filter(|from| from.unix() > now()) {
        tell_line(format_args!("{out}: gateways refuse it before {from}"));
    }
}

/// Arguments of `kill sign`.
#[derive(Debug, clap::Args)]
pub(crate) struct SignKill {
    /// The author's file: YAML (.yaml, .yml) or JSON.
    file: PathBuf,
    /// The private key, `env:NAME` or `file:PATH`. Given twice: two signatures.
    #[arg(long, value_name = "REFERENCE", required = true)]
    key: Vec<String>,
    /// The id under which gateways know the key; one for each --key, in the same order.
    #[arg(long, value_name = "ID", required = true)]
    key_id: Vec<String>,
    /// How the keys sign. Default: what their PEM files say.
    #[arg(long, value_enum)]
    algorithm: Option<Algorithm>,
    /// Where it is written, whole or not at all. Default: standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl SignKill {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let keys = Keys::read(&self.key, &self.key_id, self.algorithm.map(KeyAlgorithm::from))?;
        let name = self.file.display().to_string();
        let text = String::from_utf8(file::read(&self.file)?).with_context(|| format!("{name} is not UTF-8 text"))?;
        let document = match KillDocument::read(&name, &text, format_of(&name)) {
            Ok(document) => document,
            Err(wrong) => {
                tell(wrong.render_text());
                return Ok(Judged::Bad);
            }
        };
        let bytes = envelope::sign_kill_document(&document.canonical_json()?, &keys.signing)?;
        // What goes out is what a gateway will see: it is judged once more as one would.
        let list = match KillLoader::new(MAX_BYTES, keys.trust()?).accept(&bytes, now(), None) {
            Ok(list) => list,
            Err(refused) => {
                tell_line(format_args!("{name}: a gateway would refuse it: {refused}"));
                return Ok(Judged::Bad);
            }
        };
        let out = write(self.out.as_deref(), &bytes)?;
        tell_line(format_args!(
            "{out}: version {}, {}, sha256 {}",
            list.floor.version,
            count(list.switches.as_slice().len(), "kill switch", "kill switches"),
            list.floor.digest
        ));
        Ok(Judged::Good)
    }
}

/// Writes what was signed; says where.
pub(super) fn write(out: Option<&std::path::Path>, bytes: &[u8]) -> anyhow::Result<String> {
    let Some(path) = out else {
        std::io::stdout()
            .write_all(bytes)
            .context("cannot write to standard output")?;
        return Ok("standard output".to_owned());
    };
    file::replace(path, bytes)?;
    Ok(path.display().to_string())
}

impl Keys {
    /// Reads the keys at these references, under these ids.
    fn read(references: &[String], ids: &[String], algorithm: Option<KeyAlgorithm>) -> anyhow::Result<Self> {
        if references.len() != ids.len() {
            bail!(
                "{} --key and {} --key-id: each key needs its id",
                references.len(),
                ids.len()
            );
        }
        let mut keys = Self {
            signing: Vec::new(),
            secrets: Vec::new(),
        };
        for (reference, id) in references.iter().zip(ids) {
            // Not for clap to read: it would repeat what is wrong, which may be the key itself.
            let reference: SecretRef = reference.parse().context("--key")?;
            let secret = reference.resolve()?;
            let key = SigningKey::read(id, algorithm, &secret);
            keys.signing.push(key.with_context(|| reference.to_string())?);
            keys.secrets.push(secret);
        }
        Ok(keys)
    }

    /// Judges bundles as a gateway that trusts these keys, and nobody else.
    fn loader(&self) -> anyhow::Result<Loader> {
        let settings = Settings {
            max_bytes: MAX_BYTES,
            max_version_jump: None,
            insecure_unsigned: false,
            names: None,
        };
        Ok(Loader::new(settings, self.trust()?, Box::new(PolicyExaminer)))
    }

    /// These keys, and nobody else.
    fn trust(&self) -> anyhow::Result<Trust> {
        let mut trust = Trust::default();
        for (key, secret) in self.signing.iter().zip(&self.secrets) {
            let (id, public) = (key.id(), key.public_key().unwrap_or_default());
            match key.algorithm() {
                KeyAlgorithm::Ed25519 => trust.add_ed25519(id, &public)?,
                KeyAlgorithm::EcdsaP256 => trust.add_ecdsa_p256(id, &public)?,
                KeyAlgorithm::HmacSha256 => trust.add_hmac(id, secret)?,
            }
        }
        Ok(trust)
    }
}
