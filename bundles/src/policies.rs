//! The compiled bundle: what a request is judged by. Immutable, without text that has to be parsed again.
//!
//! Nothing is counted or decided here; the evaluator holds the counters and asks for what applies.

use std::sync::{Arc, OnceLock};

use portcullis_config::key::Key;
use smallvec::SmallVec;

use crate::algorithm::{CircuitBreaker, Cost, Limit, LoopDetection};
use crate::digest::Digest;
use crate::format::{Mode, OnFull, OnMissing};
use crate::index::Index;
use crate::requirement::Requirement;
use crate::switches::Switches;
use crate::timestamp::Timestamp;
use crate::when::When;

/// Places of policies in [`Policies::get`]. Eight fit without an allocation.
pub type Matches = SmallVec<[u32; 8]>;

/// A compiled bundle.
#[derive(Debug)]
pub struct Policies {
    pub(crate) origin: Provenance,
    pub(crate) issued_at: Option<Timestamp>,
    pub(crate) not_before: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) audience: Option<Box<[Box<str>]>>,
    pub(crate) global_shadow: Option<Suspension>,
    pub(crate) kill_switch_override: Option<Suspension>,
    pub(crate) switches: Arc<Switches>,
    pub(crate) all: Box<[Policy]>,
    pub(crate) index: Index,
    pub(crate) requirements: Box<[Requirement]>,
    pub(crate) longest_fill_ns: OnceLock<u64>,
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provenance {
    /// Its version.
    pub version: u64,
    /// SHA-256 of the signed text (without signatures).
    pub digest: Digest,
    /// Ids of the trusted keys whose signatures were verified. Empty: unsigned, and accepted only because the
    /// configuration says `insecure_unsigned`.
    pub signed_by: Box<[Arc<str>]>,
}

/// Something that is suspended for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suspension {
    /// Why.
    pub reason: Arc<str>,
    /// Until when.
    pub until: Timestamp,
}

/// A compiled policy.
#[derive(Debug)]
pub struct Policy {
    /// Names it in logs, metrics and `RateLimit`.
    pub id: Arc<str>,
    /// Whether it refuses or only records. [`Policies::mode`] also knows of `global_shadow`.
    pub mode: Mode,
    /// Higher is evaluated first.
    pub priority: i32,
    /// It is about a request only when this holds.
    pub when: Option<When>,
    /// Its limits, in written order.
    pub rules: Box<[Rule]>,
    /// Evaluated when there are rules and none of them is.
    pub fallback: Option<Box<Rule>>,
    /// The same request again and again.
    pub loops: Option<Box<LoopDetection>>,
    /// Too much spent in a minute.
    pub breaker: Option<Box<CircuitBreaker>>,
    /// What happens to a request that needs a new counter when there is no room for one.
    pub on_full: OnFull,
    /// As [`Rule::identity`], for counters that belong to the policy and not to a rule.
    pub identity: u128,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Names it within its policy.
    pub name: Arc<str>,
    /// What requests are counted by. Empty: one counter for all.
    pub keys: Box<[Key]>,
    /// All must hold, or the rule is not evaluated.
    pub conditions: Box<[Condition]>,
    /// And this must.
    pub when: Option<When>,
    /// What happens when one of `keys` is missing.
    pub on_missing: OnMissing,
    /// The limit.
    pub limit: Limit,
    /// Stands for the policy's id and the rule's name in the keys of counters; the same in every bundle that has both.
    ///
    /// The first 128 bits of a SHA-256 over both, each behind its length, so that no two pairs of names meet. Whoever
    /// keeps counters appends the values, each behind its length, and whether the rule only records.
    pub identity: u128,
}

/// `key` must have `value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The key.
    pub key: Key,
    /// The value, compared as text and with regard to case.
    pub value: Arc<str>,
}

impl Rule {
    /// Every key that it goes by: those it counts by first.
    pub fn every_key(&self) -> impl Iterator<Item = &Key> {
        let conditions = self.conditions.iter().map(|condition| &condition.key);
        let when = self.when.iter().flat_map(When::keys);
        self.keys.iter().chain(conditions).chain(when)
    }
}

impl Policy {
    /// Every key that it and its rules go by.
    pub fn every_key(&self) -> impl Iterator<Item = &Key> {
        let rules = self.rules.iter().chain(self.fallback.as_deref());
        let when = self.when.iter().flat_map(When::keys);
        when.chain(rules.flat_map(Rule::every_key))
    }

    /// Whether a rule of it has to see the request's body.
    pub fn reads_body(&self) -> bool {
        let mut rules = self.rules.iter().chain(self.fallback.as_deref());
        rules.any(|rule| matches!(rule.limit, Limit::TokenBucketLlm(_)))
    }
}

impl Policies {
    /// The longest time in which a bucket of any rule fills, as `of` tells it for one. All rules are looked at, the first time.
    pub fn longest_fill_ns(&self, of: impl Fn(&Rule) -> u64) -> u64 {
        *self.longest_fill_ns.get_or_init(|| {
            let rules = self
                .all
                .iter()
                .flat_map(|policy| policy.rules.iter().chain(policy.fallback.as_deref()));
            rules.map(of).max().unwrap_or(0)
        })
    }

    /// Its version.
    pub fn version(&self) -> u64 {
        self.origin.version
    }

    /// SHA-256 of its text.
    pub fn digest(&self) -> &Digest {
        &self.origin.digest
    }

    /// Where it comes from.
    pub fn provenance(&self) -> &Provenance {
        &self.origin
    }

    /// When it was made.
    pub fn issued_at(&self) -> Option<Timestamp> {
        self.issued_at
    }

    /// It was refused before this moment.
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// The moment it expires.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.expires_at
    }

    /// Names of the gateways that it is for. `None`: every gateway.
    pub fn audience(&self) -> Option<&[Box<str>]> {
        self.audience.as_deref()
    }

    /// Whether it has expired at `now` (seconds since 1970).
    pub fn is_expired(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|at| at.unix() <= now)
    }

    /// The override that makes every policy only record, if it is active at `now` (seconds since 1970).
    pub fn global_shadow(&self, now: i64) -> Option<&Suspension> {
        self.global_shadow
            .as_ref()
            .filter(|suspension| suspension.until.unix() > now)
    }

    /// The override that suspends the bundle's kill switches, if it is active at `now` (seconds since 1970).
    ///
    /// [`Switches::find`] heeds it by itself; this is for logs and metrics.
    pub fn kill_switch_override(&self, now: i64) -> Option<&Suspension> {
        self.kill_switch_override
            .as_ref()
            .filter(|suspension| suspension.until.unix() > now)
    }

    /// The bundle's kill switches.
    pub fn switches(&self) -> &Arc<Switches> {
        &self.switches
    }

    /// Filters that the gateway's configuration must put on routes.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// All policies, by id.
    pub fn all(&self) -> &[Policy] {
        &self.all
    }

    /// Every key that policies and kill switches go by; some of them more than once.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        let of_policies = self.all.iter().flat_map(Policy::every_key);
        of_policies.chain(self.switches.keys())
    }

    /// Every value that a key is compared with.
    pub fn compared(&self) -> impl Iterator<Item = (&Key, &str)> {
        let conditions = self.rules().flat_map(|rule| &rule.conditions);
        let conditions = conditions.map(|condition| (&condition.key, &*condition.value));
        let whens = self.all.iter().filter_map(|policy| policy.when.as_ref());
        let whens = whens.chain(self.rules().filter_map(|rule| rule.when.as_ref()));
        let conditions = conditions.chain(whens.flat_map(When::compared));
        let switches = self.switches.as_slice().iter();
        conditions.chain(switches.map(|switch| (&switch.key, &*switch.value)))
    }

    /// What requests cost, rule by rule.
    pub fn costs(&self) -> impl Iterator<Item = &Cost> {
        self.rules().filter_map(|rule| rule.limit.cost())
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.all
            .iter()
            .flat_map(|policy| policy.rules.iter().chain(policy.fallback.as_deref()))
    }

    /// The policy at a place that [`Self::matching`] gave.
    pub fn get(&self, place: u32) -> Option<&Policy> {
        self.all.get(usize::try_from(place).ok()?)
    }

    /// Whether a policy's verdicts count at `now` (seconds since 1970).
    pub fn mode(&self, policy: &Policy, now: i64) -> Mode {
        if self.global_shadow(now).is_some() {
            Mode::Shadow
        } else {
            policy.mode
        }
    }

    /// Puts the places of all policies about this request into `matches`, in the order in which they are evaluated:
    /// priority (higher first), then host, path and method (more specific first), then id. Each comes once.
    ///
    /// `host` is lower-case without port or trailing dot (empty when there is none), `path` is normalised. Nothing is
    /// allocated while `matches` has room.
    pub fn matching(&self, host: &str, path: &str, method: &str, matches: &mut Matches) {
        self.index.matching(host, path, method, matches);
    }
}
