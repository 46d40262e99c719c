//! The link between chain and engine: the bundle that is in force, the counters' zone, and the verdict.

use std::sync::Arc;

use http::StatusCode;
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::site::Mode;

use super::config::PolicyConfig;
use super::engine::{Engine, Evaluation, Refusal};
use crate::buckets::BucketTable;
use crate::filter::{Filter, Phases};
use crate::jitter;
use crate::limit_stats::LimitStats;
use crate::record::{Action, Decision};
use crate::request::{Bundle, Request};
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Verdict};
use crate::zones::{BuildEnv, OneShape};

/// The zone with the counters of all bundles: one for all links, so that a policy's limit is one limit.
const ZONE: &str = "policy";

/// Enforces the policy bundle.
pub struct PolicyFilter {
    table: Arc<BucketTable>,
    stats: Arc<LimitStats>,
    secret: [u8; 16],
    salt: [u8; 16],
    shadow: bool,
}

impl Filter for PolicyFilter {
    const KIND: &'static str = "policy";
    const PHASES: Phases = Phases::REQUEST;
    type Config = PolicyConfig;
    type State = ();

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
        let stats = env
            .zones
            .open(&env.own_zone(), &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        let entropy = env.zones.entropy();
        Ok(Self {
            table,
            stats,
            secret: entropy.hash_key,
            salt: entropy.jitter_salt,
            shadow: env.mode == Mode::Shadow,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let policies = match request.policy.bundle {
            Bundle::Loaded(policies) => policies,
            Bundle::Missing(reason) => return Err(FilterError::unavailable(reason, "no bundle is in force")),
            Bundle::Unconfigured => return Err(FilterError::internal("policy_unconfigured", "there is no bundle")),
        };
        let engine = Engine {
            policies,
            table: &self.table,
            stats: &self.stats,
            secret: &self.secret,
            unix: request.head.now.unix(),
            now: request.head.now.monotonic_ns,
            shadow: self.shadow,
        };
        let evaluation = engine
            .evaluate(request)
            .map_err(|error| FilterError::internal("rule_error", error.to_string()))?;
        let Evaluation {
            refusal,
            limits,
            shadow,
            ..
        } = evaluation;
        for decision in shadow {
            request.facts.decide(decision);
        }
        if let Some(refusal) = refusal {
            return Ok(self.refuse(request, refusal));
        }
        for limit in limits {
            request.facts.tighten(limit);
        }
        CONTINUE
    }
}

impl PolicyFilter {
    fn refuse(&self, request: &mut Request<'_>, refusal: Refusal) -> Verdict {
        let Refusal {
            reason,
            policy,
            rule,
            limit,
        } = refusal;
        let denial = match &limit {
            Some(limit) => {
                let retry_after = jitter::spread(limit.reset, &self.salt, request, &[&policy, &rule], reason);
                Denial::new(StatusCode::TOO_MANY_REQUESTS, reason).retry_after(retry_after)
            }
            None => Denial::new(StatusCode::FORBIDDEN, reason),
        };
        request.facts.limit = limit;
        let mut decision = Decision::new(Action::Deny, reason);
        (decision.policy, decision.rule) = (Some(policy), Some(rule));
        request.facts.decide(decision);
        denial.into()
    }
}
