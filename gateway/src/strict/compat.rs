//! The leniencies of a listener, ready to be asked.

pub use portcullis_config::listener::Leniency;

/// Which leniencies are granted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compat(u8);

impl Compat {
    /// None.
    pub const NONE: Self = Self(0);

    /// Those that are named.
    pub fn new(named: &[Leniency]) -> Self {
        Self(named.iter().fold(0, |all, leniency| all | bit(*leniency)))
    }

    /// Whether it is among them.
    pub const fn has(self, leniency: Leniency) -> bool {
        self.0 & bit(leniency) != 0
    }
}

const fn bit(leniency: Leniency) -> u8 {
    1 << leniency as u8
}
