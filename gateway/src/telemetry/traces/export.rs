//! The way of spans to the collector: a bounded queue, one task, batches over OTLP/HTTP (protobuf). A batch that cannot be sent is lost, and counted.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use opentelemetry::KeyValue;
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use portcullis_config::telemetry::Traces as Settings;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::{Counters, TracesError};
use crate::http_client::{Client, Url};

/// Exchanges whose spans wait.
const CAPACITY: usize = 2048;
/// Most exchanges in a batch.
const BATCH: usize = 512;
/// A batch is sent when it is full or this old.
const DELAY: Duration = Duration::from_secs(1);
/// For one batch.
const PATIENCE: Duration = Duration::from_secs(5);

/// The way to the task. The task ends when this is dropped and what waited was sent.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Sender<Vec<SpanData>>,
    stop: mpsc::Sender<Stop>,
    counters: Arc<Counters>,
}

struct Stop {
    until: Instant,
    done: oneshot::Sender<()>,
}

impl Exporter {
    pub(super) fn start(settings: &Settings, counters: Arc<Counters>) -> Result<Self, TracesError> {
        let exporter = exporter(settings)?;
        let (queue, spans) = mpsc::channel(CAPACITY);
        let (stop, stopped) = mpsc::channel(1);
        let task = Task {
            exporter,
            counters: Arc::clone(&counters),
            batch: Vec::new(),
        };
        tokio::spawn(task.run(spans, stopped));
        Ok(Self { queue, stop, counters })
    }

    /// Hands spans over, or drops and counts them.
    pub(super) fn send(&self, spans: Vec<SpanData>) {
        let count = spans.len() as u64;
        if self.queue.try_send(spans).is_err() {
            self.counters.dropped.fetch_add(count, Relaxed);
        }
    }

    pub(super) async fn shutdown(&self, patience: Duration) {
        let (done, wait) = oneshot::channel();
        let until = Instant::now() + patience;
        if self.stop.try_send(Stop { until, done }).is_ok() {
            // A little longer than the task gives itself.
            let _ = timeout(patience + Duration::from_millis(50), wait).await;
        }
    }
}

fn exporter(settings: &Settings) -> Result<OtlpExporter, TracesError> {
    Url::parse_any(&settings.endpoint)?;
    let client = Client {
        ca: None,
        connect_timeout: PATIENCE,
        timeout: PATIENCE,
        max_bytes: 64 << 10,
    };
    let mut exporter = OtlpExporter::builder()
        .with_http()
        .with_http_client(Sender(client))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(&settings.endpoint)
        .with_timeout(PATIENCE)
        // A retry would sleep on the thread, and the next batch is never far.
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| TracesError::Exporter(error.to_string()))?;
    let resource = Resource::builder()
        .with_service_name(settings.service_name.clone())
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("process.pid", i64::from(std::process::id())))
        .build();
    exporter.set_resource(&resource);
    Ok(exporter)
}

struct Task {
    exporter: OtlpExporter,
    counters: Arc<Counters>,
    batch: Vec<SpanData>,
}

impl Task {
    async fn run(mut self, mut spans: mpsc::Receiver<Vec<SpanData>>, mut stopped: mpsc::Receiver<Stop>) {
        let mut exchanges = Vec::with_capacity(BATCH);
        let stop = tokio::select! {
            biased;
            stop = stopped.recv() => stop,
            () = self.serve(&mut spans, &mut exchanges) => None,
        };
        // Dropped without a stop: what waits is sent with the patience of any batch.
        let (until, done) = stop.map_or((Instant::now() + PATIENCE, None), |stop| (stop.until, Some(stop.done)));
        spans.close();
        self.batch.extend(exchanges.drain(..).flatten());
        while let Some(more) = spans.recv().await {
            self.batch.extend(more);
        }
        self.export(until).await;
        // Who asked may have lost patience.
        let _ = done.map(|done| done.send(()));
    }

    /// Sends batch after batch until nobody is left to hand over spans. What it holds when it is interrupted stays where it is.
    async fn serve(&mut self, spans: &mut mpsc::Receiver<Vec<SpanData>>, exchanges: &mut Vec<Vec<SpanData>>) {
        while Self::fill(spans, exchanges).await {
            self.batch.extend(exchanges.drain(..).flatten());
            self.export(Instant::now() + PATIENCE).await;
        }
    }

    /// Gathers a batch. False when nothing will come any more.
    async fn fill(spans: &mut mpsc::Receiver<Vec<SpanData>>, exchanges: &mut Vec<Vec<SpanData>>) -> bool {
        if exchanges.is_empty() && spans.recv_many(exchanges, BATCH).await == 0 {
            return false;
        }
        let full = Instant::now() + DELAY;
        while exchanges.len() < BATCH {
            let room = BATCH - exchanges.len();
            match timeout_at(full, spans.recv_many(exchanges, room)).await {
                Ok(0) => return false,
                Ok(_) => {}
                Err(_) => return true,
            }
        }
        true
    }

    async fn export(&mut self, until: Instant) {
        let count = self.batch.len() as u64;
        if count == 0 {
            return;
        }
        // Cleared only at the end, so that a batch that is interrupted by a stop is sent with the rest.
        let sent = timeout_at(until, self.exporter.export(self.batch.clone())).await;
        self.batch.clear();
        match sent {
            Ok(Ok(())) => self.counters.exported.fetch_add(count, Relaxed),
            failed => {
                let error = failed.map_or_else(|_| "no answer in time".to_owned(), |sent| format!("{sent:?}"));
                tracing::debug!(spans = count, error, "spans were not exported");
                self.counters.failed.fetch_add(count, Relaxed)
            }
        };
    }
}

/// Our own client as the exporter wants it.
#[derive(Debug)]
struct Sender(Client);

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let url = Url::parse_any(&request.uri().to_string())?;
        Ok(self.0.send(&url, request).await?)
    }
}
