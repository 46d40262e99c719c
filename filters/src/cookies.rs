//! Cookies as filters read, write and take them away (RFC 6265). What one means is its filter's matter.

use std::fmt::Write as _;

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use portcullis_bundles::cookie;

use crate::request::Request;

/// A cookie in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent<'h> {
    /// It is not there.
    Absent,
    /// It is there once, or several times with one value.
    Value(&'h [u8]),
    /// It is there with several values: who set which cannot be known.
    Several,
}

impl<'h> Sent<'h> {
    /// The value, if there is one.
    pub fn value(self) -> Option<&'h [u8]> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Several => None,
        }
    }
}

/// A cookie of a request.
pub fn sent<'h>(headers: &'h HeaderMap, name: &str) -> Sent<'h> {
    let fields = headers.get_all(COOKIE).iter();
    let mut found = Sent::Absent;
    for value in fields.flat_map(|field| cookie::values(field.as_bytes(), name)) {
        match found {
            Sent::Absent => found = Sent::Value(value),
            Sent::Value(before) if before == value => {}
            Sent::Value(_) | Sent::Several => return Sent::Several,
        }
    }
    found
}

/// Has the upstream not see the cookies whose names `ours` holds for.
pub fn take_away(request: &mut Request<'_>, ours: impl Fn(&[u8]) -> bool) {
    let fields = request.facts.request_headers.all(request.head.headers, &COOKIE);
    let has_ours = |field: &&HeaderValue| cookie::names(field.as_bytes()).any(&ours);
    if !fields.iter().any(has_ours) {
        return;
    }
    let mut rest: Vec<u8> = Vec::new();
    let pairs = fields
        .iter()
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    for pair in pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty()) {
        if cookie::names(pair).any(&ours) {
            continue;
        }
        if !rest.is_empty() {
            rest.extend_from_slice(b"; ");
        }
        rest.extend_from_slice(pair);
    }
    drop(fields);
    match HeaderValue::from_bytes(&rest) {
        Ok(rest) if !rest.is_empty() => request.facts.request_headers.set(COOKIE, rest),
        _ => request.facts.request_headers.remove(COOKIE),
    }
}

/// Whether a text can be the name of a cookie (a token of RFC 9110, 5.6.2).
pub fn is_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(token)
}

/// What is wrong with a name for a cookie that nothing but this host over TLS may set, if anything.
pub fn not_host_bound(name: &str) -> Option<&'static str> {
    let bound = name
        .split_at_checked("__Host-".len())
        .is_some_and(|(prefix, rest)| prefix == "__Host-" && !rest.is_empty());
    if !is_name(name) {
        Some("a cookie's name is a word of at most 64 ASCII characters")
    } else if bound {
        None
    } else {
        Some("its name must begin with `__Host-`, so that no other host and no plaintext connection can set it")
    }
}

/// What a browser may do with a cookie that we set. All are `Secure` and `Path=/`, as `__Host-` wants it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Scripts of the page may not read it.
    pub http_only: bool,
    /// `Strict`, `Lax` or `None`.
    pub same_site: &'static str,
    /// Seconds that it is kept, 0 takes it away; `None`: as long as the browser runs.
    pub max_age: Option<u64>,
}

/// A `Set-Cookie` field's value. `None` if it cannot be one.
pub fn set(name: &str, value: &str, terms: Terms) -> Option<HeaderValue> {
    let mut text = format!("{name}={value}; Path=/; Secure; SameSite={}", terms.same_site);
    if terms.http_only {
        text.push_str("; HttpOnly");
    }
    if let Some(seconds) = terms.max_age {
        let _ = write!(text, "; Max-Age={seconds}");
    }
    HeaderValue::try_from(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, HeaderValue::from_static(field));
        }
        headers
    }

    #[test]
    fn one_value_or_none_that_can_be_relied_on() {
        for (fields, expected) in [
            (&[][..], Sent::Absent),
            (&["a=1"], Sent::Absent),
            (&["id=1; a=2"], Sent::Value(b"1")),
            (&["a=2", "id=1"], Sent::Value(b"1")),
            (&["id=1; id=1"], Sent::Value(b"1")),
            (&["id=1; id=2"], Sent::Several),
            (&["id=1", "id=2"], Sent::Several),
            (&["id=1; id=2; id=1"], Sent::Several),
            (&["id="], Sent::Value(b"")),
        ] {
            assert_eq!(sent(&headers(fields), "id"), expected, "{fields:?}");
        }
    }

    #[test]
    fn names_of_this_host_alone() {
        assert_eq!(not_host_bound("__Host-session"), None);
        for name in [
            "",
            "session",
            "__Host-",
            "__host-a",
            "__Secure-a",
            "__Host-a b",
            "__Host-a=b",
            "__Host-ä",
        ] {
            assert!(not_host_bound(name).is_some(), "{name}");
        }
    }

    #[test]
    fn what_browsers_are_told() {
        let terms = Terms {
            http_only: true,
            same_site: "Lax",
            max_age: Some(60),
        };
        assert_eq!(
            set("__Host-a", "b", terms).unwrap(),
            "__Host-a=b; Path=/; Secure; SameSite=Lax; HttpOnly; Max-Age=60"
        );
        assert_eq!(set("__Host-a", "b\n", terms), None);
    }
}
