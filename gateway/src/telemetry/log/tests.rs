//! Events as lines of either format, settings that change, and records of the `log` crate. How lines are written is tested in
//! `telemetry/lines`.

use std::fs;

use serde_json::Value;
use tracing::{debug, error, info, warn};

use super::*;

/// What is logged while `events` runs.
fn logged(settings: &Settings, events: impl FnOnce(&Log)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (log, subscriber) = Log::build(settings, Output::open(&Target::File(path.clone())).unwrap()).unwrap();
    tracing::subscriber::with_default(subscriber, || events(&log));
    assert!(log.flush(Duration::from_secs(5)));
    fs::read_to_string(path).unwrap()
}

#[test]
fn json_lines() {
    let text = logged(&Settings::default(), |_| {
        warn!(target: "t", n = -1, big = u64::MAX, yes = true, ratio = 0.5, odd = f64::NAN, text = "a\"\n\u{1b}[31m",
              list = ?[1, 2], time = "mine", "it is {}", "so\n");
        debug!("not at this level");
        error!(long = "x".repeat(9000), "long");
    });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    let first = &lines[0];
    let expected = serde_json::json!({
        "time": first["time"], "level": "warn", "target": "t", "message": "it is so\n", "n": -1, "big": u64::MAX,
        "yes": true, "ratio": 0.5, "odd": "NaN", "text": "a\"\n\u{1b}[31m", "list": "[1, 2]", "field_time": "mine",
    });
    assert_eq!(*first, expected);
    assert!(lines[1]["long"].as_str().unwrap().len() < 5000);
}

#[test]
fn text_lines_and_other_settings_while_it_runs() {
    let json = Settings {
        level: Level::Error,
        format: LogFormat::Json,
    };
    let text = logged(&json, |log| {
        info!("not at this level");
        log.apply(&Settings {
            level: Level::Debug,
            format: LogFormat::Text,
        });
        debug!(target: "portcullis::x", path = "/a b", n = 7, empty = "", "one\ntwo");
    });
    let (_, line) = text.split_once(' ').unwrap();
    assert_eq!(line, "DEBUG portcullis::x: one\\ntwo path=\"/a b\" n=7 empty=\"\"\n");
}

#[test]
fn records_of_the_log_crate_keep_their_target() {
    let text = logged(&Settings::default(), |_| {
        let record = tracing_log::log::Record::builder()
            .args(format_args!("from pingora"))
            .level(tracing_log::log::Level::Error)
            .target("pingora_core::server")
            .build();
        tracing_log::format_trace(&record).unwrap();
    });
    let line: Value = serde_json::from_str(&text).unwrap();
    let members: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["level", "message", "target", "time"], "{text}");
    assert_eq!(
        (line["target"].as_str(), line["level"].as_str()),
        (Some("pingora_core::server"), Some("error"))
    );
}
