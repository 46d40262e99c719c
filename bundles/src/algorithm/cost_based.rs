//! `cost_based`: a budget for each period of UTC, with stages that warn, slow down or refuse. Numbers only; the counting is
//! the evaluator's.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::check::Check;
use super::cost::Cost;
use super::period::Period;

/// Its name.
pub const NAME: &str = "cost_based";

/// The longest time a request is held back.
pub const MAX_DELAY_MS: u32 = 30_000;

/// A compiled budget. All numbers are finite and positive, and no cost is above `most`.
#[derive(Debug, Clone, PartialEq)]
pub struct CostBased {
    /// What may be used in a period: the part of the budget at which the first `reject` stands.
    pub most: f64,
    /// Over which period.
    pub period: Period,
    /// What a request costs.
    pub cost: Cost,
    /// What happens before it is used up, by rising thresholds.
    pub stages: Box<[Stage]>,
}

/// What happens from a threshold on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// Millionths of a unit of cost that are used when it begins.
    pub from_millionths: u64,
    /// What happens.
    pub action: StageAction,
}

/// What a stage does with a request that it lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StageAction {
    /// Says so.
    Warn,
    /// Holds it back first.
    Throttle {
        /// For so long.
        delay_ms: u32,
    },
}

/// The numbers of `cost_based` as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CostBasedConfig {
    /// `cost_based`, or absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// What may be used in a period.
    pub budget: Option<f64>,
    /// `5m`, `1h`, `1d` or `7d`, on UTC; a week begins on Sunday.
    #[schemars(with = "Option<Period>")]
    pub period: Option<String>,
    /// `fixed` (default), `header:NAME` or `query:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost_key: Option<String>,
    /// The cost when `cost_key` is `fixed`. 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fixed_cost: Option<f64>,
    /// The cost when the request gives no usable number. 1 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_cost: Option<f64>,
    /// What happens from which share of the budget on. One of them is `reject` at 100.
    pub staged_actions: Option<Vec<StagedAction>>,
}

/// A stage as written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StagedAction {
    /// From which share of the budget on, 0 to 100. What would go beyond a `reject` is refused; exactly up to it passes.
    pub threshold_percent: Option<f64>,
    /// `warn`, `throttle` or `reject`.
    #[schemars(with = "Option<StageName>")]
    pub action: Option<String>,
    /// For `throttle`: how long a request is held back. At most 30000; more counts as that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
}

/// The names of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum StageName {
    Warn,
    Throttle,
    Reject,
}

/// A stage that was checked. `None` as action: reject.
struct Checked {
    percent: f64,
    action: Option<StageAction>,
}

/// As written to compiled. `None` when something was wrong.
pub(super) fn compile(written: &CostBasedConfig, check: &mut Check<'_, '_>) -> Option<CostBased> {
    check.algorithm(written.algorithm.as_deref(), NAME);
    let budget = match written.budget {
        Some(budget) => check.tokens("budget", budget),
        None => check.missing("budget must be a positive number"),
    };
    let known = |period: &Period| written.period.as_deref() == Some(period.as_str());
    let period = Period::ALL.into_iter().find(known);
    if period.is_none() {
        check.fail("period", "period must be one of 5m, 1h, 1d, 7d");
    }
    let stages = stages(written.staged_actions.as_deref().unwrap_or_default(), check);
    let first_reject = stages.as_ref().map(|stages| {
        let rejects = stages.iter().filter(|stage| stage.action.is_none());
        rejects.map(|stage| stage.percent).fold(100.0, f64::min)
    });
    let most = budget
        .zip(first_reject)
        .map(|(budget, percent)| budget * percent / 100.0);
    let limit = ("the budget up to the first reject", most);
    let fixed = check.cost("fixed_cost", written.fixed_cost, limit);
    let default = check.cost("default_cost", written.default_cost, limit);
    let cost = check.source("cost_key", written.cost_key.as_deref(), fixed, default);
    if !check.is_ok() {
        return None;
    }
    let budget = budget?;
    let stages = stages?.into_iter().filter_map(|stage| {
        Some(Stage {
            from_millionths: millionths(budget * stage.percent / 100.0),
            action: stage.action?,
        })
    });
    Some(CostBased {
        most: most?,
        period: period?,
        cost: cost?,
        stages: stages.collect(),
    })
}

/// The stages by rising thresholds.
fn stages(written: &[StagedAction], check: &mut Check<'_, '_>) -> Option<Vec<Checked>> {
    const FIELD: &str = "staged_actions";
    if written.is_empty() {
        check.fail(FIELD, "staged_actions must be a non-empty table");
        return None;
    }
    let mut stages = Vec::with_capacity(written.len());
    for stage in written {
        stages.push(stage_of(stage).map_err(|message| check.fail(FIELD, message)).ok()?);
    }
    stages.sort_by(|a, b| a.percent.total_cmp(&b.percent));
    let twice = stages
        .iter()
        .zip(stages.iter().skip(1))
        .any(|(one, next)| one.percent >= next.percent);
    if twice {
        check.fail(FIELD, "staged_actions thresholds must be strictly ascending");
    }
    let last = stages.last().filter(|stage| stage.percent >= 100.0);
    if last.is_none_or(|stage| stage.action.is_some()) {
        check.fail(FIELD, "staged_actions must include reject at 100%");
    }
    if stages
        .first()
        .is_some_and(|first| first.percent <= 0.0 && first.action.is_none())
    {
        check.fail(FIELD, "a reject at 0% would refuse every request");
    }
    Some(stages)
}

fn stage_of(written: &StagedAction) -> Result<Checked, &'static str> {
    let percent = written
        .threshold_percent
        .filter(|percent| (0.0..=100.0).contains(percent))
        .ok_or("threshold_percent must be between 0 and 100")?;
    let action = match written.action.as_deref() {
        Some("warn") => Some(StageAction::Warn),
        Some("throttle") => {
            let delay = written.delay_ms.filter(|delay| delay.is_finite() && *delay > 0.0);
            let delay = delay.ok_or("delay_ms must be a positive number for throttle action")?;
            // From 1 to the most there is.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let delay_ms = delay.ceil().min(f64::from(MAX_DELAY_MS)) as u32;
            Some(StageAction::Throttle { delay_ms })
        }
        Some("reject") => None,
        _ => return Err("action must be one of warn, throttle, reject"),
    };
    if written.delay_ms.is_some() && !matches!(action, Some(StageAction::Throttle { .. })) {
        return Err("delay_ms is for the throttle action only");
    }
    Ok(Checked { percent, action })
}

fn millionths(units: f64) -> u64 {
    // At most 10¹⁵, and not negative.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let millionths = (units * 1e6).round() as u64;
    millionths
}
