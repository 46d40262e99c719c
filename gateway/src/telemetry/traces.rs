//! Traces: W3C propagation (Trace Context, level 1), sampling, a span for each request and for its way upstream, and their export over OTLP/HTTP.
//! Spans are made after the answer; a collector that is slow or gone costs spans, which are counted, and no time.

mod context;
mod export;
mod span;
mod state;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora_http::RequestHeader;
use portcullis_config::telemetry::Traces as Settings;

pub use context::TraceParent;

use self::export::Exporter;
use crate::http_client::{FetchError, Url};
use crate::telemetry::access_log::AccessRecord;
use crate::telemetry::exposition::{Collect, Exposition};

/// The header that carries the trace (W3C Trace Context).
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// The header that carries what tracing systems add to it.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Traces of the process. Off until settings are applied.
#[derive(Debug, Default)]
pub struct Traces {
    active: ArcSwapOption<Active>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Active {
    settings: Settings,
    exporter: Exporter,
}

#[derive(Debug, Default)]
struct Counters {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// Why settings of traces cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TracesError {
    /// The endpoint.
    #[error("the traces' endpoint is {0}")]
    Endpoint(#[from] FetchError),
    /// The exporter.
    #[error("the exporter of traces cannot be set up: {0}")]
    Exporter(String),
}

impl Traces {
    /// Off.
    pub fn off() -> Self {
        Self::default()
    }

    /// Whether settings can be used. Touches nothing.
    pub fn check(settings: &Settings) -> Result<(), TracesError> {
        Url::parse_any(&settings.endpoint)?;
        Ok(())
    }

    /// Uses these settings from now on; `None` switches traces off. To be called within a tokio runtime. Spans of before are still sent.
    pub fn apply(&self, settings: Option<&Settings>) -> Result<(), TracesError> {
        let before = self.active.load();
        if before.as_ref().map(|active| &active.settings) == settings {
            return Ok(());
        }
        let active = match settings {
            None => None,
            Some(settings) => {
                let exporter = Exporter::start(settings, Arc::clone(&self.counters))?;
                Some(Arc::new(Active {
                    settings: settings.clone(),
                    exporter,
                }))
            }
        };
        self.active.store(active);
        Ok(())
    }

    /// Begins the span of a request. `trusted`: its sender's own sampling decision counts. `None` while traces are off:
    /// what came in is then passed on as it is.
    pub fn begin(&self, headers: &HeaderMap, trusted: bool) -> Option<RequestSpan> {
        let active = self.active.load_full()?;
        let parent = TraceParent::of(headers);
        let sampled = match parent {
            Some(parent) if trusted => parent.sampled,
            _ => fastrand::f64() < active.settings.sample,
        };
        let state = parent.and_then(|_| state::of(headers));
        Some(RequestSpan {
            trace_id: parent.map_or_else(|| fastrand::u128(1..).to_be_bytes(), |parent| parent.trace_id),
            parent: parent.map(|parent| parent.span_id),
            server: fastrand::u64(1..).to_be_bytes(),
            client: fastrand::u64(1..).to_be_bytes(),
            sampled,
            state,
            began: SystemTime::now(),
            active,
        })
    }

    /// Sends what waits, for at most this long, and stops.
    pub async fn shutdown(&self, patience: Duration) {
        if let Some(active) = self.active.swap(None) {
            active.exporter.shutdown(patience).await;
        }
    }
}

impl Collect for Traces {
    fn collect(&self, out: &mut Exposition) {
        let help = "Spans that ended, by what became of them.";
        let Counters {
            exported,
            dropped,
            failed,
        } = &*self.counters;
        for (result, count) in [("exported", exported), ("dropped", dropped), ("failed", failed)] {
            out.counter(
                "portcullis_trace_spans_total",
                help,
                &[("result", result)],
                count.load(Relaxed),
            );
        }
    }
}

/// The span of a request that is being served.
#[derive(Debug)]
pub struct RequestSpan {
    trace_id: [u8; 16],
    parent: Option<[u8; 8]>,
    server: [u8; 8],
    client: [u8; 8],
    sampled: bool,
    state: Option<HeaderValue>,
    began: SystemTime,
    active: Arc<Active>,
}

impl RequestSpan {
    /// The trace that it is part of.
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// Whether it will be exported.
    pub fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// What the upstream is told: the same trace, and the span of the way to it as parent.
    pub fn context(&self) -> TraceParent {
        TraceParent {
            trace_id: self.trace_id,
            span_id: self.client,
            sampled: self.sampled,
        }
    }

    /// Puts the context into a request that goes upstream.
    pub fn inject(&self, request: &mut RequestHeader) -> pingora_error::Result<()> {
        request.insert_header(TRACEPARENT, self.context().header())?;
        if let Some(state) = &self.state {
            return request.insert_header(TRACESTATE, state.clone());
        }
        request.remove_header(&TRACESTATE);
        Ok(())
    }

    /// The exchange is over: its spans are made and handed over, if they are wanted. Never waits.
    pub fn end(self, record: &AccessRecord<'_>) {
        if self.sampled {
            self.active.exporter.send(span::spans(&self, record));
        }
    }
}
