//! The chain: links in order and one list of links a phase. It drives hooks and keeps receipts; what an outcome means is
//! [`crate::link`]'s.
//!
//! Place 0 of every chain is the gate: the kill switches, which nobody can forget or put elsewhere.

mod build;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::claims::Claims;
use crate::facts::Facts;
use crate::filter::Phases;
use crate::gate::Gate;
use crate::limit_headers::{self, Dialects};
use crate::link::{Link, LinkInfo, Settled, StopInfo};
use crate::receipt::Receipt;
use crate::record::LogRecord;
use crate::request::{Request, without_parameters};
use crate::response::Response;
use crate::verdict::{Denial, FilterError, Outcome, Stop, Waiting};

use state::Slots;

pub use state::ChainState;

/// How often one link may ask an exchange to wait.
const MAX_WAITS: u8 = 3;

/// Links in order, compiled and immutable.
pub struct Chain {
    links: Box<[Link]>,
    /// Places of the links that have a hook for each phase, in the order in which they run.
    request: Box<[usize]>,
    request_body: Box<[usize]>,
    response: Box<[usize]>,
    response_body: Box<[usize]>,
    log: Box<[usize]>,
    gate: Gate,
    secret_parameters: Box<[SecretParameter]>,
    phases: Phases,
    mandatory: Receipt,
    slots: usize,
    /// How limits are told.
    dialects: Dialects,
    /// Stands for these links in this order; a state of other links proves nothing.
    seal: u64,
}

/// A parameter of the query that carries a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SecretParameter {
    name: Box<str>,
    /// The link that reads it is enforced.
    enforced: bool,
}

/// How far the request phase came.
pub enum Progress {
    /// Every link has let the request through.
    Done,
    /// The exchange ends here.
    Stop(Stop, Box<StopInfo>),
    /// Call [`Chain::on_request`] again when this is ready; it goes on at the same link.
    Wait(Waiting),
    /// Call [`Chain::on_request`] again after so long; it goes on at the same link.
    Pause(Duration),
    /// Likewise, when the body is in [`Facts::body`], or so many bytes of it.
    Body(usize),
}

impl Chain {
    /// The same, telling limits in these header fields.
    #[must_use]
    pub fn with_dialects(mut self, dialects: Dialects) -> Self {
        self.dialects = dialects;
        self
    }

    /// A query as it may be logged: without parameters that carry secrets.
    pub fn query_to_log<'q>(&self, query: &'q str) -> Cow<'q, str> {
        self.without_secrets(query, |_| true)
    }

    /// A query as it goes upstream: without parameters that carry secrets for enforced links.
    pub fn query_to_forward<'q>(&self, query: &'q str) -> Cow<'q, str> {
        self.without_secrets(query, |parameter| parameter.enforced)
    }

    /// Names of the parameters that do not go upstream.
    pub fn parameters_to_remove(&self) -> impl Iterator<Item = &str> {
        let enforced = self.secret_parameters.iter().filter(|parameter| parameter.enforced);
        enforced.map(|parameter| &*parameter.name)
    }

    fn without_secrets<'q>(&self, query: &'q str, counts: impl Fn(&SecretParameter) -> bool) -> Cow<'q, str> {
        if self.secret_parameters.is_empty() {
            return Cow::Borrowed(query);
        }
        let secrets = self.secret_parameters.iter().filter(|parameter| counts(parameter));
        without_parameters(query, |name| secrets.clone().any(|secret| *secret.name == *name))
    }

    /// The state of an exchange that begins.
    pub fn start(&self) -> ChainState {
        ChainState::new(self.seal, self.slots)
    }

    /// Runs the request phase, or goes on with it after a wait.
    pub fn on_request(&self, state: &mut ChainState, request: &mut Request<'_>) -> Progress {
        if state.seal != self.seal || state.stopped || self.links.is_empty() {
            return self.misused(state, request);
        }
        while let Some(link) = self.request.get(state.cursor).and_then(|place| self.links.get(*place)) {
            let claims = request.facts.claims.clone();
            let tenant_known = request.facts.tenant.is_some();
            let first = state.counts(link, Phases::REQUEST) || state.waits > 0 || state.asked;
            let mut settled = link.on_request(slot(&mut state.slots, link), request, &mut state.shadow_claims, first);
            if matches!(settled, Settled::Wait(_) | Settled::Pause(_)) && state.waits >= MAX_WAITS {
                let error = FilterError::unavailable("filter_waits", "the filter waits again and again");
                settled = link.settle_for(Err(error), request.facts, request.facts.decisions.len());
            }
            match settled {
                Settled::Wait(waiting) => {
                    state.waits += 1;
                    return Progress::Wait(waiting);
                }
                Settled::Pause(span) => {
                    state.waits += 1;
                    return Progress::Pause(span);
                }
                Settled::Body(most) => {
                    state.asked = true;
                    return Progress::Body(most);
                }
                Settled::Stop(stop, info) => return state.stop(stop, info),
                Settled::Go | Settled::End(_) => state.passed(link),
            }
            let tenant_found = !tenant_known && request.facts.tenant.is_some();
            if (tenant_found || identity_changed(claims.as_ref(), request.facts))
                && let Some(stop) = self.check_identity(state, request)
            {
                return stop;
            }
        }
        Progress::Done
    }

    /// Mandatory links that did not run. When there are any, the request must not go upstream.
    pub fn missing(&self, state: &ChainState) -> Receipt {
        if state.seal == self.seal {
            self.mandatory.without(state.receipt)
        } else {
            self.mandatory
        }
    }

    /// Runs the hooks for a piece of the request's body.
    pub fn on_request_body(&self, state: &mut ChainState, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Stop> {
        self.on_body(&self.request_body, Phases::REQUEST_BODY, state, chunk, last)
    }

    /// Runs the response hooks, last link first, and adds the limit's header fields. For every answer, also our own; every
    /// link takes part, whether or not the request came as far as its request hook.
    ///
    /// When it is called again for another answer (a refusal in place of a response), the changes to the first answer are
    /// forgotten. When a link stops the exchange, the hooks have run for that refusal too.
    pub fn on_response(&self, state: &mut ChainState, response: &mut Response<'_>) -> Result<(), Stop> {
        let Err((stop, place)) = self.respond(state, response, None) else {
            limit_headers::add(response.facts, self.dialects);
            return Ok(());
        };
        let (status, headers) = match &stop {
            Stop::Deny(denial) => (denial.status, denial.headers.iter().cloned().collect()),
            Stop::Reply(reply) => (reply.status, reply.headers.iter().cloned().collect()),
        };
        let mut other = Response {
            head: response.head,
            status,
            headers: &headers,
            facts: response.facts,
        };
        // A second link that stops has nothing left to stop; it is counted and recorded.
        let _ = self.respond(state, &mut other, Some(place));
        limit_headers::add(response.facts, self.dialects);
        Err(stop)
    }

    /// Runs the hooks for a piece of the response's body, last link first. [`ChainState::ended`] says whether it is the last
    /// one that the client gets.
    pub fn on_response_body(&self, state: &mut ChainState, chunk: &mut Option<Bytes>, last: bool) -> Result<(), Stop> {
        self.on_body(&self.response_body, Phases::RESPONSE_BODY, state, chunk, last)
    }

    /// Runs the log hooks.
    pub fn on_log(&self, state: &mut ChainState, record: &mut LogRecord) {
        for link in self.at(&self.log) {
            link.on_log(slot(&mut state.slots, link), record);
        }
    }

    /// Whether any link has all of these hooks.
    pub fn has(&self, phases: Phases) -> bool {
        self.phases.has(phases)
    }

    /// The links in order, the gate first.
    pub fn links(&self) -> impl Iterator<Item = &LinkInfo> {
        self.links.iter().map(|link| &link.info)
    }

    /// Whether a filter of this kind is enforced: not in shadow, and a request is refused when it breaks. This is what a
    /// bundle's `require` asks for.
    pub fn enforces(&self, kind: &str) -> bool {
        use portcullis_config::site::{Mode, OnError};
        self.links()
            .any(|link| link.kind == kind && link.mode == Mode::Enforce && link.on_error == OnError::Deny)
    }

    fn at<'c>(&'c self, places: &'c [usize]) -> impl Iterator<Item = &'c Link> {
        places.iter().filter_map(|place| self.links.get(*place))
    }

    /// The kill switches that look at claims and tenants.
    fn check_identity(&self, state: &mut ChainState, request: &mut Request<'_>) -> Option<Progress> {
        let known = request.facts.decisions.len();
        let outcome = self.gate.after_identity(request);
        self.settle_gate(state, request.facts, outcome, known)
    }

    fn settle_gate(
        &self,
        state: &mut ChainState,
        facts: &mut Facts,
        outcome: Outcome,
        known: usize,
    ) -> Option<Progress> {
        match self.links.first()?.settle_for(outcome, facts, known) {
            Settled::Stop(stop, info) => Some(state.stop(stop, info)),
            Settled::Go | Settled::Wait(_) | Settled::Pause(_) | Settled::Body(_) | Settled::End(_) => None,
        }
    }

    /// The caller goes on with an exchange that was stopped, or with the state of another chain.
    fn misused(&self, state: &mut ChainState, request: &mut Request<'_>) -> Progress {
        let error = FilterError::internal(
            "chain_state",
            "the state is of another chain, or its exchange has ended",
        );
        let refusal = Denial::new(error.status, error.reason);
        let info = Box::new(StopInfo {
            link: crate::gate::GATE.into(),
            kind: crate::gate::GATE,
            action: crate::record::Action::Error,
            reason: error.reason,
            detail: Some(error.detail.clone()),
            policy: None,
            rule: None,
        });
        let known = request.facts.decisions.len();
        let settled = self.settle_gate(state, request.facts, Err(error), known);
        settled.unwrap_or_else(|| state.stop(Stop::Deny(refusal), info))
    }

    fn on_body(
        &self,
        places: &[usize],
        phase: Phases,
        state: &mut ChainState,
        chunk: &mut Option<Bytes>,
        last: bool,
    ) -> Result<(), Stop> {
        for link in self.at(places) {
            let first = state.counts(link, phase);
            let (settled, decision) = link.on_body(slot(&mut state.slots, link), phase, chunk, last, first);
            state.record(decision);
            match settled {
                Settled::Stop(stop, _) => return Err(stop),
                Settled::End(reason) => state.ended = Some(reason),
                Settled::Go | Settled::Wait(_) | Settled::Pause(_) | Settled::Body(_) => {}
            }
        }
        Ok(())
    }

    /// One pass of the response hooks. `without` has had its say.
    fn respond(
        &self,
        state: &mut ChainState,
        response: &mut Response<'_>,
        without: Option<usize>,
    ) -> Result<(), (Stop, usize)> {
        let mark = *state.response_mark.get_or_insert(response.facts.response_headers.len());
        response.facts.response_headers.truncate(mark);
        for link in self.at(&self.response).filter(|link| Some(link.info.place) != without) {
            let first = state.counts(link, Phases::RESPONSE);
            let settled = link.on_response(slot(&mut state.slots, link), response, first);
            if let Settled::Stop(stop, _) = settled
                && without.is_none()
            {
                return Err((stop, link.info.place));
            }
        }
        Ok(())
    }
}

fn slot<'s>(slots: &'s mut Slots, link: &Link) -> &'s mut crate::link::Slot {
    let Slots { list, none } = slots;
    link.slot.and_then(|at| list.get_mut(at)).unwrap_or(none)
}

fn identity_changed(before: Option<&Arc<Claims>>, facts: &Facts) -> bool {
    match (&facts.claims, before) {
        (Some(now), Some(before)) => !Arc::ptr_eq(now, before),
        (now, _) => now.is_some(),
    }
}
