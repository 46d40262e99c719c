//! The limit's state for the client: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers) and the
//! classic `RateLimit-Limit`, `-Remaining` and `-Reset`. Which limit is told is decided by [`Facts::tighten`].

use std::fmt::Write;

use http::{HeaderName, HeaderValue};

use crate::facts::{Facts, Limit};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

/// Adds the header fields of the tightest limit, if one was evaluated, to the answer.
pub(crate) fn add(facts: &mut Facts) {
    let Some(limit) = facts.limit.take() else { return };
    let name = quoted(&limit.name);
    let Limit {
        limit: quota,
        remaining,
        reset,
        window,
        ..
    } = limit;
    let headers = &mut facts.response_headers;
    let mut set = |name: HeaderName, value: String| {
        // Only digits and printable ASCII: always a header value.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.set(name, value);
        }
    };
    set(RATELIMIT, format!("{name};r={remaining};t={reset}"));
    set(POLICY, format!("{name};q={quota};w={window}"));
    for (name, number) in [(LIMIT, quota), (REMAINING, remaining), (RESET, u64::from(reset))] {
        headers.set(name, HeaderValue::from(number));
    }
    facts.limit = Some(limit);
}

/// A name as an sf-string (RFC 9651): printable ASCII in quotes. Everything else is percent-encoded.
fn quoted(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 2);
    text.push('"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_are_structured_strings() {
        assert_eq!(quoted("api v1"), "\"api v1\"");
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(quoted("\u{e4}\n"), "\"%C3%A4%0A\"");
    }
}
