//! How long an answer stays fresh (RFC 9111, section 5.2.2), as far as a client with one document needs it.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

/// The longest freshness that is believed: a year.
const MOST: u64 = 365 * 24 * 3600;

/// How long the answer stays fresh. `None` when it does not say; zero for `no-cache` and `no-store`.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let mut fresh: Option<u64> = None;
    for value in headers.get_all(CACHE_CONTROL) {
        // An unreadable field says nothing.
        for directive in value.to_str().unwrap_or_default().split(',') {
            let seconds = match directive_seconds(directive.trim()) {
                Some(seconds) => seconds.min(MOST),
                None => continue,
            };
            fresh = Some(fresh.map_or(seconds, |known| known.min(seconds)));
        }
    }
    let age = headers
        .get(AGE)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .unwrap_or(0);
    fresh.map(|seconds| Duration::from_secs(seconds.saturating_sub(age)))
}

fn directive_seconds(directive: &str) -> Option<u64> {
    let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
    if name.eq_ignore_ascii_case("no-cache") || name.eq_ignore_ascii_case("no-store") {
        return Some(0);
    }
    if !name.eq_ignore_ascii_case("max-age") {
        return None;
    }
    let digits = value.trim().trim_matches('"');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(0); // RFC 9111, 4.2.1: invalid freshness information makes it stale
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn of(values: &[&'static str], age: &'static str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        headers.insert(AGE, HeaderValue::from_static(age));
        freshness(&headers).map(|fresh| fresh.as_secs())
    }

    #[test]
    fn table() {
        assert_eq!(of(&[], ""), None);
        assert_eq!(of(&["public"], ""), None);
        assert_eq!(of(&["max-age=300"], ""), Some(300));
        assert_eq!(of(&["public, MAX-AGE = 300"], ""), None);
        assert_eq!(of(&["public, MAX-AGE=\"300\""], ""), Some(300));
        assert_eq!(of(&["max-age=300"], "100"), Some(200));
        assert_eq!(of(&["max-age=300"], "900"), Some(0));
        assert_eq!(of(&["max-age=300"], "-900"), Some(300));
        assert_eq!(of(&["max-age=300", "max-age=60"], ""), Some(60));
        assert_eq!(of(&["max-age=300, no-cache"], ""), Some(0));
        assert_eq!(of(&["no-store"], ""), Some(0));
        assert_eq!(of(&["max-age=-1"], ""), Some(0));
        assert_eq!(of(&["max-age=1e9"], ""), Some(0));
        assert_eq!(of(&["max-age="], ""), Some(0));
        assert_eq!(of(&["max-age=99999999999999999999999999"], ""), Some(MOST));
        assert_eq!(of(&["s-maxage=5"], ""), None);
    }
}
