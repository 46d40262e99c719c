//! A bundle on trial: whom it judges, how it does, and what follows from that. The steps that follow are taken by
//! [`crate::live`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis_bundles::policies::Policies;
use portcullis_config::rollout::{By, Guard, Rollout as Settings};
use portcullis_filters::facts::Side;
use portcullis_filters::policy::{Share, Trial};
use serde::{Deserialize, Serialize};

use crate::telemetry::stamp::Stamp;

/// A bundle on trial, in the snapshot beside the one in force.
pub struct Rollout {
    /// The bundle, and for whom it is.
    pub trial: Trial,
    /// As the configuration says.
    pub settings: Settings,
    /// When it began, here and in this process.
    pub began_at: Stamp,
    began: Instant,
    tally: Tally,
    /// Those of the whole process.
    totals: Arc<Tally>,
}

/// What became of requests, by the bundle that decided them.
#[derive(Debug, Default)]
pub struct Tally {
    in_force: Counters,
    on_trial: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    requests: AtomicU64,
    rejected: AtomicU64,
    failed: AtomicU64,
}

/// What became of the requests that a bundle decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All of them.
    pub requests: u64,
    /// Refused by its policies.
    pub rejected: u64,
    /// Answered with 5xx.
    pub failed: u64,
}

/// What follows from how a bundle did so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing yet.
    Wait,
    /// It comes into force.
    Promote,
    /// It goes, because of this.
    RollBack(String),
}

impl Rollout {
    /// Begins now. `node`: the name of this gateway.
    pub fn new(policies: Arc<Policies>, settings: Settings, node: &str, totals: Arc<Tally>) -> Self {
        let digest = policies.digest();
        let share = match settings.by {
            By::Identity => Share::of_identities(settings.percent, digest),
            By::Node => Share::of_node(settings.percent, digest, node),
        };
        Self {
            trial: Trial { policies, share },
            settings,
            began_at: Stamp::now(),
            began: Instant::now(),
            tally: Tally::default(),
            totals,
        }
    }

    /// The bundle.
    pub fn policies(&self) -> &Arc<Policies> {
        &self.trial.policies
    }

    /// Counts a request that one of the two bundles decided.
    pub fn count(&self, side: Side, rejected: bool, failed: bool) {
        self.tally.add(side, rejected, failed);
        self.totals.add(side, rejected, failed);
    }

    /// What became of requests.
    pub fn counts(&self, side: Side) -> Counts {
        self.tally.counts(side)
    }

    /// How long it has been tried.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What follows from how it did so far.
    pub fn verdict(&self) -> Verdict {
        let guard = &self.settings.guard;
        let (in_force, on_trial) = (self.counts(Side::InForce), self.counts(Side::OnTrial));
        verdict(guard, in_force, on_trial, self.elapsed(), self.trial.share.takes_part())
    }
}

impl Tally {
    fn of(&self, side: Side) -> &Counters {
        match side {
            Side::InForce => &self.in_force,
            Side::OnTrial => &self.on_trial,
        }
    }

    fn add(&self, side: Side, rejected: bool, failed: bool) {
        let counters = self.of(side);
        // What it came to first: nobody sees more of it than there are requests.
        counters.requests.fetch_add(1, Relaxed);
        if rejected {
            counters.rejected.fetch_add(1, Relaxed);
        }
        if failed {
            counters.failed.fetch_add(1, Relaxed);
        }
    }

    /// What became of requests.
    pub fn counts(&self, side: Side) -> Counts {
        let counters = self.of(side);
        Counts {
            rejected: counters.rejected.load(Relaxed),
            failed: counters.failed.load(Relaxed),
            requests: counters.requests.load(Relaxed),
        }
    }
}

impl Counts {
    /// The ratio of `part` to all requests, where there are enough to tell.
    #[allow(clippy::cast_precision_loss)] // counts of requests are far below 2^52
    fn ratio(self, part: u64, enough: u64) -> Option<f64> {
        (self.requests >= enough.max(1)).then(|| part as f64 / self.requests as f64)
    }
}

/// What follows from these counts. What the bundle in force does as well is not held against the one on trial.
fn verdict(guard: &Guard, in_force: Counts, on_trial: Counts, elapsed: Duration, takes_part: bool) -> Verdict {
    let enough = guard.min_requests;
    let bounds = [
        (
            "rejected",
            on_trial.rejected,
            in_force.rejected,
            guard.max_reject_ratio,
            "max_reject_ratio",
        ),
        (
            "answered with 5xx",
            on_trial.failed,
            in_force.failed,
            guard.max_5xx_ratio,
            "max_5xx_ratio",
        ),
    ];
    for (what, new, old, most, bound) in bounds {
        let Some(ratio) = on_trial.ratio(new, enough) else {
            break;
        };
        let usual = in_force.ratio(old, enough).unwrap_or(0.0);
        if ratio - usual > most {
            return Verdict::RollBack(format!(
                "{new} of {} requests were {what} ({:.2} %), under the bundle in force {old} of {} ({:.2} %); {bound} is {most}",
                on_trial.requests,
                ratio * 100.0,
                in_force.requests,
                usual * 100.0,
            ));
        }
    }
    let seen_enough = !takes_part || on_trial.requests >= enough;
    if elapsed >= guard.window.get() && seen_enough {
        Verdict::Promote
    } else {
        Verdict::Wait
    }
}

#[cfg(test)]
mod tests {
    use portcullis_config::units;

    use super::*;

    fn guard() -> Guard {
        Guard {
            max_reject_ratio: 0.05,
            max_5xx_ratio: 0.01,
            window: units::Duration::from_secs(60),
            min_requests: 100,
        }
    }

    fn counts(requests: u64, rejected: u64, failed: u64) -> Counts {
        Counts {
            requests,
            rejected,
            failed,
        }
    }

    fn after(seconds: u64, in_force: Counts, on_trial: Counts) -> Verdict {
        verdict(&guard(), in_force, on_trial, Duration::from_secs(seconds), true)
    }

    #[test]
    fn a_bundle_is_promoted_when_its_time_is_over_and_enough_was_seen() {
        let old = counts(2000, 0, 0);
        assert_eq!(after(59, old, counts(100, 5, 1)), Verdict::Wait);
        assert_eq!(
            after(60, old, counts(100, 5, 1)),
            Verdict::Promote,
            "on the bound is within"
        );
        assert_eq!(after(600, old, counts(99, 0, 0)), Verdict::Wait, "too few to tell");
        assert_eq!(after(600, old, counts(0, 0, 0)), Verdict::Wait);
    }

    #[test]
    fn one_over_a_bound_is_rolled_back_before_its_time_is_over() {
        let old = counts(2000, 0, 0);
        let Verdict::RollBack(why) = after(1, old, counts(100, 6, 0)) else {
            panic!("more than 5 % refused")
        };
        assert!(why.contains("6 of 100 requests were rejected (6.00 %)"), "{why}");
        assert!(why.contains("max_reject_ratio is 0.05"), "{why}");
        let Verdict::RollBack(why) = after(1, old, counts(100, 0, 2)) else {
            panic!("more than 1 % failed")
        };
        assert!(why.contains("max_5xx_ratio"), "{why}");
        assert_eq!(after(1, old, counts(99, 99, 99)), Verdict::Wait, "too few to tell");
    }

    #[test]
    fn what_the_bundle_in_force_does_as_well_is_not_held_against_it() {
        let outage = counts(2000, 600, 600);
        assert_eq!(after(60, outage, counts(100, 31, 30)), Verdict::Promote);
        assert!(matches!(after(60, outage, counts(100, 36, 30)), Verdict::RollBack(_)));
        let few = counts(99, 99, 99);
        assert!(
            matches!(after(1, few, counts(100, 6, 0)), Verdict::RollBack(_)),
            "99 tell nothing"
        );
    }

    #[test]
    fn a_gateway_outside_the_share_waits_for_the_time_alone() {
        let of = |seconds| {
            let elapsed = Duration::from_secs(seconds);
            verdict(&guard(), counts(5, 0, 0), Counts::default(), elapsed, false)
        };
        assert_eq!((of(59), of(60)), (Verdict::Wait, Verdict::Promote));
    }

    #[test]
    fn without_a_least_number_time_alone_decides_and_one_request_may_end_it() {
        let guard = Guard {
            min_requests: 0,
            ..guard()
        };
        let of = |on_trial, seconds| verdict(&guard, counts(5, 0, 0), on_trial, Duration::from_secs(seconds), true);
        assert_eq!(of(Counts::default(), 60), Verdict::Promote);
        assert!(matches!(of(counts(1, 1, 0), 0), Verdict::RollBack(_)));
    }
}
