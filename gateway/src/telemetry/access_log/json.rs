//! A record as one JSON object (RFC 8259) on one line. Bytes that are no UTF-8 become U+FFFD, control characters are escaped, and a text that
//! is longer than its limit ends with an ellipsis.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use portcullis_config::site::Mode;
use portcullis_filters::record::Decision;

use super::record::{AccessRecord, UpstreamRecord};
use super::scrub;

/// Longest names and codes.
const NAME: usize = 256;
/// Longest path, query, referer.
const LONG: usize = 2048;
/// Longest user agent, longest value of a filter.
const MIDDLE: usize = 512;
/// Most decisions and most fields of filters.
const MOST: usize = 64;

/// Appends the line.
pub(super) fn line(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    let mut object = Object::open(out);
    object.stamp(record);
    request(&mut object, record);
    answer(&mut object, record);
    proof(&mut object, record);
    object.bytes("user_agent", record.user_agent, MIDDLE);
    object.bytes("referer", record.referer.map(scrub::url).as_deref(), LONG);
    if let Some(fields) = record.fields.filter(|fields| !fields.fields.is_empty()) {
        let mut nested = object.nested("fields");
        for (name, value) in fields.fields.iter().take(MOST) {
            nested.text(name, Some(value), MIDDLE);
        }
        nested.close();
    }
    object.close();
    out.push(b'\n');
}

fn request(object: &mut Object<'_>, record: &AccessRecord<'_>) {
    object.text("request_id", Some(record.request_id), NAME);
    if let Some(trace_id) = record.trace_id {
        object.key("trace_id");
        object.out.push(b'"');
        for byte in trace_id {
            let _ = write!(object.out, "{byte:02x}");
        }
        object.out.push(b'"');
    }
    object.shown("client", record.client);
    object.shown("peer", record.peer);
    object.text("listener", Some(record.listener), NAME);
    if let Some(tls) = &record.tls {
        let mut nested = object.nested("tls");
        nested.text("version", Some(tls.version), NAME);
        nested.text("server_name", tls.server_name, NAME);
        if let Some(client) = tls.client {
            let mut shown = nested.nested("client");
            shown.text("san", client.sans.first().map(|san| &**san), MIDDLE);
            shown.text("subject", Some(&client.subject), MIDDLE);
            shown.text("serial", Some(&client.serial), NAME);
            shown.text("fingerprint", Some(&client.fingerprint), NAME);
            shown.close();
        }
        nested.close();
    }
    object.text("method", Some(record.method), NAME);
    object.bytes("host", Some(record.host), NAME);
    object.bytes("path", Some(&scrub::path(record.path)), LONG);
    object.bytes("query", record.query.map(scrub::query).as_deref(), LONG);
    object.text("protocol", Some(record.protocol), NAME);
}

fn answer(object: &mut Object<'_>, record: &AccessRecord<'_>) {
    object.number("status", record.status.map(u64::from));
    object.text("reason", record.reason, NAME);
    object.milliseconds("duration_ms", Some(record.duration));
    object.number("request_bytes", Some(record.request_bytes));
    object.number("response_bytes", Some(record.response_bytes));
    if let Some(UpstreamRecord {
        name,
        server,
        attempts,
        status,
        connect,
        first_byte,
        ..
    }) = record.upstream
    {
        let mut nested = object.nested("upstream");
        nested.text("name", Some(name), NAME);
        nested.text("server", server, NAME);
        nested.number("attempts", Some(u64::from(attempts)));
        nested.number("status", status.map(u64::from));
        nested.milliseconds("connect_ms", connect);
        nested.milliseconds("first_byte_ms", first_byte);
        nested.close();
    }
}

fn proof(object: &mut Object<'_>, record: &AccessRecord<'_>) {
    object.text("route", record.route, NAME);
    object.shown("receipt", Some(record.receipt));
    if !record.missing.is_empty() {
        object.shown("missing", Some(record.missing));
    }
    object.text(
        "snapshot",
        Some(record.snapshot).filter(|digest| !digest.is_empty()),
        NAME,
    );
    object.number("bundle_version", record.bundle_version);
    object.key("decisions");
    object.out.push(b'[');
    for (n, decision) in record.decisions.iter().take(MOST).enumerate() {
        if n > 0 {
            object.out.push(b',');
        }
        decided(object.out, decision);
    }
    object.out.push(b']');
}

fn decided(out: &mut Vec<u8>, decision: &Decision) {
    let mut object = Object::open(out);
    object.text("link", Some(&decision.link), NAME);
    object.text("action", Some(decision.action.as_str()), NAME);
    let mode = match decision.mode {
        Mode::Enforce => "enforce",
        Mode::Shadow => "shadow",
    };
    object.text("mode", Some(mode), NAME);
    object.text("reason", Some(decision.reason.0), NAME);
    object.text("policy", decision.policy.as_deref(), NAME);
    object.text("rule", decision.rule.as_deref(), NAME);
    object.text("detail", decision.detail.as_deref(), MIDDLE);
    object.close();
}

/// An object that is being written. Absent values are left out.
struct Object<'o> {
    out: &'o mut Vec<u8>,
    empty: bool,
}

impl<'o> Object<'o> {
    fn open(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, empty: true }
    }

    fn close(self) {
        self.out.push(b'}');
    }

    fn key(&mut self, name: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        text(self.out, name.as_bytes(), NAME);
        self.out.push(b':');
    }

    fn nested(&mut self, name: &str) -> Object<'_> {
        self.key(name);
        Object::open(self.out)
    }

    fn stamp(&mut self, record: &AccessRecord<'_>) {
        self.key("time");
        self.out.push(b'"');
        record.time.write(self.out);
        self.out.push(b'"');
    }

    fn text(&mut self, name: &str, value: Option<&str>, most: usize) {
        self.bytes(name, value.map(str::as_bytes), most);
    }

    fn bytes(&mut self, name: &str, value: Option<&[u8]>, most: usize) {
        if let Some(value) = value {
            self.key(name);
            text(self.out, value, most);
        }
    }

    /// Something whose text needs no escaping.
    fn shown(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.key(name);
            let _ = write!(self.out, "\"{value}\"");
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(name);
            let _ = write!(self.out, "{value}");
        }
    }

    fn milliseconds(&mut self, name: &str, value: Option<Duration>) {
        if let Some(value) = value {
            self.key(name);
            let us = value.as_micros();
            let _ = write!(self.out, "{}.{:03}", us / 1000, us % 1000);
        }
    }
}

/// Appends a JSON string of at most `most` bytes of `value`.
pub(crate) fn text(out: &mut Vec<u8>, value: &[u8], most: usize) {
    let (value, cut) = match value.split_at_checked(most) {
        Some((head, rest)) if !rest.is_empty() => (head, true),
        _ => (value, false),
    };
    out.push(b'"');
    if value
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\')
    {
        out.extend_from_slice(value);
    } else {
        for chunk in value.utf8_chunks() {
            chunk.valid().chars().for_each(|letter| escape(out, letter));
            // What the cut left of a letter is no sign of a broken text.
            let cut_off = cut && value.ends_with(chunk.invalid());
            if !chunk.invalid().is_empty() && !cut_off {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
    if cut {
        out.extend_from_slice("\u{2026}".as_bytes());
    }
    out.push(b'"');
}

fn escape(out: &mut Vec<u8>, letter: char) {
    match letter {
        '"' => out.extend_from_slice(b"\\\""),
        '\\' => out.extend_from_slice(b"\\\\"),
        '\n' => out.extend_from_slice(b"\\n"),
        '\r' => out.extend_from_slice(b"\\r"),
        '\t' => out.extend_from_slice(b"\\t"),
        // Also what only terminals (C1) and JavaScript (line separators) take for more than a letter.
        _ if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
            let _ = write!(out, "\\u{:04x}", u32::from(letter));
        }
        _ => out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}
