//! The key set zone: the keys of one issuer, how old they are and whom to ask for newer ones. It fetches nothing; a
//! background task of the gateway does, and publishes here.

use std::fmt;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_config::identity::Issuer;
use portcullis_config::secret::Secret;

use super::jwk::{JwksError, Keys};
use crate::client::Now;
use crate::secrets::SecretSlot;
use crate::verdict::Waiting;

/// Asks for a fetch. What it returns is ready when the keys are as fresh as they can be: after a fetch, or at once when
/// one was made a moment ago. It must allow any number of callers at once and fetch only once for all of them.
pub type Refresher = Arc<dyn Fn() -> Waiting + Send + Sync>;

/// The keys of an issuer, shared by every filter that trusts it, over all reloads that leave its source alone.
pub struct KeySet {
    source: KeySource,
    /// Secrets that the configuration declares, each with its `kid`. Nothing else has a say in such a set.
    declared: Box<[Declared]>,
    loaded: ArcSwapOption<Loaded>,
    health: ArcSwap<Health>,
    refresher: ArcSwapOption<Hook>,
}

/// Where a key set comes from. Another source is another key set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeySource {
    /// The issuer's name in the configuration.
    pub issuer: Box<str>,
    /// Where its keys are.
    pub place: KeyPlace,
}

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyPlace {
    /// At a URL.
    Url {
        /// Where they are fetched.
        jwks_url: Box<str>,
        /// The CA certificates that the source is trusted by instead of the public ones.
        ca: Option<Box<std::path::Path>>,
    },
    /// In the configuration: secrets by reference. Nobody refreshes them but a reload.
    Declared,
}

impl KeySource {
    /// The source of an issuer.
    pub fn of(name: &str, issuer: &Issuer) -> Self {
        let place = match &issuer.jwks_url {
            Some(url) => KeyPlace::Url {
                jwks_url: url.as_str().into(),
                ca: issuer.ca.as_deref().map(Into::into),
            },
            None => KeyPlace::Declared,
        };
        Self {
            issuer: name.into(),
            place,
        }
    }
}

struct Hook(Refresher);

struct Loaded {
    keys: Arc<Keys>,
    /// When they were confirmed. `None`: they are as good as the configuration that declares them.
    at: Option<Now>,
    /// The declared secrets that they were made of.
    made_of: Vec<Arc<Secret>>,
}

/// A secret that a configuration declares, and the `kid` of its tokens.
pub struct Declared {
    /// The `kid`.
    pub kid: Option<Box<str>>,
    /// Where the secret is put.
    pub secret: Arc<SecretSlot>,
}

#[derive(Clone, Default)]
struct Health {
    failures: u64,
    last_error: Option<Arc<str>>,
}

/// What is known of a key set, for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySetStatus {
    /// The keys, if any were ever accepted.
    pub keys: Option<Arc<Keys>>,
    /// When they were accepted.
    pub loaded: Option<Now>,
    /// Failed fetches since then.
    pub failures: u64,
    /// Why the last one failed.
    pub last_error: Option<Arc<str>>,
}

impl KeySet {
    /// A key set without keys.
    pub fn new(source: KeySource) -> Self {
        Self {
            source,
            declared: Box::default(),
            loaded: ArcSwapOption::empty(),
            health: ArcSwap::from_pointee(Health::default()),
            refresher: ArcSwapOption::empty(),
        }
    }

    /// Keys that a configuration declares. They are never too old, and there is nobody to ask for newer ones.
    pub fn declared(source: KeySource, declared: impl IntoIterator<Item = Declared>) -> Self {
        Self {
            declared: declared.into_iter().collect(),
            ..Self::new(source)
        }
    }

    /// Where it comes from.
    pub fn source(&self) -> &KeySource {
        &self.source
    }

    /// Says whom to ask for newer keys.
    pub fn set_refresher(&self, refresher: Refresher) {
        self.refresher.store(Some(Arc::new(Hook(refresher))));
    }

    /// Puts a fetched document (RFC 7517) in force. Gives the number of usable keys. When the document is refused, the
    /// keys before it stay and the failure is noted.
    pub fn publish(&self, document: &[u8], now: Now) -> Result<usize, JwksError> {
        match Keys::parse(document) {
            Ok(keys) => {
                let count = keys.len();
                self.put(keys, now);
                Ok(count)
            }
            Err(error) => {
                self.mark_failed(&error.to_string());
                Err(error)
            }
        }
    }

    /// Notes that the keys in force are still the issuer's (`304 Not Modified`). False when there are none.
    pub fn confirm(&self, now: Now) -> bool {
        let Some(loaded) = self.loaded.load_full() else {
            return false;
        };
        self.loaded.store(Some(Arc::new(Loaded {
            keys: Arc::clone(&loaded.keys),
            at: Some(now),
            made_of: Vec::new(),
        })));
        self.health.store(Arc::default());
        true
    }

    /// Notes a failed fetch. The keys stay until they are too old.
    pub fn mark_failed(&self, error: &str) {
        self.health.rcu(|health| Health {
            failures: health.failures.saturating_add(1),
            last_error: Some(error.into()),
        });
    }

    /// What is known of it.
    pub fn status(&self) -> KeySetStatus {
        let (loaded, health) = (self.loaded.load_full(), self.health.load_full());
        KeySetStatus {
            keys: loaded.as_ref().map(|loaded| Arc::clone(&loaded.keys)),
            loaded: loaded.as_ref().and_then(|loaded| loaded.at),
            failures: health.failures,
            last_error: health.last_error.clone(),
        }
    }

    /// The keys, unless there never were any or they were last confirmed more than `stale_for` ago.
    pub fn current(&self, now: Now, stale_for: std::time::Duration) -> Option<Arc<Keys>> {
        self.declare();
        let loaded = self.loaded.load();
        let loaded = loaded.as_ref().filter(|loaded| loaded.is_fresh(now, stale_for))?;
        Some(Arc::clone(&loaded.keys))
    }

    /// Whether [`KeySet::current`] would give the keys of this generation.
    pub fn is_current(&self, generation: u64, now: Now, stale_for: std::time::Duration) -> bool {
        self.declare();
        let loaded = self.loaded.load();
        loaded
            .as_ref()
            .is_some_and(|it| it.keys.generation() == generation && it.is_fresh(now, stale_for))
    }

    /// Asks for newer keys, if anybody can be asked.
    pub fn refresh(&self) -> Option<Waiting> {
        let refresher = self.refresher.load_full()?;
        Some((refresher.0)())
    }

    /// Makes keys of the declared secrets, where these are not what the keys in force were made of.
    fn declare(&self) {
        if self.declared.is_empty() {
            return;
        }
        // One that is not there is no key. A configuration is not in force before its secrets are read.
        let there = || {
            self.declared
                .iter()
                .filter_map(|it| Some((&it.kid, it.secret.get().ok()?)))
        };
        let same = self.loaded.load().as_ref().is_some_and(|loaded| {
            let mut made_of = loaded.made_of.iter();
            there().all(|(_, secret)| made_of.next().is_some_and(|known| Arc::ptr_eq(known, &secret)))
                && made_of.next().is_none()
        });
        if !same {
            let keys = Keys::shared(there().map(|(kid, secret)| (kid.clone(), Secret::clone(&secret))));
            self.loaded.store(Some(Arc::new(Loaded {
                keys: Arc::new(keys),
                at: None,
                made_of: there().map(|(_, secret)| secret).collect(),
            })));
        }
    }

    fn put(&self, keys: Keys, now: Now) {
        // The same keys again keep their place in memory, so that nothing else changes hands.
        let keys = match self.loaded.load().as_ref() {
            Some(before) if *before.keys == keys => Arc::clone(&before.keys),
            _ => Arc::new(keys),
        };
        self.loaded.store(Some(Arc::new(Loaded {
            keys,
            at: Some(now),
            made_of: Vec::new(),
        })));
        self.health.store(Arc::default());
    }
}

impl Loaded {
    /// By the clock that is never set: a step of the wall clock makes no key older or younger.
    fn is_fresh(&self, now: Now, stale_for: std::time::Duration) -> bool {
        let age = |at: Now| u128::from(now.monotonic_ns.saturating_sub(at.monotonic_ns));
        self.at.is_none_or(|at| age(at) <= stale_for.as_nanos())
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet")
            .field("source", &self.source)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
