//! Versions only go up. What was accepted last is the floor; a bundle below it, or another one beside it, is refused.

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The highest version accepted so far, and of which text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Floor {
    /// The version.
    pub version: u64,
    /// SHA-256 of its text.
    pub digest: Digest,
}

/// What was seen of versions so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// The bundle accepted last.
    pub accepted: Option<Floor>,
    /// The one that is tried beside it.
    pub tried: Option<Floor>,
    /// The last one that was tried and rolled back.
    pub rolled_back: Option<Floor>,
}

impl From<Option<Floor>> for Seen {
    fn from(accepted: Option<Floor>) -> Self {
        Self {
            accepted,
            ..Self::default()
        }
    }
}

impl Seen {
    /// The highest of them.
    fn highest(&self) -> Option<Floor> {
        let all = [self.accepted, self.tried, self.rolled_back];
        all.into_iter().flatten().max_by_key(|floor| floor.version)
    }
}

/// How a bundle stands to the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Above it, or the first.
    New,
    /// The very text that is the floor.
    Same,
}

/// Why a version is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Below the floor.
    #[error(
        "version {version} is older than {floor}, which was accepted before (roll back with the old content under a version above {floor})"
    )]
    Older {
        /// The bundle's.
        version: u64,
        /// The floor's.
        floor: u64,
    },
    /// The floor's version with another text.
    #[error(
        "version {version} was accepted before with other content (publish the change under a version above {version})"
    )]
    Reused {
        /// The bundle's.
        version: u64,
    },
    /// It was tried, and rolled back.
    #[error("version {version} was tried here and rolled back (publish what is right under a version above {version})")]
    RolledBack {
        /// The bundle's.
        version: u64,
    },
    /// Further above the floor than allowed.
    #[error("version {version} is {jump} above {floor}; policy.max_version_jump allows {max}")]
    Jump {
        /// The bundle's.
        version: u64,
        /// The floor's.
        floor: u64,
        /// The difference.
        jump: u64,
        /// The largest allowed.
        max: u64,
    },
}

/// Compares a bundle with what was seen.
pub fn check(candidate: Floor, seen: impl Into<Seen>, max_jump: Option<u64>) -> Result<Standing, VersionError> {
    let seen = seen.into();
    if seen.accepted == Some(candidate) {
        return Ok(Standing::Same);
    }
    if seen.rolled_back == Some(candidate) {
        return Err(VersionError::RolledBack {
            version: candidate.version,
        });
    }
    let Some(floor) = seen.highest().filter(|_| seen.tried != Some(candidate)) else {
        return Ok(Standing::New);
    };
    let Some(jump) = candidate.version.checked_sub(floor.version) else {
        return Err(VersionError::Older {
            version: candidate.version,
            floor: floor.version,
        });
    };
    match max_jump {
        _ if jump == 0 => Err(VersionError::Reused {
            version: candidate.version,
        }),
        Some(max) if jump > max => Err(VersionError::Jump {
            version: candidate.version,
            floor: floor.version,
            jump,
            max,
        }),
        _ => Ok(Standing::New),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floor(version: u64, text: &str) -> Floor {
        Floor {
            version,
            digest: Digest::of(text.as_bytes()),
        }
    }

    #[test]
    fn versions_only_go_up() {
        let seven = Some(floor(7, "seven"));
        assert_eq!(check(floor(1, "one"), None, Some(1)), Ok(Standing::New));
        assert_eq!(check(floor(8, "eight"), seven, None), Ok(Standing::New));
        assert_eq!(check(floor(7, "seven"), seven, None), Ok(Standing::Same));
        assert_eq!(
            check(floor(7, "other"), seven, None),
            Err(VersionError::Reused { version: 7 })
        );
        assert_eq!(
            check(floor(6, "six"), seven, None),
            Err(VersionError::Older { version: 6, floor: 7 })
        );
        assert_eq!(
            check(floor(6, "seven"), seven, None),
            Err(VersionError::Older { version: 6, floor: 7 })
        );
    }

    #[test]
    fn what_was_tried_counts_too() {
        let seen = Seen {
            accepted: Some(floor(7, "seven")),
            tried: Some(floor(9, "nine")),
            rolled_back: Some(floor(8, "eight")),
        };
        assert_eq!(check(floor(7, "seven"), seen, None), Ok(Standing::Same));
        assert_eq!(check(floor(9, "nine"), seen, None), Ok(Standing::New));
        assert_eq!(check(floor(10, "ten"), seen, None), Ok(Standing::New));
        assert_eq!(
            check(floor(8, "eight"), seen, None),
            Err(VersionError::RolledBack { version: 8 })
        );
        for (version, text) in [(8, "another eight"), (6, "six")] {
            let older = VersionError::Older { version, floor: 9 };
            assert_eq!(check(floor(version, text), seen, None), Err(older));
        }
        assert_eq!(
            check(floor(9, "another nine"), seen, None),
            Err(VersionError::Reused { version: 9 })
        );
        // Once what was tried is gone, what was rolled back still is.
        let seen = Seen { tried: None, ..seen };
        assert_eq!(
            check(floor(8, "another eight"), seen, None),
            Err(VersionError::Reused { version: 8 })
        );
        assert_eq!(check(floor(9, "nine"), seen, None), Ok(Standing::New));
    }

    #[test]
    fn jumps_are_bounded_when_told() {
        let seven = Some(floor(7, "seven"));
        assert_eq!(check(floor(17, "a"), seven, Some(10)), Ok(Standing::New));
        assert_eq!(
            check(floor(18, "a"), seven, Some(10)),
            Err(VersionError::Jump {
                version: 18,
                floor: 7,
                jump: 11,
                max: 10
            })
        );
        assert_eq!(check(floor(1 << 53, "a"), seven, None), Ok(Standing::New));
    }
}
