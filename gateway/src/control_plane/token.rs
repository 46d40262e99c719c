//! The token in its two slots. It is read anew each time, so that a file that was replaced counts from the next call on.

use http::HeaderValue;
use portcullis_config::control_plane::Token;
use portcullis_config::secret::{Secret, SecretRef};
use zeroize::Zeroizing;

/// The tokens at hand as values of `Authorization`, the one to try first in front. At least one, at most two.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tokens(Vec<HeaderValue>);

/// Why there is none. Names references, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoToken(String);

impl Tokens {
    /// Reads them. This is I/O. A slot that cannot be read is passed over where the other can.
    pub(super) fn read(written: &Token) -> Result<Self, NoToken> {
        let current = value(&written.current);
        let previous = written.previous.as_ref().map(value).and_then(Result::ok);
        let first = match (current, &previous) {
            (Err(error), None) => return Err(error),
            (current, _) => current.ok(),
        };
        let mut found = Vec::with_capacity(2);
        found.extend(first);
        found.extend(previous.filter(|previous| found.first() != Some(previous)));
        Ok(Self(found))
    }

    /// In the order in which they are to be tried.
    pub(super) fn iter(&self) -> impl Iterator<Item = &HeaderValue> {
        self.0.iter()
    }
}

/// Whether there is a token. This is I/O.
pub fn check(written: &Token) -> Result<(), NoToken> {
    Tokens::read(written).map(|_| ())
}

fn value(reference: &SecretRef) -> Result<HeaderValue, NoToken> {
    let secret = reference.resolve().map_err(|error| NoToken(error.to_string()))?;
    bearer(&secret).ok_or_else(|| NoToken(format!("{reference} holds no token: one word of visible ASCII")))
}

/// The value of `Authorization` (RFC 6750, section 2.1). It does not show in `Debug`.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let token = token.expose();
    if !token.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let mut text = Zeroizing::new(b"Bearer ".to_vec());
    text.extend_from_slice(token);
    let mut value = HeaderValue::from_bytes(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(dir: &tempfile::TempDir, name: &str) -> SecretRef {
        SecretRef::File(dir.path().join(name))
    }

    fn read(token: &Token) -> Vec<String> {
        let tokens = Tokens::read(token).unwrap();
        assert!(tokens.iter().all(HeaderValue::is_sensitive));
        tokens.iter().map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn two_slots_of_which_one_is_enough() {
        let dir = tempfile::tempdir().unwrap();
        let written = Token {
            current: file(&dir, "new"),
            previous: Some(file(&dir, "old")),
        };
        assert!(Tokens::read(&written).is_err());
        std::fs::write(dir.path().join("old"), "one\n").unwrap();
        assert_eq!(read(&written), ["Bearer one"]);
        let before = Tokens::read(&written).unwrap();
        std::fs::write(dir.path().join("new"), "two\n").unwrap();
        assert_eq!(read(&written), ["Bearer two", "Bearer one"]);
        assert!(before != Tokens::read(&written).unwrap());
        std::fs::write(dir.path().join("old"), "two\n").unwrap();
        assert_eq!(read(&written), ["Bearer two"], "the same twice is tried once");
    }

    #[test]
    fn what_is_no_token_is_not_sent_and_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        for bad in ["se cret", "secret\r\nX-Evil: 1", "secr\u{e9}t"] {
            std::fs::write(dir.path().join("new"), bad).unwrap();
            let written = Token {
                current: file(&dir, "new"),
                previous: None,
            };
            let Err(error) = Tokens::read(&written) else {
                panic!("{bad}")
            };
            assert!(!error.to_string().contains("secr"), "{error}");
        }
    }
}
