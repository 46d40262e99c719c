//! The evaluation of a bundle: which policies and rules apply, in which order, and what becomes of the request.
//!
//! A request is charged to all enforced rules or to none, in two phases. First every rule that applies says what it
//! charges ([`Parts`]; its algorithm's file under `charge/` does); then all of it is taken in one transaction, or nothing.
//! What was taken is the evaluation's [`Reservation`]: leaving it alone commits it, and whoever learns later that the
//! request was refused after all, or used less or more, corrects it there. A later phase that charges more (such as one
//! that has to see the body) takes its own parts with [`Engine::take`] and gives everything back when it refuses.
//!
//! Policies in shadow are judged after those that enforce, each on counters of its own, and change nothing.

use std::sync::Arc;

use http::StatusCode;
use portcullis_bundles::format::Mode;
use portcullis_bundles::policies::{Matches, Policies, Policy, Rule};
use portcullis_config::site;
use smallvec::SmallVec;

use super::breakers::{Breakers, Spending};
use super::charge::{Due, Parts, RuleError, count, due, fill_ns, loop_part};
use super::llm::account::{Account, Accounts, accounts};
use super::reservation::Reservation;
use super::round::{Denying, Round};
use super::signal::Signal;
use super::subject::Subject;
use super::when;
use crate::buckets::{BucketTable, KeyHasher, Taken};
use crate::client::Now;
use crate::facts::Limit;
use crate::limit_stats::LimitStats;
use crate::record::{Action, Decision};
use crate::verdict::{Reason, Shape};

/// The reason when a key is missing and the rule says `on_missing: deny`.
pub(super) const KEY_MISSING: Reason = crate::rate_limit::KEY_MISSING;
/// The reason when a policy says `on_full: deny`, and there is no room for another counter.
pub const COUNTERS_FULL: Reason = Reason("counters_full");
/// `Retry-After` then: room comes back when others' counters are whole again, and nobody knows when that is.
pub(super) const COUNTERS_FULL_SECONDS: u32 = 60;
/// The reason when a rule of a policy in shadow could not be evaluated.
const RULE_BROKEN: Reason = Reason("rule_error");
/// The reason of a pass when rules applied.
pub const ALL_PASSED: Reason = Reason("all_rules_passed");
/// The reason of a pass when no policy is about the request.
pub const NO_POLICY: Reason = Reason("no_matching_policy");

/// What a bundle is evaluated with.
pub(super) struct Engine<'e> {
    pub(super) policies: &'e Policies,
    /// The bundle that judges other requests meanwhile, on the same counters.
    pub(super) beside: Option<&'e Policies>,
    pub(super) table: &'e BucketTable,
    pub(super) breakers: &'e Breakers,
    pub(super) stats: &'e LimitStats,
    pub(super) secret: &'e [u8; 16],
    pub(super) now: Now,
    /// The link itself is in shadow, so all counters are.
    pub(super) shadow: bool,
}

/// What came of a request.
#[derive(Debug, Default)]
pub(super) struct Evaluation {
    /// Why it is refused, and by which rule.
    pub(super) refusal: Option<Refusal>,
    /// The tightest limit that let it pass.
    pub(super) limit: Option<Limit>,
    /// What those that pass are told or held back for.
    pub(super) signals: SmallVec<[Signal; 2]>,
    /// What policies in shadow would have done.
    pub(super) shadow: SmallVec<[Decision; 2]>,
    /// Whether any policy is about the request.
    pub(super) matched: bool,
    /// What it was charged.
    pub(super) reserved: Reservation,
    /// What it spent of circuit breakers.
    pub(super) spent: SmallVec<[Spending; 1]>,
    /// What it was charged of a model's tokens, which is settled when the answer is known.
    pub(super) accounts: Accounts,
    /// Nothing was decided: a rule has to see the body first.
    pub(super) wants_body: bool,
}

/// A rule's refusal.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) reason: Reason,
    pub(super) policy: Arc<str>,
    /// None when it is the policy's own.
    pub(super) rule: Option<Arc<str>>,
    /// Seconds until it may be asked again; none when waiting does not help.
    pub(super) retry_after: Option<u32>,
    /// The limit that takes longest to give way.
    pub(super) limit: Option<Limit>,
    pub(super) status: StatusCode,
    /// How it is written.
    pub(super) shape: Shape,
    /// How often an identical request came, where that is why.
    pub(super) times: Option<u64>,
}

impl Refusal {
    /// The same, because there is no room to count the request: the gateway's want and not the client's doing.
    pub(super) fn for_want_of_room(self) -> Self {
        Self {
            reason: COUNTERS_FULL,
            retry_after: Some(COUNTERS_FULL_SECONDS),
            limit: None,
            status: StatusCode::SERVICE_UNAVAILABLE,
            times: None,
            ..self
        }
    }
}

impl Evaluation {
    /// Gives everything back: the request is refused after all.
    pub(super) fn undo(&mut self, table: &BucketTable, breakers: &Breakers, now: u64) {
        self.reserved.give_back(table, now);
        for spending in self.spent.drain(..) {
            breakers.take_back(&spending, now);
        }
    }

    /// The signal that is told: that of the longest delay, else the first.
    pub(super) fn loudest(&self) -> Option<&Signal> {
        self.signals
            .iter()
            .reduce(|known, next| if next.outranks(known) { next } else { known })
    }
}

impl Engine<'_> {
    /// Evaluates the bundle for a subject.
    pub(super) fn evaluate(&self, subject: &impl Subject) -> Result<Evaluation, RuleError> {
        let mut matches = Matches::new();
        self.policies
            .matching(subject.host(), subject.path(), subject.method(), &mut matches);
        matches.retain(|place| {
            let policy = self.policies.get(*place);
            policy.is_some_and(|policy| when::holds(policy.when.as_ref(), subject, self.stats))
        });
        let mut evaluation = Evaluation {
            matched: !matches.is_empty(),
            ..Evaluation::default()
        };
        if matches.is_empty() {
            return Ok(evaluation);
        }
        let policies = || matches.iter().filter_map(|place| self.policies.get(*place));
        if subject.asked().is_none() && policies().any(Policy::reads_body) {
            evaluation.wants_body = true;
            return Ok(evaluation);
        }
        self.tell_table();
        let mut round = Round::default();
        for policy in policies().filter(|policy| self.mode(policy) == Mode::Enforce) {
            self.applied(policy, subject, &mut round)?;
        }
        self.enforce(&mut round, &mut evaluation);
        for policy in policies().filter(|policy| self.mode(policy) == Mode::Shadow) {
            self.shadow(policy, subject, &mut evaluation);
        }
        Ok(evaluation)
    }

    fn mode(&self, policy: &Policy) -> Mode {
        self.policies.mode(policy, self.now.unix())
    }

    /// Another bundle may have other parameters; the table must know before they are used. Two that take turns are told as
    /// one: whichever of them charges a bucket, it was filled by that one's parameters since it was charged last.
    fn tell_table(&self) {
        let tag = tag(self.policies) ^ self.beside.map_or(0, tag);
        self.table.in_use(tag.max(1), self.now.monotonic_ns, || {
            let longest = |policies: &Policies| policies.longest_fill_ns(fill_ns);
            longest(self.policies).max(self.beside.map_or(0, longest))
        });
    }

    /// Adds what a policy is about: its blocks, and its rules that apply, or its fallback when it has rules and none does.
    fn applied<'p>(&self, policy: &'p Policy, subject: &impl Subject, round: &mut Round<'p>) -> Result<(), RuleError> {
        let shadow = self.shadow || self.mode(policy) == Mode::Shadow;
        let own = || KeyHasher::of(self.secret, policy.identity, shadow).within(&subject.scope());
        if let Some(loops) = &policy.loops {
            let part = loop_part(policy, loops, subject, own(), self.now)?;
            round.parts.push(part);
        }
        if let Some(breaker) = &policy.breaker {
            round.add_breaker(policy, breaker, subject, own(), shadow)?;
        }
        let mut any = false;
        for rule in &policy.rules {
            if holds(policy, rule, subject)? && when::holds(rule.when.as_ref(), subject, self.stats) {
                any = true;
                self.add(policy, rule, subject, round, shadow)?;
            }
        }
        match &policy.fallback {
            Some(fallback) if !any && !policy.rules.is_empty() => self.add(policy, fallback, subject, round, shadow),
            _ => Ok(()),
        }
    }

    fn add<'p>(
        &self,
        policy: &'p Policy,
        rule: &'p Rule,
        subject: &impl Subject,
        round: &mut Round<'p>,
        shadow: bool,
    ) -> Result<(), RuleError> {
        let hasher = KeyHasher::of(self.secret, rule.identity, shadow).within(&subject.scope());
        let due = due(policy, rule, subject, hasher, (self.stats, self.now), &mut round.parts)?;
        if let Due::Refuse(refused) = due {
            round.denying.get_or_insert(Denying(policy, rule, refused));
        }
        Ok(())
    }

    fn enforce(&self, round: &mut Round<'_>, evaluation: &mut Evaluation) {
        let now = self.now.monotonic_ns;
        if let Some(refusal) = round.denied().or_else(|| round.open(self.breakers, now)) {
            evaluation.refusal = Some(refusal);
            return;
        }
        let mut answers = SmallVec::new();
        let taken = self.take(&round.parts, &mut answers);
        count(&round.parts, &answers, self.stats);
        if !taken {
            evaluation.refusal = refusal(&round.parts, &answers);
            return;
        }
        let mut reserved = Reservation::of(&round.parts, &answers);
        if let Some(refusal) = round.spend(self.breakers, now) {
            reserved.give_back(self.table, now);
            evaluation.refusal = Some(refusal);
            return;
        }
        for (part, taken) in round.parts.iter().zip(&answers) {
            if let Some(limit) = part.limit(taken) {
                Limit::tighten(&mut evaluation.limit, limit);
            }
            evaluation.signals.extend(Signal::of(part, taken));
        }
        accounts(&round.parts, &answers, &mut evaluation.accounts);
        evaluation.reserved = reserved;
        evaluation.spent = std::mem::take(&mut round.spending);
    }

    /// Judges a policy in shadow as if it enforced: it is charged when neither it nor an enforced rule refuses.
    fn shadow(&self, policy: &Policy, subject: &impl Subject, evaluation: &mut Evaluation) {
        let mut round = Round::default();
        if let Err(error) = self.applied(policy, subject, &mut round) {
            self.stats.error();
            let mut decision = Decision::new(Action::Error, RULE_BROKEN);
            decision.detail = Some(error.to_string().into());
            evaluation.shadow.push(in_shadow(decision, &policy.id, None));
            return;
        }
        if evaluation.refusal.is_some() {
            evaluation.shadow.extend(self.foresee(&round).as_ref().map(would));
            return;
        }
        let mut judged = Evaluation::default();
        self.enforce(&mut round, &mut judged);
        evaluation.shadow.extend(judged.refusal.as_ref().map(would));
        let accounts = judged.accounts.into_iter();
        evaluation.accounts.extend(accounts.map(Account::in_shadow));
        let told = judged.signals.iter();
        let told = told.map(|signal| in_shadow(signal.decision(), &signal.policy, signal.rule.as_ref()));
        evaluation.shadow.extend(told);
    }

    /// What [`Self::enforce`] would refuse now, charging nothing.
    fn foresee(&self, round: &Round<'_>) -> Option<Refusal> {
        let now = self.now.monotonic_ns;
        if let Some(refusal) = round.denied().or_else(|| round.open(self.breakers, now)) {
            return Some(refusal);
        }
        let parts = round.parts.iter();
        let answers: SmallVec<[Taken; 8]> = parts.map(|part| self.table.peek(&part.charge, now)).collect();
        refusal(&round.parts, &answers)
    }

    /// Takes all parts or none.
    pub(super) fn take(&self, parts: &Parts<'_>, answers: &mut SmallVec<[Taken; 8]>) -> bool {
        match parts.as_slice() {
            [] => true,
            [one] => {
                let taken = self.table.take(&one.charge, self.now.monotonic_ns);
                answers.push(taken);
                taken.allowed || one.charge.soft
            }
            all => {
                let charges: SmallVec<[_; 8]> = all.iter().map(|part| part.charge).collect();
                self.table.take_all(&charges, self.now.monotonic_ns, answers)
            }
        }
    }
}

/// Stands for the parameters of a bundle.
fn tag(policies: &Policies) -> u64 {
    let digest = policies.digest().as_bytes();
    digest.iter().take(8).fold(0, |tag, byte| tag << 8 | u64::from(*byte))
}

/// Looks at every rule of a bundle now, so that the first request that it judges does not.
pub fn prepare(policies: &Policies) {
    policies.longest_fill_ns(fill_ns);
}

/// The first part in order that refuses, and the limit of the one that takes longest to give way.
fn refusal(parts: &Parts<'_>, answers: &[Taken]) -> Option<Refusal> {
    let refusing = || parts.iter().zip(answers).filter(|(part, taken)| part.refuses(taken));
    let (first, taken) = refusing().next()?;
    let counted = || refusing().filter(|(_, taken)| !taken.no_room);
    let named = Refusal {
        reason: first.reason,
        policy: Arc::clone(&first.policy.id),
        rule: first.rule.map(Arc::clone),
        retry_after: None,
        limit: None,
        status: StatusCode::TOO_MANY_REQUESTS,
        shape: first.shape,
        // The one that is refused is not among those that were counted.
        times: counted()
            .find_map(|(part, taken)| part.times(taken))
            .map(|times| times + 1),
    };
    if taken.no_room {
        return Some(named.for_want_of_room());
    }
    let (slowest, taken) = counted().max_by_key(|(_, taken)| taken.retry_after)?;
    Some(Refusal {
        retry_after: Some(taken.retry_after),
        limit: slowest.limit(taken),
        ..named
    })
}

/// What a policy in shadow would have refused.
fn would(refusal: &Refusal) -> Decision {
    let decision = Decision::new(Action::Deny, refusal.reason);
    in_shadow(decision, &refusal.policy, refusal.rule.as_ref())
}

/// Whether everything that a rule's `match` names is as it says.
fn holds(policy: &Policy, rule: &Rule, subject: &impl Subject) -> Result<bool, RuleError> {
    for condition in &rule.conditions {
        let holds = subject.equals(&condition.key, &condition.value);
        if !holds.map_err(|error| RuleError::key(policy, rule, error))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn in_shadow(mut decision: Decision, policy: &Arc<str>, rule: Option<&Arc<str>>) -> Decision {
    decision.mode = site::Mode::Shadow;
    decision.policy = Some(Arc::clone(policy));
    decision.rule = rule.map(Arc::clone);
    decision
}
