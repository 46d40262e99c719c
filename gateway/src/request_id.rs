//! Request ids: 128 random bits in hexadecimal, or what a trusted proxy before us gave.

use http::HeaderMap;
use smallvec::SmallVec;

use crate::forward::X_REQUEST_ID;

/// Longest id that is taken over.
const LONGEST: usize = 64;

/// Names a request in logs, answers and upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(SmallVec<[u8; 32]>);

impl RequestId {
    /// A fresh one.
    pub fn new() -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut bits = fastrand::u128(..);
        let mut text = SmallVec::new();
        for _ in 0..32 {
            text.push(DIGITS.get((bits & 15) as usize).copied().unwrap_or(b'0'));
            bits >>= 4;
        }
        Self(text)
    }

    /// Takes over the id of a request, if it has a usable one.
    pub fn take_from(&mut self, headers: &HeaderMap) {
        let Some(id) = headers.get(X_REQUEST_ID).map(http::HeaderValue::as_bytes) else {
            return;
        };
        let usable = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if (8..=LONGEST).contains(&id.len()) && id.iter().all(usable) {
            self.0 = SmallVec::from_slice(id);
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl Default for RequestId {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn fresh_ids_differ() {
        let (a, b) = (RequestId::new(), RequestId::new());
        assert_eq!(a.as_str().len(), 32);
        assert_ne!(a, b);
    }

    #[test]
    fn only_usable_ids_are_taken_over() {
        let mut id = RequestId::new();
        let fresh = id.clone();
        for bad in ["short", "has a space in it", "quote\"quote\"", &"x".repeat(65)] {
            id.take_from(&HeaderMap::from_iter([(
                X_REQUEST_ID,
                HeaderValue::from_str(bad).unwrap(),
            )]));
            assert_eq!(id, fresh, "{bad}");
        }
        id.take_from(&HeaderMap::from_iter([(
            X_REQUEST_ID,
            HeaderValue::from_static("0198-abcd.EF_12"),
        )]));
        assert_eq!(id.as_str(), "0198-abcd.EF_12");
    }
}
