//! What a subject costs: a number that it tells counts when it is finite, not negative and not above the limit.

use portcullis_bundles::algorithm;

use super::{Applying, RuleError};
use crate::attributes::KeyError;
use crate::buckets::{Cost, Params};
use crate::policy::subject::Subject;

/// A cost, and whether the number that was told could not be one.
pub(in crate::policy) struct Told {
    /// `None`: the default is no cost either, which no bundle that was compiled has.
    pub(in crate::policy) cost: Option<Cost>,
    bad: bool,
}

/// What a subject costs by a limit that allows `most` at once.
pub(in crate::policy) fn told(cost: &algorithm::Cost, most: Cost, subject: &impl Subject) -> Result<Told, KeyError> {
    let (told, default) = match cost {
        algorithm::Cost::Fixed(tokens) => (None, *tokens),
        algorithm::Cost::Header { name, default } => (subject.header(name), *default),
        algorithm::Cost::Query { name, default } => (subject.query(name)?, *default),
    };
    let Some(told) = told else {
        let cost = Cost::new(default);
        return Ok(Told { cost, bad: false });
    };
    let number = told
        .trim()
        .parse()
        .ok()
        .and_then(Cost::new)
        .filter(|cost| *cost <= most);
    Ok(Told {
        cost: number.or_else(|| Cost::new(default)),
        bad: number.is_none(),
    })
}

impl<S: Subject> Applying<'_, '_, S> {
    /// The cost by a limit of these parameters. A bad number is the default, and counted.
    pub(super) fn cost(&self, cost: &algorithm::Cost, params: &Params) -> Result<Cost, RuleError> {
        let told = told(cost, params.most(), self.subject);
        let told = told.map_err(|error| RuleError::key(self.policy, self.rule, error))?;
        if told.bad {
            self.stats.bad_cost();
        }
        told.cost.ok_or_else(|| self.numbers())
    }
}
