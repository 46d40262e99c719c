//! What lets a client come back without a full handshake: tickets, and a bounded cache for clients without them.
//!
//! Both are bound to what the listener asks of client certificates: a session that began under other demands is not
//! resumed, it begins anew. Early data is not part of it and always off.

mod cache;
mod keys;
mod ticketer;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_config::listener::TlsSession;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, StoresServerSessions};

use super::error::TlsError;
use cache::Cache;
use keys::{OwnKeys, SharedKeys};
use ticketer::{Keys, Ticketer};

/// Names the demands that a session was opened under.
pub(super) type Binding = [u8; 32];

/// Of one listener. What can be kept over a reload is kept.
#[derive(Debug)]
pub(super) struct Sessions {
    settings: TlsSession,
    binding: Binding,
    own: Arc<OwnKeys>,
    cache: Arc<dyn StoresServerSessions + Send + Sync>,
    keys: Keys,
}

impl Sessions {
    /// Reads shared keys. `before`: what is served now.
    pub(super) fn open(settings: &TlsSession, binding: Binding, before: Option<&Self>) -> Result<Self, TlsError> {
        let own = match before {
            Some(before) => Arc::clone(&before.own),
            None => Arc::new(OwnKeys::new()?),
        };
        let keys = if settings.ticket_keys.is_empty() {
            Keys::Own(Arc::clone(&own))
        } else {
            Keys::Shared(Arc::new(SharedKeys::read(&settings.ticket_keys)?))
        };
        let lifetime = settings.ticket_lifetime.get();
        let same = |before: &&Self| {
            let size = |settings: &TlsSession| (settings.cache, settings.ticket_lifetime);
            before.binding == binding && size(&before.settings) == size(settings)
        };
        let cache: Arc<dyn StoresServerSessions + Send + Sync> = match before.filter(same) {
            Some(before) => Arc::clone(&before.cache),
            None if settings.cache == 0 => Arc::new(NoServerSessionStorage {}),
            None => Arc::new(Cache::new(settings.cache as usize, lifetime)),
        };
        Ok(Self {
            settings: settings.clone(),
            binding,
            own,
            cache,
            keys,
        })
    }

    /// Sets up a listener's configuration.
    pub(super) fn apply(&self, config: &mut ServerConfig) {
        config.session_storage = Arc::clone(&self.cache) as _;
        if self.settings.tickets {
            let lifetime = self.settings.ticket_lifetime.get();
            config.ticketer = Arc::new(Ticketer::new(self.keys.clone(), self.binding, lifetime));
        } else if self.settings.cache == 0 {
            config.send_tls13_tickets = 0;
        }
    }
}

/// Seconds since 1970: what gateways of a fleet agree on.
fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
