//! One request and its answer, from the header read to the log line: the state that Pingora's phases share.
//!
//! The steps are in the folder: [`admit`] (request), [`leg`] (upstream), [`answer`] (response), [`record`] (log); and [`decide`]
//! where a listener only decides, [`edge`] in `portcullis edge`.

pub mod admit;
pub mod answer;
pub mod decide;
pub mod edge;
pub mod hold;
mod keep;
pub mod leg;
pub mod record;
pub mod shed;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::STRICT_TRANSPORT_SECURITY;
use http::{HeaderMap, Method, StatusCode};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;
use portcullis_config::site::Refusals;
use portcullis_filters::chain::{Chain, ChainState};
use portcullis_filters::client::{Client, Now};
use portcullis_filters::facts::Facts;
use portcullis_filters::receipt::Receipt;
use portcullis_filters::request::Head;
use portcullis_filters::verdict::{Denial, Reason};

use crate::decision::described::Described;
use crate::intake::Target;
use crate::listener::{BodyWatch, Connection, Delivery};
use crate::live::{Live, now_at};
use crate::request_id::RequestId;
use crate::route::RouteId;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::traces::RequestSpan;

use self::hold::Held;
use self::leg::Leg;

/// The reason of a refusal because mandatory links did not run.
const MISSING_RECEIPT: &str = "missing_receipt";

/// One request and its answer.
pub struct Exchange {
    /// Where the snapshot came from; counts this exchange as in flight.
    pub(crate) live: Arc<Live>,
    /// What it is judged by, from beginning to end.
    pub snapshot: Arc<Snapshot>,
    /// The connection that it came in on.
    pub connection: Option<Arc<Connection>>,
    /// Names it in logs, answers and upstream.
    pub id: RequestId,
    /// When its header was complete.
    pub started: Instant,
    /// The same, as filters see it.
    pub now: Now,
    /// What it asks for. `None` when that was refused.
    pub target: Option<Target>,
    /// Where a listener only decides: what is decided about.
    pub described: Option<Box<Described>>,
    /// Whether the answer says how it was decided.
    debugged: bool,
    /// It is answered without being judged, as a probe of health is.
    unjudged: bool,
    /// Who asks.
    pub client: Option<Client>,
    /// The route that matched.
    pub route: Option<RouteId>,
    chain: Option<ChainState>,
    /// What filters found out.
    pub facts: Facts,
    /// The refusal, if it was refused or failed.
    pub denial: Option<Denial>,
    /// The link that refused, if a link did.
    pub denied_by: Option<Arc<str>>,
    /// The way to the upstream and back.
    pub leg: Leg,
    /// The status of the answer.
    pub status: Option<StatusCode>,
    /// Bytes of the request's body so far.
    pub request_bytes: u64,
    /// Bytes of the answer's body so far.
    pub response_bytes: u64,
    /// The request's body, when a filter asked for it.
    held: Option<Held>,
    /// The client was asked for the body.
    invited: bool,
    /// Why a filter ended the answer before its end.
    cut: Option<Reason>,
    /// What the client still gets of that answer.
    last_piece: Option<Bytes>,
    /// The upstream's answer has no body.
    bodiless: bool,
    /// Times the body of an HTTP/2 request.
    body_watch: Option<BodyWatch>,
    /// The body of the answer over HTTP/2.
    delivery: Option<Delivery>,
    /// Its span, where traces are configured.
    pub span: Option<RequestSpan>,
}

impl Exchange {
    /// Begins an exchange under the snapshot of this moment.
    pub fn begin(live: &Arc<Live>) -> Self {
        live.enter();
        let started = Instant::now();
        Self {
            live: Arc::clone(live),
            snapshot: live.snapshot(),
            connection: None,
            id: RequestId::new(),
            started,
            now: now_at(started),
            target: None,
            described: None,
            debugged: false,
            unjudged: false,
            client: None,
            route: None,
            chain: None,
            facts: Facts::default(),
            denial: None,
            denied_by: None,
            leg: Leg::default(),
            status: None,
            request_bytes: 0,
            response_bytes: 0,
            held: None,
            invited: false,
            cut: None,
            last_piece: None,
            bodiless: false,
            body_watch: None,
            delivery: None,
            span: None,
        }
    }

    /// The route that matched.
    pub fn route(&self) -> Option<&Route> {
        self.snapshot.gateway.route(self.route?)
    }

    /// The form of a refusal's body.
    pub(crate) fn refusals(&self) -> Refusals {
        self.route().map(|route| route.refusals).unwrap_or_default()
    }

    /// Adds what the site says about transport (RFC 6797), when this answer goes over TLS.
    pub(crate) fn add_hsts(&self, header: &mut ResponseHeader) -> Result<()> {
        let gateway = &*self.snapshot.gateway;
        // A decision is no answer to the client.
        if gateway.hsts.is_empty() || self.described.is_some() || !self.client.as_ref().is_some_and(|client| client.tls)
        {
            return Ok(());
        }
        let value = match (self.route(), &self.target, &self.connection) {
            (Some(route), _, _) => route.hsts.as_ref(),
            (None, Some(target), Some(connection)) => {
                let site = gateway.router.site(connection.listener().index, &target.host);
                site.and_then(|site| gateway.hsts.get(site)?.as_ref())
            }
            (None, _, _) => None,
        };
        match value {
            Some(value) => header.insert_header(STRICT_TRANSPORT_SECURITY, value),
            None => Ok(()),
        }
    }

    /// The links that ran.
    pub fn receipt(&self) -> Receipt {
        self.chain.as_ref().map(ChainState::receipt).unwrap_or_default()
    }

    /// Mandatory links that did not run. Everything is missing before the chain began.
    pub fn missing(&self) -> Receipt {
        match &self.chain {
            Some(state) => chain_of(&self.snapshot, self.route).missing(state),
            None => Receipt(u64::MAX),
        }
    }

    /// Notes the status of the answer.
    pub fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.live.leave();
    }
}

impl Exchange {
    /// The query as it goes on: without what no upstream may see. `None`: there is none, or nothing is left.
    pub(crate) fn query_to_forward(&self) -> Option<Cow<'_, str>> {
        self.query(Chain::query_to_forward)
    }

    /// Names of the parameters that no upstream may see.
    pub(crate) fn parameters_to_remove(&self) -> impl Iterator<Item = &str> {
        chain_of(&self.snapshot, self.route).parameters_to_remove()
    }

    /// The query as it may be logged.
    fn query_to_log(&self) -> Option<Cow<'_, [u8]>> {
        self.query(Chain::query_to_log).map(|query| match query {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        })
    }

    /// An empty query stays one; one that becomes empty does not.
    fn query(&self, clean: for<'q> fn(&Chain, &'q str) -> Cow<'q, str>) -> Option<Cow<'_, str>> {
        let query = self.target.as_ref()?.query.as_deref()?;
        let clean = clean(chain_of(&self.snapshot, self.route), query);
        Some(clean).filter(|clean| query.is_empty() || !clean.is_empty())
    }
}

/// The chain of a route, or the one that runs where none matched.
fn chain_of(snapshot: &Snapshot, route: Option<RouteId>) -> &Chain {
    match route.and_then(|id| snapshot.gateway.route(id)) {
        Some(route) => &route.chain,
        None => &snapshot.gateway.unrouted,
    }
}

/// Method and header fields of what is judged: the request itself, or the one that it describes.
fn subject<'a>(request: &'a RequestHeader, described: Option<&'a Described>) -> (&'a Method, &'a HeaderMap) {
    match described {
        None => (&request.method, &request.headers),
        Some(described) => (
            &described.method,
            described.headers.as_ref().unwrap_or(&request.headers),
        ),
    }
}

/// What came in, as filters see it.
fn head<'a>(
    (method, headers): (&'a Method, &'a HeaderMap),
    target: &'a Target,
    client: &'a Client,
    (snapshot, route): (&'a Snapshot, Option<RouteId>),
    now: Now,
) -> Head<'a> {
    let gateway = &*snapshot.gateway;
    Head {
        method,
        host: &target.host,
        authority: &target.authority,
        path: &target.path,
        query: target.query.as_deref(),
        headers,
        client,
        route: route.and_then(|id| gateway.route(id)).map(|route| &*route.name),
        geoip: gateway.geoip.as_ref().map(|files| &files.data),
        now,
    }
}

/// Whether a gRPC client asks, who reads refusals differently.
fn is_grpc(session: &Session) -> bool {
    session
        .req_header()
        .headers
        .get(http::header::CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}
