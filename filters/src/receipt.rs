//! Receipts: a bit for each link that ran. A request may go upstream only when every mandatory bit is there.

use std::fmt;

/// A set of links, by their place in the chain. Bit 0 is the gate (kill switches).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Receipt(pub u64);

impl Receipt {
    /// Most links in a chain, the gate included.
    pub const MAX: usize = 64;
    /// The gate.
    pub const GATE: Self = Self(1);

    /// The receipt of one link; places from 64 on have none.
    #[must_use]
    pub const fn of(place: usize) -> Self {
        if place < Self::MAX { Self(1 << place) } else { Self(0) }
    }

    /// Adds the links of another receipt.
    pub const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// The links of `self` that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there are no links in it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether the link at `place` is in it.
    pub const fn has(self, place: usize) -> bool {
        self.0 & Self::of(place).0 != 0
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}
