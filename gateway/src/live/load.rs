//! The cold path: read, verify, compile, hold one against the other, swap. One load at a time; a failure changes
//! nothing, and start is the same path from nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_config::load::Loaded;
use portcullis_filters::zones::{Entropy, Zones};
use tokio::sync::watch;

use super::bundle::{BundleRefused, Candidate as Bundle, PolicySource};
use super::kill_state::KillState;
use super::metrics::Samples;
use super::observers::{ConnectionWatch, Observers};
use super::record::Ring;
use super::report::Report;
use super::retired::Retired;
use super::{ConfigSource, Live, Startup, aside, now};
use crate::admin::control::Refused;
use crate::admin::wire::Reloaded;
use crate::compile::{Heritage, Misfit, compile, fits, idle_switch};
use crate::debug;
use crate::edge::{self, EdgeMode};
use crate::identity::Identity;
use crate::listener::{EdgePolicy, EdgeShared, ListenerHandles, PreparedListeners};
use crate::snapshot::{BundleState, Gateway, InForce, Snapshot};
use crate::telemetry::access_log::Prepared;
use crate::telemetry::stamp::Stamp;

/// What only the cold path touches.
pub struct Cold {
    /// Where the policy comes from.
    pub policy: Option<PolicySource>,
    /// Where requests are recorded.
    pub ring: Option<Ring>,
}

/// A configuration that is good and not yet in force.
struct NewConfig {
    loaded: Loaded,
    gateway: Arc<Gateway>,
    /// Certificates and settings of its listeners.
    listeners: PreparedListeners,
    /// Its access log, open.
    access_log: Prepared,
    policy: PolicyChange,
}

/// What a new configuration does to where the policy comes from.
enum PolicyChange {
    /// Nothing.
    None,
    /// It has no `policy` any more.
    Gone,
    /// It names another source, trust or state folder.
    Another(Box<(PolicySource, KillState)>),
}

impl Live {
    /// Starts from a configuration file: everything is loaded, nothing is served yet.
    pub fn start(path: &Path) -> anyhow::Result<Arc<Self>> {
        Self::start_from(ConfigSource::File(path.to_owned()), None)
    }

    /// Starts from a configuration; `stand_in`: in the place of another gateway.
    pub fn start_from(source: ConfigSource, stand_in: Option<EdgeMode>) -> anyhow::Result<Arc<Self>> {
        let loaded = source
            .load()
            .map_err(|failed| anyhow::anyhow!("{}", failed.render_text()))?;
        let zones = match Self::kept_counters(&loaded.config)? {
            Some(kept) => kept,
            None => Zones::new(entropy()?),
        };
        let zones = &zones.with_public_jitter(stand_in.is_some());
        let observers = Observers::start(&loaded.config)?;
        let gateway = compile(
            &loaded,
            &Heritage {
                zones,
                upstreams: None,
                metrics: &observers.metrics,
                geoip: None,
            },
        )
        .map_err(|diagnostics| anyhow::anyhow!("{}", diagnostics.render_text(&loaded.sources)))?;
        let listeners = ListenerHandles::open(&loaded.config.listeners)?;
        let edge_policy = Arc::new(ArcSwap::from_pointee(edge_policy(&loaded)));
        let edge = EdgeShared::new(edge_policy, Arc::new(ConnectionWatch::new(&observers)));
        edge.overload.apply(&loaded.config);
        let open = |written| PolicySource::open(written, stand_in.is_some());
        let opened = loaded.config.policy.as_ref().map(open).transpose()?;
        let (mut policy, kill): (Option<_>, Option<_>) = opened.unzip();
        let ring = Ring::open(loaded.config.policy.as_ref(), None)?;
        let First { bundle, refused } = First::of(policy.as_mut(), &gateway, ring.as_ref());
        let in_force = InForce::new(bundle, kill.as_ref().map(KillState::view).unwrap_or_default());
        let cookie = stand_in.as_ref().map_or(debug::COOKIE, |_| edge::COOKIE);
        let live = Arc::new(Self {
            source,
            stand_in,
            debug: debug::Sessions::new(cookie).context("the system gives no random bytes")?,
            current: ArcSwap::from_pointee(Snapshot::new(Arc::new(gateway), Arc::new(in_force))),
            retired: Retired::new(),
            in_flight: AtomicU64::new(0),
            served: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            handed_over: watch::Sender::new(false),
            counters_saved: std::sync::Mutex::default(),
            published: watch::Sender::new(()),
            started: Stamp::now(),
            startup: Startup {
                admin: loaded.config.admin.clone(),
                runtime: loaded.config.runtime.clone(),
            },
            edge: Arc::new(edge),
            listeners: Arc::new(listeners),
            control_plane: Arc::clone(&observers.control_plane),
            observers,
            identity: Identity::new(now),
            report: std::sync::Mutex::new(Report::new(Stamp::now())),
            recorder: ArcSwapOption::new(ring.as_ref().map(Ring::recorder)),
            cold: tokio::sync::Mutex::new(Cold { policy, ring }),
            kill: std::sync::Mutex::new(kill),
            kill_changes: super::audit::Changes::default(),
            swap: std::sync::Mutex::new(()),
        });
        live.observers.metrics.add_source(Arc::new(Samples::of(&live)));
        live.observers.metrics.add_source(Arc::new(live.identity.clone()));
        live.observers.metrics.add_source(Arc::clone(&live.control_plane) as _);
        let begun = live.snapshot();
        live.note_config(&begun, None);
        live.note_bundle(&begun, refused.as_ref());
        if let Some(idle) = idle_switch(&begun.gateway.config, begun.policy.switches.iter()) {
            tracing::error!("{idle}");
        }
        live.begin_kill_document();
        Ok(live)
    }

    /// Loads configuration and bundle anew. What is wrong is refused; what was in force stays.
    pub async fn load_again(&self) -> Result<Reloaded, Refused> {
        self.load(true).await
    }

    /// Loads the bundle anew.
    pub async fn load_bundle(&self) -> Result<Reloaded, Refused> {
        self.load(false).await
    }

    async fn load(&self, with_config: bool) -> Result<Reloaded, Refused> {
        // A bundle of the control plane comes by itself; whoever reloads wants it soon.
        self.control_plane.pull_soon();
        let mut cold = self.cold.lock().await;
        let before = self.snapshot();
        let config = with_config.then(|| aside(|| self.new_config(&before))).transpose();
        let (config, config_refused) = config.map_or_else(|refused| (None, Some(refused)), |config| (config, None));
        let keeps_source = config
            .as_ref()
            .is_none_or(|config| matches!(config.policy, PolicyChange::None));
        let bundle = match cold.policy.as_mut().filter(|_| keeps_source) {
            Some(source) => source.look(before.policy.bundle.digest()).await,
            None => Ok(None),
        };
        let bundle = self.tried_out(&cold, &before, bundle);
        let (bundle, bundle_refused) = bundle.map_or_else(|refused| (None, Some(refused)), |bundle| (bundle, None));
        let (config_refused, bundle_refused) = match aside(|| self.settle(&mut cold, &before, config, bundle)) {
            Ok(()) => (config_refused, bundle_refused),
            Err(late) => (config_refused.or(late.config), bundle_refused.or(late.bundle)),
        };
        if with_config {
            self.note_config(&before, config_refused.as_ref());
        }
        self.note_bundle(&before, bundle_refused.as_ref());
        match (config_refused, bundle_refused) {
            (Some(refused), _) => Err(refused),
            (None, Some(refused)) => Err(Refused {
                reason: "bundle_refused",
                detail: format!("{}: {}", refused.reason, refused.detail),
                diagnostics: None,
            }),
            (None, None) => Ok(self.reloaded(&before)),
        }
    }

    /// Reads and compiles the configuration.
    fn new_config(&self, before: &Snapshot) -> Result<NewConfig, Refused> {
        let loaded = self.source.load().map_err(|failed| Refused {
            reason: "config_invalid",
            detail: failed.render_text(),
            diagnostics: Some(failed.render_json()),
        })?;
        let upstreams = Some(&*before.gateway.upstreams);
        let heritage = Heritage {
            zones: &before.gateway.zones,
            upstreams,
            metrics: &self.observers.metrics,
            geoip: before.gateway.geoip.as_ref(),
        };
        let gateway = compile(&loaded, &heritage).map_err(|diagnostics| Refused {
            reason: "config_invalid",
            detail: diagnostics.render_text(&loaded.sources),
            diagnostics: Some(diagnostics.render_json(&loaded.sources)),
        })?;
        if let Some(detail) = idle_switch(&gateway.config, before.policy.switches.iter()) {
            return Err(Late::refused(&detail));
        }
        let unusable = |detail: String| Refused {
            reason: "config_unusable",
            detail,
            diagnostics: None,
        };
        let listeners = self
            .listeners
            .prepare(&loaded.config.listeners)
            .map_err(|error| unusable(error.to_string()))?;
        let access_log = self
            .observers
            .prepare(&loaded.config)
            .map_err(|error| unusable(error.to_string()))?;
        let policy = match &loaded.config.policy {
            same if *same == before.gateway.config.policy => PolicyChange::None,
            None => PolicyChange::Gone,
            Some(written) => {
                let opened = PolicySource::open(written, self.stand_in.is_some());
                let source = opened.map_err(|error| unusable(error.to_string()))?;
                PolicyChange::Another(Box::new(source))
            }
        };
        Ok(NewConfig {
            loaded,
            gateway: Arc::new(gateway),
            listeners,
            access_log,
            policy,
        })
    }

    /// Puts into force what can be: both where they fit each other, else one of them, else none.
    fn settle(
        &self,
        cold: &mut Cold,
        before: &Snapshot,
        config: Option<NewConfig>,
        bundle: Option<Bundle>,
    ) -> Result<(), Late> {
        let Some(mut config) = config else {
            let Some(bundle) = bundle else { return Ok(()) };
            fits(&before.gateway, &bundle.state()).map_err(Late::bundle)?;
            return self.adopt_bundle(cold, &before.gateway, &bundle);
        };
        match std::mem::replace(&mut config.policy, PolicyChange::None) {
            PolicyChange::None => {}
            PolicyChange::Gone => return self.adopt_source(cold, config, None),
            PolicyChange::Another(opened) => return self.adopt_source(cold, config, Some(*opened)),
        }
        let state = bundle
            .as_ref()
            .map_or_else(|| before.policy.bundle.clone(), Bundle::state);
        if let Err(together) = fits(&config.gateway, &state) {
            let Some(bundle) = bundle else {
                return Err(Late::config(&together.detail));
            };
            if fits(&config.gateway, &before.policy.bundle).is_ok() {
                self.publish(config, None);
                return Err(Late::bundle(together));
            }
            fits(&before.gateway, &state).map_err(|alone| Late::both(&together, alone))?;
            self.adopt_bundle(cold, &before.gateway, &bundle)?;
            return Err(Late::config(&together.detail));
        }
        let Some(bundle) = bundle else {
            self.publish(config, None);
            return Ok(());
        };
        // One swap for both: between them the new configuration might lack what the old bundle requires.
        let bundle = commit(cold, &bundle).map_err(Late::stored)?;
        self.publish(config, Some(bundle));
        Ok(())
    }

    /// Puts a bundle into force that came by itself.
    pub(super) fn settle_bundle(
        &self,
        cold: &mut Cold,
        before: &Snapshot,
        bundle: Option<Bundle>,
    ) -> Result<(), BundleRefused> {
        let settled = self.settle(cold, before, None, bundle);
        settled.map_err(|late| {
            late.bundle.unwrap_or_else(|| BundleRefused {
                reason: "unmet_requirement",
                detail: late.config.map(|refused| refused.detail).unwrap_or_default(),
            })
        })
    }

    /// Puts a configuration into force whose policy comes from elsewhere, or from nowhere any more.
    fn adopt_source(
        &self,
        cold: &mut Cold,
        config: NewConfig,
        opened: Option<(PolicySource, KillState)>,
    ) -> Result<(), Late> {
        let (mut source, kill): (Option<_>, Option<_>) = opened.unzip();
        let ring = Ring::open(config.loaded.config.policy.as_ref(), cold.ring.as_ref())
            .map_err(|error| Late::config(&format!("policy.record: {error}")))?;
        let First { bundle, refused } = First::of(source.as_mut(), &config.gateway, ring.as_ref());
        if let (BundleState::Missing(reason), Some(refused)) = (&bundle, refused) {
            let detail = format!("its policy yields no bundle: {reason}: {}", refused.detail);
            return Err(Late::config(&detail));
        }
        cold.policy = source;
        // Whoever changes switches waits until the snapshot has those of the new state folder.
        let mut held = self.kill();
        let before = std::mem::replace(&mut *held, kill);
        if let (Some(now), Some(before)) = (held.as_mut(), before) {
            now.inherit(before);
        }
        let view = held.as_ref().map(KillState::view).unwrap_or_default();
        self.publish_with(config, |_| InForce::new(bundle, view));
        drop(held);
        cold.ring = ring;
        self.begin_record(cold.ring.as_ref());
        self.begin_kill_document();
        Ok(())
    }

    /// Puts a bundle into force.
    fn adopt_bundle(&self, cold: &mut Cold, gateway: &Arc<Gateway>, bundle: &Bundle) -> Result<(), Late> {
        let bundle = commit(cold, bundle).map_err(|refused| Late {
            config: None,
            bundle: Some(refused),
        })?;
        self.put(|before| {
            let in_force = InForce::new(bundle, before.policy.kill.clone());
            Snapshot::new(Arc::clone(gateway), Arc::new(in_force))
        });
        Ok(())
    }

    /// Puts a configuration into force, with a bundle if there is another one.
    fn publish(&self, config: NewConfig, bundle: Option<BundleState>) {
        self.publish_with(config, |before| match bundle {
            Some(bundle) => InForce::new(bundle, before.kill.clone()),
            None => before.clone(),
        });
    }

    fn publish_with(&self, config: NewConfig, policy: impl FnOnce(&InForce) -> InForce) {
        let NewConfig {
            loaded,
            gateway,
            listeners,
            access_log,
            policy: _,
        } = config;
        self.identity.apply(&gateway.zones, &loaded.config);
        self.put(|before| Snapshot::new(gateway, Arc::new(policy(&before.policy))));
        self.edge.policy.store(Arc::new(edge_policy(&loaded)));
        self.edge.overload.apply(&loaded.config);
        listeners.commit();
        // Who tends what listeners serve hears of it only now.
        self.published.send_replace(());
        self.observers.commit(&loaded.config, access_log);
    }

    /// Puts kill switches beside the bundle into force.
    pub(super) fn publish_switches(&self, kill: &KillState) {
        let view = kill.view();
        self.put(|before| {
            let in_force = InForce::new(before.policy.bundle.clone(), view);
            Snapshot::new(Arc::clone(&before.gateway), Arc::new(in_force))
        });
    }
}

/// What was refused although each was good by itself.
struct Late {
    config: Option<Refused>,
    bundle: Option<BundleRefused>,
}

impl Late {
    fn refused(detail: &str) -> Refused {
        Refused {
            reason: "config_unmet_requirement",
            detail: detail.to_owned(),
            diagnostics: None,
        }
    }

    fn config(detail: &str) -> Self {
        Self {
            config: Some(Self::refused(detail)),
            bundle: None,
        }
    }

    fn bundle(misfit: Misfit) -> Self {
        Self {
            config: None,
            bundle: Some(misfit.into()),
        }
    }

    /// The bundle could not be stored; the configuration that came with it was not tried alone.
    fn stored(refused: BundleRefused) -> Self {
        let detail = format!("the bundle that came with it could not be stored: {}", refused.detail);
        Self {
            config: Self::config(&detail).config,
            bundle: Some(refused),
        }
    }

    fn both(config: &Misfit, bundle: Misfit) -> Self {
        Self {
            config: Self::config(&config.detail).config,
            bundle: Self::bundle(bundle).bundle,
        }
    }
}

/// Makes a bundle the floor, durably. What then is in force.
fn commit(cold: &mut Cold, bundle: &Bundle) -> Result<BundleState, BundleRefused> {
    let gone = || BundleRefused {
        reason: "source_unreadable",
        detail: "the policy has no source any more".to_owned(),
    };
    let source = cold.policy.as_mut().ok_or_else(gone)?;
    source.commit(bundle)?;
    Ok(bundle.state())
}

/// The policy that a source begins with: what stands there now, else the last good bundle, else none.
pub(super) struct First {
    pub bundle: BundleState,
    /// The last bundle that was refused on the way, unless a later one was accepted.
    pub refused: Option<BundleRefused>,
}

impl First {
    pub(super) fn of(source: Option<&mut PolicySource>, gateway: &Gateway, ring: Option<&Ring>) -> Self {
        let mut bundle = BundleState::Unconfigured;
        let Some(source) = source else {
            return Self { bundle, refused: None };
        };
        bundle = BundleState::Missing("no_bundle_loaded");
        let mut refused = None;
        let candidates = [source.last_good(), source.look_at_file()];
        for candidate in candidates.into_iter().flatten() {
            let tried = candidate.and_then(|candidate| {
                source.try_out(ring.map(|ring| &*ring.recorder), &bundle, &candidate)?;
                take_first(source, gateway, &candidate)
            });
            match tried {
                Ok(taken) => (bundle, refused) = (taken, None),
                Err(error) => refused = Some(error),
            }
        }
        Self { bundle, refused }
    }
}

fn take_first(source: &mut PolicySource, gateway: &Gateway, bundle: &Bundle) -> Result<BundleState, BundleRefused> {
    fits(gateway, &bundle.state())?;
    source.commit(bundle)?;
    Ok(bundle.state())
}

fn edge_policy(loaded: &Loaded) -> EdgePolicy {
    EdgePolicy::new(&loaded.config.limits, &loaded.config.trusted_proxies)
}

/// Fresh random bytes for an instance.
fn entropy() -> anyhow::Result<Entropy> {
    use ring::rand::SecureRandom as _;
    let mut bytes = [0; 32];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| anyhow::anyhow!("the system gives no random bytes"))?;
    let (mut hash_key, mut jitter_salt) = ([0; 16], [0; 16]);
    hash_key.copy_from_slice(bytes.get(..16).unwrap_or_default());
    jitter_salt.copy_from_slice(bytes.get(16..).unwrap_or_default());
    Ok(Entropy { hash_key, jitter_salt })
}
