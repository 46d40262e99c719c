//! From a hook's outcome to what becomes of the exchange.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use portcullis_config::site::{Mode, OnError};

use super::stats::Count;
use super::{Link, Settled};
use crate::record::{Action, Decision};
use crate::verdict::{Denial, Outcome, Reason, Stop, Verdict};

/// Which link ended an exchange, and why.
#[derive(Debug, Clone)]
pub struct StopInfo {
    /// The link's name.
    pub link: Arc<str>,
    /// The filter's kind.
    pub kind: &'static str,
    /// Whether it refused, answered, or broke.
    pub action: Action,
    /// The stable code.
    pub reason: Reason,
    /// For the log, never for the client.
    pub detail: Option<Cow<'static, str>>,
    /// The policy that refused, where one did.
    pub policy: Option<Arc<str>>,
    /// Its rule.
    pub rule: Option<Arc<str>>,
}

/// The reason of an answer that a filter gives itself.
const REPLIED: Reason = Reason("replied");

impl Link {
    /// Shadow, posture, stats and the decision. `first`: no hook of this link counted in this exchange so far.
    pub(crate) fn settle(&self, outcome: Outcome, first: bool) -> (Settled, Option<Decision>) {
        let (action, reason, detail, stop) = match outcome {
            Ok(Verdict::Continue) => {
                if first {
                    self.info.stats.count(Count::Allowed);
                }
                return (Settled::Go, None);
            }
            Ok(Verdict::Wait(waiting)) => return (Settled::Wait(waiting), None),
            // A shadow holds nobody back; it is asked again at once.
            Ok(Verdict::Pause(span)) => {
                let enforced = self.info.mode == Mode::Enforce;
                return (Settled::Pause(if enforced { span } else { Duration::ZERO }), None);
            }
            Ok(Verdict::Body(most)) => return (Settled::Body(most), None),
            Ok(Verdict::End(reason)) => return self.settle_end(reason),
            Ok(Verdict::Stop(Stop::Deny(denial))) => (Action::Deny, denial.reason, None, Some(Stop::Deny(denial))),
            Ok(Verdict::Stop(stop @ Stop::Reply(_))) => (Action::Reply, REPLIED, None, Some(stop)),
            Err(error) => {
                let closed = self.info.on_error == OnError::Deny;
                let stop = closed.then(|| Stop::Deny(Denial::new(error.status, error.reason)));
                (Action::Error, error.reason, Some(error.detail), stop)
            }
        };
        let stop = stop.filter(|_| self.info.mode == Mode::Enforce);
        self.info.stats.count(self.what(action, stop.is_some()));
        let decision = self.decision(action, reason, detail.clone());
        let settled = stop.map_or(Settled::Go, |stop| {
            Settled::Stop(stop, Box::new(self.stop_info(action, reason, detail)))
        });
        (settled, Some(decision))
    }

    /// A link ends an answer that has begun.
    fn settle_end(&self, reason: Reason) -> (Settled, Option<Decision>) {
        self.info.stats.count(self.what(Action::Deny, false));
        let settled = match self.info.mode {
            Mode::Enforce => Settled::End(reason),
            Mode::Shadow => Settled::Go,
        };
        (settled, Some(self.decision(Action::Deny, reason, None)))
    }

    fn what(&self, action: Action, stops: bool) -> Count {
        match (action, self.info.mode) {
            (Action::Error, _) if stops => Count::ErrorDenied,
            (Action::Error, _) => Count::ErrorAllowed,
            (_, Mode::Shadow) => Count::ShadowDenied,
            (Action::Reply, Mode::Enforce) => Count::Replied,
            (Action::Deny | Action::Allow, Mode::Enforce) => Count::Denied,
        }
    }

    fn decision(&self, action: Action, reason: Reason, detail: Option<Cow<'static, str>>) -> Decision {
        let link = Arc::clone(&self.info.name);
        Decision {
            link,
            action,
            reason,
            mode: self.info.mode,
            policy: None,
            rule: None,
            detail,
        }
    }

    fn stop_info(&self, action: Action, reason: Reason, detail: Option<Cow<'static, str>>) -> StopInfo {
        let link = Arc::clone(&self.info.name);
        StopInfo {
            link,
            kind: self.info.kind,
            action,
            reason,
            detail,
            policy: None,
            rule: None,
        }
    }
}
