//! The numbers of a bucket, in integers and exact: what it holds at most, how it refills, what is taken. It knows no table,
//! no key and no clock; what is in a bucket is [`super::bucket`]'s.
//!
//! Tokens are counted in units of 10⁻²¹ and rates in 10⁻¹² tokens a second, so that a nanosecond refills a whole number
//! of units and nothing is ever rounded while a bucket is in use.

use super::window::Window;

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
    pub(super) refill: Refill,
    /// Millionths of a token.
    pub(super) burst: u64,
}

/// How a bucket refills.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Refill {
    /// Steadily: units a nanosecond, which is 10⁻¹² tokens a second, as high and low half.
    Steady([u64; 2]),
    /// All at once, when a window is over.
    Window(Window),
}

/// How much a request takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(u128);

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
    /// Whether the table was full and nothing was counted: nobody has a bucket for it.
    pub no_room: bool,
    /// Millionths of a token that are taken of the burst, this request's included when it was allowed.
    pub used_millionths: u64,
    /// Which window answered; 0 where there are none.
    pub(super) window: u32,
}

impl Params {
    /// Of a rate in tokens a second and a burst in tokens. `None` unless both are above zero (10⁻¹² and 10⁻⁶ at least)
    /// and at most [`MAX_TOKENS`].
    pub fn new(per_second: f64, burst: f64) -> Option<Self> {
        let rate = to_integer(per_second, PER_NS)?;
        let burst = u64::try_from(to_integer(burst, 1e6)?).ok()?;
        let refill = Refill::Steady([low(rate >> 64), low(rate)]);
        (rate > 0 && burst > 0).then_some(Self { refill, burst })
    }

    /// Of a window and the tokens that there are in each. `None` unless they are above zero (10⁻⁶ at least) and at most
    /// [`MAX_TOKENS`].
    pub fn window(window: Window, tokens: f64) -> Option<Self> {
        let burst = u64::try_from(to_integer(tokens, 1e6)?).ok()?;
        let refill = Refill::Window(window);
        (burst > 0).then_some(Self { refill, burst })
    }

    /// The burst in whole tokens.
    pub fn limit(&self) -> u64 {
        whole(self.units())
    }

    /// The largest cost that it can ever allow.
    pub fn most(&self) -> Cost {
        Cost(self.units())
    }

    /// Seconds in which an empty bucket fills, rounded up.
    pub fn seconds(&self) -> u32 {
        match self.refill {
            Refill::Steady(rate) => seconds(self.units(), joined(rate)),
            Refill::Window(window) => window.seconds(),
        }
    }

    /// Nanoseconds in which an empty bucket fills, rounded up. 0 for windows, which fill at a moment that each bucket
    /// knows by itself.
    pub fn fill_ns(&self) -> u64 {
        match self.refill {
            Refill::Steady(rate) => narrow(self.units().div_ceil(joined(rate).max(1))),
            Refill::Window(_) => 0,
        }
    }

    /// The burst in units.
    pub(super) fn units(&self) -> u128 {
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

    /// A whole number of tokens, at most [`MAX_TOKENS`].
    pub fn whole(tokens: u64) -> Self {
        // 10¹², as an integer.
        Self(u128::from(tokens.min(1_000_000_000_000)) * TOKEN)
    }

    /// Whether a bucket of these parameters can ever hold as much.
    pub fn fits(self, params: &Params) -> bool {
        self.0 <= params.units()
    }

    /// The larger of both less the smaller: what is given back of the one, or owed beyond it.
    #[must_use]
    pub fn difference(self, other: Self) -> Self {
        Self(self.0.abs_diff(other.0))
    }

    /// In millionths of a token.
    pub fn millionths(self) -> u64 {
        narrow(self.0 / MICRO)
    }

    /// In units.
    pub(super) fn units(self) -> u128 {
        self.0
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

/// A rate from its halves.
pub(super) fn joined([high, low]: [u64; 2]) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

/// The low half.
pub(super) fn low(number: u128) -> u64 {
    narrow(number & u128::from(u64::MAX))
}

pub(super) fn whole(units: u128) -> u64 {
    narrow(units / TOKEN)
}

/// Units as millionths of a token, rounded up.
pub(super) fn millionths(units: u128) -> u64 {
    narrow(units.div_ceil(MICRO))
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

/// Seconds in which `units` come in, rounded up.
pub(super) fn seconds(units: u128, rate: u128) -> u32 {
    u32::try_from(units.div_ceil(rate.saturating_mul(SECOND_NS))).unwrap_or(u32::MAX)
}
