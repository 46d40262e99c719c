//! From a request to its bucket, and from the bucket's answer to a verdict.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::StatusCode;
use portcullis_bundles::format::OnMissing;
use portcullis_config::diagnostic::{Diagnostic, codes};
use portcullis_config::key::Key;
use portcullis_config::site::Mode;

use super::config::{Keys, RateLimitConfig};
use crate::attributes;
use crate::buckets::{BucketTable, Charge, Cost, KeyHasher, Params};
use crate::facts::Limit;
use crate::filter::{Filter, Phases};
use crate::jitter::{self, Salt};
use crate::limit_stats::LimitStats;
use crate::request::Request;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason};
use crate::zones::{BuildEnv, OneShape};

/// The reason when the limit is reached.
pub const EXCEEDED: Reason = Reason("rate_limit_exceeded");
/// The reason when a key is missing and `on_missing` is `deny`.
pub const KEY_MISSING: Reason = Reason("limit_key_missing");

/// Limits requests by token buckets.
pub struct RateLimit {
    name: Arc<str>,
    keys: Box<[Key]>,
    hasher: KeyHasher,
    params: Params,
    tag: u64,
    cost: Cost,
    on_missing: OnMissing,
    status: StatusCode,
    salt: Salt,
    table: Arc<BucketTable>,
    stats: Arc<LimitStats>,
}

impl Filter for RateLimit {
    const KIND: &'static str = "rate_limit";
    const PHASES: Phases = Phases::REQUEST;
    type Config = RateLimitConfig;
    type State = ();

    fn build(config: RateLimitConfig, env: &mut BuildEnv<'_>) -> Result<Self, Diagnostic> {
        check(&config, env)?;
        let burst = config
            .burst
            .map_or_else(|| config.rate.per_second.ceil().max(1.0), in_tokens);
        let params = Params::new(config.rate.per_second, burst).ok_or_else(|| {
            env.wrong(
                codes::OUT_OF_RANGE,
                "rate",
                "the rate is too slow or too fast to be counted",
            )
        })?;
        let cost = Cost::new(config.cost.unwrap_or(1.0)).filter(|cost| *cost > Cost::ZERO && cost.fits(&params));
        let cost = cost.ok_or_else(|| {
            env.wrong(
                codes::OUT_OF_RANGE,
                "cost",
                format!("a request must cost more than 0 and at most the burst ({burst})"),
            )
        })?;
        let table = open(&config, burst, env)?;
        let entropy = env.zones.entropy().clone();
        let stats = env
            .zones
            .open(&env.own_zone(), &OneShape)
            .map_err(|error| env.zone_error("", &error))?;
        Ok(Self {
            name: env.link.into(),
            hasher: hasher(&config.key, env.mode, &entropy.hash_key),
            keys: config.key.0,
            params,
            tag: tag(&params),
            cost,
            on_missing: config.on_missing,
            status: config.status.0,
            salt: env.salt(),
            table,
            stats,
        })
    }

    fn on_request(&self, (): &mut (), request: &mut Request<'_>) -> Outcome {
        let mut hasher = self.hasher.within(&request.facts.scope());
        for key in &self.keys {
            let there = attributes::count_by(request, key, &mut hasher)
                .map_err(|error| FilterError::internal("limit_key", format!("{key}: {error}")))?;
            if there {
                continue;
            }
            self.stats.missing(self.on_missing);
            match self.on_missing {
                OnMissing::Skip => return CONTINUE,
                OnMissing::Anonymous => hasher.add(None),
                OnMissing::Deny => return Ok(Denial::new(StatusCode::FORBIDDEN, KEY_MISSING).into()),
            }
        }
        let now = request.head.now.monotonic_ns;
        self.table.in_use(self.tag, now, || self.params.fill_ns());
        let charge = Charge::new(hasher.finish(), self.params, self.cost);
        let taken = self.table.take(&charge, now);
        let limit = Limit::of(&self.name, &taken, &self.params);
        if taken.allowed {
            request.facts.tighten(limit);
            return CONTINUE;
        }
        request.facts.limit = Some(limit);
        let retry_after = jitter::spread(taken.retry_after, self.salt, request, (&self.name, ""), EXCEEDED);
        Ok(Denial::new(self.status, EXCEEDED).retry_after(retry_after).into())
    }
}

fn check(config: &RateLimitConfig, env: &BuildEnv<'_>) -> Result<(), Diagnostic> {
    for key in &config.key.0 {
        if let Some(why) = attributes::unsupported(key, env.geoip) {
            return Err(env.wrong(
                attributes::UNSUPPORTED_KEY,
                "key",
                format!("`{key}` cannot be used: {why}"),
            ));
        }
    }
    if config.burst.is_some_and(|burst| !(1..=1_000_000_000).contains(&burst)) {
        return Err(env.wrong(codes::OUT_OF_RANGE, "burst", "a burst is from 1 to 1000000000"));
    }
    if !(1..=1 << 24).contains(&config.max_keys) {
        return Err(env.wrong(codes::OUT_OF_RANGE, "max_keys", "there is room for 1 to 16777216 keys"));
    }
    if !(400..600).contains(&config.status.0.as_u16()) {
        return Err(env.wrong(codes::OUT_OF_RANGE, "status", "a refusal has a status from 400 to 599"));
    }
    let named = |name: &String| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        (1..=64).contains(&name.len()) && name.bytes().all(plain)
    };
    if config.zone.as_ref().is_some_and(|name| !named(name)) {
        let message = "the name of a zone has 1 to 64 letters, digits, `_`, `.` and `-`";
        return Err(env.wrong(codes::INVALID_VALUE, "zone", message));
    }
    Ok(())
}

/// The buckets: the link's own, or those of all links that name the zone, which must agree on the limit.
fn open(config: &RateLimitConfig, burst: f64, env: &mut BuildEnv<'_>) -> Result<Arc<BucketTable>, Diagnostic> {
    let opened = match &config.zone {
        None => env.zones.open(&env.own_zone(), &config.max_keys),
        Some(name) => {
            let terms = format!("{} by {}, burst {burst}", config.rate, config.key);
            env.zones.open_on(&format!("zone:{name}"), &config.max_keys, &terms)
        }
    };
    opened.map_err(|error| env.zone_error(if config.zone.is_some() { "zone" } else { "max_keys" }, &error))
}

/// A link in shadow counts on its own, so that it changes nothing for those that share its zone.
fn hasher(keys: &Keys, mode: Mode, secret: &[u8; 16]) -> KeyHasher {
    let names: Vec<String> = keys.0.iter().map(ToString::to_string).collect();
    let mode = if mode == Mode::Shadow { "shadow" } else { "enforce" };
    let parts: Vec<&str> = [RateLimit::KIND, mode]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .collect();
    KeyHasher::new(secret, &parts)
}

/// Stands for the parameters; the same in every build of a process.
fn tag(params: &Params) -> u64 {
    let mut hasher = DefaultHasher::new();
    params.hash(&mut hasher);
    hasher.finish().max(1)
}

fn in_tokens(burst: u64) -> f64 {
    // At most 10⁹, which a double holds exactly.
    #[allow(clippy::cast_precision_loss)]
    let tokens = burst as f64;
    tokens
}
