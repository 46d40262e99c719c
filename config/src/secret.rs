//! Secrets: references as written, values that never show.

/// `env:NAME` or `file:PATH`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// An environment variable.
    Env(String),
    /// A file; one trailing newline is dropped.
    File(std::path::PathBuf),
}
