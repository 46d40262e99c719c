//! Reads the secrets that filters of a configuration want, before it is in force, and hands them over when it is. A secret
//! that cannot be had refuses the configuration; the one before it stays in use.

use std::sync::Arc;

use portcullis_config::secret::{Secret, SecretError};
use portcullis_filters::secrets::SecretSlot;
use portcullis_filters::zones::Zones;

/// Secrets that were read and are not yet in use.
#[derive(Default)]
pub(super) struct PreparedSecrets(Vec<(Arc<SecretSlot>, Secret)>);

/// Why a secret will not do. Names the reference, never the value.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    /// It cannot be had.
    #[error(transparent)]
    Unreadable(#[from] SecretError),
    /// It is shorter than it must be.
    #[error("{reference} is shorter than the {least} bytes that it must have")]
    TooShort {
        /// Where it is.
        reference: String,
        /// The least, in bytes.
        least: usize,
    },
}

impl PreparedSecrets {
    /// Reads what the filters of these zones want.
    pub(super) fn read(zones: &Zones) -> Result<Self, Unusable> {
        let mut prepared = Vec::new();
        for (_, slot) in zones.each::<SecretSlot>() {
            let wanted = slot.wanted();
            let secret = wanted.reference.resolve()?;
            if secret.expose().len() < wanted.least {
                return Err(Unusable::TooShort {
                    reference: wanted.reference.to_string(),
                    least: wanted.least,
                });
            }
            prepared.push((slot, secret));
        }
        Ok(Self(prepared))
    }

    /// Puts them into use.
    pub(super) fn commit(self) {
        for (slot, secret) in self.0 {
            slot.put(secret);
        }
    }
}
