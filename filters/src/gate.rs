//! The gate: place 0 of every chain, also of the one that runs where no route matches. Kill switches, and the refusal
//! when there should be a policy and is none. It cannot be left out, moved, put in shadow or opened.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use portcullis_bundles::switches::{Origin, Phase, Switch};
use portcullis_config::site::{Mode, OnError};

use crate::attributes::RequestAttributes;
use crate::filter::Phases;
use crate::jitter::{self, Salt};
use crate::link::{ErasedFilter, Failed, Link, LinkInfo, Slot, caught};
use crate::record::{Action, Decision, LogRecord};
use crate::request::{Bundle, Request};
use crate::response::Response;
use crate::verdict::{CONTINUE, Denial, FilterError, Outcome, Reason, Verdict};
use crate::zones::{BuildEnv, OneShape, ZoneError};

/// The reason of a kill switch's refusal.
pub const KILL_SWITCH: Reason = Reason("kill_switch");
/// The kind and the name of the gate in logs and metrics.
pub const GATE: &str = "gate";
/// Seconds after which a client that a kill switch refused may try again, before they are spread.
const RETRY_AFTER: u32 = 3600;

/// The gate.
#[derive(Clone)]
pub(crate) struct Gate {
    salt: Salt,
}

impl Gate {
    pub(crate) fn new(env: &BuildEnv<'_>) -> Self {
        Self { salt: env.salt() }
    }

    /// Of a chain that lets nothing pass.
    pub(crate) const fn closed() -> Self {
        Self {
            salt: Salt::Own([0; 16]),
        }
    }

    /// The link at place 0. All gates of an instance count together.
    pub(crate) fn link(&self, env: &mut BuildEnv<'_>) -> Result<Link, ZoneError> {
        let info = LinkInfo {
            kind: GATE,
            name: GATE.into(),
            scope: env.scope.into(),
            place: 0,
            mode: Mode::Enforce,
            on_error: OnError::Deny,
            stats: env.zones.open(GATE, &OneShape)?,
        };
        Ok(Link {
            info,
            phases: Phases::REQUEST,
            slot: None,
            filter: Box::new(self.clone()),
        })
    }

    /// Once claims are verified or a tenant is known: the switches that look at them.
    pub(crate) fn after_identity(&self, request: &mut Request<'_>) -> Outcome {
        caught(|| self.switches(request, Phase::AfterIdentity)).map_err(|Failed(error, _)| error)
    }

    /// The other switches, and whether there is a policy where there should be one.
    fn before_identity(&self, request: &mut Request<'_>) -> Outcome {
        // Claims that no link has to verify are there from the beginning.
        if request.facts.claims.is_some()
            && let stop @ Verdict::Stop(_) = self.switches(request, Phase::AfterIdentity)?
        {
            return Ok(stop);
        }
        match (self.switches(request, Phase::BeforeIdentity)?, request.policy.bundle) {
            (Verdict::Continue, Bundle::Missing(reason)) => {
                Ok(Denial::new(StatusCode::SERVICE_UNAVAILABLE, Reason(reason)).into())
            }
            (verdict, _) => Ok(verdict),
        }
    }

    fn switches(&self, request: &mut Request<'_>, phase: Phase) -> Outcome {
        let switches = request.policy.switches;
        if !switches.has(phase) {
            return CONTINUE;
        }
        let attributes = RequestAttributes::new(request);
        let found = switches.find(&attributes, phase, request.head.now.unix());
        match (found, attributes.error()) {
            (Some(switch), _) => Ok(self.refuse(request, switch)),
            (None, Some(error)) => Err(FilterError::internal("kill_switch_key", error.to_string())),
            (None, None) => CONTINUE,
        }
    }

    fn refuse(&self, request: &mut Request<'_>, switch: &Switch) -> Verdict {
        let retry_after = jitter::spread(RETRY_AFTER, self.salt, request, ("", ""), KILL_SWITCH);
        let mut decision = Decision::new(Action::Deny, KILL_SWITCH);
        decision.rule = Some(Arc::from(switch.key.to_string()));
        let origin = match &switch.origin {
            Origin::Bundle(place) => format!("kill_switches[{place}] of the bundle"),
            Origin::Runtime(id) => format!("kill switch {id}, set at run time"),
            Origin::Document(place) => format!("kill_switches[{place}] of the kill-switch document"),
        };
        let reason = switch
            .reason
            .as_deref()
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        decision.detail = Some(format!("{origin}{reason}").into());
        request.facts.decide(decision);
        Denial::new(StatusCode::TOO_MANY_REQUESTS, KILL_SWITCH)
            .retry_after(retry_after)
            .into()
    }
}

impl ErasedFilter for Gate {
    fn secret_parameter(&self) -> Option<&str> {
        None
    }

    fn on_request(&self, _: &mut Slot, request: &mut Request<'_>) -> Outcome {
        caught(|| self.before_identity(request)).map_err(|Failed(error, _)| error)
    }

    fn on_request_body(&self, _: &mut Slot, _: &mut Option<Bytes>, _: bool) -> Outcome {
        CONTINUE
    }

    fn on_response(&self, _: &mut Slot, _: &mut Response<'_>) -> Outcome {
        CONTINUE
    }

    fn on_response_body(&self, _: &mut Slot, _: &mut Option<Bytes>, _: bool) -> Outcome {
        CONTINUE
    }

    fn on_log(&self, _: &mut Slot, _: &mut LogRecord) -> Outcome {
        CONTINUE
    }
}
