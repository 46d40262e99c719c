//! An event as a line: one JSON object, or text for people. Values cannot break out of their line, and none is longer than its limit.

use std::fmt::{self, Debug, Write as _};
use std::io::Write as _;

use tracing::field::{Field, Visit};
use tracing::{Event, Metadata};

use crate::telemetry::access_log::json_text;
use crate::telemetry::stamp::Stamp;

/// Longest value.
const VALUE: usize = 4096;
/// Most fields.
const MOST: usize = 32;

/// Appends the event as JSON.
pub(super) fn json(out: &mut Vec<u8>, time: Stamp, metadata: &Metadata<'_>, event: &Event<'_>) {
    out.extend_from_slice(b"{\"time\":\"");
    time.write(out);
    let _ = write!(out, "\",\"level\":\"{}\",\"target\":", level(metadata));
    json_text(out, metadata.target().as_bytes(), VALUE);
    event.record(&mut Json { out, fields: 0 });
    out.extend_from_slice(b"}\n");
}

/// Appends the event as text: time, level, target, message, fields.
pub(super) fn text(out: &mut Vec<u8>, time: Stamp, metadata: &Metadata<'_>, event: &Event<'_>) {
    time.write(out);
    let _ = write!(out, " {:5} {}:", metadata.level(), metadata.target());
    event.record(&mut Text { out, fields: 0 });
    out.push(b'\n');
}

fn level(metadata: &Metadata<'_>) -> &'static str {
    match *metadata.level() {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

/// Names of the object's own members, which no field may take.
const OWN: [&str; 3] = ["time", "level", "target"];

struct Json<'o> {
    out: &'o mut Vec<u8>,
    fields: usize,
}

impl Json<'_> {
    /// Whether the field is written; if so its name has been.
    fn begins(&mut self, field: &Field) -> bool {
        if is_internal(field) || self.fields >= MOST {
            return false;
        }
        self.fields += 1;
        self.out.push(b',');
        if OWN.contains(&field.name()) {
            json_text(self.out, format!("field_{}", field.name()).as_bytes(), VALUE);
        } else {
            json_text(self.out, field.name().as_bytes(), VALUE);
        }
        self.out.push(b':');
        true
    }
}

impl Visit for Json<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if self.begins(field) {
            json_text(self.out, bounded(value).as_bytes(), VALUE);
        }
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if self.begins(field) {
            json_text(self.out, value.as_bytes(), VALUE);
        }
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        if self.begins(field) {
            let _ = write!(self.out, "{value}");
        }
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        if self.begins(field) {
            let _ = write!(self.out, "{value}");
        }
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        if self.begins(field) {
            let _ = write!(self.out, "{value}");
        }
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        if self.begins(field) {
            let _ = if value.is_finite() {
                write!(self.out, "{value}")
            } else {
                write!(self.out, "\"{value}\"")
            };
        }
    }
}

struct Text<'o> {
    out: &'o mut Vec<u8>,
    fields: usize,
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &bounded(value));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        if is_internal(field) || self.fields >= MOST {
            return;
        }
        self.fields += 1;
        self.out.push(b' ');
        let is_message = field.name() == "message";
        if is_message {
            for letter in value.chars().take(VALUE) {
                let _ = if letter.is_control() {
                    write!(self.out, "{}", letter.escape_default())
                } else {
                    write!(self.out, "{letter}")
                };
            }
            return;
        }
        let _ = write!(self.out, "{}=", field.name());
        if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"') {
            self.out.extend_from_slice(value.as_bytes());
        } else {
            json_text(self.out, value.as_bytes(), VALUE);
        }
    }
}

/// Fields that the bridge from `log` adds; they are in the metadata already.
fn is_internal(field: &Field) -> bool {
    field.name().starts_with("log.")
}

/// The debug form of a value, cut where it gets too long (and not made in full before).
fn bounded(value: &dyn Debug) -> String {
    struct Bounded(String);
    impl fmt::Write for Bounded {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            // One byte more than fits, so that the cut shows.
            let room = (VALUE + 1).saturating_sub(self.0.len());
            let mut end = room.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            self.0.push_str(text.get(..end).unwrap_or_default());
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut text = Bounded(String::new());
    let _ = write!(text, "{value:?}");
    text.0
}
