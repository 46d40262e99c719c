//! How often requests were refused for their tenant, by reason. In a zone, so that the counters outlive reloads.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::verdict::Reason;
use crate::zones::{Entropy, OneShape, ZoneState};

/// Nothing says whose the request is.
pub(super) const MISSING: Reason = Reason("tenant_missing");
/// What should be the name of a tenant is none.
pub(super) const INVALID: Reason = Reason("tenant_invalid");
/// The request names another tenant than its caller's.
pub(super) const MISMATCH: Reason = Reason("tenant_mismatch");
/// The body cannot be looked at.
pub(super) const BODY_UNREADABLE: Reason = Reason("tenant_body_unreadable");
/// The body is larger than what is looked at.
pub(super) const BODY_TOO_LARGE: Reason = Reason("tenant_body_too_large");
/// The upstream answered with what belongs to another tenant.
pub(super) const LEAK: Reason = Reason("tenant_leak_blocked");

/// The reasons that are counted.
pub const REASONS: [Reason; 6] = [MISSING, INVALID, MISMATCH, BODY_UNREADABLE, BODY_TOO_LARGE, LEAK];

/// Counters of one link.
#[derive(Debug, Default)]
pub struct TenantStats([AtomicU64; REASONS.len()]);

impl TenantStats {
    /// A request was refused, or would have been in shadow.
    pub(super) fn refused(&self, reason: Reason) {
        let counters = REASONS.iter().zip(&self.0);
        for (_, counter) in counters.filter(|(known, _)| **known == reason) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// How often each reason was given.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counters = REASONS.iter().zip(&self.0);
        counters.map(|(reason, counter)| (reason.0, counter.load(Relaxed)))
    }
}

impl ZoneState for TenantStats {
    const KIND: &'static str = "tenant counters";
    type Shape = OneShape;

    fn open(_: &OneShape, _: &Entropy) -> Self {
        Self::default()
    }
}
