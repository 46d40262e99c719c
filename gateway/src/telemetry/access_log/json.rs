//! A record as one JSON object (RFC 8259) on one line. Bytes that are no UTF-8 become U+FFFD, control characters are escaped, and a text that
//! is longer than its limit ends with an ellipsis.

use std::io::Write as _;
use std::time::Duration;

use portcullis_config::site::Mode;
use portcullis_filters::record::Decision;

use super::record::{AccessRecord, UpstreamRecord};
use super::scrub;
use crate::telemetry::plain;

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
            nested.field(name, value);
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
    object.plain("client", record.client, plain::address);
    object.plain("peer", record.peer, plain::socket);
    object.text("listener", Some(record.listener), NAME);
    if let Some(tls) = &record.tls {
        let mut nested = object.nested("tls");
        nested.text("version", Some(tls.version), NAME);
        nested.text("server_name", tls.server_name, NAME);
        if let Some(client) = tls.client {
            let mut shown = nested.nested("client");
            shown.text("san", client.sans.first().map(|san| &*san.text), MIDDLE);
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
    object.bytes("query", record.query.as_deref().map(scrub::query).as_deref(), LONG);
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
    object.text("tenant", record.tenant, NAME);
    object.text("route", record.route, NAME);
    object.plain("receipt", Some(record.receipt.0), plain::hexadecimal);
    let missing = Some(record.missing.0).filter(|missing| *missing != 0);
    object.plain("missing", missing, plain::hexadecimal);
    let snapshot = Some(record.snapshot).filter(|digest| !digest.is_empty());
    object.text("snapshot", snapshot, NAME);
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

    /// One of our own names, which needs no escaping.
    fn key(&mut self, name: &'static str) {
        self.out.extend_from_slice(if self.empty { b"\"" } else { b",\"" });
        self.empty = false;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// A filter's name and value.
    fn field(&mut self, name: &str, value: &str) {
        if !self.empty {
            self.out.push(b',');
        }
        self.empty = false;
        text(self.out, name.as_bytes(), NAME);
        self.out.push(b':');
        text(self.out, value.as_bytes(), MIDDLE);
    }

    fn nested(&mut self, name: &'static str) -> Object<'_> {
        self.key(name);
        Object::open(self.out)
    }

    fn stamp(&mut self, record: &AccessRecord<'_>) {
        self.key("time");
        self.out.push(b'"');
        record.time.write(self.out);
        self.out.push(b'"');
    }

    fn text(&mut self, name: &'static str, value: Option<&str>, most: usize) {
        self.bytes(name, value.map(str::as_bytes), most);
    }

    fn bytes(&mut self, name: &'static str, value: Option<&[u8]>, most: usize) {
        if let Some(value) = value {
            self.key(name);
            text(self.out, value, most);
        }
    }

    /// Something whose text needs no escaping.
    fn plain<T>(&mut self, name: &'static str, value: Option<T>, write: impl FnOnce(&mut Vec<u8>, T)) {
        if let Some(value) = value {
            self.key(name);
            self.out.push(b'"');
            write(self.out, value);
            self.out.push(b'"');
        }
    }

    fn number(&mut self, name: &'static str, value: Option<u64>) {
        if let Some(value) = value {
            self.key(name);
            plain::number(self.out, value);
        }
    }

    fn milliseconds(&mut self, name: &'static str, value: Option<Duration>) {
        if let Some(value) = value {
            self.key(name);
            plain::milliseconds(self.out, u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
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
    if needs_no_escape(value) {
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

/// Whether all bytes are printable ASCII without quote and backslash. Eight at a time: this is asked of most of a line.
fn needs_no_escape(value: &[u8]) -> bool {
    let (words, rest) = value.as_chunks::<8>();
    words.iter().all(|word| is_plain_word(u64::from_le_bytes(*word)))
        && rest
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\')
}

/// The same for eight bytes in one word. In each byte, the highest bit of the sum says what is wrong with it.
const fn is_plain_word(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    const fn has_zero(word: u64) -> u64 {
        word.wrapping_sub(ONES) & !word & HIGH
    }
    let not_ascii = word & HIGH;
    let below_space = word.wrapping_sub(0x20 * ONES) & !word & HIGH;
    let quote = has_zero(word ^ (b'"' as u64 * ONES));
    let backslash = has_zero(word ^ (b'\\' as u64 * ONES));
    let delete = has_zero(word ^ (0x7f * ONES));
    not_ascii | below_space | quote | backslash | delete == 0
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn words_are_judged_as_bytes_are(mut bytes in prop::collection::vec(b' '..=b'~', 0..40), odd: u8, place: prop::sample::Index) {
            if let Some(byte) = bytes.get_mut(place.index(40)) {
                *byte = odd;
            }
            let plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'"' && *byte != b'\\';
            prop_assert_eq!(needs_no_escape(&bytes), bytes.iter().all(plain));
        }
    }
}
