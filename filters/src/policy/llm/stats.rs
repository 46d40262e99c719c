//! What exchanges with models took, by policy. In a zone, so that the counters outlive reloads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use portcullis_bundles::algorithm::llm::Estimator;

use super::account::{Account, Actual};
use crate::zones::{Entropy, OneShape, ZoneState};

/// Most policies that are counted apart. A bundle may have more; those share one line.
const MOST_POLICIES: usize = 1000;
/// The line that they share.
const OTHERS: &str = "(others)";

/// How it is known what an exchange took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The answer said it.
    Usage,
    /// Its events were counted.
    Counted,
    /// Nothing could be read from it: it costs what was reserved.
    Unread,
    /// There was no answer, or one that no model gave: it costs nothing.
    Nothing,
}

impl Settled {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Usage, Self::Counted, Self::Unread, Self::Nothing];

    /// As metrics spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Counted => "counted",
            Self::Unread => "unread",
            Self::Nothing => "nothing",
        }
    }
}

/// Counters of one policy.
#[derive(Debug, Default)]
pub struct PolicyTokens {
    reserved: AtomicU64,
    actual: AtomicU64,
    unused: AtomicU64,
    overrun: AtomicU64,
    settled: [AtomicU64; 4],
    cut: AtomicU64,
    /// One more than what was left by the minute and by the day when it was last asked; 0: never.
    left: [AtomicU64; 2],
}

/// Of when tokens are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Span {
    /// By the minute.
    Minute,
    /// By the day.
    Day,
}

impl Span {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Day];
}

/// How right the estimates of one kind were, where answers said the truth.
#[derive(Debug, Default)]
struct Accuracy {
    estimated: AtomicU64,
    actual: AtomicU64,
}

impl PolicyTokens {
    /// Tokens that were reserved.
    pub fn reserved(&self) -> u64 {
        self.reserved.load(Relaxed)
    }

    /// Tokens that were used.
    pub fn actual(&self) -> u64 {
        self.actual.load(Relaxed)
    }

    /// Tokens that were reserved and given back.
    pub fn unused(&self) -> u64 {
        self.unused.load(Relaxed)
    }

    /// Tokens that were used beyond what was reserved.
    pub fn overrun(&self) -> u64 {
        self.overrun.load(Relaxed)
    }

    /// Exchanges that were settled in this way.
    pub fn settled(&self, how: Settled) -> u64 {
        self.settled.get(how as usize).map_or(0, |count| count.load(Relaxed))
    }

    /// Streams that were cut off.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }

    /// Tokens that were left when it was last asked. `None`: it never was, or has no such limit.
    pub fn left(&self, span: Span) -> Option<u64> {
        self.left.get(span as usize)?.load(Relaxed).checked_sub(1)
    }
}

/// What exchanges with models took, by policy.
#[derive(Debug, Default)]
pub struct LlmStats {
    policies: RwLock<BTreeMap<Arc<str>, Arc<PolicyTokens>>>,
    accuracy: [Accuracy; 2],
}

impl LlmStats {
    /// Every policy that was counted, by its id.
    pub fn each(&self) -> Vec<(Arc<str>, Arc<PolicyTokens>)> {
        let policies = self.policies.read().unwrap_or_else(PoisonError::into_inner);
        policies
            .iter()
            .map(|(id, tokens)| (Arc::clone(id), Arc::clone(tokens)))
            .collect()
    }

    /// Tokens that answers took for each that was reserved for them, over all that said what they took. `None`: none did.
    pub fn accuracy(&self, estimator: Estimator) -> Option<f64> {
        let accuracy = self.accuracy.get(place(estimator))?;
        let (estimated, actual) = (accuracy.estimated.load(Relaxed), accuracy.actual.load(Relaxed));
        #[allow(clippy::cast_precision_loss)] // a ratio of many
        let ratio = actual as f64 / estimated as f64;
        (estimated > 0).then_some(ratio)
    }

    pub(super) fn reserved(&self, account: &Account) {
        if account.shadow {
            return;
        }
        let policy = self.of(&account.policy);
        policy.reserved.fetch_add(account.estimate.total, Relaxed);
        for (left, now) in policy.left.iter().zip(&account.left) {
            left.store(now.saturating_add(1), Relaxed);
        }
    }

    pub(super) fn settled(&self, account: &Account, actual: Actual, cut: bool) {
        if account.shadow {
            return;
        }
        let (policy, estimated) = (self.of(&account.policy), account.estimate.total);
        policy.actual.fetch_add(actual.tokens, Relaxed);
        policy
            .unused
            .fetch_add(estimated.saturating_sub(actual.tokens), Relaxed);
        policy
            .overrun
            .fetch_add(actual.tokens.saturating_sub(estimated), Relaxed);
        if let Some(count) = policy.settled.get(actual.known as usize) {
            count.fetch_add(1, Relaxed);
        }
        policy.cut.fetch_add(u64::from(cut), Relaxed);
        if actual.known == Settled::Usage
            && let Some(accuracy) = self.accuracy.get(place(account.estimate.estimator))
        {
            accuracy.estimated.fetch_add(estimated, Relaxed);
            accuracy.actual.fetch_add(actual.tokens, Relaxed);
        }
    }

    fn of(&self, policy: &Arc<str>) -> Arc<PolicyTokens> {
        // Counters only grow, so a panic elsewhere does not spoil them.
        if let Some(known) = self.policies.read().unwrap_or_else(PoisonError::into_inner).get(policy) {
            return Arc::clone(known);
        }
        let mut policies = self.policies.write().unwrap_or_else(PoisonError::into_inner);
        let id = if policies.len() < MOST_POLICIES {
            Arc::clone(policy)
        } else {
            OTHERS.into()
        };
        Arc::clone(policies.entry(id).or_default())
    }
}

const fn place(estimator: Estimator) -> usize {
    match estimator {
        Estimator::SimpleWord => 0,
        Estimator::HeaderHint => 1,
    }
}

impl ZoneState for LlmStats {
    const KIND: &'static str = "llm stats";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
