//! Matchers as written: hosts.

/// A host as written in `hosts:`, normalised to lower case (IDNA ASCII form), no port, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// `*`
    Any,
    /// `*.example.com`: one or more labels before the suffix; holds `example.com`.
    Suffix(Box<str>),
    /// `api.example.com`, `192.0.2.1` or `[2001:db8::1]`.
    Exact(Box<str>),
}
