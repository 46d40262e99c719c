//! What `/readyz` says, as metrics: the two can never differ.

use super::wire::{Readiness, ReadyStatus};
use crate::telemetry::exposition::Exposition;

/// Adds the samples.
pub(crate) fn collect(readiness: &Readiness, out: &mut Exposition) {
    let ready = readiness.status == ReadyStatus::Ready;
    out.gauge_bool(
        "portcullis_ready",
        "1 while traffic should be sent here, as /readyz says.",
        &[],
        ready,
    );
    if let Some(config) = &readiness.config {
        let labels = [("digest", config.digest.as_str())];
        out.gauge(
            "portcullis_config_info",
            "The configuration in force; the value is 1.",
            &labels,
            1.0,
        );
        let failed = config.last_error.is_some();
        let help = "1 when the last attempt to replace the configuration was refused.";
        out.gauge_bool("portcullis_config_refused", help, &[], failed);
    }
    if let Some(bundle) = &readiness.bundle {
        let help = "1 when the last attempt to replace the policy bundle was refused.";
        out.gauge_bool("portcullis_bundle_refused", help, &[], bundle.last_error.is_some());
        if let Some(at) = bundle.expires_at {
            let help = "When the policy bundle in force expires.";
            out.gauge(
                "portcullis_bundle_expires_timestamp_seconds",
                help,
                &[],
                at.as_secs_f64(),
            );
        }
    }
}
