//! What a request is judged by: one configuration and one policy, compiled and immutable. A request takes one
//! [`Snapshot`] when its header has been read and keeps it to its log line.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use portcullis_bundles::digest::Digest;
use portcullis_bundles::kill_document::KillList;
use portcullis_bundles::policies::Policies;
use portcullis_bundles::runtime::RuntimeSwitches;
use portcullis_bundles::switches::{AllSwitches, Switches};
use portcullis_config::gateway::Config;
use portcullis_config::listener::ListenerMode;
use portcullis_config::policy::Expired;
use portcullis_filters::chain::Chain;
use portcullis_filters::facts::Side;
use portcullis_filters::request::{Bundle, PolicyView};
use portcullis_filters::zones::Zones;

use crate::client::TrustedProxies;
use crate::forward::Rewrite;
use crate::geoip::GeoIpFiles;
use crate::rollout::Rollout;
use crate::route::{RouteId, Router};
use crate::telemetry::metrics::RouteMetrics;
use crate::upstream::Upstreams;

/// One configuration and one policy.
#[derive(Clone)]
pub struct Snapshot {
    /// The compiled configuration.
    pub gateway: Arc<Gateway>,
    /// The policy in force.
    pub policy: Arc<InForce>,
    /// Names both: the digests of configuration and bundle, shortened; and of a bundle on trial behind a plus.
    pub digest: Arc<str>,
}

impl Snapshot {
    /// Of a configuration and a policy.
    pub fn new(gateway: Arc<Gateway>, policy: Arc<InForce>) -> Self {
        let config = gateway.digest.get(..12).unwrap_or(&gateway.digest);
        let digest = match &policy.bundle {
            BundleState::Loaded(policies) => {
                let short = |policies: &Policies| {
                    let digest = policies.digest().to_string();
                    digest.get(..12).unwrap_or(&digest).to_owned()
                };
                let tried = policy
                    .rollout
                    .as_ref()
                    .map(|rollout| format!("+{}", short(rollout.policies())));
                format!("{config}-{}{}", short(policies), tried.unwrap_or_default())
            }
            BundleState::Unconfigured | BundleState::Missing(_) => config.to_owned(),
        };
        Self {
            gateway,
            policy,
            digest: digest.into(),
        }
    }
}

/// A compiled configuration.
pub struct Gateway {
    /// As written.
    pub config: Arc<Config>,
    /// SHA-256 of what was written, in hexadecimal.
    pub digest: String,
    /// As written, with the names of the files.
    pub source: String,
    /// Files and folders that it was read from.
    pub files: Vec<PathBuf>,
    /// Which route answers.
    pub router: Router,
    /// The routes, by [`RouteId`].
    pub routes: Vec<Route>,
    /// `Strict-Transport-Security` of the sites, by their place; empty when none has it.
    pub hsts: Vec<Option<HeaderValue>>,
    /// Runs where no route matches: the kill switches, and nothing else.
    pub unrouted: Chain,
    /// Where requests are forwarded.
    pub upstreams: Arc<Upstreams>,
    /// What is known of addresses.
    pub geoip: Option<GeoIpFiles>,
    /// State that outlives this configuration.
    pub zones: Arc<Zones>,
    /// Whose forwarding headers are believed.
    pub trusted: TrustedProxies,
    /// What becomes of requests once the bundle has expired.
    pub expired: Expired,
}

impl Gateway {
    /// Whether a listener decides about requests that are described to it.
    pub fn decides(&self, listener: usize) -> bool {
        let listener = self.config.listeners.get(listener);
        listener.is_some_and(|listener| listener.mode == ListenerMode::Decision)
    }

    /// A route.
    pub fn route(&self, id: RouteId) -> Option<&Route> {
        self.routes.get(id.0 as usize)
    }
}

/// A compiled route.
pub struct Route {
    /// For logs and metrics.
    pub name: Arc<str>,
    /// Hosts of its site as written, for status and requirements.
    pub hosts: Arc<[portcullis_config::matcher::HostPattern]>,
    /// Its path or path prefix.
    pub path: Box<str>,
    /// Whether `path` is the whole path.
    pub exact: bool,
    /// The site's filters, then its own.
    pub chain: Chain,
    /// The form of a refusal's body.
    pub refusals: portcullis_config::site::Refusals,
    /// Whether it is refused before or after others.
    pub priority: portcullis_config::site::Priority,
    /// Who answers.
    pub action: Action,
    /// `Strict-Transport-Security` of its site.
    pub hsts: Option<HeaderValue>,
    /// Its counters.
    pub metrics: RouteMetrics,
}

/// Who answers.
pub enum Action {
    /// An upstream.
    Proxy {
        /// Its place in [`Gateway::upstreams`].
        upstream: usize,
        /// How the path changes on the way.
        rewrite: Option<Rewrite>,
    },
    /// Nobody: the site only decides.
    Decide,
    /// We do, with a redirect.
    Redirect {
        /// 3xx.
        status: StatusCode,
        /// The Location, with its variables.
        to: Box<str>,
    },
    /// We do, with a fixed response.
    Respond {
        /// The status.
        status: StatusCode,
        /// Its media type.
        content_type: HeaderValue,
        /// Its body.
        body: Bytes,
    },
}

/// The policy in force.
#[derive(Clone)]
pub struct InForce {
    /// The bundle.
    pub bundle: BundleState,
    /// Another that is tried beside it.
    pub rollout: Option<Arc<Rollout>>,
    /// Kill switches that do not come from the bundle.
    pub kill: KillView,
    /// Kill switches of every source, to look up.
    pub switches: AllSwitches,
}

/// Kill switches that do not come from the bundle.
#[derive(Clone, Default)]
pub struct KillView {
    /// Those set at run time, as they were set.
    pub runtime: Arc<RuntimeSwitches>,
    /// The same, to look up.
    table: Arc<Switches>,
    /// The kill-switch document.
    pub document: Option<Arc<KillList>>,
}

impl KillView {
    /// Of what was set at run time and of the document.
    pub fn new(runtime: RuntimeSwitches, document: Option<Arc<KillList>>) -> Self {
        Self {
            table: Arc::new(runtime.compile()),
            runtime: Arc::new(runtime),
            document,
        }
    }
}

/// Whether there is a bundle.
#[derive(Clone)]
pub enum BundleState {
    /// The configuration has no `policy`.
    Unconfigured,
    /// None was accepted so far, and why.
    Missing(&'static str),
    /// In force.
    Loaded(Arc<Policies>),
}

impl BundleState {
    /// The bundle in force.
    pub fn policies(&self) -> Option<&Arc<Policies>> {
        match self {
            Self::Unconfigured | Self::Missing(_) => None,
            Self::Loaded(policies) => Some(policies),
        }
    }

    /// The digest of the bundle in force.
    pub fn digest(&self) -> Option<&Digest> {
        self.policies().map(|policies| policies.digest())
    }
}

impl InForce {
    /// Of a bundle, of one that is tried beside it, and of the kill switches beside both. Kill switches are never tried on a
    /// part of the requests: those of either bundle are in force at once, for all.
    pub fn new(bundle: BundleState, rollout: Option<Arc<Rollout>>, kill: KillView) -> Self {
        let own = bundle.policies().map(|policies| Arc::clone(policies.switches()));
        let tried = rollout.as_ref().map(|rollout| rollout.policies().switches());
        let new = |tried: &&Arc<Switches>| own.as_ref().is_none_or(|own| own.as_slice() != tried.as_slice());
        let tried = tried.filter(new).map(Arc::clone);
        let document = kill.document.as_ref().map(|list| Arc::clone(&list.switches));
        let sources = std::iter::once(Arc::clone(&kill.table))
            .chain(document)
            .chain(own)
            .chain(tried);
        Self {
            switches: AllSwitches::new(sources),
            bundle,
            rollout,
            kill,
        }
    }

    /// The bundle that decided a request, if there is one.
    pub fn decided_by(&self, side: Option<Side>) -> Option<&Arc<Policies>> {
        match (side, &self.rollout) {
            (Some(Side::OnTrial), Some(rollout)) => Some(rollout.policies()),
            _ => self.bundle.policies(),
        }
    }

    /// What filters see of it at this time.
    pub fn view(&self, expired: Expired, now_unix: i64) -> PolicyView<'_> {
        let bundle = match &self.bundle {
            BundleState::Unconfigured => Bundle::Unconfigured,
            BundleState::Missing(reason) => Bundle::Missing(reason),
            BundleState::Loaded(policies) if expired == Expired::Deny && policies.is_expired(now_unix) => {
                Bundle::Missing("bundle_expired")
            }
            BundleState::Loaded(policies) => Bundle::Loaded(policies),
        };
        PolicyView {
            bundle,
            trial: self.rollout.as_ref().map(|rollout| &rollout.trial),
            switches: &self.switches,
        }
    }
}
