//! From a loaded configuration to a [`Gateway`]: chains, routes, upstreams. Touches nothing outside but the certificate
//! files of upstreams and the files of `geoip`, and nothing that is in use: a failure here changes nothing.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;
use portcullis_bundles::policies::Policies;
use portcullis_bundles::requirement::RoutePath;
use portcullis_bundles::switches::{Origin, Switch};
use portcullis_config::diagnostic::{Diagnostic, Diagnostics, codes};
use portcullis_config::document::Document;
use portcullis_config::gateway::Config;
use portcullis_config::load::Loaded;
use portcullis_config::policy::{Expired, RetryJitter};
use portcullis_config::site::{self, Site};
use portcullis_filters::chain::Chain;
use portcullis_filters::limit_headers::Dialects;
use portcullis_filters::zones::{BuildEnv, Zones, ZonesBuilder};
use portcullis_filters::{agents, attributes, policy};

use crate::client::TrustedProxies;
use crate::forward::Rewrite;
use crate::geoip::GeoIpFiles;
use crate::route::Router;
use crate::snapshot::{Action, BundleState, Gateway, Route};
use crate::telemetry::metrics::Metrics;
use crate::upstream::Upstreams;

/// What outlives a configuration.
pub struct Heritage<'a> {
    /// State of filters.
    pub zones: &'a Zones,
    /// Health and in-flight counts of servers.
    pub upstreams: Option<&'a Upstreams>,
    /// Counters of routes.
    pub metrics: &'a Metrics,
    /// What is known of addresses.
    pub geoip: Option<&'a GeoIpFiles>,
}

/// Compiles a configuration. Everything wrong with it is reported at once.
pub fn compile(loaded: &Loaded, heritage: &Heritage<'_>) -> Result<Gateway, Diagnostics> {
    let config = &loaded.config;
    let mut out = Diagnostics::default();
    let upstreams = compile_upstreams(loaded, heritage.upstreams, &mut out);
    agents::prepare();
    let read = |written| GeoIpFiles::read(written, heritage.geoip, &loaded.document, &mut out);
    let geoip = config.geoip.as_ref().map(read);
    let mut zones = ZonesBuilder::from(heritage.zones);
    let mut routes = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        let mut compiler = SiteCompiler {
            site,
            index,
            config,
            document: &loaded.document,
            zones: &mut zones,
            upstreams: upstreams.as_ref(),
            metrics: heritage.metrics,
        };
        compiler.routes(&mut routes, &mut out);
    }
    let jitter = jitter(config);
    let unrouted = BuildEnv::new(&mut zones, &config.identity.issuers, "-");
    let unrouted = Chain::bare(&mut unrouted.with_jitter(jitter));
    let listeners: Vec<&str> = config.listeners.iter().map(|listener| listener.name.as_str()).collect();
    match upstreams {
        Some(upstreams) if out.is_empty() => Ok(Gateway {
            config: Arc::new(config.clone()),
            digest: loaded.digest_hex(),
            source: source(loaded),
            files: loaded.files.clone(),
            router: Router::compile(&config.sites, &listeners),
            routes,
            hsts: if config.sites.iter().any(|site| site.hsts.is_some()) {
                config.sites.iter().map(hsts).collect()
            } else {
                Vec::new()
            },
            unrouted,
            upstreams: Arc::new(upstreams),
            geoip,
            zones: Arc::new(zones.finish()),
            trusted: TrustedProxies::new(&config.trusted_proxies),
            expired: config.policy.as_ref().map_or(Expired::Keep, |policy| policy.expired),
        }),
        _ => Err(out),
    }
}

fn compile_upstreams(loaded: &Loaded, previous: Option<&Upstreams>, out: &mut Diagnostics) -> Option<Upstreams> {
    match Upstreams::compile(&loaded.config.upstreams, previous) {
        Ok(upstreams) => Some(upstreams),
        Err(errors) => {
            for error in errors {
                let diagnostic = Diagnostic::new(codes::UNREADABLE_FILE, error.to_string());
                out.push(at_path(
                    diagnostic,
                    &loaded.document,
                    &format!("upstreams.{}", error.upstream),
                ));
            }
            None
        }
    }
}

/// A diagnostic about what stands at a path.
fn at_path(diagnostic: Diagnostic, document: &Document, path: &str) -> Diagnostic {
    match document.at(path) {
        Some(node) => diagnostic.on_key(document, node),
        None => diagnostic.path(path),
    }
}

/// The configuration as it was written, each file behind a comment with its name.
fn source(loaded: &Loaded) -> String {
    let mut all = String::new();
    for (name, text) in loaded.sources.iter() {
        let _ = write!(all, "# {name}\n{text}\n");
    }
    all
}

/// Compiles the routes of one site.
struct SiteCompiler<'a> {
    site: &'a Site,
    index: usize,
    config: &'a Config,
    document: &'a Document,
    zones: &'a mut ZonesBuilder,
    upstreams: Option<&'a Upstreams>,
    metrics: &'a Metrics,
}

impl SiteCompiler<'_> {
    fn routes(&mut self, routes: &mut Vec<Route>, out: &mut Diagnostics) {
        let hosts: Arc<[_]> = self.site.hosts.as_slice().into();
        let hsts = hsts(self.site);
        let site = self.name();
        // What state hangs on; no route can be called like this.
        let scope = format!("site {site}");
        for (place, route) in self.site.routes.iter().enumerate() {
            let name: Arc<str> = route
                .name
                .clone()
                .unwrap_or_else(|| format!("{site} {}", describe(&route.matches)))
                .into();
            let specs: Vec<site::Link> = self.site.filters.iter().chain(&route.filters).cloned().collect();
            let mut env = BuildEnv::new(self.zones, &self.config.identity.issuers, &name)
                .with_site(&scope, self.site.filters.len())
                .with_policy(self.config.policy.is_some())
                .with_geoip(self.config.geoip.as_ref())
                .with_api_keys(self.config.identity.api_keys.as_ref())
                .with_jitter(jitter(self.config));
            let chain = Chain::build(&specs, self.document, &mut env, out);
            let action = self.action(route, place, out);
            let (Some(chain), Some(action)) = (chain, action) else {
                continue;
            };
            let matches = &route.matches;
            routes.push(Route {
                metrics: self.metrics.route(&name),
                name,
                hosts: Arc::clone(&hosts),
                path: matches
                    .path
                    .as_ref()
                    .or(matches.path_prefix.as_ref())
                    .map_or("/", String::as_str)
                    .into(),
                exact: matches.path.is_some(),
                chain: chain.with_dialects(Dialects::of(&self.site.answers.limit_headers)),
                refusals: self.site.answers.refusals,
                priority: route.priority,
                action,
                hsts: hsts.clone(),
            });
        }
    }

    /// The site in a few words: its first host, and its listeners where it names them.
    fn name(&self) -> String {
        let host = self.site.hosts.first().map(ToString::to_string).unwrap_or_default();
        match &self.site.listeners {
            Some(listeners) => format!("{host}@{}", listeners.join(",")),
            None => host,
        }
    }

    fn action(&self, route: &site::Route, place: usize, out: &mut Diagnostics) -> Option<Action> {
        if let Some(proxy) = &route.proxy {
            let upstream = self.upstreams?.index_of(&proxy.upstream)?;
            let prefix = route.matches.path_prefix.as_deref().unwrap_or("/");
            let rewrite = proxy.rewrite_prefix.as_ref().map(|with| Rewrite::new(prefix, with));
            return Some(Action::Proxy { upstream, rewrite });
        }
        if let Some(redirect) = &route.redirect {
            return Some(Action::Redirect {
                status: redirect.status.0,
                to: redirect.to.as_str().into(),
            });
        }
        let Some(respond) = &route.respond else {
            // Anywhere else validation has refused it.
            return self.site.only_decides(&self.config.listeners).then_some(Action::Decide);
        };
        let Ok(content_type) = HeaderValue::from_str(&respond.content_type) else {
            let path = format!("sites[{}].routes[{place}].respond.content_type", self.index);
            let diagnostic = Diagnostic::new(codes::INVALID_VALUE, "a media type has no control characters");
            out.push(at_path(diagnostic, self.document, &path));
            return None;
        };
        Some(Action::Respond {
            status: respond.status.0,
            content_type,
            body: Bytes::from(respond.body.clone()),
        })
    }
}

/// The value of a site's `Strict-Transport-Security`, all of it digits and names of directives.
fn hsts(site: &Site) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(site.hsts.as_ref()?.value()).ok()
}

/// A route's match in a few words, for logs and metrics.
fn describe(matches: &site::Match) -> String {
    let mut text = match (&matches.path, &matches.path_prefix) {
        (Some(path), _) => format!("={path}"),
        (None, Some(prefix)) => prefix.clone(),
        (None, None) => "/".to_owned(),
    };
    for method in matches.methods.iter().flatten() {
        text.push(' ');
        text.push_str(&method.0);
    }
    for (name, value) in &matches.headers {
        let _ = write!(text, " {}={value}", name.0);
    }
    text
}

/// A requirement of the bundle that the configuration does not meet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the bundle requires `{filter}` on the route `{route}`, in force and with `on_error: deny`")]
pub struct Unmet {
    /// The route.
    pub route: Arc<str>,
    /// The filter that is missing, in shadow, or open on errors.
    pub filter: Arc<str>,
}

/// Holds a configuration against the requirements of a bundle.
pub fn unmet(gateway: &Gateway, policies: &Policies) -> Vec<Unmet> {
    let mut unmet = Vec::new();
    for requirement in policies.requirements() {
        for route in &gateway.routes {
            let path = if route.exact {
                RoutePath::Exact(&route.path)
            } else {
                RoutePath::Prefix(&route.path)
            };
            if !route.hosts.iter().any(|host| requirement.concerns(host, path)) {
                continue;
            }
            for filter in requirement
                .filters
                .iter()
                .filter(|filter| !route.chain.enforces(filter))
            {
                unmet.push(Unmet {
                    route: Arc::clone(&route.name),
                    filter: Arc::clone(filter),
                });
            }
        }
    }
    unmet
}

/// Why a configuration and a bundle cannot be in force together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// A stable code.
    pub reason: &'static str,
    /// What the configuration lacks.
    pub detail: String,
}

/// Whether a configuration has what a bundle goes by, and meets its requirements.
pub fn fits(gateway: &Gateway, bundle: &BundleState) -> Result<(), Misfit> {
    let BundleState::Loaded(policies) = bundle else {
        return Ok(());
    };
    let unsupported = policy::unsupported(policies, gateway.config.geoip.as_ref());
    lacks("unsupported", &unsupported)?;
    lacks("unmet_requirement", &unmet(gateway, policies))
}

/// Nothing, or a misfit that names the first of what is lacking.
fn lacks<T: ToString>(reason: &'static str, lacking: &[T]) -> Result<(), Misfit> {
    if lacking.is_empty() {
        return Ok(());
    }
    let told: Vec<_> = lacking.iter().take(20).map(ToString::to_string).collect();
    let detail = told.join("; ");
    Err(Misfit { reason, detail })
}

/// Why a kill switch that does not come from the bundle would never match under a configuration, for the first such switch.
pub fn idle_switch<'s>(config: &Config, mut switches: impl Iterator<Item = &'s Switch>) -> Option<String> {
    switches.find_map(|switch| {
        let own = matches!(switch.origin, Origin::Bundle(_));
        let why = attributes::unsupported(&switch.key, config.geoip.as_ref()).filter(|_| !own)?;
        let origin = switch.origin.source();
        Some(format!(
            "a kill switch ({origin}) on `{}` would never match: {why}",
            switch.key
        ))
    })
}

/// How `Retry-After` is spread.
fn jitter(config: &Config) -> RetryJitter {
    config
        .policy
        .as_ref()
        .map(|policy| policy.retry_jitter)
        .unwrap_or_default()
}
