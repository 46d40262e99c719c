//! The process's own log: `tracing` events, those of Pingora's `log` records among them, one line each on standard error. Level and format change
//! while it runs. The lines take the same way as those of the access log, so that a stuck pipe holds no worker up.

mod format;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use portcullis_config::telemetry::{Level, Log as Settings, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_log::{AsLog, LogTracer, NormalizeEvent};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::{Registry, reload};

use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::lines::{LineCounters, Lines, Output, Target};
use crate::telemetry::stamp::Stamp;

/// Lines that may wait.
const CAPACITY: u32 = 4096;

/// The process's log, once it was set up.
#[derive(Debug, Clone)]
pub struct Log {
    level: reload::Handle<LevelFilter, Registry>,
    json: Arc<AtomicBool>,
    lines: Lines,
    counters: Arc<LineCounters>,
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The thread that writes.
    #[error("the log cannot be written: {0}")]
    Output(#[from] io::Error),
    /// Somebody set up another log before.
    #[error("the process has a log already")]
    Taken,
}

impl Log {
    /// Sets up the log of the process. Once.
    pub fn init(settings: &Settings) -> Result<Self, LogError> {
        let (log, subscriber) = Self::build(settings, Output::open(&Target::Stderr)?)?;
        tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Taken)?;
        let level = level(settings.level);
        LogTracer::builder()
            .with_max_level(level.as_log())
            .init()
            .map_err(|_| LogError::Taken)?;
        Ok(log)
    }

    fn build(settings: &Settings, output: Output) -> Result<(Self, impl Subscriber + Send + Sync), LogError> {
        let (filter, handle) = reload::Layer::new(level(settings.level));
        let json = Arc::new(AtomicBool::new(settings.format == LogFormat::Json));
        let counters = LineCounters::new("process");
        let lines = Lines::start(output, CAPACITY, Arc::clone(&counters))?;
        let writer = Writer {
            json: Arc::clone(&json),
            lines: lines.clone(),
        };
        let subscriber = Registry::default().with(filter).with(writer);
        Ok((
            Self {
                level: handle,
                json,
                lines,
                counters,
            },
            subscriber,
        ))
    }

    /// Uses other settings from now on.
    pub fn apply(&self, settings: &Settings) {
        self.json.store(settings.format == LogFormat::Json, Relaxed);
        let level = level(settings.level);
        // It fails only when the subscriber is gone, and then there is no log to change.
        let _ = self.level.reload(level);
        tracing_log::log::set_max_level(level.as_log());
    }

    /// Waits until everything logged so far is written. False when that failed or took too long.
    pub fn flush(&self, patience: Duration) -> bool {
        self.lines.flush(patience)
    }
}

impl Collect for Log {
    fn collect(&self, out: &mut Exposition) {
        self.counters.collect(out);
    }
}

fn level(level: Level) -> LevelFilter {
    match level {
        Level::Error => LevelFilter::ERROR,
        Level::Warn => LevelFilter::WARN,
        Level::Info => LevelFilter::INFO,
        Level::Debug => LevelFilter::DEBUG,
        Level::Trace => LevelFilter::TRACE,
    }
}

/// Makes lines of events.
struct Writer {
    json: Arc<AtomicBool>,
    lines: Lines,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<S: Subscriber> Layer<S> for Writer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        // Records of `log` carry their target and level in fields.
        let normal = event.normalized_metadata();
        let metadata = normal.as_ref().unwrap_or_else(|| event.metadata());
        // An event that is made while another is being written finds the buffer taken, and makes its own.
        let line = |buffer: &mut Vec<u8>| {
            buffer.clear();
            if self.json.load(Relaxed) {
                format::json(buffer, Stamp::now(), metadata, event);
            } else {
                format::text(buffer, Stamp::now(), metadata, event);
            }
            self.lines.send(buffer);
        };
        BUFFER.with(|buffer| match buffer.try_borrow_mut() {
            Ok(mut buffer) => line(&mut buffer),
            Err(_) => line(&mut Vec::new()),
        });
    }
}
