//! The cold path: read, verify, compile; [`super::settle`] holds one against the other and swaps. One load at a time; a
//! failure changes nothing, and start is the same path from nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use anyhow::Context as _;
use arc_swap::{ArcSwap, ArcSwapOption};
use portcullis_config::control_plane::ControlPlane;
use portcullis_config::load::Loaded;
use portcullis_filters::zones::{Entropy, Zones};
use tokio::sync::watch;

use super::api_keys::KeySamples;
use super::bundle::{BundleRefused, PolicySource};
use super::first::First;
use super::kill_state::KillState;
use super::metrics::Samples;
use super::observers::{ConnectionWatch, Observers};
use super::record::Ring;
use super::report::Report;
use super::retired::Retired;
use super::rollout::Rollouts;
use super::secrets::PreparedSecrets;
use super::settle::Late;
use super::{ConfigSource, Live, Startup, aside, now};
use crate::admin::control::Refused;
use crate::admin::wire::Reloaded;
use crate::compile::{Heritage, compile, idle_switch};
use crate::debug;
use crate::edge::{self, EdgeMode};
use crate::identity::{ApiKeys, Identity};
use crate::listener::{EdgePolicy, EdgeShared, ListenerHandles, PreparedListeners};
use crate::session::UserSessions;
use crate::snapshot::{Gateway, InForce, Snapshot};
use crate::state::StateFolder;
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
pub(super) struct NewConfig {
    pub(super) loaded: Loaded,
    pub(super) gateway: Arc<Gateway>,
    /// Certificates and settings of its listeners.
    pub(super) listeners: PreparedListeners,
    /// Its access log, open.
    pub(super) access_log: Prepared,
    /// Secrets of its filters.
    pub(super) secrets: PreparedSecrets,
    pub(super) policy: PolicyChange,
    /// What survives a restart.
    pub(super) state: Option<Arc<StateFolder>>,
    pub(super) api_keys: Option<Arc<ApiKeys>>,
}

/// What a new configuration does to where the policy comes from.
pub(super) enum PolicyChange {
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
        let state = StateFolder::open(&loaded.config, None)?;
        let zones = first_zones(state.as_deref())?;
        let observers = Observers::start(&loaded.config)?;
        let gateway = compile(
            &loaded,
            &Heritage {
                zones: &zones,
                upstreams: None,
                metrics: &observers.metrics,
                geoip: None,
            },
        )
        .map_err(|diagnostics| anyhow::anyhow!("{}", diagnostics.render_text(&loaded.sources)))?;
        PreparedSecrets::read(&gateway.zones)?.commit();
        let api_keys = ApiKeys::open(&loaded.config, state.as_ref(), &gateway.zones, None)?;
        let listeners = ListenerHandles::open(&loaded.config.listeners)?;
        let edge = first_edge(&loaded, &observers);
        let known_as = loaded.config.control_plane.as_ref();
        let open = |(written, folder): (_, &Arc<_>)| PolicySource::open(written, folder, known_as, stand_in.is_some());
        let opened = loaded.config.policy.as_ref().zip(state.as_ref());
        let opened = opened.map(open).transpose()?;
        let (mut policy, kill): (Option<_>, Option<_>) = opened.unzip();
        let ring = Ring::open(loaded.config.policy.as_ref(), state.as_ref(), None)?;
        let rollouts = Rollouts::default();
        let First {
            bundle,
            rollout,
            refused,
        } = First::of(policy.as_mut(), &gateway, ring.as_ref(), rollouts.totals());
        let in_force = InForce::new(bundle, rollout, kill.as_ref().map(KillState::view).unwrap_or_default());
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
            sessions: UserSessions::new(now),
            report: std::sync::Mutex::new(Report::new(Stamp::now())),
            recorder: ArcSwapOption::new(ring.as_ref().map(Ring::recorder)),
            state: ArcSwapOption::new(state),
            api_keys: ArcSwapOption::new(api_keys),
            cold: tokio::sync::Mutex::new(Cold { policy, ring }),
            kill: std::sync::Mutex::new(kill),
            kill_changes: super::audit::Changes::default(),
            rollouts,
            swap: std::sync::Mutex::new(()),
        });
        live.note_start(refused.as_ref());
        Ok(live)
    }

    /// What is there from the beginning is told.
    fn note_start(self: &Arc<Self>, refused: Option<&BundleRefused>) {
        let metrics = &self.observers.metrics;
        metrics.add_source(Arc::new(Samples::of(self)));
        metrics.add_source(Arc::new(self.identity.clone()));
        metrics.add_source(Arc::new(self.sessions.clone()));
        metrics.add_source(Arc::clone(&self.control_plane) as _);
        metrics.add_source(Arc::new(KeySamples(Arc::downgrade(self))));
        let begun = self.snapshot();
        self.note_state();
        self.note_config(&begun, None);
        self.note_bundle(&begun, refused);
        self.note_begun(&begun);
        if let Some(idle) = idle_switch(&begun.gateway.config, begun.policy.switches.iter()) {
            tracing::error!("{idle}");
        }
        self.begin_kill_document();
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
        let secrets = PreparedSecrets::read(&gateway.zones).map_err(|error| unusable(error.to_string()))?;
        let folder = self.state_folder();
        let state = StateFolder::open(&loaded.config, folder.as_ref()).map_err(|error| unusable(error.to_string()))?;
        let keys = self.api_keys.load_full();
        let api_keys = ApiKeys::open(&loaded.config, state.as_ref(), &gateway.zones, keys.as_ref());
        let api_keys = api_keys.map_err(|error| unusable(error.to_string()))?;
        let known_as = loaded.config.control_plane.as_ref().map(edge_id);
        let written = loaded.config.policy.as_ref().zip(state.as_ref());
        let policy = match written {
            _ if state == folder
                && loaded.config.policy == before.gateway.config.policy
                && known_as == before.gateway.config.control_plane.as_ref().map(edge_id) =>
            {
                PolicyChange::None
            }
            None => PolicyChange::Gone,
            Some((written, folder)) => {
                let opened = PolicySource::open(
                    written,
                    folder,
                    loaded.config.control_plane.as_ref(),
                    self.stand_in.is_some(),
                );
                let source = opened.map_err(|error| unusable(error.to_string()))?;
                PolicyChange::Another(Box::new(source))
            }
        };
        Ok(NewConfig {
            loaded,
            gateway: Arc::new(gateway),
            listeners,
            access_log,
            secrets,
            policy,
            state,
            api_keys,
        })
    }
}

/// Some bundles are for it alone.
fn edge_id(control_plane: &ControlPlane) -> &str {
    &control_plane.edge_id
}

pub(super) fn edge_policy(loaded: &Loaded) -> EdgePolicy {
    EdgePolicy::new(&loaded.config.limits, &loaded.config.trusted_proxies)
}

/// What all listeners of an instance share.
fn first_edge(loaded: &Loaded, observers: &Observers) -> EdgeShared {
    let policy = Arc::new(ArcSwap::from_pointee(edge_policy(loaded)));
    let edge = EdgeShared::new(policy, Arc::new(ConnectionWatch::new(observers)));
    edge.overload.apply(&loaded.config);
    edge
}

/// What an instance begins with: what the one before has counted, or nothing.
fn first_zones(state: Option<&StateFolder>) -> anyhow::Result<Zones> {
    let kept = Live::kept_counters(state)?;
    kept.map_or_else(|| entropy().map(Zones::new), Ok)
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
