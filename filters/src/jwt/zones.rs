//! The two kinds of state that outlive a configuration here: key sets and verified tokens.

use std::fmt;

use super::cache::TokenCache;
use super::keys::{KeyPlace, KeySet, KeySource};
use crate::zones::{Entropy, OneShape, ZoneState};

impl ZoneState for KeySet {
    const KIND: &'static str = "key set";
    type Shape = KeySource;

    fn open(source: &KeySource, _: &Entropy) -> Self {
        Self::new(source.clone())
    }
}

/// The name of a key set's zone: all of its source, so that another source is another zone and never a conflict.
impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.issuer)?;
        match &self.place {
            KeyPlace::Url { jwks_url, ca: None } => write!(f, " {jwks_url}"),
            KeyPlace::Url { jwks_url, ca: Some(ca) } => write!(f, " {jwks_url} {}", ca.display()),
            KeyPlace::Declared => Ok(()),
        }
    }
}

impl ZoneState for TokenCache {
    const KIND: &'static str = "token cache";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::new(Self::ENTRIES, Self::BYTES)
    }
}

impl TokenCache {
    /// The one zone that all links share. Their rules keep their tokens apart.
    pub const NAME: &'static str = "jwt";
}
