//! Secrets that filters work with: a filter names one when it is built, the gateway reads it before the configuration is in
//! force. Nothing here reads a file or an environment.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use portcullis_config::diagnostic::Diagnostic;
use portcullis_config::secret::{Secret, SecretRef};

use crate::verdict::FilterError;
use crate::zones::{BuildEnv, Entropy, ZoneState};

/// Shortest secret that keys may be made of, in bytes.
pub const KEY_BYTES: usize = 32;

/// What a filter wants: where the secret is, and how long it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where it is.
    pub reference: SecretRef,
    /// The shortest that will do, in bytes.
    pub least: usize,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of at least {} bytes", self.reference, self.least)
    }
}

/// The zone of a secret: empty until the gateway has read it, and changed by every reload that reads another one.
pub struct SecretSlot {
    wanted: Wanted,
    value: ArcSwapOption<Secret>,
}

impl SecretSlot {
    /// Opens the zone of a secret. `key` is the filter's key that names it.
    pub fn open(
        env: &mut BuildEnv<'_>,
        key: &str,
        reference: &SecretRef,
        least: usize,
    ) -> Result<Arc<Self>, Diagnostic> {
        let wanted = Wanted {
            reference: reference.clone(),
            least,
        };
        let opened = env.zones.open(&wanted.to_string(), &wanted);
        opened.map_err(|error| env.zone_error(key, &error))
    }

    /// What is wanted.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Puts a secret into force.
    pub fn put(&self, secret: Secret) {
        self.value.store(Some(Arc::new(secret)));
    }

    /// The secret.
    pub fn get(&self) -> Result<Arc<Secret>, FilterError> {
        self.value.load_full().ok_or_else(|| {
            let detail = format!("{} was not read", self.wanted.reference);
            FilterError::unavailable("secret_unavailable", detail)
        })
    }
}

impl ZoneState for SecretSlot {
    const KIND: &'static str = "secret";
    type Shape = Wanted;

    fn open(wanted: &Wanted, _entropy: &Entropy) -> Self {
        Self {
            wanted: wanted.clone(),
            value: ArcSwapOption::empty(),
        }
    }
}

impl fmt::Debug for SecretSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretSlot")
            .field("wanted", &self.wanted)
            .finish_non_exhaustive()
    }
}
