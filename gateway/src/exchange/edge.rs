//! What is different in `portcullis edge`: which requests are questions, traffic or its own business, claims that nobody
//! verified, names of header fields, and metrics. And debug sessions, which are everywhere.

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use pingora_error::Result;
use pingora_proxy::Session;
use portcullis_filters::trace::Trace;

use super::{Exchange, subject};
use crate::debug::fields::{self, Prefix};
use crate::edge::claims;
use crate::edge::control::{Asked, Concern};
use crate::edge::metrics::Posture;

const WARNING: HeaderName = HeaderName::from_static("x-portcullis-warning");
const EDGE_WARNING: HeaderName = HeaderName::from_static("x-fairvisor-warning");
/// How often an identical request came.
const LOOP_COUNT: HeaderName = HeaderName::from_static("x-fairvisor-loop-count");
const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// What a kill switch leaves.
const KILLED: HeaderValue = HeaderValue::from_static("\"default\";r=0;t=3600");

impl Exchange {
    /// Takes in a request of the one port. `true`: it was answered.
    pub(super) async fn receive_at_edge(&mut self, session: &mut Session) -> Result<bool> {
        let live = std::sync::Arc::clone(&self.live);
        let (Some(edge), Some(connection)) = (live.edge_mode(), &self.connection) else {
            return Ok(false);
        };
        let request = session.req_header();
        let asked = Asked {
            method: &request.method,
            headers: &request.headers,
            from: connection.peer().ip(),
            now: self.now,
        };
        let raw = std::str::from_utf8(request.raw_path()).unwrap_or_default();
        match edge.concern(raw) {
            Concern::Traffic => Ok(false),
            Concern::Decision => self.decide(session).await.map(|()| true),
            Concern::Own(resource) => {
                let answer = edge.answer(resource, &live, &asked)?;
                self.unjudged = true;
                answer.write(session, self).await?;
                Ok(true)
            }
        }
    }

    /// Before the chain runs: does anybody want to know how it is decided? And who does the client say it is?
    pub(super) fn begin_debug(&mut self, session: &Session) {
        let (_, headers) = subject(session.req_header(), self.described.as_deref());
        self.debugged = self.live.debug().is_open(headers, self.now.unix_ms / 1000);
        let at_edge = self.live.edge_mode().is_some();
        if at_edge {
            self.facts.claims = claims::unverified(headers);
        }
        if at_edge || self.debugged {
            self.facts.trace = Some(Box::new(Trace {
                wants_descriptors: self.debugged,
                ..Trace::default()
            }));
        }
    }

    /// What an answer says beyond what the chain made it say.
    pub(super) fn add_debug(&mut self) {
        let at_edge = self.live.edge_mode().is_some();
        if at_edge {
            let headers = &mut self.facts.response_headers;
            if let Some(warning) = self.facts.warning {
                headers.remove(WARNING);
                headers.set(EDGE_WARNING, HeaderValue::from_static(warning.0));
            }
            if let Some(repeats) = self.facts.repeats {
                headers.set(LOOP_COUNT, HeaderValue::from(repeats));
            }
            let killed = self.denial.as_ref().is_some_and(|it| it.reason.0 == "kill_switch");
            if killed {
                headers.set(RATELIMIT, KILLED);
            }
        }
        if self.debugged {
            let prefix = if at_edge { Prefix::Fairvisor } else { Prefix::Portcullis };
            let took = self.started.elapsed();
            let bundle = self.snapshot.policy.decided_by(self.facts.side);
            let version = bundle.map(|policies| policies.version());
            fields::add(&mut self.facts, self.denial.as_ref(), took, version, prefix);
        }
    }

    /// Counts what was judged, for the families that `portcullis edge` has.
    pub(super) fn observe_for_edge(&self, took: Duration) {
        let (Some(edge), Some(_)) = (self.live.edge_mode(), &self.chain) else {
            return;
        };
        let now = self.now.unix();
        let posture = self
            .snapshot
            .policy
            .decided_by(self.facts.side)
            .map_or_else(Posture::default, |policies| Posture {
                global_shadow: policies.global_shadow(now).is_some(),
                kill_switch_override: policies.kill_switch_override(now).is_some(),
            });
        edge.metrics.observe(&self.facts, self.denial.as_ref(), took, posture);
    }
}
