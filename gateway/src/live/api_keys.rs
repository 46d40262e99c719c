//! The API keys of the running gateway: opened with a configuration, changed by operators, told to scrapes.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::{Live, aside, now};
use crate::admin::key_wire::{Issued, KeyRequest, KeyView};
use crate::identity::{ApiKeys, KeyError};
use crate::telemetry::exposition::{Collect, Exposition};

/// How often is written down when keys were last used.
const FLUSH: Duration = Duration::from_secs(60);

impl Live {
    /// The keys, where a route asks for them.
    pub(super) fn keys(&self) -> Result<Arc<ApiKeys>, KeyError> {
        self.api_keys.load_full().ok_or(KeyError::Unused)
    }

    pub(super) fn issue_key(&self, asked: &KeyRequest) -> Result<Issued, KeyError> {
        let issued = aside(|| self.keys()?.issue(asked, now().unix_ms / 1000));
        self.note_key("issued", issued.as_ref().map(|issued| &issued.issued));
        issued
    }

    pub(super) fn rotate_key_of(&self, id: &str, overlap: &str) -> Result<Issued, KeyError> {
        let issued = aside(|| self.keys()?.rotate(id, overlap, now().unix_ms / 1000));
        self.note_key("rotated", issued.as_ref().map(|issued| &issued.issued));
        issued
    }

    pub(super) fn revoke_key(&self, id: &str) -> Result<KeyView, KeyError> {
        let revoked = aside(|| self.keys()?.revoke(id, now().unix_ms / 1000));
        self.note_key("revoked", revoked.as_ref());
        revoked
    }

    #[allow(clippy::unused_self)] // as the other notes
    fn note_key(&self, what: &'static str, key: Result<&KeyView, &KeyError>) {
        match key {
            Ok(key) => tracing::warn!(
                id = key.id,
                organisation = key.organisation,
                class = key.class.as_str(),
                change = what,
                "API key"
            ),
            Err(error) => tracing::warn!(%error, change = what, "API key not changed"),
        }
    }

    /// Writes down when keys were last used, from time to time.
    pub(super) async fn flush_keys(self: Arc<Self>) {
        loop {
            tokio::time::sleep(FLUSH).await;
            aside(|| self.write_used());
        }
    }

    /// Writes down when keys were last used.
    pub(super) fn write_used(&self) {
        if let Ok(Err(error)) = self.keys().map(|keys| keys.save_used()) {
            tracing::warn!(%error, "when API keys were last used could not be written");
        }
    }
}

/// What scrapes are told of keys.
pub(super) struct KeySamples(pub(super) Weak<Live>);

impl Collect for KeySamples {
    fn collect(&self, out: &mut Exposition) {
        let Some(keys) = self.0.upgrade().and_then(|live| live.keys().ok()) else {
            return;
        };
        let all = keys.table().all();
        let active = now().unix_ms / 1000;
        for status in ["active", "expired", "revoked"] {
            let count = all.iter().filter(|key| key.record.status(active) == status).count();
            let help = "API keys that are known, by what has become of them.";
            out.gauge_u64("portcullis_api_keys", help, &[("status", status)], count as u64);
        }
        for (reason, count) in keys.table().refused() {
            let help = "Requests that were refused for their API key.";
            out.counter("portcullis_api_key_refusals_total", help, &[("reason", reason)], count);
        }
    }
}
