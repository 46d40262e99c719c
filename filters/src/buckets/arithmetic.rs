//! The arithmetic of one token bucket, in integers and exact. It knows no table, no key and no clock.
//!
//! Tokens are counted in units of 10⁻²¹ and rates in 10⁻¹² tokens a second, so that a nanosecond refills a whole number
//! of units and nothing is ever rounded while a bucket is in use.

/// Units in a token.
const TOKEN: u128 = 1_000_000_000_000_000_000_000;
/// Units in a millionth of a token, the step in which costs and bursts are given.
const MICRO: u128 = TOKEN / 1_000_000;
/// Units that a rate of one token a second refills in a nanosecond.
const PER_NS: f64 = 1e12;
const SECOND_NS: u128 = 1_000_000_000;

/// Largest rate, burst and cost, in tokens.
pub const MAX_TOKENS: f64 = 1e12;

/// How fast a bucket refills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Params {
    /// Units a nanosecond, which is 10⁻¹² tokens a second.
    pub(super) rate: u128,
    /// Millionths of a token.
    pub(super) burst: u64,
}

/// How much a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u128);

/// What a bucket holds, as it was at a moment. There may be millions of them, so the level and the rate share three words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bucket {
    level_low: u64,
    rate_low: u64,
    /// The rest of the level, then 16 bits of the rate.
    high: u64,
    /// By which it fills, with the rate: [`Params::burst`].
    burst: u64,
    /// Nanoseconds of the monotonic clock.
    pub(super) at: u64,
}

/// No level has more bits: [`MAX_TOKENS`] are less than 2^110 units.
const MAX_LEVEL: u128 = (1 << 112) - 1;
/// No rate has more bits: [`MAX_TOKENS`] a second are less than 2^80 units a nanosecond.
const MAX_RATE: u128 = (1 << 80) - 1;

/// What a bucket answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Whether there was enough.
    pub allowed: bool,
    /// The burst, in whole tokens.
    pub limit: u64,
    /// Whole tokens that are left.
    pub remaining: u64,
    /// Seconds until there is enough, at least 1; 0 when there was.
    pub retry_after: u32,
    /// Seconds until the bucket is full.
    pub full_after: u32,
    /// Whether the table was full and a bucket that new keys share answered.
    pub shared: bool,
}

impl Params {
    /// Of a rate in tokens a second and a burst in tokens. `None` unless both are above zero (10⁻¹² and 10⁻⁶ at least)
    /// and at most [`MAX_TOKENS`].
    pub fn new(per_second: f64, burst: f64) -> Option<Self> {
        let rate = to_integer(per_second, PER_NS)?;
        let burst = u64::try_from(to_integer(burst, 1e6)?).ok()?;
        (rate > 0 && burst > 0).then_some(Self { rate, burst })
    }

    /// The burst in whole tokens.
    pub fn limit(&self) -> u64 {
        whole(self.units())
    }

    /// Seconds in which an empty bucket fills, rounded up.
    pub fn window(&self) -> u32 {
        seconds(self.units(), self.rate)
    }

    /// Nanoseconds in which an empty bucket fills, rounded up.
    pub fn fill_ns(&self) -> u64 {
        narrow(self.units().div_ceil(self.rate))
    }

    /// The burst in units.
    fn units(&self) -> u128 {
        u128::from(self.burst) * MICRO
    }
}

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One token.
    pub const ONE: Self = Self(TOKEN);

    /// A number of tokens, rounded to millionths; above zero it is one millionth at least. `None` unless it is from 0 to
    /// [`MAX_TOKENS`].
    pub fn new(tokens: f64) -> Option<Self> {
        let least = u128::from(tokens > 0.0);
        to_integer(tokens, 1e6)?.max(least).checked_mul(MICRO).map(Self)
    }

    /// Whether a bucket of these parameters can ever hold as much.
    pub fn fits(self, params: &Params) -> bool {
        self.0 <= params.units()
    }
}

impl Bucket {
    /// A bucket that nobody took from yet.
    pub(super) fn full(params: Params, now: u64) -> Self {
        Self::new(params.units(), params, now)
    }

    /// A bucket that held `level` units at a moment.
    pub(super) fn new(level: u128, params: Params, at: u64) -> Self {
        let (level, rate) = (level.min(MAX_LEVEL), params.rate.min(MAX_RATE));
        Self {
            level_low: low(level),
            rate_low: low(rate),
            high: low(level >> 64 << 16 | rate >> 64),
            burst: params.burst,
            at,
        }
    }

    /// In units.
    pub(super) fn level(&self) -> u128 {
        u128::from(self.high >> 16) << 64 | u128::from(self.level_low)
    }

    pub(super) fn set_level(&mut self, level: u128) {
        let level = level.min(MAX_LEVEL);
        self.level_low = low(level);
        self.high = low(level >> 64) << 16 | self.high & 0xffff;
    }

    fn rate(&self) -> u128 {
        u128::from(self.high & 0xffff) << 64 | u128::from(self.rate_low)
    }

    /// By which it fills.
    pub(super) fn params(&self) -> Params {
        Params {
            rate: self.rate(),
            burst: self.burst,
        }
    }

    /// Adds what came in since. When other parameters are in use since `changed`, then by the old ones until that moment
    /// and by the new ones after it, so that a change gives nobody what the old limit did not. A clock that went back adds
    /// nothing.
    pub(super) fn refill(&mut self, params: Params, changed: u64, now: u64) {
        let now = now.max(self.at);
        if self.params() != params {
            self.fill_until(changed.clamp(self.at, now));
            *self = Self::new(self.level(), params, self.at);
        }
        self.fill_until(now);
    }

    fn fill_until(&mut self, now: u64) {
        let more = self.rate().saturating_mul(u128::from(now.saturating_sub(self.at)));
        self.set_level(self.level().saturating_add(more).min(self.params().units()));
        self.at = now;
    }

    /// Whether it is full at a moment, if nobody takes from it.
    pub(super) fn is_full_at(&self, now: u64) -> bool {
        let more = self.rate().saturating_mul(u128::from(now.saturating_sub(self.at)));
        self.level().saturating_add(more) >= self.params().units()
    }

    /// Whether there is enough.
    pub(super) fn has(&self, cost: Cost) -> bool {
        self.level() >= cost.0
    }

    /// Takes, when there is enough.
    pub(super) fn take(&mut self, cost: Cost) -> bool {
        let enough = self.has(cost);
        if enough {
            self.set_level(self.level().saturating_sub(cost.0));
        }
        enough
    }

    /// Gives back, up to the burst.
    pub(super) fn refund(&mut self, cost: Cost) {
        self.set_level(self.level().saturating_add(cost.0).min(self.params().units()));
    }

    /// What a request is told.
    pub(super) fn report(&self, cost: Cost, allowed: bool, shared: bool) -> Taken {
        let (level, rate) = (self.level(), self.rate());
        let short = cost.0.saturating_sub(level);
        Taken {
            allowed,
            limit: self.params().limit(),
            remaining: if allowed { whole(level) } else { 0 },
            retry_after: if allowed { 0 } else { seconds(short, rate).max(1) },
            full_after: seconds(self.params().units().saturating_sub(level), rate),
            shared,
        }
    }
}

/// `number * scale` as an integer; `None` unless the number is finite and from 0 to [`MAX_TOKENS`].
fn to_integer(number: f64, scale: f64) -> Option<u128> {
    if !(0.0..=MAX_TOKENS).contains(&number) {
        return None;
    }
    // In range: at most 10²⁴, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let integer = (number * scale).round() as u128;
    Some(integer)
}

/// The low half.
fn low(number: u128) -> u64 {
    narrow(number & u128::from(u64::MAX))
}

fn whole(units: u128) -> u64 {
    narrow(units / TOKEN)
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Seconds in which `units` come in, rounded up.
fn seconds(units: u128, rate: u128) -> u32 {
    u32::try_from(units.div_ceil(rate.saturating_mul(SECOND_NS))).unwrap_or(u32::MAX)
}
