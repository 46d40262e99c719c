//! The access log: one line an exchange, made on the worker in a buffer that is used again and again, written by a thread of its own.
//!
//! It never holds the Authorization header, cookies or tokens, and no field of it is longer than its limit.

mod combined;
mod json;
mod record;
mod scrub;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use portcullis_config::telemetry::{AccessFormat, AccessLog as Settings};

pub(crate) use json::text as json_text;
pub use record::{AccessRecord, TlsRecord, UpstreamRecord};
pub(crate) use scrub::{path as scrubbed_path, query as scrubbed_query};

use crate::telemetry::exposition::{Collect, Exposition};
use crate::telemetry::lines::{LineCounters, Lines, Output, Target};

/// The access log. Settings change while it is in use.
#[derive(Debug)]
pub struct AccessLog {
    active: ArcSwap<Active>,
    counters: Arc<LineCounters>,
}

#[derive(Debug)]
struct Active {
    settings: Settings,
    lines: Option<Lines>,
}

/// An output that is open for new settings, and not in use yet.
#[derive(Debug)]
pub struct Prepared {
    settings: Settings,
    open: Option<Open>,
}

#[derive(Debug)]
enum Open {
    /// For the thread that writes already.
    Reopen(Output),
    /// A thread of its own.
    Start(Lines),
}

/// The access log cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the access log {} cannot be opened: {source}", target.as_ref().map_or_else(|| "on standard output".into(), |path| path.display().to_string()))]
pub struct AccessLogError {
    /// The file; `None` for standard output.
    pub target: Option<PathBuf>,
    /// Why.
    pub source: std::io::Error,
}

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A buffer that grew beyond this is given back.
const MOST_KEPT: usize = 16 << 10;

impl AccessLog {
    /// Without an output, until the first [`Self::commit`].
    pub fn off() -> Self {
        let settings = Settings {
            format: AccessFormat::Off,
            ..Settings::default()
        };
        Self {
            active: ArcSwap::from_pointee(Active { settings, lines: None }),
            counters: LineCounters::new("access"),
        }
    }

    /// Opens the output for new settings (also for the same again: the file may have been rotated). Nothing changes yet.
    pub fn prepare(&self, settings: &Settings) -> Result<Prepared, AccessLogError> {
        let fail = |source| AccessLogError {
            target: settings.file.clone(),
            source,
        };
        if settings.format == AccessFormat::Off {
            return Ok(Prepared {
                settings: settings.clone(),
                open: None,
            });
        }
        let target = settings.file.clone().map_or(Target::Stdout, Target::File);
        let output = Output::open(&target).map_err(fail)?;
        let active = self.active.load();
        let same_queue = active.lines.is_some() && active.settings.buffer_lines == settings.buffer_lines;
        let open = if same_queue {
            Open::Reopen(output)
        } else {
            Open::Start(Lines::start(output, settings.buffer_lines, Arc::clone(&self.counters)).map_err(fail)?)
        };
        Ok(Prepared {
            settings: settings.clone(),
            open: Some(open),
        })
    }

    /// Uses what was prepared from now on.
    pub fn commit(&self, prepared: Prepared) {
        let lines = match prepared.open {
            None => None,
            Some(Open::Start(lines)) => Some(lines),
            Some(Open::Reopen(output)) => {
                let lines = self.active.load().lines.clone();
                if let Some(lines) = &lines {
                    lines.reopen(output);
                }
                lines
            }
        };
        self.active.store(Arc::new(Active {
            settings: prepared.settings,
            lines,
        }));
    }

    /// Whether lines are wanted at all, so that nobody gathers a record for nothing.
    pub fn is_on(&self) -> bool {
        self.active.load().lines.is_some()
    }

    /// Writes a line. Never waits.
    pub fn write(&self, record: &AccessRecord<'_>) {
        let active = self.active.load();
        let Some(lines) = &active.lines else { return };
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            match active.settings.format {
                AccessFormat::Json => json::line(buffer, record),
                AccessFormat::Combined => combined::line(buffer, record),
                AccessFormat::Off => return,
            }
            lines.send(buffer);
            if buffer.capacity() > MOST_KEPT {
                *buffer = Vec::new();
            }
        });
    }

    /// Waits until everything written so far is on its way to the disk. False when that failed or took too long.
    pub fn flush(&self, patience: Duration) -> bool {
        self.active
            .load()
            .lines
            .as_ref()
            .is_none_or(|lines| lines.flush(patience))
    }

    /// What happened to its lines.
    pub fn counters(&self) -> &Arc<LineCounters> {
        &self.counters
    }
}

impl Collect for AccessLog {
    fn collect(&self, out: &mut Exposition) {
        self.counters.collect(out);
    }
}
