//! `portcullis bundle verify`: whether a gateway would accept a signed bundle that it sees for the first time. What it has
//! accepted before is not known here; `portcullis check` knows.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use portcullis_bundles::loader::{Accepted, Loader, Refused, Settings};
use portcullis_bundles::trust::Trust;
use portcullis_config::load::load;
use portcullis_config::secret::SecretRef;
use portcullis_filters::policy::PolicyExaminer;

use super::file::{self, MAX_BYTES};
use super::{Judged, now};
use crate::cli::format::{Format, say_line, tell, tell_line};

pub(crate) const EXAMPLES: &str = "\
Examples:
  portcullis bundle verify policy.bundle --trust /etc/portcullis/portcullis.yaml
  portcullis bundle verify policy.bundle \\
    --public-key release=8ZDS5fVYlGz5yMShlzrVDVhFHCW3hJyVYcsKmSBQ8Ws=
  portcullis bundle verify policy.bundle --hmac-key shared=file:shared.key --format json";

/// Arguments of `bundle verify`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).multiple(true))]
pub(crate) struct Verify {
    /// The signed bundle.
    file: PathBuf,
    /// A gateway's configuration: its keys and its bounds count.
    #[arg(long, value_name = "PORTCULLIS.YAML", group = "whose", conflicts_with_all = ["public_key", "hmac_key"])]
    trust: Option<PathBuf>,
    /// A trusted key: its id and, in base64, an Ed25519 key or an uncompressed ECDSA P-256 point. May be given again.
    #[arg(long, value_name = "ID=BASE64", group = "whose")]
    public_key: Vec<PublicKey>,
    /// A trusted HMAC key: its id and where it is. May be given again.
    #[arg(long, value_name = "ID=REFERENCE", group = "whose")]
    hmac_key: Vec<String>,
    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Debug, Clone)]
struct PublicKey {
    id: String,
    key: String,
    /// 32 or 65: Ed25519 or ECDSA P-256.
    bytes: usize,
}

struct HmacKey {
    id: String,
    secret: SecretRef,
}

impl FromStr for PublicKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (id, key) = text.split_once('=').ok_or("write ID=BASE64")?;
        match STANDARD.decode(key).map(|bytes| bytes.len()) {
            Ok(bytes @ (32 | 65)) => Ok(Self {
                id: id.into(),
                key: key.into(),
                bytes,
            }),
            Ok(_) => Err("an Ed25519 key has 32 bytes, an uncompressed ECDSA P-256 point 65"),
            Err(_) => Err("the key is not base64"),
        }
    }
}

impl HmacKey {
    /// Not for clap to read: it would repeat what is wrong, which may be the key itself.
    fn read(text: &str) -> anyhow::Result<Self> {
        let (id, reference) = text
            .split_once('=')
            .context("--hmac-key: write ID=env:NAME or ID=file:PATH")?;
        let secret = reference.parse().context("--hmac-key")?;
        Ok(Self { id: id.into(), secret })
    }
}

impl Verify {
    pub(crate) fn run(self) -> anyhow::Result<Judged> {
        let (settings, trust) = match &self.trust {
            Some(path) => of_configuration(path)?,
            None => self.of_arguments()?,
        };
        let bytes = file::read(&self.file)?;
        let loader = Loader::new(settings, trust, Box::new(PolicyExaminer));
        let name = self.file.display().to_string();
        match loader.accept(&bytes, now(), None) {
            Ok(accepted) => Ok(self.accepted(&name, &accepted)),
            Err(refused) => Ok(self.refused(&name, &refused)),
        }
    }

    fn of_arguments(&self) -> anyhow::Result<(Settings, Trust)> {
        let mut trust = Trust::default();
        for PublicKey { id, key, bytes } in &self.public_key {
            match bytes {
                32 => trust.add_ed25519(id, key)?,
                _ => trust.add_ecdsa_p256(id, key)?,
            }
        }
        for key in &self.hmac_key {
            let HmacKey { id, secret } = HmacKey::read(key)?;
            trust.add_hmac(&id, &secret.resolve()?)?;
        }
        Ok((
            Settings {
                max_bytes: MAX_BYTES,
                max_version_jump: None,
                insecure_unsigned: false,
                names: None,
            },
            trust,
        ))
    }

    fn accepted(&self, name: &str, accepted: &Accepted) -> Judged {
        let policies = &accepted.policies;
        let keys: Vec<_> = policies
            .provenance()
            .signed_by
            .iter()
            .map(ToString::to_string)
            .collect();
        let expires = policies.expires_at().map(|at| at.to_string());
        if self.format == Format::Json {
            let (version, sha256) = (policies.version(), policies.digest().to_string());
            let told = serde_json::json!({
                "ok": true, "bundle_version": version, "sha256": sha256, "signed_by": keys, "expires_at": expires,
            });
            say_line(format_args!("{told:#}"));
            return Judged::Good;
        }
        let signed = match keys.as_slice() {
            [] => "NOT SIGNED (the configuration says insecure_unsigned)".to_owned(),
            keys => format!("signed by {}", keys.join(", ")),
        };
        let expires = expires.map_or_else(|| "never expires".to_owned(), |at| format!("expires at {at}"));
        say_line(format_args!(
            "{name}: ok: version {}, {signed}, {expires}, sha256 {}",
            policies.version(),
            policies.digest()
        ));
        Judged::Good
    }

    fn refused(&self, name: &str, refused: &Refused) -> Judged {
        let explanation = &refused.explanation;
        let errors = explanation.diagnostics.render_json(&explanation.sources);
        self.print_refused(name, refused.reason.as_str(), &refused.detail, Some(errors));
        if self.format == Format::Text && !explanation.diagnostics.is_empty() {
            tell(format_args!("\n{}", explanation.render_text()));
        }
        Judged::Bad
    }

    fn print_refused(&self, name: &str, reason: &str, detail: &str, errors: Option<serde_json::Value>) {
        match self.format {
            Format::Text => tell_line(format_args!("{name}: refused: {reason}: {detail}")),
            Format::Json => {
                let mut told = serde_json::json!({ "ok": false, "reason": reason, "detail": detail });
                if let (Some(told), Some(serde_json::Value::Object(errors))) = (told.as_object_mut(), errors) {
                    told.extend(errors);
                }
                say_line(format_args!("{told:#}"));
            }
        }
    }
}

/// What a gateway of this configuration trusts and accepts.
pub(super) fn of_configuration(path: &std::path::Path) -> anyhow::Result<(Settings, Trust)> {
    let config = match load(path) {
        Ok(loaded) => loaded.config,
        Err(failed) => bail!("{} cannot be used\n{failed}", path.display()),
    };
    let policy = config
        .policy
        .as_ref()
        .with_context(|| format!("{} has no `policy`", path.display()))?;
    let trust = Trust::resolve(&policy.trust).map_err(|errors| {
        let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("policy.trust: {}", errors.join("; "))
    })?;
    Ok((Settings::of(policy, config.control_plane.as_ref()), trust))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_with_their_ids() {
        let key: PublicKey = "k1=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".parse().unwrap();
        assert_eq!((key.id.as_str(), key.bytes), ("k1", 32));
        assert!("k1=AAAA".parse::<PublicKey>().is_err());
        assert!("k1".parse::<PublicKey>().is_err());
        assert!("k1=not base64".parse::<PublicKey>().is_err());
        let key = HmacKey::read("k2=env:KEY").unwrap();
        assert_eq!((key.id.as_str(), key.secret), ("k2", SecretRef::Env("KEY".into())));
        let Err(error) = HmacKey::read("k2=the-secret-itself") else {
            panic!("a secret was taken for a reference")
        };
        let error = format!("{error:#}");
        assert!(error.contains("env:NAME") && !error.contains("the-secret"), "{error}");
    }
}
