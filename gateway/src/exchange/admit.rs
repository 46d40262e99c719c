//! The request phase: target, client, limits, route, chain; then our own answer, or on to the upstream.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header};
use pingora_error::{Error, Result};
use pingora_proxy::Session;
use portcullis_filters::chain::Progress;
use portcullis_filters::facts::Body;
use portcullis_filters::request::Request;
use portcullis_filters::verdict::{Denial, Reason, Reply, Stop};

use super::{Exchange, chain_of, head, hold, subject};
use crate::client;
use crate::intake;
use crate::listener::Connection;
use crate::problem;
use crate::respond::Answer;
use crate::route::{Found, RouteId};
use crate::snapshot::Action;
use crate::strict::Case;

/// Longest that a filter's wait (for a key set, say) may hold a request up. The filter is asked again then.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The longest time a filter may hold a request back.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

const ALLOWED_EVERYWHERE: HeaderValue = HeaderValue::from_static(problem::METHODS);

/// Why a request does not go on.
pub(super) enum Halt {
    /// It is refused.
    Refused(Denial),
    /// It did not come to its end.
    Broken(Box<Error>),
}

impl Halt {
    /// The refusal. What broke is one too, where nothing was to be read.
    pub(super) fn denial(self) -> Denial {
        match self {
            Self::Refused(denial) => denial,
            Self::Broken(error) => broken(error),
        }
    }
}

impl From<Denial> for Halt {
    fn from(denial: Denial) -> Self {
        Self::Refused(denial)
    }
}

impl Exchange {
    /// Takes the request in. `true`: it was answered.
    pub async fn receive(&mut self, session: &mut Session) -> Result<bool> {
        self.connection = Connection::shared(session);
        if self.live.edge_mode().is_some() {
            if self.receive_at_edge(session).await? {
                return Ok(true);
            }
        } else if self.is_decision() {
            self.decide(session).await?;
            return Ok(true);
        }
        let answer = match self.admit(session).await {
            Ok(None) => return self.invite_body(session).await,
            Ok(Some(answer)) => answer,
            Err(Halt::Refused(denial)) => self.refusal(session, denial)?,
            Err(Halt::Broken(error)) => return Err(error),
        };
        self.drop_held(session).await;
        self.answer(session, answer).await?;
        Ok(true)
    }

    /// Asks a client that waits for it (RFC 9110, 10.1.1) to send the body: nothing stands against the request any more.
    async fn invite_body(&mut self, session: &mut Session) -> Result<bool> {
        self.invite(session).await?;
        self.body_watch = self
            .connection
            .as_ref()
            .and_then(|connection| connection.watch_body(session));
        Ok(false)
    }

    async fn invite(&mut self, session: &mut Session) -> Result<()> {
        if session.as_http1().is_some() && expects_to_continue(session) && !std::mem::replace(&mut self.invited, true) {
            session.as_mut().write_continue_response().await?;
        }
        Ok(())
    }

    /// Decides whether the request goes upstream (`None`) or is answered by us.
    async fn admit(&mut self, session: &mut Session) -> Result<Option<Answer>, Halt> {
        self.identify(session)?;
        self.check_limits(session)?;
        let found = self.find_route(session);
        self.route = match found {
            Found::Route(id) => Some(id),
            // A preflight runs the filters of the route that it asks about, one of which may answer it.
            Found::MethodNotAllowed(_) => self.route_of_preflight(session),
            Found::None => None,
        };
        self.check_load()?;
        if let Some(reply) = self.run_chain(session).await? {
            return Ok(Some(Answer::reply(&reply).map_err(broken)?));
        }
        match found {
            Found::Route(_) => match self.own_answer()? {
                None => self.take_place().map(|()| None),
                answer => Ok(answer),
            }
            .map_err(Halt::from),
            Found::None if self.target.as_ref().is_some_and(|target| &*target.path == "*") => {
                let answer = Answer::new(StatusCode::NO_CONTENT, "", bytes::Bytes::new());
                Ok(Some(
                    answer
                        .and_then(|answer| answer.with(header::ALLOW, ALLOWED_EVERYWHERE))
                        .map_err(broken)?,
                ))
            }
            Found::None => Err(Denial::new(StatusCode::NOT_FOUND, Reason("no_route")).into()),
            Found::MethodNotAllowed(methods) => Err(method_not_allowed(&methods)?.into()),
        }
    }

    /// Who asks for what.
    fn identify(&mut self, session: &Session) -> Result<(), Denial> {
        let request = session.req_header();
        let (peer, tls) = match &self.connection {
            Some(connection) => (connection.peer().ip(), connection.tls().is_some()),
            None => {
                return Err(Denial::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    Reason("connection_unknown"),
                ));
            }
        };
        let client = client::identify(peer, tls, &request.headers, &self.snapshot.gateway.trusted);
        if client.peer_is_trusted {
            self.id.take_from(&request.headers);
        }
        self.span = self
            .live
            .observers()
            .traces
            .begin(&request.headers, client.peer_is_trusted);
        self.client = Some(client);
        let target = self.target.insert(intake::read(request)?);
        if let Some(tls) = self.connection.as_ref().and_then(|connection| connection.tls()) {
            if !tls.covers(&target.host) {
                return Err(Denial::new(
                    StatusCode::MISDIRECTED_REQUEST,
                    Reason("misdirected_request"),
                ));
            }
            self.facts.certificate.clone_from(&tls.client);
        }
        Ok(())
    }

    /// What is too much is refused before anybody looks at it.
    pub(super) fn check_limits(&self, session: &Session) -> Result<(), Denial> {
        let limits = &self.snapshot.gateway.config.limits;
        let headers = &session.req_header().headers;
        if headers.len() > limits.request_headers as usize {
            return Err(Case::TooManyFields.into());
        }
        let bytes: usize = headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if bytes + session.req_header().raw_path().len() > to_usize(limits.request_header_bytes.get()) {
            return Err(Case::HeaderTooLarge.into());
        }
        let length = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limits.request_body_bytes.get()) {
            return Err(Case::BodyTooLarge.into());
        }
        Ok(())
    }

    fn find_route(&self, session: &Session) -> Found {
        self.find(session, &session.req_header().method)
    }

    pub(super) fn find(&self, session: &Session, method: &Method) -> Found {
        let (Some(target), Some(connection)) = (&self.target, &self.connection) else {
            return Found::None;
        };
        let (_, headers) = subject(session.req_header(), self.described.as_deref());
        let router = &self.snapshot.gateway.router;
        router.find(connection.listener().index, &target.host, &target.path, method, headers)
    }

    /// The route that a CORS preflight (Fetch standard) asks about.
    pub(super) fn route_of_preflight(&self, session: &Session) -> Option<RouteId> {
        let (method, headers) = subject(session.req_header(), self.described.as_deref());
        if *method != Method::OPTIONS || !headers.contains_key(header::ORIGIN) {
            return None;
        }
        let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD)?;
        match self.find(session, &Method::from_bytes(asked.as_bytes()).ok()?) {
            Found::Route(id) => Some(id),
            Found::MethodNotAllowed(_) | Found::None => None,
        }
    }

    /// Runs the request phase of the chain. A filter may answer.
    pub(super) async fn run_chain(&mut self, session: &mut Session) -> Result<Option<Box<Reply>>, Halt> {
        self.begin_debug(session);
        loop {
            match self.step(session)? {
                Progress::Done => return Ok(None),
                Progress::Wait(future) => {
                    // Whether it came in time is the filter's to find out: it is asked again.
                    let _ = tokio::time::timeout(LONGEST_WAIT, future).await;
                }
                Progress::Pause(span) => tokio::time::sleep(span.min(LONGEST_PAUSE)).await,
                Progress::Body(most) => self.hold_body(session, most).await.map_err(Halt::Broken)?,
                Progress::Stop(Stop::Deny(denial), info) => {
                    self.denied_by = Some(info.link);
                    return Err(denial.into());
                }
                Progress::Stop(Stop::Reply(reply), _) => return Ok(Some(reply)),
            }
        }
    }

    /// Runs the request phase of the chain as far as it comes.
    fn step(&mut self, session: &Session) -> Result<Progress, Denial> {
        let chain = chain_of(&self.snapshot, self.route);
        let state = self.chain.get_or_insert_with(|| chain.start());
        let (Some(target), Some(client)) = (&self.target, &self.client) else {
            return Err(Denial::new(StatusCode::INTERNAL_SERVER_ERROR, Reason("target_unknown")));
        };
        let policy = self
            .snapshot
            .policy
            .view(self.snapshot.gateway.expired, self.now.unix());
        let (method, headers) = subject(session.req_header(), self.described.as_deref());
        let head = head(
            (method, headers),
            target,
            client,
            (&self.snapshot, self.route),
            self.now,
        );
        let facts = &mut self.facts;
        let mut request = Request {
            head: &head,
            facts,
            policy,
        };
        Ok(chain.on_request(state, &mut request))
    }

    /// Holds the body back for a filter that asked for it.
    async fn hold_body(&mut self, session: &mut Session, most: usize) -> Result<()> {
        self.invite(session).await?;
        let limit = to_usize(self.snapshot.gateway.config.limits.request_body_bytes.get());
        let room = self.live.edge().overload.held.room();
        let (held, body) = hold::hold(session, most.min(limit), self.connection.as_ref(), room).await?;
        self.held = Some(held).filter(|held| !held.is_empty());
        self.facts.body = Some(body);
        Ok(())
    }

    /// The answer is ours: what was held back is not needed. Its end, which was left unread, is read, so that the connection can
    /// be used again.
    async fn drop_held(&mut self, session: &mut Session) {
        self.held = None;
        if let Some(Body::Whole(..)) = self.facts.body.take() {
            while let Ok(Some(_)) = session.as_mut().read_request_body().await {}
        }
    }

    /// The answer of a route that is ours to give. `None`: an upstream gives it.
    fn own_answer(&self) -> Result<Option<Answer>, Denial> {
        match self.route().map(|route| &route.action) {
            Some(Action::Proxy { .. }) => Ok(None),
            Some(Action::Respond {
                status,
                content_type,
                body,
            }) => {
                let answer = Answer::new(*status, content_type.to_str().unwrap_or_default(), body.clone());
                Ok(Some(answer.map_err(broken)?))
            }
            Some(Action::Redirect { status, to }) => {
                let location = HeaderValue::from_str(&self.location(to)).map_err(broken)?;
                let answer = Answer::new(*status, "", bytes::Bytes::new());
                Ok(Some(
                    answer
                        .and_then(|answer| answer.with(header::LOCATION, location))
                        .map_err(broken)?,
                ))
            }
            Some(Action::Decide) | None => Err(Denial::new(StatusCode::NOT_FOUND, Reason("no_route"))),
        }
    }

    /// A redirect's Location with its variables replaced.
    fn location(&self, to: &str) -> String {
        let Some(target) = &self.target else {
            return to.to_owned();
        };
        let query = self
            .query_to_forward()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        // A path of several slashes would be read as another host; the normalised form has none.
        to.replace("${path}", &target.path)
            .replace("${query}", &query)
            .replace("${host}", &target.authority)
    }

    /// The refusal as an answer, noted for the log.
    pub(super) fn refusal(&mut self, session: &Session, denial: Denial) -> Result<Answer> {
        let answer = if super::is_grpc(session) {
            Answer::grpc_refusal(&denial)?
        } else {
            Answer::refusal(&denial, self.id.as_str(), self.refusals())?
        };
        let in_doubt = intake::leaves_framing_in_doubt(denial.reason.0);
        self.denial = Some(denial);
        Ok(answer.closing(in_doubt))
    }

    /// Whether this is a WebSocket handshake (RFC 6455, 4.1) that HTTP/1.1 can carry through: a GET without a body, behind
    /// which the tunnel can begin.
    pub(super) fn is_websocket(session: &Session) -> bool {
        let headers = &session.req_header().headers;
        session.is_upgrade_req()
            && session.req_header().method == Method::GET
            && !headers.contains_key(header::TRANSFER_ENCODING)
            && headers.get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && headers
                .get(header::UPGRADE)
                .is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && headers.get_all(header::CONNECTION).iter().any(names_upgrade)
    }
}

/// Whether a Connection names Upgrade: without that, Upgrade means nothing (RFC 9110, 7.8).
fn names_upgrade(connection: &HeaderValue) -> bool {
    let mut names = connection.as_bytes().split(|byte| *byte == b',');
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

fn expects_to_continue(session: &Session) -> bool {
    let request = session.req_header();
    request.version >= http::Version::HTTP_11
        && request
            .headers
            .get(header::EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// A path is known, and the method is not.
pub(super) fn method_not_allowed(methods: &[Method]) -> Result<Denial, Denial> {
    let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    let denial = Denial::new(StatusCode::METHOD_NOT_ALLOWED, Reason("method_not_allowed"));
    Ok(denial.header(header::ALLOW, HeaderValue::from_str(&allow).map_err(broken)?))
}

/// Something that validation made impossible.
pub(super) fn broken(_: impl std::fmt::Debug) -> Denial {
    Denial::new(StatusCode::INTERNAL_SERVER_ERROR, Reason("internal"))
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
