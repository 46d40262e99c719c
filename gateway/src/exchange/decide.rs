//! The exchange on a listener that only decides: the request that a peer describes is routed and judged like any other, and
//! the answer says whether it may pass. What peers ask and how they want to be answered is in [`crate::decision`].

use std::net::IpAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use pingora_error::Result;
use pingora_proxy::Session;
use portcullis_filters::client::Client;
use portcullis_filters::facts::Body;
use portcullis_filters::verdict::{Denial, Reason, Reply, Stop};
use tokio::time::timeout;

use super::Exchange;
use super::admit::{Halt, method_not_allowed};
use crate::client;
use crate::decision::Protocol;
use crate::decision::answer::{self, Decision};
use crate::decision::described::Described;
use crate::decision::ext_authz::{self, Misunderstood};
use crate::intake;
use crate::respond::Answer;
use crate::route::Found;

/// How long a question may take to come.
const QUESTION: Duration = Duration::from_secs(5);

impl Exchange {
    /// Whether the request describes another one that is to be judged.
    pub(super) fn is_decision(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| self.snapshot.gateway.decides(connection.listener().index))
    }

    /// Takes the question in and answers it.
    pub(super) async fn decide(&mut self, session: &mut Session) -> Result<()> {
        let described = match self.protocol(session) {
            Err(denial) => return self.refuse_to_decide(session, denial).await,
            Ok(Protocol::Grpc) => match question(session).await {
                Ok(question) => question.described(),
                Err(misunderstood) => return self.misunderstood(session, misunderstood).await,
            },
            Ok(protocol) => {
                let own_host = self.live.edge_mode().is_some();
                Described::by_header(protocol, session.req_header(), own_host)
            }
        };
        let (protocol, judged) = match described {
            Ok(described) => (described.protocol, self.judge(session, described).await),
            Err(denial) => {
                self.client = self.client_of(&session.req_header().headers, None, None);
                (self.protocol(session).unwrap_or(Protocol::Decision), Err(denial))
            }
        };
        let decision = self.decision(session, judged)?;
        // What the client gets, whatever the peer is told.
        let status = decision.answer.header().status;
        match protocol {
            Protocol::Grpc => answer::write_grpc(session, decision, self).await?,
            _ => answer::of_http(protocol, decision, self)?.write(session, self).await?,
        }
        self.answered(status);
        Ok(())
    }

    /// How the peer asks, if it may ask at all.
    fn protocol(&self, session: &Session) -> Result<Protocol, Denial> {
        let request = session.req_header();
        let peer = self.connection.as_ref().map(|connection| connection.peer().ip());
        let trusted = |peer| self.live.edge_mode().is_some() || self.snapshot.gateway.trusted.contains(peer);
        if !peer.is_some_and(trusted) {
            return Err(Denial::new(StatusCode::FORBIDDEN, Reason("peer_untrusted")));
        }
        intake::delivery(request)?;
        self.check_limits(session)?;
        let raw = std::str::from_utf8(request.raw_path()).unwrap_or_default();
        let (_, target) = crate::strict::target::split(raw, request.method.as_str())?;
        Protocol::of(&request.method, target)
    }

    /// Routes and judges the request that was described.
    async fn judge(&mut self, session: &mut Session, mut described: Described) -> Result<Option<Box<Reply>>, Denial> {
        let (method, headers) = super::subject(session.req_header(), Some(&described));
        self.client = self.client_of(headers, described.source, described.tls);
        self.id.take_from(headers);
        self.span = self.live.observers().traces.begin(headers, true);
        let method = method.clone();
        self.target = Some(std::mem::take(&mut described.target));
        self.described = Some(Box::new(described));
        let found = self.find(session, &method);
        self.route = match found {
            Found::Route(id) => Some(id),
            Found::MethodNotAllowed(_) => self.route_of_preflight(session),
            Found::None => None,
        };
        self.check_load()?;
        // The body is with whoever asks.
        self.facts.body = Some(Body::Unseen);
        if let Some(reply) = self.run_chain(session).await.map_err(Halt::denial)? {
            return Ok(Some(reply));
        }
        match found {
            Found::Route(_) => Ok(None),
            Found::None => Err(Denial::new(StatusCode::NOT_FOUND, Reason("no_route"))),
            Found::MethodNotAllowed(methods) => Err(method_not_allowed(&methods)?),
        }
    }

    /// Whose request it is that is asked about.
    fn client_of(&self, headers: &HeaderMap, source: Option<IpAddr>, tls: Option<bool>) -> Option<Client> {
        let peer = self.connection.as_ref()?.peer().ip();
        Some(client::described(
            peer,
            source,
            tls,
            headers,
            &self.snapshot.gateway.trusted,
        ))
    }

    /// The decision and the answer that carries it, after the response phase of the chain and with every receipt.
    fn decision(&mut self, session: &Session, judged: Result<Option<Box<Reply>>, Denial>) -> Result<Decision> {
        let mut decision = match judged {
            Ok(None) => Decision::pass()?,
            Ok(Some(reply)) => Decision::reply(&reply)?,
            Err(denial) => self.refused(denial)?,
        };
        match self.on_response(session, decision.answer.header()) {
            Ok(()) => {}
            Err(Stop::Reply(reply)) => decision = Decision::reply(&reply)?,
            Err(Stop::Deny(denial)) => decision = self.refused(denial)?,
        }
        let missing = self.missing();
        if decision.passes && !missing.is_empty() {
            tracing::error!(request_id = self.id.as_str(), %missing, "mandatory filters did not run; the request is refused");
            let denial = Denial::new(StatusCode::INTERNAL_SERVER_ERROR, Reason(super::MISSING_RECEIPT));
            return self.refused(denial);
        }
        Ok(decision)
    }

    /// A refusal, noted for the log.
    fn refused(&mut self, denial: Denial) -> Result<Decision> {
        let answer = Answer::refusal(&denial, self.id.as_str(), self.refusals())?;
        let reason = denial.reason;
        self.denial = Some(denial);
        Ok(Decision::refusal(answer, reason))
    }

    /// Answers a peer that may not ask, or not like this: nothing was described.
    async fn refuse_to_decide(&mut self, session: &mut Session, denial: Denial) -> Result<()> {
        let answer = self.refusal(session, denial)?;
        answer.write(session, self).await
    }

    /// Answers a question that was none, as gRPC does.
    async fn misunderstood(&mut self, session: &mut Session, misunderstood: Misunderstood) -> Result<()> {
        let denial = Denial::new(StatusCode::BAD_REQUEST, Reason("question_malformed"));
        self.denial = Some(denial.detail(misunderstood.message));
        answer::of_misunderstood(misunderstood)?.write(session, self).await
    }
}

/// Reads the one message of a call.
async fn question(session: &mut Session) -> Result<crate::decision::messages::CheckRequest, Misunderstood> {
    if !session.is_http2() {
        return Err(Misunderstood::NOT_HTTP2);
    }
    let read = timeout(QUESTION, body(session)).await;
    ext_authz::read(read.map_err(|_| Misunderstood::LATE)??)
}

async fn body(session: &mut Session) -> Result<Bytes, Misunderstood> {
    let mut body = BytesMut::new();
    loop {
        match session.as_mut().read_request_body().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ext_authz::MOST_BYTES => body.extend_from_slice(&chunk),
            Ok(Some(_)) => return Err(Misunderstood::TOO_LONG),
            Ok(None) => return Ok(body.freeze()),
            Err(_) => return Err(Misunderstood::BROKEN),
        }
    }
}
