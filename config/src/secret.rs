//! Secrets: references as written, values that never show. A secret is never part of a configuration file.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{Deserializer, Error, Visitor};
use zeroize::Zeroizing;

/// `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline is dropped.
    File(PathBuf),
}

/// The text is no reference. It is not repeated, for it may be the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", LITERAL)]
pub struct NotAReference;

/// By this text [`crate::decode`] knows the error again.
pub(crate) const LITERAL: &str = "a secret must be written as env:NAME or file:PATH";

/// Why a secret cannot be had. Names the reference, never the value.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment variable is not set.
    #[error("the environment variable {0} is not set")]
    NotSet(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is nothing in it.
    #[error("{0} is empty")]
    Empty(SecretRef),
    /// It is larger than [`Secret::MAX_BYTES`].
    #[error("{0} is larger than {max} bytes", max = Secret::MAX_BYTES)]
    TooLarge(SecretRef),
}

impl SecretRef {
    pub(crate) const MAGIC: &'static str = "$portcullis::SecretRef";

    /// Reads the secret. This is I/O: call it when a configuration is put to use, not when it is checked.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Self::Env(name) => {
                let value = std::env::var_os(name).ok_or_else(|| SecretError::NotSet(name.clone()))?;
                Zeroizing::new(OsString::into_encoded_bytes(value))
            }
            Self::File(path) => read(path).map_err(|source| SecretError::Unreadable {
                path: path.clone(),
                source,
            })?,
        };
        match secret.len() {
            0 => Err(SecretError::Empty(self.clone())),
            length if length > Secret::MAX_BYTES => Err(SecretError::TooLarge(self.clone())),
            _ => Ok(Secret(secret)),
        }
    }

    /// Whether a text has the form of a reference, so that it may be shown.
    pub(crate) fn looks_like_one(text: &str) -> bool {
        text.parse::<Self>().is_ok()
    }
}

/// Reads at most one byte more than a secret may have. The buffer never moves, so nothing is left behind.
fn read(path: &PathBuf) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let limit = Secret::MAX_BYTES + 3;
    let mut buffer = Zeroizing::new(vec![0; limit]);
    let mut file = File::open(path)?;
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = buffer.get(..length).unwrap_or_default();
    let line = whole.strip_suffix(b"\n").unwrap_or(whole);
    let kept = line
        .strip_suffix(b"\r")
        .filter(|_| line.len() < whole.len())
        .unwrap_or(line)
        .len();
    buffer.truncate(kept);
    Ok(buffer)
}

impl FromStr for SecretRef {
    type Err = NotAReference;

    fn from_str(text: &str) -> Result<Self, NotAReference> {
        if let Some(name) = text.strip_prefix("env:") {
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            let fits = name.bytes().all(plain) && name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
            return if fits {
                Ok(Self::Env(name.to_owned()))
            } else {
                Err(NotAReference)
            };
        }
        match text.strip_prefix("file:") {
            Some(path) if !path.is_empty() && !path.contains('\0') => Ok(Self::File(path.into())),
            _ => Err(NotAReference),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl<'de> serde::Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RefVisitor;
        impl<'de> Visitor<'de> for RefVisitor {
            type Value = SecretRef;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a reference to a secret: env:NAME or file:PATH")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<SecretRef, D::Error> {
                inner.deserialize_any(self)
            }

            fn visit_some<D: Deserializer<'de>>(self, _: D) -> Result<SecretRef, D::Error> {
                Ok(SecretRef::Env("X".to_owned()))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<SecretRef, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<SecretRef, E> {
                Err(E::custom(NotAReference))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<SecretRef, E> {
                Err(E::custom(NotAReference))
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<SecretRef, E> {
                Err(E::custom(NotAReference))
            }
        }
        deserializer.deserialize_newtype_struct(Self::MAGIC, RefVisitor)
    }
}

impl schemars::JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "a reference to a secret: env:NAME or file:PATH",
            "pattern": "^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$",
        })
    }
}

/// A secret's bytes. They are overwritten when it is dropped, and `Debug` does not show them.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Largest secret accepted.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Takes bytes as a secret.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes. Use them and let go.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn only_references_are_accepted_and_errors_do_not_repeat_the_text() {
        assert_eq!("env:KEY_1".parse(), Ok(SecretRef::Env("KEY_1".into())));
        assert_eq!("file:/run/k".parse(), Ok(SecretRef::File("/run/k".into())));
        for text in [
            "hunter2",
            "env:",
            "env:A-B",
            "env:1A",
            "file:",
            "file:a\0b",
            "vault:x",
            " env:A",
            "",
        ] {
            let error = text.parse::<SecretRef>().unwrap_err().to_string();
            assert!(!error.contains("hunter2"));
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound_without_its_last_newline() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let reference = SecretRef::File(file.path().into());
        assert!(matches!(reference.resolve(), Err(SecretError::Empty(_))));
        file.write_all(b"s3cret\r\n").unwrap();
        let secret = reference.resolve().unwrap();
        assert_eq!(secret.expose(), b"s3cret");
        assert_eq!(format!("{secret:?}"), "Secret(***)");
        file.write_all(&vec![b'x'; Secret::MAX_BYTES]).unwrap();
        assert!(matches!(reference.resolve(), Err(SecretError::TooLarge(_))));
        assert!(matches!(
            SecretRef::Env("NOT_SET_7".into()).resolve(),
            Err(SecretError::NotSet(_))
        ));
    }
}
