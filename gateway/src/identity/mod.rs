//! Keeps the key sets of token issuers fresh: one task for each set fetches it at the start, from time to time, and when a token names a key that
//! is not in it. What a key is and whether a token is good is the jwt filter's matter.
//!
//! Nothing waits for a provider but the requests that need its keys. While it cannot be reached the keys stay as they are, and the filter
//! decides how long they may be used.

mod api_keys;
mod counters;
mod gate;
mod refresher;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis_config::gateway::Config;
use portcullis_config::identity::{Issuer, Refresh};
use portcullis_filters::client::Now;
use portcullis_filters::jwt::{KeySet, KeySource};
use portcullis_filters::zones::Zones;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::api_keys::{ApiKeys, KeyError, OfflineError};
use self::counters::Counters;
use self::gate::Gate;
use self::refresher::Refresher;
use crate::admin::wire::IssuerStatus;
use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::stamp::Stamp;

/// The time as requests have it.
pub type Clock = fn() -> Now;

/// The key sets of the configuration in force and the tasks that keep them fresh. Clones are the same.
#[derive(Clone)]
pub struct Identity {
    clock: Clock,
    kept: Arc<Mutex<BTreeMap<KeySource, Kept>>>,
}

/// A key set that is kept fresh.
struct Kept {
    keys: Arc<KeySet>,
    settings: watch::Sender<Refresh>,
    counters: Arc<Counters>,
    /// Ends with this.
    _task: JoinSet<()>,
}

impl Identity {
    /// Without key sets.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            kept: Arc::default(),
        }
    }

    /// Keeps the key sets of this configuration fresh from now on, and no others. A set that was kept before goes on as it was; nothing is
    /// fetched because of a reload. To be called within a tokio runtime that lives as long as the process.
    pub fn apply(&self, zones: &Zones, config: &Config) {
        self.keep(zones.key_sets().map(|(_, keys)| keys), &config.identity.issuers);
    }

    fn keep(&self, sets: impl Iterator<Item = Arc<KeySet>>, issuers: &BTreeMap<String, Issuer>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut *kept);
        for keys in sets {
            let source = keys.source().clone();
            let Some(issuer) = issuers.get(&*source.issuer) else {
                continue;
            };
            let refresh = issuer.refresh.clone();
            let same = before.remove(&source).filter(|known| Arc::ptr_eq(&known.keys, &keys));
            let entry = match same {
                Some(known) => {
                    known.settings.send_if_modified(|settings| {
                        let changed = *settings != refresh;
                        *settings = refresh;
                        changed
                    });
                    known
                }
                None => self.start(keys, refresh),
            };
            kept.insert(source, entry);
        }
    }

    fn start(&self, keys: Arc<KeySet>, refresh: Refresh) -> Kept {
        let (settings, watched) = watch::channel(refresh);
        let gate = Gate::new();
        let counters = Arc::new(Counters::default());
        let (hook, asked) = (Arc::clone(&gate), Arc::clone(&counters));
        keys.set_refresher(Arc::new(move || {
            asked.asked();
            hook.ask()
        }));
        let refresher = Refresher {
            keys: Arc::clone(&keys),
            clock: self.clock,
            settings: watched,
            gate,
            counters: Arc::clone(&counters),
        };
        let mut task = JoinSet::new();
        task.spawn(refresher.run());
        Kept {
            keys,
            settings,
            counters,
            _task: task,
        }
    }

    /// The key sets as they are now.
    pub fn status(&self) -> Vec<IssuerStatus> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let status = kept.iter().map(|(source, kept)| {
            let status = kept.keys.status();
            IssuerStatus {
                name: source.issuer.to_string(),
                keys: status.keys.map_or(0, |keys| keys.len() as u64),
                fetched_at: status.loaded.map(|at| Stamp(at.unix_ms)),
                last_error: kept.counters.last_error(),
            }
        });
        status.collect()
    }
}

impl Collect for Identity {
    #[allow(clippy::cast_precision_loss)] // 2^53 nanoseconds are 104 days, and the rest is a matter of milliseconds
    fn collect(&self, out: &mut Exposition) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        for (source, kept) in kept.iter() {
            let issuer = [("issuer", &*source.issuer)];
            kept.counters.collect(out, &source.issuer);
            let status = kept.keys.status();
            let count = status.keys.map_or(0, |keys| keys.len() as u64);
            out.gauge_u64(
                "portcullis_jwks_keys",
                "Keys of the issuer that are in use.",
                &issuer,
                count,
            );
            if let Some(at) = status.loaded {
                let age = now.monotonic_ns.saturating_sub(at.monotonic_ns) as f64 / 1e9;
                let help = "How long ago the provider last confirmed the issuer's keys.";
                out.gauge("portcullis_jwks_age_seconds", help, &issuer, age);
            }
        }
    }
}
