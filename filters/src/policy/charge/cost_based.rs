//! `cost_based`: a window of UTC for each period.

use portcullis_bundles::algorithm::{CostBased, Period};

use super::{Applying, Meaning, Parts, RuleError};
use crate::buckets::{Charge, Params, Window};
use crate::policy::subject::Subject;
use crate::verdict::Reason;

/// The reason when the budget is used up.
pub const BUDGET_EXCEEDED: Reason = Reason("budget_exceeded");

/// The number of the counter: another for each period, so that none is taken for that of another.
const fn part(period: Period) -> u8 {
    match period {
        Period::FiveMinutes => 1,
        Period::Hour => 2,
        Period::Day => 3,
        Period::Week => 4,
    }
}

pub(super) fn add<'p>(
    budget: &'p CostBased,
    applying: &Applying<'p, '_, impl Subject>,
    parts: &mut Parts<'p>,
) -> Result<(), RuleError> {
    let params = Params::window(Window::utc(budget.period, applying.now), budget.most);
    let params = params.ok_or_else(|| applying.numbers())?;
    let cost = applying.cost(&budget.cost, &params)?;
    let charge = Charge::new(applying.hasher.finish_part(part(budget.period)), params, cost);
    let mut part = applying.part(charge, BUDGET_EXCEEDED);
    part.meaning = Meaning::Limit(&budget.stages);
    parts.push(part);
    Ok(())
}
