//! The last step: a line in the access log, the route's counters, the span. Nothing is decided any more.

use std::time::Duration;

use http::{StatusCode, Version};
use pingora_error::{Error, ErrorSource};
use pingora_proxy::Session;
use portcullis_config::site::Mode;
use portcullis_filters::receipt::Receipt;
use portcullis_filters::record::{Action, LogRecord};
use portcullis_filters::tenant::TenantId;
use portcullis_filters::verdict::{Denial, Reason};

use super::{Exchange, answer, chain_of, subject};
use crate::telemetry::access_log::{AccessRecord, TlsRecord, UpstreamRecord};
use crate::telemetry::metrics::{Observation, UpstreamObservation};
use crate::telemetry::stamp::Stamp;
use crate::telemetry::traces::RequestSpan;

impl Exchange {
    /// Records the exchange.
    pub fn record(&mut self, session: &Session, error: Option<&Error>) {
        if let Some(reason) = self.cut {
            self.denial = Some(Denial::new(StatusCode::OK, reason));
        }
        if let (Some(error), None) = (error, &self.denial) {
            self.denial = Some(Denial::new(answer::client_closed(), self.cut_short(error)));
        }
        let mut fields = LogRecord::default();
        if let Some(state) = &mut self.chain {
            chain_of(&self.snapshot, self.route).on_log(state, &mut fields);
            self.facts.decisions.extend(state.late_decisions().iter().cloned());
        }
        let took = self.started.elapsed();
        self.keep(session);
        self.observe(took);
        self.observe_for_edge(took);
        self.observe_for_rollout();
        self.report();
        let span = self.span.take();
        let observers = self.live.observers();
        if observers.access_log.is_on() || span.is_some() {
            let mut record = self.access_record(session, &fields, took);
            record.trace_id = span.as_ref().map(RequestSpan::trace_id);
            observers.access_log.write(&record);
            if let Some(span) = span {
                span.end(&record);
            }
        }
    }

    /// Counts it for the control plane. What was refused before its chain began has no decisions, and is one itself.
    fn report(&self) {
        let (reporter, status) = (self.live.reporter(), self.final_status());
        match &self.denial {
            Some(denial) if self.chain.is_none() => reporter.count_refused(status, denial.reason),
            _ => reporter.count(status, &self.facts.decisions),
        }
    }

    /// Why an exchange that nobody refused did not come to its end.
    fn cut_short(&self, error: &Error) -> Reason {
        match (self.status, error.esource()) {
            (None, _) => Reason("client_closed"),
            (Some(_), ErrorSource::Upstream) => Reason("upstream_aborted"),
            (Some(_), ErrorSource::Downstream) => Reason("client_aborted"),
            (Some(_), ErrorSource::Internal | ErrorSource::Unset) => Reason("aborted"),
        }
    }

    /// The status as logs show it: what was sent, or why nothing was.
    fn final_status(&self) -> Option<u16> {
        self.status
            .or_else(|| self.denial.as_ref().map(|denial| denial.status))
            .map(|status| status.as_u16())
    }

    /// Mandatory links whose receipt is missing although nobody refused the request: what must never be.
    fn unproven(&self) -> Receipt {
        match &self.denial {
            Some(denial) if denial.reason.0 != super::MISSING_RECEIPT => Receipt::default(),
            None if self.unjudged => Receipt::default(),
            _ => self.missing(),
        }
    }

    fn observe(&self, took: Duration) {
        let listener = self.connection.as_ref().map(|connection| &**connection.listener());
        let leg = &self.leg;
        let upstream = (leg.attempts > 0).then_some(UpstreamObservation {
            attempts: leg.attempts,
            reused: leg.connect.map(|_| leg.reused),
            connect: leg.connect,
            first_byte: leg.first_byte,
        });
        let metrics = match self.route() {
            Some(route) => &route.metrics,
            None => self.live.observers().metrics.unrouted(),
        };
        metrics.record(
            listener,
            &Observation {
                status: self.final_status(),
                took,
                request_bytes: self.request_bytes,
                response_bytes: self.response_bytes,
                upstream,
            },
        );
    }

    /// Counts what became of it, while two bundles are compared.
    fn observe_for_rollout(&self) {
        let (Some(rollout), Some(side)) = (&self.snapshot.policy.rollout, self.facts.side) else {
            return;
        };
        let mut decisions = self.facts.decisions.iter();
        let rejected = decisions.any(|decision| {
            decision.action == Action::Deny && decision.mode == Mode::Enforce && decision.policy.is_some()
        });
        let failed = self.final_status().is_some_and(|status| status >= 500);
        rollout.count(side, rejected, failed);
    }

    fn access_record<'a>(&'a self, session: &'a Session, fields: &'a LogRecord, took: Duration) -> AccessRecord<'a> {
        let request = session.req_header();
        let (method, fields_of_request) = subject(request, self.described.as_deref());
        let header = |name| fields_of_request.get(name).map(http::HeaderValue::as_bytes);
        let (path, query) = match &self.target {
            Some(target) => (target.path.as_bytes(), self.query_to_log()),
            None => (request.raw_path(), None),
        };
        let tls = self.connection.as_ref().and_then(|connection| connection.tls());
        AccessRecord {
            time: Stamp(self.now.unix_ms),
            request_id: self.id.as_str(),
            trace_id: None,
            client: self.client.as_ref().map(|client| client.address),
            peer: self.connection.as_ref().map(|connection| connection.peer()),
            listener: self
                .connection
                .as_ref()
                .map_or("", |connection| &connection.listener().name),
            tls: tls.map(|tls| TlsRecord {
                version: tls.version,
                server_name: tls.server_name.as_deref(),
                client: tls.client.as_deref(),
            }),
            method: method.as_str(),
            host: self
                .target
                .as_ref()
                .map_or_else(|| header("host").unwrap_or_default(), |target| target.host.as_bytes()),
            path,
            query,
            protocol: protocol(request.version),
            status: self.final_status(),
            reason: self.denial.as_ref().map(|denial| denial.reason.0),
            duration: took,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            upstream: self.upstream_record(),
            tenant: self.facts.tenant.as_ref().map(TenantId::as_str),
            route: self.route().map(|route| &*route.name),
            receipt: self.receipt(),
            missing: self.unproven(),
            snapshot: &self.snapshot.digest,
            bundle_version: self
                .snapshot
                .policy
                .decided_by(self.facts.side)
                .map(|policies| policies.version()),
            decisions: &self.facts.decisions,
            user_agent: header("user-agent"),
            referer: header("referer"),
            fields: Some(fields),
        }
    }

    fn upstream_record(&self) -> Option<UpstreamRecord<'_>> {
        let leg = &self.leg;
        let upstream = self.upstream(&self.snapshot).filter(|_| leg.attempts > 0)?;
        Some(UpstreamRecord {
            name: upstream.name(),
            server: leg.server().map(|selected| selected.server().address()),
            attempts: leg.attempts,
            status: leg.status.map(|status| status.as_u16()),
            since: leg.began.map(|began| began.saturating_duration_since(self.started)),
            connect: leg.connect,
            first_byte: leg.first_byte,
        })
    }
}

const fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
