//! The control plane: names that go over the wire, and what it needs of `policy`.

use super::check::{Check, DAY};
use super::names::{self, Plaintext};
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::units::Duration;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let Some(written) = &check.config.control_plane else {
        return;
    };
    let node = check.at(root, "control_plane");
    let url = check.at(node, "url");
    names::url(check, url, &written.url, Plaintext::OnLoopback);
    if written.url.contains('?') {
        let help = "remove what begins with the `?`";
        check.report_with(codes::INVALID_VALUE, url, "a base URL has no query", help);
    }
    names::name(check, check.at(node, "edge_id"), false, &written.edge_id);
    if let Some(region) = &written.region {
        names::name(check, check.at(node, "region"), false, region);
    }
    check.file(node, "ca", written.ca.as_deref());
    let shortest = Duration::from_millis(100);
    check.within(node, "heartbeat_interval", written.heartbeat_interval, shortest..=DAY);
    check.within(node, "poll_interval", written.poll_interval, shortest..=DAY);
    check.within(
        node,
        "event_flush_interval",
        written.event_flush_interval,
        shortest..=DAY,
    );
    let pulls = check.config.policy.as_ref().map(|policy| policy.bundle.control_plane);
    if let (Some(false), Some(interval)) = (pulls, check.written(node, "poll_interval")) {
        let message = "`poll_interval` is for `policy.bundle.control_plane`, which is not set";
        check.report_key(codes::CONFLICTING_KEYS, interval, message, "remove `poll_interval`");
    }
    if check.config.policy.is_none() && check.is_whole(root, "policy") {
        let message = "`control_plane` needs `policy`: it is policies that are reported about";
        let help = "add `policy`; its bundle may come from elsewhere";
        check.report_key(codes::MISSING_KEY, node, message, help);
    }
}
