//! What filters that find out who is calling tell beside their decisions.

use portcullis_filters::tenant::TenantStats;

use crate::snapshot::Snapshot;
use crate::telemetry::exposition::Exposition;

/// Requests that were refused for their tenant.
pub(super) fn tenants(snapshot: &Snapshot, out: &mut Exposition) {
    for (zone, stats) in snapshot.gateway.zones.each::<TenantStats>() {
        for (reason, count) in stats.counts() {
            let help = "Requests that nobody's tenant is known of, or that named another than their caller's.";
            let labels = [("reason", reason), ("zone", &**zone)];
            out.counter("portcullis_tenant_refusals_total", help, &labels, count);
        }
    }
}
