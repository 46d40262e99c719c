//! Where the policy bundle comes from and whose signature counts, as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::activation::{Activation, Record};
use crate::rollout::Rollout;
use crate::secret::SecretRef;
use crate::units::{ByteSize, Duration};

/// The bundle's source, its trust and its state.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Where the bundle is.
    pub bundle: BundleSource,
    /// Whose signatures count. At least one key, unless `insecure_unsigned`.
    #[serde(default)]
    pub trust: Trust,
    /// Where the version floor, the last good bundle and kill switches set at run time are kept. Needed unless `state.dir` says it.
    pub state_dir: Option<PathBuf>,
    /// Accept bundles without a signature. Every status page, the start of the log and a metric repeat it.
    #[serde(default)]
    pub insecure_unsigned: bool,
    /// What happens once the bundle's `expires_at` has passed.
    #[serde(default)]
    pub expired: Expired,
    /// Largest step from the current version to the next.
    pub max_version_jump: Option<u64>,
    /// Largest bundle accepted.
    #[serde(default = "max_bytes")]
    pub max_bytes: ByteSize,
    /// A small signed list of kill switches beside the bundle, with keys and versions of its own.
    pub kill_switches: Option<KillSwitches>,
    /// Keep the last requests that policies decided about, to try other bundles on.
    pub record: Option<Record>,
    /// Refuse a new bundle that would have decided otherwise about too many of them.
    pub activation: Option<Activation>,
    /// Try a new bundle on a part of the requests first, and roll it back where it does harm.
    pub rollout: Option<Rollout>,
    /// Names that this gateway goes by beside `control_plane.edge_id`: a bundle with an `audience` must have one of them.
    #[serde(default)]
    pub audience: Vec<String>,
    /// How `Retry-After` of refusals is spread, so that clients that were refused together do not come back together.
    #[serde(default)]
    pub retry_jitter: RetryJitter,
}

/// How `Retry-After` is spread.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryJitter {
    /// By random bytes of this instance, so that no client can tell its number.
    #[default]
    Salted,
    /// As Fairvisor Edge does: every instance gives a client the same number.
    Public,
}

fn max_bytes() -> ByteSize {
    ByteSize::mib(64)
}

/// The kill-switch document: where it is and whose signature counts.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KillSwitches {
    /// Where it is. A file is looked at ten times a second; a URL every 500 ms unless `poll_interval` says otherwise.
    pub document: DocumentSource,
    /// Whose signatures count. At least one key; those of `policy.trust` count for bundles only.
    pub trust: Trust,
    /// Largest document accepted.
    #[serde(default = "max_document_bytes")]
    pub max_bytes: ByteSize,
}

/// Where the kill-switch document is: exactly one of `file` and `url`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DocumentSource {
    /// A file.
    pub file: Option<PathBuf>,
    /// A URL that is polled with `If-None-Match`. `https`, or `http` on loopback only.
    pub url: Option<String>,
    /// Time between two polls of `url`.
    pub poll_interval: Option<Duration>,
    /// CA certificates to trust for `url` instead of the public ones (PEM).
    pub ca: Option<PathBuf>,
}

fn max_document_bytes() -> ByteSize {
    ByteSize::mib(16)
}

/// Where the bundle is: exactly one of `file`, `url` and `control_plane`.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleSource {
    /// A file. It is watched; a ConfigMap's symlink swap is understood.
    pub file: Option<PathBuf>,
    /// A URL that is polled with `If-None-Match`. `https`, or `http` on loopback only.
    pub url: Option<String>,
    /// Time between two polls of `url`.
    pub poll_interval: Option<Duration>,
    /// CA certificates to trust for `url` instead of the public ones (PEM).
    pub ca: Option<PathBuf>,
    /// `true`: it is pulled from the control plane.
    #[serde(default)]
    pub control_plane: bool,
}

/// Keys whose signatures count. The key id chooses the algorithm; the bundle never does.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Trust {
    /// HMAC-SHA256 keys.
    pub hmac: Vec<HmacKey>,
    /// Ed25519 public keys.
    pub ed25519: Vec<PublicKey>,
    /// ECDSA P-256 public keys.
    pub ecdsa_p256: Vec<PublicKey>,
}

/// A shared key.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacKey {
    /// The key id named in the envelope.
    pub id: String,
    /// The key, at least 32 bytes: `env:NAME` or `file:PATH`.
    pub secret: SecretRef,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PublicKey {
    /// The key id named in the envelope.
    pub id: String,
    /// The key in base64: 32 bytes for Ed25519; an uncompressed point of 65 bytes for ECDSA P-256.
    pub public_key: String,
}

/// What happens once the bundle has expired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expired {
    /// Go on enforcing it, and say so everywhere.
    #[default]
    Keep,
    /// Refuse every request with 503.
    Deny,
}
