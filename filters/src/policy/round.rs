//! What a request is judged by, gathered before anything is charged: parts, a key that is missing, and breakers.

use std::sync::Arc;

use http::StatusCode;
use portcullis_bundles::algorithm::CircuitBreaker;
use portcullis_bundles::format::OnFull;
use portcullis_bundles::policies::{Policy, Rule};
use smallvec::SmallVec;

use super::breaker::{Answer, Terms};
use super::breakers::{Breakers, Spending};
use super::charge::{Parts, Refused, RuleError, told};
use super::engine::Refusal;
use super::subject::Subject;
use crate::buckets::{Cost, ScopedHasher};
use crate::verdict::{Reason, Shape};

/// The reason when a circuit breaker is open.
pub const CIRCUIT_OPEN: Reason = Reason("circuit_breaker_open");

/// The name of what it is in errors.
const BLOCK: &str = "circuit_breaker";
/// `Retry-After` of a breaker that does not reset itself.
const FOR_GOOD_SECONDS: u32 = 60;

/// A rule that refuses whatever its bucket holds.
pub(super) struct Denying<'p>(pub(super) &'p Policy, pub(super) &'p Rule, pub(super) Refused);

/// What a request is judged by.
#[derive(Default)]
pub(super) struct Round<'p> {
    pub(super) parts: Parts<'p>,
    pub(super) denying: Option<Denying<'p>>,
    pub(super) spending: SmallVec<[Spending; 1]>,
}

impl Round<'_> {
    /// Adds a policy's breaker.
    pub(super) fn add_breaker(
        &mut self,
        policy: &Policy,
        breaker: &CircuitBreaker,
        subject: &impl Subject,
        mut hasher: ScopedHasher,
        shadow: bool,
    ) -> Result<(), RuleError> {
        let of_key = |error| RuleError::of_block(policy, BLOCK, error);
        if let Some(key) = &breaker.key
            && !subject.count_by(key, &mut hasher).map_err(of_key)?
        {
            hasher.add(None);
        }
        let numbers = || RuleError::numbers_of_block(policy, BLOCK);
        let threshold = Cost::new(breaker.threshold_per_minute).ok_or_else(numbers)?;
        let told = told(&breaker.cost, threshold, subject).map_err(of_key)?;
        self.spending.push(Spending {
            policy: Arc::clone(&policy.id),
            key: hasher.finish(),
            terms: Terms {
                threshold: threshold.millionths(),
                reset_ns: breaker.reset_after_ms.map(|reset| reset.saturating_mul(1_000_000)),
            },
            cost: told.cost.ok_or_else(numbers)?,
            alert: breaker.alert,
            shadow,
            own_only: policy.on_full == OnFull::Deny,
        });
        Ok(())
    }

    /// The refusal of a rule that lacks a key, or that refuses the request for itself.
    pub(super) fn denied(&self) -> Option<Refusal> {
        let Denying(policy, rule, refused) = self.denying.as_ref()?;
        Some(Refusal {
            reason: refused.reason,
            policy: Arc::clone(&policy.id),
            rule: Some(Arc::clone(&rule.name)),
            retry_after: refused.retry_after,
            limit: None,
            status: refused.status,
            shape: refused.shape,
            times: None,
        })
    }

    /// The refusal of a breaker that is open already.
    pub(super) fn open(&self, breakers: &Breakers, now: u64) -> Option<Refusal> {
        let mut spending = self.spending.iter();
        spending.find_map(|spending| refusal(spending, breakers.refuses(spending, now)?))
    }

    /// Spends of every breaker, or of none: the refusal of one that is open or opens.
    pub(super) fn spend(&self, breakers: &Breakers, now: u64) -> Option<Refusal> {
        for (place, spending) in self.spending.iter().enumerate() {
            if let Some(refusal) = refusal(spending, breakers.spend(spending, now)) {
                for spent in self.spending.iter().take(place) {
                    breakers.take_back(spent, now);
                }
                return Some(refusal);
            }
        }
        None
    }
}

fn refusal(spending: &Spending, answer: Answer) -> Option<Refusal> {
    let left = match answer {
        Answer::Spent => return None,
        Answer::Open(left) | Answer::Opened(left) => left,
        Answer::NoRoom => None,
    };
    let seconds = |left: u64| u32::try_from(left.div_ceil(1_000_000_000)).unwrap_or(u32::MAX);
    let open = Refusal {
        reason: CIRCUIT_OPEN,
        policy: Arc::clone(&spending.policy),
        rule: None,
        retry_after: Some(left.map_or(FOR_GOOD_SECONDS, seconds).max(1)),
        limit: None,
        status: StatusCode::TOO_MANY_REQUESTS,
        shape: Shape::Problem,
        times: None,
    };
    Some(match answer {
        Answer::NoRoom => open.for_want_of_room(),
        _ => open,
    })
}
