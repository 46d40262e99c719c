//! The spans of an exchange, from its access record: names and attributes follow OpenTelemetry's semantic conventions for HTTP (1.23 and later).

use std::borrow::Cow;
use std::time::Duration;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::RequestSpan;
use crate::telemetry::access_log::{AccessRecord, UpstreamRecord, scrubbed_path, scrubbed_query};

/// Longest text of an attribute.
const LONGEST: usize = 1024;

const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY",
];

/// The span of the request, and that of its way upstream if it was gone.
pub(super) fn spans(span: &RequestSpan, record: &AccessRecord<'_>) -> Vec<SpanData> {
    let mut spans = vec![server(span, record)];
    if let Some(upstream) = &record.upstream {
        spans.push(client(span, record, upstream));
    }
    spans
}

fn server(span: &RequestSpan, record: &AccessRecord<'_>) -> SpanData {
    let method = method(record.method);
    let name = match record.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    };
    let failed = record.status.is_none_or(|status| status >= 500);
    SpanData {
        span_context: context(span, span.server),
        parent_span_id: span.parent.map_or(SpanId::INVALID, SpanId::from_bytes),
        parent_span_is_remote: span.parent.is_some(),
        span_kind: SpanKind::Server,
        name: name.into(),
        start_time: span.began,
        end_time: span.began + record.duration,
        attributes: server_attributes(record, method, failed),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope(),
    }
}

fn server_attributes(record: &AccessRecord<'_>, method: &'static str, failed: bool) -> Vec<KeyValue> {
    let mut attributes = Attributes(Vec::with_capacity(24));
    attributes.request(record, method);
    attributes.text("url.scheme", Some(if record.tls.is_some() { "https" } else { "http" }));
    attributes.bytes("url.path", Some(&scrubbed_path(record.path)));
    attributes.bytes("url.query", record.query.as_deref().map(scrubbed_query).as_deref());
    attributes.bytes("server.address", Some(record.host).filter(|host| !host.is_empty()));
    attributes.text("http.route", record.route);
    attributes.status(record.status);
    attributes.text(
        "client.address",
        record.client.map(|client| client.to_string()).as_deref(),
    );
    if let Some(peer) = record.peer {
        attributes.text("network.peer.address", Some(&peer.ip().to_string()));
        attributes.number("network.peer.port", Some(u64::from(peer.port())));
    }
    attributes.text("network.protocol.name", Some("http"));
    attributes.text("network.protocol.version", Some(version(record.protocol)));
    attributes.text("tls.protocol.version", record.tls.as_ref().map(|tls| tls.version));
    attributes.bytes("user_agent.original", record.user_agent);
    attributes.number("http.request.body.size", Some(record.request_bytes));
    attributes.number("http.response.body.size", Some(record.response_bytes));
    if failed {
        attributes.error(record.status, record.reason);
    }
    attributes.text("portcullis.request_id", Some(record.request_id));
    attributes.text("portcullis.listener", Some(record.listener));
    attributes.text("portcullis.reason", record.reason);
    attributes.text("portcullis.receipt", Some(&record.receipt.to_string()));
    attributes.text("portcullis.snapshot", Some(record.snapshot));
    attributes.number("portcullis.bundle_version", record.bundle_version);
    attributes.0
}

fn client(span: &RequestSpan, record: &AccessRecord<'_>, upstream: &UpstreamRecord<'_>) -> SpanData {
    let method = method(record.method);
    let failed = upstream.status.is_none_or(|status| status >= 400);
    let mut attributes = Attributes(Vec::with_capacity(8));
    attributes.request(record, method);
    let server = upstream.server.and_then(|server| server.rsplit_once(':'));
    attributes.text("server.address", server.map(|(host, _)| host.trim_matches(['[', ']'])));
    attributes.number("server.port", server.and_then(|(_, port)| port.parse().ok()));
    attributes.status(upstream.status);
    attributes.number(
        "http.request.resend_count",
        Some(u64::from(upstream.attempts)).filter(|n| *n > 1).map(|n| n - 1),
    );
    if failed {
        attributes.error(upstream.status, record.reason);
    }
    attributes.text("portcullis.upstream", Some(upstream.name));
    let since = upstream.since.unwrap_or(Duration::ZERO).min(record.duration);
    SpanData {
        span_context: context(span, span.client),
        parent_span_id: SpanId::from_bytes(span.server),
        parent_span_is_remote: false,
        span_kind: SpanKind::Client,
        name: method.into(),
        start_time: span.began + since,
        end_time: span.began + record.duration,
        attributes: attributes.0,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: if failed { Status::error("") } else { Status::Unset },
        instrumentation_scope: scope(),
    }
}

fn context(span: &RequestSpan, id: [u8; 8]) -> SpanContext {
    let (trace, id) = (TraceId::from_bytes(span.trace_id), SpanId::from_bytes(id));
    SpanContext::new(trace, id, TraceFlags::SAMPLED, false, TraceState::NONE)
}

fn scope() -> InstrumentationScope {
    InstrumentationScope::builder("portcullis")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build()
}

/// A method of a small set, so that names stay few.
fn method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("_OTHER")
}

/// `1.1` of `HTTP/1.1`, `2` of `HTTP/2.0`.
fn version(protocol: &str) -> &str {
    let version = protocol.strip_prefix("HTTP/").unwrap_or(protocol);
    if version == "2.0" { "2" } else { version }
}

struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn request(&mut self, record: &AccessRecord<'_>, method: &'static str) {
        self.0.push(KeyValue::new("http.request.method", method));
        if method == "_OTHER" {
            self.text("http.request.method_original", Some(record.method));
        }
    }

    fn status(&mut self, status: Option<u16>) {
        self.number("http.response.status_code", status.map(u64::from));
    }

    /// Why it failed: our reason, or the status.
    fn error(&mut self, status: Option<u16>, reason: Option<&str>) {
        let status = status.map(|status| status.to_string());
        self.text("error.type", Some(reason.or(status.as_deref()).unwrap_or("_OTHER")));
    }

    fn text(&mut self, key: &'static str, value: Option<&str>) {
        self.bytes(key, value.map(str::as_bytes));
    }

    fn bytes(&mut self, key: &'static str, value: Option<&[u8]>) {
        if let Some(value) = value {
            let head = value.get(..LONGEST).unwrap_or(value);
            let text: Cow<'_, str> = String::from_utf8_lossy(head);
            self.0.push(KeyValue::new(key, text.into_owned()));
        }
    }

    fn number(&mut self, key: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.0
                .push(KeyValue::new(key, Value::I64(i64::try_from(value).unwrap_or(i64::MAX))));
        }
    }
}
