//! A record as nginx's `combined` line, with nginx's escaping: `"`, `\` and every byte that is not printable ASCII as `\xHH`.

use std::io::Write as _;

use super::record::AccessRecord;
use super::scrub;
use crate::telemetry::plain::padded;

/// Longest path, query, referer.
const LONG: usize = 2048;
/// Longest user agent.
const MIDDLE: usize = 512;

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

/// Appends the line.
pub(super) fn line(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    match record.client {
        Some(client) => drop(write!(out, "{client}")),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - - [");
    time(out, record);
    out.extend_from_slice(b"] \"");
    escaped(out, record.method.as_bytes(), MIDDLE);
    out.push(b' ');
    escaped(out, &scrub::path(record.path), LONG);
    if let Some(query) = &record.query {
        out.push(b'?');
        escaped(out, &scrub::query(query), LONG);
    }
    // As nginx: 499 where the client was gone before the answer.
    let status = record.status.unwrap_or(499);
    let _ = write!(out, " {}\" {status} {} \"", record.protocol, record.response_bytes);
    escaped(out, &record.referer.map_or((&b"-"[..]).into(), scrub::url), LONG);
    out.extend_from_slice(b"\" \"");
    escaped(out, record.user_agent.unwrap_or(b"-"), MIDDLE);
    out.extend_from_slice(b"\"\n");
}

/// `10/Oct/2000:13:55:36 +0000`
fn time(out: &mut Vec<u8>, record: &AccessRecord<'_>) {
    let civil = record.time.civil();
    let month = usize::try_from(civil.month)
        .ok()
        .and_then(|month| MONTHS.get(month.checked_sub(1)?));
    padded(out, civil.day, 2);
    let _ = write!(out, "/{}/", month.unwrap_or(&"-"));
    padded(out, civil.year, 4);
    for part in [civil.hour, civil.minute, civil.second] {
        out.push(b':');
        padded(out, part, 2);
    }
    out.extend_from_slice(b" +0000");
}

fn escaped(out: &mut Vec<u8>, value: &[u8], most: usize) {
    for byte in value.iter().take(most) {
        match byte {
            b'"' | b'\\' => drop(write!(out, "\\x{byte:02X}")),
            b' '..=b'~' => out.push(*byte),
            _ => drop(write!(out, "\\x{byte:02X}")),
        }
    }
}
