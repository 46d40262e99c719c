//! The limit's state for the client: `RateLimit` and `RateLimit-Policy` (draft-ietf-httpapi-ratelimit-headers), the
//! classic `RateLimit-Limit`, `-Remaining` and `-Reset`, and the same with `X-` before it, as the site asks for; and `X-Portcullis-Warning`. Which limit is told is decided by [`Facts::tighten`].

use std::fmt::Write as _;

use bytes::{BufMut as _, BytesMut};
use http::{HeaderName, HeaderValue};
use portcullis_config::site::{Answers, LimitHeaders};

use crate::facts::{Facts, HeaderEdits, Limit};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

const WARNING: HeaderName = HeaderName::from_static("x-portcullis-warning");

const X_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const X_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const X_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

/// In which header fields a limit is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialects {
    draft: bool,
    classic: bool,
    x_ratelimit: bool,
}

impl Dialects {
    /// These.
    pub fn of(written: &[LimitHeaders]) -> Self {
        Self {
            draft: written.contains(&LimitHeaders::Draft),
            classic: written.contains(&LimitHeaders::Classic),
            x_ratelimit: written.contains(&LimitHeaders::XRatelimit),
        }
    }
}

impl Default for Dialects {
    fn default() -> Self {
        Self::of(&Answers::default().limit_headers)
    }
}

/// Adds the header fields of the tightest limit, if one was evaluated, to the answer, and the warning if there is one.
pub(crate) fn add(facts: &mut Facts, dialects: Dialects) {
    if let Some(warning) = facts.warning {
        facts.response_headers.set(WARNING, HeaderValue::from_static(warning.0));
    }
    let Some(limit) = facts.limit.take() else { return };
    let Limit {
        limit: quota,
        remaining,
        reset,
        window,
        ..
    } = limit;
    let (reset, window) = (u64::from(reset), u64::from(window));
    // One piece of memory for all values.
    let mut text = BytesMut::with_capacity(2 * limit.name.len() + 192);
    let mut put = |headers: &mut HeaderEdits, name: HeaderName, write: &dyn Fn(&mut BytesMut)| {
        write(&mut text);
        // Only digits and printable ASCII: always a header value.
        if let Ok(value) = HeaderValue::from_maybe_shared(text.split().freeze()) {
            headers.set(name, value);
        }
    };
    let headers = &mut facts.response_headers;
    let structured = [
        (
            dialects.draft || dialects.classic,
            RATELIMIT,
            [(b";r=", remaining), (b";t=", reset)],
        ),
        (dialects.draft, POLICY, [(b";q=", quota), (b";w=", window)]),
    ];
    for (wanted, name, parameters) in structured {
        if wanted {
            put(headers, name, &|text| {
                quote(&limit.name, text);
                for (parameter, number) in parameters {
                    text.extend_from_slice(parameter);
                    digits(number, text);
                }
            });
        }
    }
    for (wanted, names) in [
        (dialects.classic, [LIMIT, REMAINING, RESET]),
        (dialects.x_ratelimit, [X_LIMIT, X_REMAINING, X_RESET]),
    ] {
        if wanted {
            for (name, number) in names.into_iter().zip([quota, remaining, reset]) {
                put(headers, name, &|text| digits(number, text));
            }
        }
    }
    facts.limit = Some(limit);
}

fn digits(number: u64, text: &mut BytesMut) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a name as an sf-string (RFC 9651): printable ASCII in quotes. Everything else is percent-encoded.
fn quote(name: &str, text: &mut BytesMut) {
    text.put_u8(b'"');
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => text.put_slice(&[b'\\', byte]),
            b' '..=b'~' => text.put_u8(byte),
            // The buffer grows as it must.
            _ => _ = write!(text, "%{byte:02X}"),
        }
    }
    text.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::quote;

    fn quoted(name: &str) -> String {
        let mut text = BytesMut::new();
        quote(name, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    #[test]
    fn names_are_structured_strings() {
        assert_eq!(quoted("api v1"), "\"api v1\"");
        assert_eq!(quoted("a\"b\\c"), "\"a\\\"b\\\\c\"");
        assert_eq!(quoted("\u{e4}\n"), "\"%C3%A4%0A\"");
    }
}
