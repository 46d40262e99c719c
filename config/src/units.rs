//! Units as written: `30s`, `32KiB`, `10/s`.

use std::time;

/// A span of time: `250ms`, `5s`, `1m`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(time::Duration);

impl Duration {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(time::Duration::from_secs(seconds))
    }
    /// The standard library's type.
    pub const fn get(self) -> time::Duration {
        self.0
    }
}

/// A number of bytes: `512B`, `32KiB`, `10MiB`, `1GiB`, or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

impl ByteSize {
    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }
    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }
    /// Bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// So many in a span of time: `10/s`, `600/m`, `1000/h`, `50000/d`, `0.5/s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// A second.
    pub per_second: f64,
}
