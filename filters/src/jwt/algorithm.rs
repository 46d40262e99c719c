//! Signature and MAC algorithms (RFC 7518, 3.1; RFC 8037, 3.1): their names and sets of them. Which key can do what is
//! [`super::material`]'s.

use portcullis_config::identity::Algorithm;

/// Every algorithm that there is here. No `none`, no curve that `ring` lacks.
const NAMES: [(&str, Algorithm); 12] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
    ("HS256", Algorithm::HS256),
    ("HS384", Algorithm::HS384),
    ("HS512", Algorithm::HS512),
];

/// The algorithm of exactly this name.
pub fn by_name(name: &str) -> Option<Algorithm> {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, algorithm)| *algorithm)
}

/// A set of algorithms.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Algorithms(u16);

impl Algorithms {
    /// The set of these.
    pub fn of(list: &[Algorithm]) -> Self {
        Self(list.iter().fold(0, |set, algorithm| set | bit(*algorithm)))
    }

    /// Whether it is in the set.
    pub const fn has(self, algorithm: Algorithm) -> bool {
        self.0 & bit(algorithm) != 0
    }

    /// Those in both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those in either set.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// A number that stands for the set, the same in every build of this version.
    pub(super) const fn bits(self) -> u16 {
        self.0
    }
}

const fn bit(algorithm: Algorithm) -> u16 {
    1 << match algorithm {
        Algorithm::RS256 => 0,
        Algorithm::RS384 => 1,
        Algorithm::RS512 => 2,
        Algorithm::PS256 => 3,
        Algorithm::PS384 => 4,
        Algorithm::PS512 => 5,
        Algorithm::ES256 => 6,
        Algorithm::ES384 => 7,
        Algorithm::EdDSA => 8,
        Algorithm::HS256 => 9,
        Algorithm::HS384 => 10,
        Algorithm::HS512 => 11,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exact_and_sets_tell_members_apart() {
        for (name, algorithm) in NAMES {
            assert_eq!(format!("{algorithm:?}"), name);
            let alone = Algorithms::of(&[algorithm]);
            assert_eq!(NAMES.iter().filter(|(_, other)| alone.has(*other)).count(), 1);
        }
        for name in [
            "", "none", "None", "hs256", "HS1", "rs256", "RS256 ", "ES512", "ES521", "ES256K", "eddsa", "Ed448",
        ] {
            assert_eq!(by_name(name), None, "{name}");
        }
    }
}
