//! Sends a request through everything that would decide about it, and notes each step. The code is that of requests; only
//! what waits for a network is left out.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use portcullis_bundles::compile::compile as compile_bundle;
use portcullis_bundles::digest::Digest;
use portcullis_bundles::policies::{Policies, Provenance};
use portcullis_bundles::switches::Phase;
use portcullis_config::load::Loaded;
use portcullis_config::site::{Mode, OnError};
use portcullis_filters::attributes::RequestAttributes;
use portcullis_filters::buckets::BucketTable;
use portcullis_filters::chain::{Chain, Progress};
use portcullis_filters::claims::Claims;
use portcullis_filters::client::{Client, Now};
use portcullis_filters::facts::{Body, Facts};
use portcullis_filters::gate::KILL_SWITCH;
use portcullis_filters::policy::{Breakers, Counting, PolicyStep, explain};
use portcullis_filters::receipt::Receipt;
use portcullis_filters::record::Decision;
use portcullis_filters::request::{Head, PolicyView, Request};
use portcullis_filters::verdict::Stop;
use portcullis_filters::zones::{Entropy, Zones};
use serde_json::{Map, Value};

use super::request::Asked;
use crate::cli::bundle::file::{Signed, Text};
use crate::client;
use crate::compile::{Heritage, compile};
use crate::intake::{self, Target};
use crate::route::{Found, RouteId};
use crate::snapshot::{BundleState, Gateway, InForce, KillView};
use crate::telemetry::metrics::Metrics;

/// The kind of the filter that verifies tokens.
const JWT: &str = "jwt";
/// The kind of the filter that enforces bundles, and the zone with its counters.
const POLICY: &str = "policy";
/// How often a chain may ask to wait: nothing that it waits for comes here.
const MOST_WAITS: usize = 64;

/// What a request is sent through.
pub(super) struct Trace {
    pub(super) loaded: Loaded,
    pub(super) bundle: Option<anyhow::Result<Text>>,
    pub(super) listener: Option<String>,
    pub(super) from: IpAddr,
    pub(super) claims: Option<Map<String, Value>>,
    pub(super) repeat: u32,
}

/// Everything that decided, in order.
pub(super) struct Told {
    pub(super) method: String,
    pub(super) listener: String,
    pub(super) target: Option<Target>,
    pub(super) client: Client,
    pub(super) config: String,
    pub(super) bundle: Option<(u64, String)>,
    pub(super) bundle_note: Option<String>,
    pub(super) route: RouteTold,
    pub(super) links: Vec<LinkStep>,
    pub(super) policies: Vec<PolicyStep>,
    pub(super) refusal: Option<Refusal>,
}

/// Where the request belongs.
pub(super) enum RouteTold {
    Route { name: String, path: String, exact: bool },
    MethodNotAllowed(String),
    None,
}

/// A link of the chain.
pub(super) struct LinkStep {
    pub(super) place: usize,
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) mode: Mode,
    pub(super) on_error: OnError,
    pub(super) outcome: LinkOutcome,
    pub(super) decisions: Vec<Decision>,
}

/// What became of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkOutcome {
    Passed,
    Stopped,
    NotReached,
}

/// Why the request is not let through.
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: String,
    pub(super) retry_after: Option<u32>,
    pub(super) by: String,
}

impl Told {
    /// Of which nothing is known yet but who asks whom.
    fn new(method: &str, client: &Client, gateway: &Gateway) -> Self {
        Self {
            method: method.to_owned(),
            listener: String::new(),
            target: None,
            client: client.clone(),
            config: gateway.digest.get(..12).unwrap_or_default().to_owned(),
            bundle: None,
            bundle_note: None,
            route: RouteTold::None,
            links: Vec::new(),
            policies: Vec::new(),
            refusal: None,
        }
    }
}

/// What one pass through a chain came to.
struct Pass {
    receipt: Receipt,
    facts: Facts,
    stop: Option<(Stop, Arc<str>)>,
}

impl Trace {
    pub(super) fn run(mut self, asked: &Asked) -> anyhow::Result<Told> {
        if self.claims.is_some() {
            self.leave_out_tokens();
        }
        let listener = self.listener_index()?;
        let (bundle, bundle_note) = self.policies()?;
        let (gateway, aside) = (self.compile()?, self.compile()?);
        let header = &asked.header;
        let client = client::identify(self.from, asked.tls, &header.headers, &gateway.trusted);
        let mut told = Told::new(header.method.as_str(), &client, &gateway);
        told.listener = self.listener_name(listener);
        told.bundle = bundle
            .as_ref()
            .map(|policies| (policies.version(), policies.digest().to_string()));
        told.bundle_note = bundle_note;
        let target = match intake::read(header) {
            Ok(target) => told.target.insert(target).clone(),
            Err(case) => {
                let denial = portcullis_filters::verdict::Denial::from(case);
                told.refusal = Some(Refusal::of(&denial, "the first look at the request"));
                return Ok(told);
            }
        };
        let found = gateway
            .router
            .find(listener, &target.host, &target.path, &header.method, &header.headers);
        let in_force = self.in_force(bundle);
        let now = crate::live::now();
        let head = Head {
            method: &header.method,
            host: &target.host,
            authority: &target.authority,
            path: &target.path,
            query: target.query.as_deref(),
            headers: &header.headers,
            client: &client,
            route: match &found {
                Found::Route(id) => gateway.route(*id).map(|route| &*route.name),
                Found::MethodNotAllowed(_) | Found::None => None,
            },
            geoip: gateway.geoip.as_ref().map(|files| &files.data),
            now,
        };
        let way = Way {
            gateway: &gateway,
            aside: &aside,
            head: &head,
            policy: in_force.view(gateway.expired, now.unix()),
            claims: self.claims(),
        };
        way.tell(&found, self.repeat, &mut told);
        Ok(told)
    }

    fn listener_name(&self, place: usize) -> String {
        let listener = self.loaded.config.listeners.get(place);
        listener.map(|listener| listener.name.clone()).unwrap_or_default()
    }

    fn in_force(&self, bundle: Option<Arc<Policies>>) -> InForce {
        let state = match (bundle, &self.loaded.config.policy) {
            (Some(policies), _) => BundleState::Loaded(policies),
            (None, Some(_)) => BundleState::Missing("no_bundle_loaded"),
            (None, None) => BundleState::Unconfigured,
        };
        InForce::new(state, None, KillView::default())
    }

    fn claims(&self) -> Option<Arc<Claims>> {
        let values = self.claims.clone()?;
        Some(Arc::new(Claims::new("", i64::MAX, values)))
    }

    /// Claims are given: filters that would find them stay out of the chains.
    fn leave_out_tokens(&mut self) {
        for site in &mut self.loaded.config.sites {
            site.filters.retain(|link| link.kind != JWT);
            for route in &mut site.routes {
                route.filters.retain(|link| link.kind != JWT);
            }
        }
    }

    fn listener_index(&self) -> anyhow::Result<usize> {
        let listeners = &self.loaded.config.listeners;
        let Some(name) = &self.listener else { return Ok(0) };
        let place = listeners.iter().position(|listener| listener.name == *name);
        place.with_context(|| {
            let names: Vec<&str> = listeners.iter().map(|listener| listener.name.as_str()).collect();
            format!("there is no listener `{name}`; there are {}", names.join(", "))
        })
    }

    fn compile(&self) -> anyhow::Result<Gateway> {
        // Nothing is shared with anybody: any key will do.
        let zones = Zones::new(ENTROPY);
        let heritage = Heritage {
            zones: &zones,
            upstreams: None,
            metrics: &Metrics::new(),
            geoip: None,
        };
        compile(&self.loaded, &heritage).map_err(|wrong| {
            anyhow::anyhow!(
                "the configuration cannot be used\n{}",
                wrong.render_text(&self.loaded.sources)
            )
        })
    }

    /// The bundle, and what should be known of it.
    fn policies(&mut self) -> anyhow::Result<(Option<Arc<Policies>>, Option<String>)> {
        let text = match (self.bundle.take(), &self.loaded.config.policy) {
            (Some(text), _) => text?,
            (None, None) => return Ok((None, None)),
            (None, Some(policy)) => {
                let Some(file) = &policy.bundle.file else {
                    let note = "the bundle comes from elsewhere, which is not asked; --bundle names a file".to_owned();
                    return Ok((None, Some(note)));
                };
                Text::read(file)?
            }
        };
        let authored = match text.authored() {
            Ok(authored) => authored,
            Err(wrong) => bail!(
                "{} is no bundle that a gateway could use\n{}",
                text.name,
                wrong.render_text()
            ),
        };
        let json = match text.signed {
            Signed::No => authored.canonical_json()?,
            Signed::Line | Signed::Dsse(_) => text.bytes.clone(),
        };
        let origin = Provenance {
            version: authored.bundle.bundle_version.get(),
            digest: Digest::of(&json),
            signed_by: Box::default(),
        };
        let compiled = compile_bundle(&authored.bundle, origin)
            .map_err(|problems| anyhow::anyhow!("{} problems in {}", problems.count(), text.name))?;
        let note = (text.signed != Signed::No).then(|| format!("{}: its signature was not checked", text.name));
        Ok((Some(Arc::new(compiled.policies)), note))
    }
}

const ENTROPY: Entropy = Entropy {
    hash_key: [0; 16],
    jitter_salt: [0; 16],
};

/// A request on its way.
struct Way<'w> {
    gateway: &'w Gateway,
    /// The same with counters of its own, for a look ahead.
    aside: &'w Gateway,
    head: &'w Head<'w>,
    policy: PolicyView<'w>,
    claims: Option<Arc<Claims>>,
}

impl Way<'_> {
    fn tell(&self, found: &Found, repeat: u32, told: &mut Told) {
        let id = match found {
            Found::Route(id) => Some(*id),
            Found::MethodNotAllowed(_) | Found::None => None,
        };
        told.route = self.route(found);
        for _ in 1..repeat {
            self.pass(self.gateway, id);
        }
        // What filters find out is the same every time; what counters hold is looked at before the last one is charged.
        let mut before = self.pass(self.aside, id).facts;
        let chain = chain(self.gateway, id);
        let policies = self.explain(chain, &mut before);
        let last = self.pass(self.gateway, id);
        told.links = links(chain, &last);
        let reached = |step: &LinkStep| step.kind == POLICY && step.outcome != LinkOutcome::NotReached;
        if told.links.iter().any(reached) {
            told.policies = policies;
        }
        told.refusal = match &last.stop {
            Some((Stop::Deny(denial), link)) => Some(Refusal::of(denial, &format!("link {link}"))),
            Some((Stop::Reply(_), _)) => None,
            None => self.killed(&mut before).or_else(|| Refusal::of_route(found)),
        };
    }

    fn route(&self, found: &Found) -> RouteTold {
        match found {
            Found::Route(id) => match self.gateway.route(*id) {
                Some(route) => RouteTold::Route {
                    name: route.name.to_string(),
                    path: route.path.to_string(),
                    exact: route.exact,
                },
                None => RouteTold::None,
            },
            Found::MethodNotAllowed(methods) => {
                let methods: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
                RouteTold::MethodNotAllowed(methods.join(", "))
            }
            Found::None => RouteTold::None,
        }
    }

    fn pass(&self, gateway: &Gateway, id: Option<RouteId>) -> Pass {
        let chain = chain(gateway, id);
        let mut state = chain.start();
        let mut facts = Facts {
            claims: self.claims.clone(),
            ..Facts::default()
        };
        let mut stop = None;
        for _ in 0..MOST_WAITS {
            let mut request = Request {
                head: self.head,
                facts: &mut facts,
                policy: self.policy,
            };
            match chain.on_request(&mut state, &mut request) {
                Progress::Done => break,
                // What it waits for is not fetched; the chain gives up by itself.
                Progress::Wait(_) | Progress::Pause(_) => {}
                // Nor is the body there.
                Progress::Body(_) => facts.body = Some(Body::Unseen),
                Progress::Stop(stopped, info) => {
                    stop = Some((stopped, info.link));
                    break;
                }
            }
        }
        Pass {
            receipt: state.receipt(),
            facts,
            stop,
        }
    }

    /// What the bundle says, where a link of the chain asks it.
    fn explain(&self, chain: &Chain, facts: &mut Facts) -> Vec<PolicyStep> {
        let portcullis_filters::request::Bundle::Loaded(policies) = self.policy.bundle else {
            return Vec::new();
        };
        let Some(link) = chain.links().find(|link| link.kind == POLICY) else {
            return Vec::new();
        };
        let tables = self.gateway.zones.each::<BucketTable>();
        let table = tables.into_iter().find(|(name, _)| &***name == POLICY);
        let breakers = self.gateway.zones.each::<Breakers>();
        let breakers = breakers.into_iter().find(|(name, _)| &***name == POLICY);
        let (Some((_, table)), Some((_, breakers))) = (table, breakers) else {
            return Vec::new();
        };
        let request = Request {
            head: self.head,
            facts,
            policy: self.policy,
        };
        let counting = Counting {
            table: &table,
            breakers: &breakers,
            secret: &ENTROPY.hash_key,
        };
        explain(policies, &request, counting, link.mode == Mode::Shadow)
    }

    /// Kill switches by claim run after the filter that finds claims, which is left out where they were given.
    fn killed(&self, facts: &mut Facts) -> Option<Refusal> {
        self.claims.as_ref()?;
        let request = Request {
            head: self.head,
            facts,
            policy: self.policy,
        };
        let attributes = RequestAttributes::new(&request);
        let now: Now = self.head.now;
        let switch = self
            .policy
            .switches
            .find(&attributes, Phase::AfterIdentity, now.unix())?;
        Some(Refusal {
            status: 429,
            reason: KILL_SWITCH.0.to_owned(),
            retry_after: None,
            by: format!("kill switch on {}", switch.key),
        })
    }
}

fn chain(gateway: &Gateway, id: Option<RouteId>) -> &Chain {
    match id.and_then(|id| gateway.route(id)) {
        Some(route) => &route.chain,
        None => &gateway.unrouted,
    }
}

fn links(chain: &Chain, pass: &Pass) -> Vec<LinkStep> {
    let mut stopped = false;
    chain
        .links()
        .map(|link| {
            let outcome = match &pass.stop {
                _ if stopped => LinkOutcome::NotReached,
                Some((_, name)) if *name == link.name => LinkOutcome::Stopped,
                _ if pass.receipt.has(link.place) => LinkOutcome::Passed,
                _ => LinkOutcome::NotReached,
            };
            stopped |= outcome == LinkOutcome::Stopped;
            let decisions = pass
                .facts
                .decisions
                .iter()
                .filter(|decision| decision.link == link.name);
            LinkStep {
                place: link.place,
                kind: link.kind,
                name: link.name.to_string(),
                mode: link.mode,
                on_error: link.on_error,
                outcome,
                decisions: decisions.cloned().collect(),
            }
        })
        .collect()
}

impl Refusal {
    fn of(denial: &portcullis_filters::verdict::Denial, by: &str) -> Self {
        Self {
            status: denial.status.as_u16(),
            reason: denial.reason.0.to_owned(),
            retry_after: denial.retry_after,
            by: by.to_owned(),
        }
    }

    fn of_route(found: &Found) -> Option<Self> {
        let (status, reason) = match found {
            Found::Route(_) => return None,
            Found::MethodNotAllowed(_) => (405, "method_not_allowed"),
            Found::None => (404, "no_route"),
        };
        Some(Self {
            status,
            reason: reason.to_owned(),
            retry_after: None,
            by: "the routes".to_owned(),
        })
    }
}
