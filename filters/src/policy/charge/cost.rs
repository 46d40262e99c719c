//! What a subject costs: a number that it tells counts when it is finite, not negative and not above the limit.

use portcullis_bundles::algorithm;

use super::{Applying, RuleError};
use crate::buckets::{Cost, Params};
use crate::policy::subject::Subject;

impl<S: Subject> Applying<'_, '_, S> {
    /// The cost by a limit of these parameters. A bad number is the default, and counted.
    pub(super) fn cost(&self, cost: &algorithm::Cost, params: &Params) -> Result<Cost, RuleError> {
        let query = |name| {
            let told = self.subject.query(name);
            told.map_err(|error| RuleError::key(self.policy, self.rule, error))
        };
        let (told, default) = match cost {
            algorithm::Cost::Fixed(tokens) => (None, *tokens),
            algorithm::Cost::Header { name, default } => (self.subject.header(name), *default),
            algorithm::Cost::Query { name, default } => (query(name)?, *default),
        };
        let default = || Cost::new(default).ok_or_else(|| self.numbers());
        let Some(told) = told else { return default() };
        let number = told
            .trim()
            .parse()
            .ok()
            .and_then(Cost::new)
            .filter(|cost| cost.fits(params));
        if number.is_none() {
            self.stats.bad_cost();
        }
        number.map_or_else(default, Ok)
    }
}
