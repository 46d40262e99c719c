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

/// Compares a bundle with the floor.
pub fn check(candidate: Floor, floor: Option<Floor>, max_jump: Option<u64>) -> Result<Standing, VersionError> {
    let Some(floor) = floor else { return Ok(Standing::New) };
    if candidate == floor {
        return Ok(Standing::Same);
    }
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
