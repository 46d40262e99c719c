//! The state folder and the key that it is sealed with, as written. Nothing is opened here.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::secret::SecretRef;

/// What a gateway keeps over restarts, and the key that it is sealed with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// The folder. Not beside `policy.state_dir`, which is the same.
    pub dir: Option<PathBuf>,
    /// The key that everything in the folder is sealed with (AES-256-GCM), at least 32 bytes: `env:NAME` or `file:PATH`. Without it state is
    /// in the clear.
    pub key: Option<SecretRef>,
    /// Keys of before `key`, until `portcullis state rotate-key` has run.
    pub previous_keys: Vec<SecretRef>,
}
