//! The link between chain and engine: the bundle that is in force, the counters' zone, and the verdict.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use portcullis_bundles::algorithm::cost_based::MAX_DELAY_MS;
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::site::Mode;

use super::breakers::Breakers;
use super::config::{PolicyConfig, ThrottleConfig};
use super::engine::{Engine, Evaluation, Refusal};
use super::llm::account::{Books, CUT, Ledger};
use super::llm::stats::LlmStats;
use super::throttle::{QUEUE_FULL, Throttle, Ticket};
use crate::buckets::BucketTable;
use crate::facts::Side;
use crate::filter::{Filter, Phases};
use crate::jitter::{self, Salt};
use crate::limit_stats::LimitStats;
use crate::record::{Action, Decision, LogRecord};
use crate::request::{Bundle, Request};
use crate::response::Response;
use crate::trace;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Verdict};
use crate::zones::{BuildEnv, OneShape};

/// The zone with the counters of all bundles: one for all links, so that a policy's limit is one limit.
const ZONE: &str = "policy";

/// Enforces the policy bundle.
pub struct PolicyFilter {
    table: Arc<BucketTable>,
    breakers: Arc<Breakers>,
    stats: Arc<LimitStats>,
    /// What models' tokens went to, by policy.
    llm: Arc<LlmStats>,
    /// Most bytes of a body that are held back for a rule that has to see it.
    max_prompt: usize,
    secret: [u8; 16],
    salt: Salt,
    throttle: Arc<Throttle>,
    queue: ThrottleConfig,
    shadow: bool,
}

/// What is kept of a request while it goes through.
#[derive(Debug, Default)]
pub struct PolicyState {
    /// It was judged and is held back.
    held: Option<Ticket>,
    /// What was reserved for it of a model's tokens.
    ledger: Option<Box<Ledger>>,
}

impl Filter for PolicyFilter {
    const KIND: &'static str = "policy";
    const PHASES: Phases = Phases::REQUEST
        .and(Phases::RESPONSE)
        .and(Phases::RESPONSE_BODY)
        .and(Phases::LOG);
    type Config = PolicyConfig;
    type State = PolicyState;

    fn build(config: PolicyConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        if !env.policy {
            let message = "there is no bundle that this filter could enforce";
            return Err(env
                .wrong(codes::CONFLICTING_KEYS, "", message)
                .help("say where it is: `policy: { bundle: ... }`"));
        }
        if !(1..=1 << 24).contains(&config.max_keys) {
            return Err(env.wrong(codes::OUT_OF_RANGE, "max_keys", "there is room for 1 to 16777216 keys"));
        }
        let terms = format!("room for {} keys", config.max_keys);
        let table = env
            .zones
            .open_on(ZONE, &config.max_keys, &terms)
            .map_err(|error| env.zone_error("max_keys", &error))?;
        let breakers = env
            .zones
            .open(ZONE, &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        let stats = env
            .zones
            .open(&env.own_zone(), &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        let throttle = env
            .zones
            .open(&env.own_zone(), &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        let llm = env
            .zones
            .open(ZONE, &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        check(&config, env)?;
        Ok(Self {
            table,
            breakers,
            stats,
            llm,
            max_prompt: usize::try_from(config.max_prompt.get()).unwrap_or(usize::MAX),
            secret: env.zones.entropy().hash_key,
            salt: env.salt(),
            throttle,
            queue: config.throttle,
            shadow: env.mode == Mode::Shadow,
        })
    }

    fn keeps(state: &PolicyState) -> bool {
        state.held.is_some() || state.ledger.is_some()
    }

    fn on_request(&self, state: &mut PolicyState, request: &mut Request<'_>) -> Outcome {
        if state.held.take().is_some() {
            return CONTINUE;
        }
        let in_force = match request.policy.bundle {
            Bundle::Loaded(policies) => policies,
            Bundle::Missing(reason) => return Err(FilterError::unavailable(reason, "no bundle is in force")),
            Bundle::Unconfigured => return Err(FilterError::internal("policy_unconfigured", "there is no bundle")),
        };
        let (policies, beside) = match request.policy.trial {
            None => (in_force, None),
            Some(trial) => match trial.side(request) {
                Side::InForce => (in_force, Some(&*trial.policies)),
                Side::OnTrial => (&*trial.policies, Some(in_force)),
            },
        };
        let engine = Engine {
            policies,
            beside,
            table: &self.table,
            breakers: &self.breakers,
            stats: &self.stats,
            secret: &self.secret,
            now: request.head.now,
            shadow: self.shadow,
        };
        let evaluation = engine.evaluate(request);
        if evaluation.as_ref().is_ok_and(|evaluation| evaluation.wants_body) {
            return Ok(Verdict::Body(self.max_prompt));
        }
        trace::fill(policies, request);
        let evaluation = evaluation.map_err(|error| {
            self.stats.error();
            FilterError::internal("rule_error", error.to_string())
        })?;
        Ok(self.settle(state, request, evaluation))
    }

    fn on_response(&self, state: &mut PolicyState, response: &mut Response<'_>) -> Outcome {
        if let Some(ledger) = &mut state.ledger {
            ledger.answered(response);
        }
        CONTINUE
    }

    fn on_response_body(&self, state: &mut PolicyState, chunk: &mut Option<Bytes>, last: bool) -> Outcome {
        let ledger = state.ledger.as_mut();
        if ledger.is_some_and(|ledger| ledger.body(chunk, last, &self.books())) {
            return Ok(Verdict::End(CUT));
        }
        CONTINUE
    }

    fn on_log(&self, state: &mut PolicyState, record: &mut LogRecord) {
        if let Some(ledger) = &mut state.ledger {
            ledger.close(&self.books(), record);
        }
    }
}

/// What is held is bounded.
fn check(config: &PolicyConfig, env: &BuildEnv<'_>) -> Result<(), Diagnostic> {
    if !(1..=MOST_PROMPT).contains(&config.max_prompt.get()) {
        return Err(env.wrong(
            codes::OUT_OF_RANGE,
            "max_prompt",
            "between 1 byte and 64MiB are held back",
        ));
    }
    let config = &config.throttle;
    if config.max_waiting > 1_000_000 {
        return Err(env.wrong(codes::OUT_OF_RANGE, "throttle", "at most 1000000 requests may wait"));
    }
    if config.max_delay.get() > LONGEST_DELAY {
        return Err(env.wrong(codes::OUT_OF_RANGE, "throttle", "no request waits for longer than 30s"));
    }
    Ok(())
}

/// The most that may be held back of one request.
const MOST_PROMPT: u64 = 64 << 20;
/// No bundle holds a request back for longer.
const LONGEST_DELAY: Duration = Duration::from_millis(MAX_DELAY_MS as u64);

impl PolicyFilter {
    fn books(&self) -> Books<'_> {
        Books {
            table: &self.table,
            stats: &self.llm,
        }
    }

    /// From what came of a request to the verdict.
    fn settle(&self, state: &mut PolicyState, request: &mut Request<'_>, mut evaluation: Evaluation) -> Verdict {
        for decision in evaluation.shadow.drain(..) {
            request.facts.decide(decision);
        }
        if let Some(refusal) = evaluation.refusal.take() {
            return self.refuse(request, refusal);
        }
        let delay = Duration::from_millis(evaluation.loudest().map_or(0, |signal| signal.delay_ms.into()));
        if !delay.is_zero() && !self.shadow {
            let fits = delay <= self.queue.max_delay.get();
            let ticket = self.throttle.enter(if fits { self.queue.max_waiting } else { 0 });
            if ticket.is_none() {
                return self.turn_away(request, &mut evaluation, delay);
            }
            state.held = ticket;
        }
        if !evaluation.accounts.is_empty() {
            let accounts = std::mem::take(&mut evaluation.accounts);
            state.ledger = Some(Box::new(Ledger::open(accounts, request, self.shadow, &self.books())));
        }
        for signal in &evaluation.signals {
            request.facts.decide(signal.decision());
        }
        request.facts.warning = evaluation
            .loudest()
            .map(|signal| signal.reason)
            .or(request.facts.warning);
        let repeats = evaluation.signals.iter().filter_map(|signal| signal.times);
        request.facts.repeats = repeats.max().or(request.facts.repeats);
        if let Some(limit) = evaluation.limit {
            request.facts.tighten(limit);
        }
        if state.held.is_some() {
            Verdict::Pause(delay)
        } else {
            Verdict::Continue
        }
    }

    /// There is no room to wait: the request is refused, and was never charged.
    fn turn_away(&self, request: &mut Request<'_>, evaluation: &mut Evaluation, delay: Duration) -> Verdict {
        evaluation.undo(&self.table, &self.breakers, request.head.now.monotonic_ns);
        let seconds = u32::try_from(delay.as_millis().div_ceil(1000)).unwrap_or(u32::MAX);
        let mut decision = Decision::new(Action::Deny, QUEUE_FULL);
        let mut retry_after = seconds;
        if let Some(signal) = evaluation.loudest() {
            let limit = (&*signal.policy, signal.rule.as_deref().unwrap_or_default());
            retry_after = jitter::spread(seconds, self.salt, request, limit, QUEUE_FULL);
            decision.policy = Some(Arc::clone(&signal.policy));
            decision.rule.clone_from(&signal.rule);
        }
        request.facts.decide(decision);
        Denial::new(StatusCode::TOO_MANY_REQUESTS, QUEUE_FULL)
            .retry_after(retry_after)
            .into()
    }

    fn refuse(&self, request: &mut Request<'_>, refusal: Refusal) -> Verdict {
        let Refusal {
            reason,
            policy,
            rule,
            retry_after,
            limit,
            status,
            shape,
            times,
        } = refusal;
        request.facts.repeats = times.or(request.facts.repeats);
        let mut denial = Denial::new(status, reason).shape(shape);
        if let Some(seconds) = retry_after {
            let place = (&*policy, rule.as_deref().unwrap_or_default());
            denial = denial.retry_after(jitter::spread(seconds, self.salt, request, place, reason));
        }
        request.facts.limit = limit;
        let mut decision = Decision::new(Action::Deny, reason);
        (decision.policy, decision.rule) = (Some(policy), rule);
        request.facts.decide(decision);
        denial.into()
    }
}
