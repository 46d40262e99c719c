//! After the log line: a request that policies decided about goes into the ring of recorded requests, where there is one.

use pingora_proxy::Session;
use portcullis_bundles::switches::Phase;
use portcullis_config::site::Mode;
use portcullis_filters::attributes::RequestAttributes;
use portcullis_filters::gate::{GATE, KILL_SWITCH};
use portcullis_filters::policy::RequestOutcome;
use portcullis_filters::record::Action;
use portcullis_filters::request::Request;

use super::{Exchange, chain_of, head};
use crate::snapshot::BundleState;

/// The kind of the filter that enforces bundles.
const POLICY: &str = "policy";
/// Why a request that no rule refused was let through, for those who read the ring.
const ALLOWED: &str = "allowed";

impl Exchange {
    /// Records the request, if a bundle decided about it.
    pub(super) fn keep(&mut self, session: &Session) {
        let Some(recorder) = self.live.recorder() else { return };
        let (Some(target), Some(client), Some(state)) = (&self.target, &self.client, &self.chain) else {
            return;
        };
        let snapshot = std::sync::Arc::clone(&self.snapshot);
        let chain = chain_of(&snapshot, self.route);
        let receipt = state.receipt();
        let by = self.denied_by.as_deref();
        let enforced = chain
            .links()
            .filter(|link| link.kind == POLICY && link.mode == Mode::Enforce);
        let reached = enforced
            .into_iter()
            .any(|link| receipt.has(link.place) || by == Some(&*link.name));
        let killed = by == Some(GATE) && self.denial.as_ref().is_some_and(|denial| denial.reason == KILL_SWITCH);
        if !reached && !killed {
            return;
        }
        let refused = self.facts.decisions.iter().rev().find(|decision| {
            decision.action == Action::Deny && decision.mode == Mode::Enforce && decision.policy.is_some()
        });
        let refused = refused.cloned();
        let request = session.req_header();
        let head = head(
            (&request.method, &request.headers),
            target,
            client,
            (&snapshot, self.route),
            self.now,
        );
        let request = Request {
            head: &head,
            facts: &mut self.facts,
            policy: snapshot.policy.view(snapshot.gateway.expired, self.now.unix()),
        };
        if killed {
            // Switches that are not the bundle's say nothing about bundles.
            let BundleState::Loaded(policies) = &snapshot.policy.bundle else {
                return;
            };
            let (attributes, unix) = (RequestAttributes::new(&request), self.now.unix());
            let find = |phase| policies.switches().find(&attributes, phase, unix);
            if find(Phase::BeforeIdentity)
                .or_else(|| find(Phase::AfterIdentity))
                .is_none()
            {
                return;
            }
        }
        let by = refused.as_ref().and_then(|decision| {
            Some((
                decision.policy.as_deref()?,
                decision.rule.as_deref().unwrap_or_default(),
            ))
        });
        let reason = match &refused {
            _ if killed => KILL_SWITCH.0,
            Some(decision) => decision.reason.0,
            None => ALLOWED,
        };
        recorder.record(
            &request,
            RequestOutcome {
                allowed: !killed && refused.is_none(),
                reason,
                by,
            },
        );
    }
}
