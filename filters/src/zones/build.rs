//! Zones while a snapshot is being built, and what a filter sees of that.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::document::{Document, NodeId};
use portcullis_config::geoip::GeoIp;
use portcullis_config::identity::{ApiKeys, Issuer};
use portcullis_config::policy::RetryJitter;
use portcullis_config::site::{self, Mode};

use super::{Entropy, Id, MAX_UNUSED, Zone, ZoneState, Zones};
use crate::jitter::Salt;

/// The zones of a snapshot that is being built.
#[derive(Debug)]
pub struct ZonesBuilder {
    zones: Zones,
    terms: BTreeMap<Id, String>,
}

/// Why a zone was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ZoneError {
    /// State of this name exists and has another shape.
    #[error("the {kind} `{name}` has another shape ({old}) than is asked for ({new})")]
    Shape {
        /// Of what kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The shape that exists.
        old: String,
        /// The shape that was asked for.
        new: String,
    },
    /// Two links of one configuration use it on different terms.
    #[error("the links that share the {kind} `{name}` do not agree: {first} here, {second} there")]
    Terms {
        /// Of what kind.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The terms of the first link.
        first: String,
        /// The terms of another.
        second: String,
    },
}

impl ZonesBuilder {
    /// Starts from the zones in use: whatever a link asks for again is handed over.
    pub fn from(zones: &Zones) -> Self {
        let mut zones = zones.clone();
        zones.generation += 1;
        Self {
            zones,
            terms: BTreeMap::new(),
        }
    }

    /// The instance's random bytes.
    pub fn entropy(&self) -> &Entropy {
        &self.zones.entropy
    }

    /// The state of a zone, handed over or new.
    pub fn open<S: ZoneState>(&mut self, name: &str, shape: &S::Shape) -> Result<Arc<S>, ZoneError> {
        let id = Id {
            kind: S::KIND,
            name: name.into(),
        };
        if let Some(zone) = self.zones.by_id.get_mut(&id) {
            let old = zone.shape.downcast_ref::<S::Shape>();
            let state = Arc::clone(&zone.state).downcast::<S>().ok();
            if let (Some(old), Some(state)) = (old, state) {
                let same = *old == *shape;
                let reshaped = if same || zone.used > 0 {
                    None
                } else {
                    state.reshaped(shape).map(Arc::new)
                };
                if same || reshaped.is_some() {
                    let state = reshaped.unwrap_or(state);
                    *zone = Zone {
                        state: state.clone(),
                        shape: Arc::new(shape.clone()),
                        used: self.zones.generation,
                    };
                    return Ok(state);
                }
            }
            let old = old.map_or_else(String::new, ToString::to_string);
            return Err(ZoneError::Shape {
                kind: S::KIND,
                name: name.to_owned(),
                old,
                new: shape.to_string(),
            });
        }
        let state = Arc::new(S::open(shape, &self.zones.entropy));
        let zone = Zone {
            state: state.clone(),
            shape: Arc::new(shape.clone()),
            used: self.zones.generation,
        };
        self.zones.by_id.insert(id, zone);
        Ok(state)
    }

    /// As [`Self::open`], for state that several links of a configuration may share only on the same terms.
    pub fn open_on<S: ZoneState>(&mut self, name: &str, shape: &S::Shape, terms: &str) -> Result<Arc<S>, ZoneError> {
        let id = Id {
            kind: S::KIND,
            name: name.into(),
        };
        match self.terms.get(&id) {
            Some(first) if first != terms => {
                let (first, second) = (first.clone(), terms.to_owned());
                return Err(ZoneError::Terms {
                    kind: S::KIND,
                    name: name.to_owned(),
                    first,
                    second,
                });
            }
            Some(_) => {}
            None => {
                self.terms.insert(id, terms.to_owned());
            }
        }
        self.open(name, shape)
    }

    /// The zones for the snapshot. Of those that nothing uses, the ones used last are kept, so that a configuration
    /// that comes back finds its state.
    pub fn finish(self) -> Zones {
        let mut zones = self.zones;
        let mut unused: Vec<(&'static str, u64, Id)> = Vec::new();
        for (id, zone) in &zones.by_id {
            if zone.used != zones.generation {
                unused.push((id.kind, u64::MAX - zone.used, id.clone()));
            }
        }
        unused.sort();
        let mut kept = (None, 0);
        for (kind, _, id) in unused {
            kept = if kept.0 == Some(kind) {
                (Some(kind), kept.1 + 1)
            } else {
                (Some(kind), 1)
            };
            if kept.1 > MAX_UNUSED {
                zones.by_id.remove(&id);
            }
        }
        zones
    }
}

/// What surrounds a filter that is being built.
pub struct BuildEnv<'a> {
    /// State that outlives the configuration.
    pub zones: &'a mut ZonesBuilder,
    /// Token issuers by name.
    pub issuers: &'a BTreeMap<String, Issuer>,
    /// Where the link stands: the site's name for a site's link, the route's for a route's.
    pub scope: &'a str,
    /// The link's name; with the scope it is unique in a configuration.
    pub link: &'a str,
    /// Whether the link's verdicts count. Only for filters that keep what a shadow link counts apart.
    pub mode: Mode,
    /// Whether the configuration has a `policy`.
    pub policy: bool,
    /// What the configuration knows of addresses.
    pub geoip: Option<&'a GeoIp>,
    /// What the configuration says of API keys.
    pub api_keys: Option<&'a ApiKeys>,
    jitter: RetryJitter,
    site: Option<(&'a str, usize)>,
    settings: Option<(&'a Document, NodeId)>,
}

impl<'a> BuildEnv<'a> {
    /// For links of this scope, such as a route's name.
    pub fn new(zones: &'a mut ZonesBuilder, issuers: &'a BTreeMap<String, Issuer>, scope: &'a str) -> Self {
        Self {
            zones,
            issuers,
            scope,
            link: "",
            mode: Mode::Enforce,
            policy: true,
            geoip: None,
            api_keys: None,
            jitter: RetryJitter::default(),
            site: None,
            settings: None,
        }
    }

    /// Says that the first `links` of a chain are the site's: their state and counters are shared by all its routes.
    /// `name` must differ from every route's scope.
    #[must_use]
    pub fn with_site(mut self, name: &'a str, links: usize) -> Self {
        self.site = Some((name, links));
        self
    }

    /// Says whether the configuration has a `policy`. Without one, no link may ask for it.
    #[must_use]
    pub fn with_policy(mut self, configured: bool) -> Self {
        self.policy = configured;
        self
    }

    /// Says what the configuration knows of addresses.
    #[must_use]
    pub fn with_geoip(mut self, geoip: Option<&'a GeoIp>) -> Self {
        self.geoip = geoip;
        self
    }

    /// Says what the configuration says of API keys.
    #[must_use]
    pub fn with_api_keys(mut self, api_keys: Option<&'a ApiKeys>) -> Self {
        self.api_keys = api_keys;
        self
    }

    /// Says how `Retry-After` is spread.
    #[must_use]
    pub fn with_jitter(mut self, jitter: RetryJitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// What `Retry-After` is spread by.
    pub fn salt(&self) -> Salt {
        match self.jitter {
            RetryJitter::Salted => Salt::Own(self.zones.entropy().jitter_salt),
            RetryJitter::Public => Salt::Public,
        }
    }

    /// The scope of the link at a place of a chain.
    pub(crate) fn scope_of(&self, place: usize) -> &'a str {
        self.site
            .filter(|(_, links)| place < *links)
            .map_or(self.scope, |(name, _)| name)
    }

    /// The same for a link.
    pub(crate) fn of_link<'b>(
        &'b mut self,
        scope: &'b str,
        link: &'b str,
        document: &'b Document,
        spec: &site::Link,
    ) -> BuildEnv<'b> {
        BuildEnv {
            zones: self.zones,
            issuers: self.issuers,
            scope,
            link,
            mode: spec.mode,
            policy: self.policy,
            geoip: self.geoip,
            api_keys: self.api_keys,
            jitter: self.jitter,
            site: None,
            settings: Some((document, spec.settings)),
        }
    }

    /// Names state that belongs to this link alone.
    pub fn own_zone(&self) -> String {
        format!("{} {}", self.scope, self.link)
    }

    /// Something that is wrong with the value of one of the filter's keys, or with all of them when `key` is empty.
    pub fn wrong(&self, code: &'static str, key: &str, message: impl Into<String>) -> Diagnostic {
        let diagnostic = Diagnostic::new(code, message);
        match self.settings {
            None => diagnostic.path(key),
            Some((document, settings)) => match document.get(settings, key) {
                Some(node) => diagnostic.on(document, node),
                None => diagnostic.on_key(document, settings),
            },
        }
    }

    /// The diagnostic for a zone that could not be opened. `key` is the filter's key that names or shapes it.
    pub fn zone_error(&self, key: &str, error: &ZoneError) -> Diagnostic {
        let help = match error {
            ZoneError::Shape { .. } => {
                "state cannot change its shape while it is in use: give it another name (its counters start anew), or \
                 restart"
            }
            ZoneError::Terms { .. } => "give the links different zones, or the same limit",
        };
        self.wrong(codes::CONFLICTING_KEYS, key, error.to_string()).help(help)
    }
}
