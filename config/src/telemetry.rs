//! Access log, process log and traces as written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Access log, process log, traces.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Telemetry {
    /// One line a request.
    pub access_log: AccessLog,
    /// The process's own log, on standard error.
    pub log: Log,
    /// Traces over OTLP/HTTP.
    pub traces: Option<Traces>,
}

/// One line a request.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLog {
    /// JSON, nginx's `combined`, or none.
    pub format: AccessFormat,
    /// A file (reopened on reload). Default: standard output.
    pub file: Option<PathBuf>,
    /// Lines waiting to be written. When full, lines are dropped and counted; a worker never waits.
    pub buffer_lines: u32,
}

impl Default for AccessLog {
    fn default() -> Self {
        Self {
            format: AccessFormat::Json,
            file: None,
            buffer_lines: 8192,
        }
    }
}

/// Format of the access log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccessFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// nginx's `combined`.
    Combined,
    /// No access log.
    Off,
}

/// The process's own log.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// From which level.
    pub level: Level,
    /// JSON or text.
    pub format: LogFormat,
}

/// A log level.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// Format of the process's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum LogFormat {
    #[default]
    Json,
    Text,
}

/// Traces over OTLP/HTTP with W3C propagation.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// The collector, such as `http://otel-collector:4318/v1/traces`.
    pub endpoint: String,
    /// `service.name` of the spans.
    #[serde(default = "service_name")]
    pub service_name: String,
    /// Share of requests that begin a trace, from 0 to 1. A caller's own sampling decision is respected from `trusted_proxies`.
    #[serde(default = "one")]
    pub sample: f64,
}

fn service_name() -> String {
    "portcullis".into()
}
fn one() -> f64 {
    1.0
}
