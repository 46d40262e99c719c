//! Checks that the numbers of all algorithms share: each adds what is wrong and remembers that something was.

use http::HeaderName;

use super::cost::Cost;
use super::{MAX_TOKENS, MIN_RATE};
use crate::problem::{Place, Problems};

/// The code of every problem with an algorithm's numbers.
const CODE: &str = "invalid-algorithm-config";

/// Checks of the numbers at one place.
pub(crate) struct Check<'a, 'p> {
    place: &'a Place<'a>,
    problems: &'p mut Problems,
    ok: bool,
}

impl<'a, 'p> Check<'a, 'p> {
    pub(crate) fn at(place: &'a Place<'a>, problems: &'p mut Problems) -> Self {
        let ok = true;
        Self { place, problems, ok }
    }

    /// Whether nothing was wrong.
    pub(crate) fn is_ok(&self) -> bool {
        self.ok
    }

    /// Something is wrong with a field.
    pub(crate) fn fail(&mut self, field: &str, message: &str) {
        self.ok = false;
        self.problems.add(CODE, &self.place.field(field), message);
    }

    /// Something is not there.
    pub(crate) fn missing<T>(&mut self, message: &str) -> Option<T> {
        self.ok = false;
        self.problems.add(CODE, self.place, message);
        None
    }

    /// `algorithm`, which may be repeated within the numbers, says the same as the rule.
    pub(crate) fn algorithm(&mut self, written: Option<&str>, name: &str) {
        if written.is_some_and(|written| written != name) {
            self.fail("algorithm", &format!("algorithm must be {name}"));
        }
    }

    /// A positive number of tokens.
    pub(crate) fn tokens(&mut self, field: &str, value: f64) -> Option<f64> {
        self.tokens_as(field, field, value)
    }

    /// The same, for a field that messages call by another name.
    pub(crate) fn tokens_as(&mut self, field: &str, name: &str, value: f64) -> Option<f64> {
        if !value.is_finite() || value <= 0.0 {
            self.fail(field, &format!("{name} must be a positive number"));
            return None;
        }
        if value > MAX_TOKENS {
            self.fail(field, &format!("{name} must be at most {MAX_TOKENS}"));
            return None;
        }
        Some(value)
    }

    /// A positive number of tokens a second.
    pub(crate) fn rate(&mut self, field: &str, value: f64) -> Option<f64> {
        let rate = self.tokens(field, value)?;
        if rate < MIN_RATE {
            self.fail(field, &format!("{field} must be at least {MIN_RATE}"));
            return None;
        }
        Some(rate)
    }

    /// A cost that the limit can ever allow; `most` is the name and the number of that limit.
    pub(crate) fn cost(&mut self, field: &str, value: Option<f64>, most: (&str, Option<f64>)) -> Option<f64> {
        let cost = self.tokens(field, value?)?;
        let (name, most) = most;
        if most.is_some_and(|most| cost > most) {
            let text = format!("{field} must be <= {name}: there is never so much");
            self.fail(field, &text);
        }
        Some(cost)
    }

    /// Where the cost comes from, as `field` says.
    pub(crate) fn source(
        &mut self,
        field: &str,
        source: Option<&str>,
        fixed: Option<f64>,
        default: Option<f64>,
    ) -> Option<Cost> {
        let source = source.unwrap_or("fixed");
        if source == "fixed" {
            return Some(Cost::Fixed(fixed.or(default).unwrap_or(1.0)));
        }
        let default = default.unwrap_or(1.0);
        let cost = match source.split_once(':') {
            Some(("header", name)) if is_name(name) => HeaderName::from_bytes(name.as_bytes())
                .ok()
                .map(|name| Cost::Header { name, default }),
            Some(("query", name)) if is_name(name) => Some(Cost::Query {
                name: name.into(),
                default,
            }),
            _ => None,
        };
        if cost.is_none() {
            self.fail(field, &format!("{field} must be fixed, header:<name>, or query:<name>"));
        }
        cost
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}
