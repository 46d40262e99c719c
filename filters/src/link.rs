//! A link of a chain: a filter in its place, and `Link::settle`, the only place that knows shadow, posture, stats and
//! decisions. Which link runs when is [`crate::chain`]'s.

mod erased;
mod settle;
mod stats;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis_config::site::{Mode, OnError};

use crate::claims::Claims;
use crate::facts::Facts;
use crate::filter::Phases;
use crate::record::{Action, Decision, LogRecord};
use crate::request::Request;
use crate::response::Response;
use crate::verdict::{FilterError, Outcome, Reason, Stop, Verdict, Waiting};

pub(crate) use erased::{ErasedFilter, Failed, Slot, caught};
pub use settle::StopInfo;
pub use stats::LinkStats;

/// What is known of a link, for status, metrics and requirements.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// The filter's kind.
    pub kind: &'static str,
    /// Its name in logs and metrics; unique within its scope.
    pub name: Arc<str>,
    /// Where it stands: see [`crate::zones::BuildEnv::scope`].
    pub scope: Arc<str>,
    /// Its place in the chain and bit in the receipt. 0 is the gate.
    pub place: usize,
    /// Whether its verdicts count.
    pub mode: Mode,
    /// What happens when the filter itself breaks.
    pub on_error: OnError,
    /// What it decided so far, over all reloads.
    pub stats: Arc<LinkStats>,
}

/// A filter in its place.
pub(crate) struct Link {
    pub(crate) info: LinkInfo,
    pub(crate) phases: Phases,
    /// Where the exchange keeps its state, if it has any.
    pub(crate) slot: Option<usize>,
    pub(crate) filter: Box<dyn ErasedFilter>,
}

/// What becomes of a hook's outcome.
pub(crate) enum Settled {
    Go,
    Stop(Stop, Box<StopInfo>),
    Wait(Waiting),
    Pause(Duration),
    Body(usize),
    End(Reason),
}

impl Link {
    /// Runs the request hook. Claims that a shadow link finds are put into `shadow_claims`, for later shadow links only.
    pub(crate) fn on_request(
        &self,
        slot: &mut Slot,
        request: &mut Request<'_>,
        shadow_claims: &mut Option<Arc<Claims>>,
        first: bool,
    ) -> Settled {
        let (head, policy) = (request.head, request.policy);
        let mut hook = |facts: &mut Facts| match self.filter.on_request(slot, &mut Request { head, facts, policy }) {
            Ok(Verdict::Body(_)) if facts.body.is_some() => Err(FilterError::internal(
                "filter_waits",
                "the filter asks for a body that it has",
            )),
            Ok(Verdict::End(_)) => Err(FilterError::internal(
                "filter_ends",
                "a request has no end of an answer",
            )),
            outcome => outcome,
        };
        if self.info.mode == Mode::Enforce {
            return self.run(request.facts, first, &mut hook);
        }
        let mut scratch = scratch(request.facts);
        if shadow_claims.is_some() {
            scratch.claims.clone_from(shadow_claims);
        }
        let settled = self.run_aside(request.facts, &mut scratch, first, &mut hook);
        let found = scratch
            .claims
            .filter(|found| !same(request.facts.claims.as_ref(), found));
        if found.is_some() {
            *shadow_claims = found;
        }
        settled
    }

    /// Runs the response hook.
    pub(crate) fn on_response(&self, slot: &mut Slot, response: &mut Response<'_>, first: bool) -> Settled {
        let (head, status, headers) = (response.head, response.status, response.headers);
        let mut hook = |facts: &mut Facts| {
            later(
                Phases::RESPONSE,
                self.filter.on_response(
                    slot,
                    &mut Response {
                        head,
                        status,
                        headers,
                        facts,
                    },
                ),
            )
        };
        if self.info.mode == Mode::Enforce {
            return self.run(response.facts, first, &mut hook);
        }
        self.run_aside(response.facts, &mut scratch(response.facts), first, &mut hook)
    }

    /// Runs the hook for a piece of the request's or the response's body.
    pub(crate) fn on_body(
        &self,
        slot: &mut Slot,
        phase: Phases,
        chunk: &mut Option<Bytes>,
        last: bool,
        first: bool,
    ) -> (Settled, Option<Decision>) {
        let untouched = self.may_be_undone().then(|| chunk.clone());
        let outcome = match phase {
            Phases::REQUEST_BODY => self.filter.on_request_body(slot, chunk, last),
            _ => self.filter.on_response_body(slot, chunk, last),
        };
        let undo = self.info.mode == Mode::Shadow || outcome.is_err();
        if let Some(untouched) = untouched.filter(|_| undo) {
            *chunk = untouched;
        }
        self.settle(later(phase, outcome), first)
    }

    /// Runs the log hook. It decides nothing, so when it breaks only its fields are missing.
    pub(crate) fn on_log(&self, slot: &mut Slot, record: &mut LogRecord) {
        let fields = record.fields.len();
        if self.filter.on_log(slot, record).is_err() {
            record.fields.truncate(fields);
            self.info.stats.count(stats::Count::ErrorAllowed);
        }
    }

    /// Settles what somebody else found in this link's name; of the decisions, those from `known` on are theirs.
    pub(crate) fn settle_for(&self, outcome: Outcome, facts: &mut Facts, known: usize) -> Settled {
        self.record(outcome, facts, known, false)
    }

    /// Whether this is the first of the phases that the link has: the one in which an exchange counts as let through.
    pub(crate) fn begins_with(&self, phase: Phases) -> bool {
        self.phases.first() == phase
    }

    /// Runs a hook whose verdict counts.
    fn run(&self, facts: &mut Facts, first: bool, hook: &mut dyn FnMut(&mut Facts) -> Outcome) -> Settled {
        let before = (self.info.on_error == OnError::Allow).then(|| facts.clone());
        let known = facts.decisions.len();
        let outcome = hook(facts);
        if let (Err(_), Some(before)) = (&outcome, before) {
            // The request goes on as if the filter were not there: without the half of what it did.
            *facts = before;
        }
        self.record(outcome, facts, known, first)
    }

    /// Runs a hook on a copy of the findings, of which only decisions are kept.
    fn run_aside(
        &self,
        facts: &mut Facts,
        scratch: &mut Facts,
        first: bool,
        hook: &mut dyn FnMut(&mut Facts) -> Outcome,
    ) -> Settled {
        let outcome = hook(scratch);
        let known = facts.decisions.len();
        for decision in scratch.decisions.drain(..) {
            facts.decide(decision);
        }
        self.record(outcome, facts, known, first)
    }

    /// Settles an outcome and records the decision, unless the filter recorded it itself, policy and rule included.
    fn record(&self, outcome: Outcome, facts: &mut Facts, known: usize, first: bool) -> Settled {
        let (mut settled, decision) = self.settle(outcome, first);
        let own = facts.decisions.get_mut(known..).unwrap_or_default();
        for decision in own.iter_mut() {
            decision.link = Arc::clone(&self.info.name);
            if self.info.mode == Mode::Shadow {
                decision.mode = Mode::Shadow;
            }
        }
        let Some(decision) = decision else { return settled };
        let told = own.iter().find(|told| {
            told.action == Action::Deny && told.action == decision.action && told.reason == decision.reason
        });
        match (told, &mut settled) {
            (Some(told), Settled::Stop(_, info)) => {
                info.policy.clone_from(&told.policy);
                info.rule.clone_from(&told.rule);
                info.detail.clone_from(&told.detail);
            }
            (Some(_), _) => {}
            (None, _) => facts.decide(decision),
        }
        settled
    }

    /// Whether what a hook changes may have to be changed back.
    fn may_be_undone(&self) -> bool {
        self.info.mode == Mode::Shadow || self.info.on_error == OnError::Allow
    }
}

/// What a shadow link may see and change as it likes.
fn scratch(facts: &Facts) -> Facts {
    Facts {
        trace: None,
        certificate: facts.certificate.clone(),
        claims: facts.claims.clone(),
        session: facts.session,
        tenant: facts.tenant.clone(),
        request_headers: facts.request_headers.clone(),
        response_headers: facts.response_headers.clone(),
        body: facts.body.clone(),
        located: facts.located.clone(),
        bot: facts.bot.clone(),
        side: facts.side,
        limit: facts.limit.clone(),
        warning: facts.warning,
        repeats: facts.repeats,
        decisions: smallvec::SmallVec::new(),
    }
}

fn same(known: Option<&Arc<Claims>>, found: &Arc<Claims>) -> bool {
    known.is_some_and(|known| Arc::ptr_eq(known, found))
}

/// Only the request phase can wait, and only the response's body can end.
fn later(phase: Phases, outcome: Outcome) -> Outcome {
    match outcome {
        Ok(Verdict::Wait(_) | Verdict::Pause(_) | Verdict::Body(_)) => {
            Err(FilterError::internal("filter_waits", "only the request phase can wait"))
        }
        Ok(Verdict::End(_)) if phase != Phases::RESPONSE_BODY => Err(FilterError::internal(
            "filter_ends",
            "only the body of a response can be ended",
        )),
        other => other,
    }
}
