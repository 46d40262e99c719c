//! Why a bundle was refused: a code that never changes, a sentence, and for content every error with its place.

use std::fmt;

use crate::envelope::{EnvelopeError, Verified};
use crate::examine::Failure;
use crate::explain::{self, Explanation};
use crate::version::VersionError;

/// The name under which diagnostics show a bundle's text.
const NAME: &str = "bundle";

/// A bundle that was refused. Nothing of it is in force.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The code.
    pub reason: RefusedReason,
    /// A sentence for logs and status pages.
    pub detail: String,
    /// Every error in its content, when that is the reason.
    pub explanation: Explanation,
}

/// The codes of refusals. They are never renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RefusedReason {
    /// Larger than `policy.max_bytes`.
    TooLarge,
    /// Not signed, or neither of the two signed forms.
    SignedBundleFormatError,
    /// No signature by a trusted key.
    UnknownKey,
    /// A signature that does not fit.
    InvalidSignature,
    /// Its content is wrong.
    Invalid,
    /// It uses something that this version does not enforce.
    Unsupported,
    /// It is for other gateways.
    AudienceMismatch,
    /// Not above the version accepted last.
    VersionNotMonotonic,
    /// It was tried on a part of the requests, and rolled back.
    RolledBack,
    /// Further above it than allowed.
    VersionJump,
    /// Issued in the future.
    IssuedInFuture,
    /// Its `not_before` has not come yet.
    NotYetValid,
    /// Its `expires_at` has passed.
    BundleExpired,
    /// An override in it has expired.
    OverrideExpired,
    /// Its own tests do not come out as they say.
    TestsFailed,
}

impl RefusedReason {
    /// Every code, for metrics.
    pub const ALL: [Self; 15] = [
        Self::TooLarge,
        Self::SignedBundleFormatError,
        Self::UnknownKey,
        Self::InvalidSignature,
        Self::Invalid,
        Self::Unsupported,
        Self::AudienceMismatch,
        Self::VersionNotMonotonic,
        Self::RolledBack,
        Self::VersionJump,
        Self::IssuedInFuture,
        Self::NotYetValid,
        Self::BundleExpired,
        Self::OverrideExpired,
        Self::TestsFailed,
    ];

    /// The code.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TooLarge => "too_large",
            Self::SignedBundleFormatError => "signed_bundle_format_error",
            Self::UnknownKey => "unknown_key",
            Self::InvalidSignature => "invalid_signature",
            Self::Invalid => "invalid",
            Self::Unsupported => "unsupported",
            Self::AudienceMismatch => "audience_mismatch",
            Self::VersionNotMonotonic => "version_not_monotonic",
            Self::RolledBack => "rolled_back",
            Self::VersionJump => "version_jump",
            Self::IssuedInFuture => "issued_in_future",
            Self::NotYetValid => "not_yet_valid",
            Self::BundleExpired => "bundle_expired",
            Self::OverrideExpired => "override_expired",
            Self::TestsFailed => "tests_failed",
        }
    }

    /// The code of an envelope that is not right.
    pub(crate) const fn of_envelope(error: &EnvelopeError) -> Self {
        match error {
            EnvelopeError::Unsigned | EnvelopeError::Format(_) => Self::SignedBundleFormatError,
            EnvelopeError::UnknownKey(_) => Self::UnknownKey,
            EnvelopeError::InvalidSignature(_) => Self::InvalidSignature,
        }
    }

    /// Whether the same bytes may be accepted later without anybody doing anything.
    pub const fn may_pass_with_time(self) -> bool {
        matches!(self, Self::IssuedInFuture | Self::NotYetValid)
    }
}

impl fmt::Display for RefusedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.detail)
    }
}

impl std::error::Error for Refused {}

impl Refused {
    pub(super) fn new(reason: RefusedReason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            explanation: Explanation::default(),
        }
    }

    pub(super) fn too_large(is: u64, max: u64) -> Self {
        Self::new(
            RefusedReason::TooLarge,
            format!("the bundle has {is} bytes; policy.max_bytes allows {max}"),
        )
    }

    /// It is for `audience`, and this gateway goes by `names`.
    pub(super) fn audience(audience: &[String], names: &[Box<str>]) -> Self {
        const TOLD: usize = 5;
        let mut to = audience
            .iter()
            .take(TOLD)
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ");
        if audience.len() > TOLD {
            to.push_str(", ...");
        }
        let own = match names {
            [] => "has no name (control_plane.edge_id or policy.audience)".to_owned(),
            names => format!("is {}", names.join(", ")),
        };
        Self::new(
            RefusedReason::AudienceMismatch,
            format!("the bundle is for {to}; this gateway {own}"),
        )
    }

    pub(super) fn envelope(error: &EnvelopeError) -> Self {
        Self::new(RefusedReason::of_envelope(error), error.to_string())
    }

    pub(super) fn version(error: &VersionError) -> Self {
        let reason = match error {
            VersionError::Older { .. } | VersionError::Reused { .. } => RefusedReason::VersionNotMonotonic,
            VersionError::RolledBack { .. } => RefusedReason::RolledBack,
            VersionError::Jump { .. } => RefusedReason::VersionJump,
        };
        Self::new(reason, error.to_string())
    }

    /// The content of a verified bundle is wrong; `error` is the first thing found.
    pub(super) fn content(verified: &Verified<'_>, error: &str) -> Self {
        let explanation = explain::json(NAME, verified.payload(), error);
        let mut found = explanation.diagnostics.iter();
        let unsupported = found.clone().any(|one| one.code.starts_with("unsupported-"));
        let reason = if unsupported {
            RefusedReason::Unsupported
        } else {
            RefusedReason::Invalid
        };
        let first = found.next().map(|one| {
            let place = if one.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", one.path)
            };
            format!("{place}{}", one.message)
        });
        let more = explanation.diagnostics.len().saturating_sub(1);
        let more = if more == 0 {
            String::new()
        } else {
            format!(" (and {more} more)")
        };
        Self {
            reason,
            detail: format!("{}{more}", first.unwrap_or_else(|| error.into())),
            explanation,
        }
    }

    pub(super) fn tests(failures: &[Failure], all: usize) -> Self {
        const TOLD: usize = 5;
        let mut detail = format!("{} of {all} tests failed", failures.len());
        for failure in failures.iter().take(TOLD) {
            detail.push_str("; ");
            detail.push_str(&failure.to_string());
        }
        if failures.len() > TOLD {
            detail.push_str("; ...");
        }
        Self::new(RefusedReason::TestsFailed, detail)
    }
}
