//! Limits, telemetry and the process itself.

use super::check::{Check, DAY};
use super::names::{self, Plaintext};
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::telemetry::AccessFormat;
use crate::units::{ByteSize, Duration};

/// The HTTP/1 parser stops here, whatever is configured.
const MOST_HEADER_BYTES: ByteSize = ByteSize::bytes(1_048_575);
const MOST_HEADERS: u32 = 256;
/// Who waits longer than this has gone.
const MOST_LAG: Duration = Duration::from_secs(60);
/// The process alone needs about as much.
const LEAST_MEMORY: ByteSize = ByteSize::mib(16);
/// Longest path of a Unix socket (`sun_path`), less the NUL at its end.
const SOCKET_PATH: usize = 107;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    limits(check, check.at(root, "limits"));
    overload(check, check.at(root, "overload"));
    telemetry(check, check.at(root, "telemetry"));
    runtime(check, check.at(root, "runtime"));
}

fn limits(check: &mut Check<'_>, node: NodeId) {
    let limits = &check.config.limits;
    check.within(
        node,
        "request_header_bytes",
        limits.request_header_bytes,
        ByteSize::kib(1)..=MOST_HEADER_BYTES,
    );
    check.within(node, "request_headers", limits.request_headers, 1..=MOST_HEADERS);
    check.within(
        node,
        "request_body_bytes",
        limits.request_body_bytes,
        ByteSize::bytes(1)..=ByteSize::mib(1 << 20),
    );
    check.within(
        node,
        "held_body_bytes",
        limits.held_body_bytes,
        ByteSize::kib(64)..=ByteSize::mib(1 << 20),
    );
    check.timeout(node, "handshake_timeout", limits.handshake_timeout);
    check.within(node, "handshakes", limits.handshakes, 1..=10_000);
    check.timeout(node, "header_timeout", limits.header_timeout);
    check.timeout(node, "body_idle_timeout", limits.body_idle_timeout);
    check.within(node, "min_rate", limits.min_rate, 0..=1 << 30);
    check.timeout(node, "keepalive_timeout", limits.keepalive_timeout);
    check.within(node, "keepalive_requests", limits.keepalive_requests, 1..=1_000_000_000);
    check.within(node, "connections", limits.connections, 1..=10_000_000);
    check.within(node, "connections_per_ip", limits.connections_per_ip, 1..=10_000_000);
    let per_prefix = limits.connections_per_prefix();
    check.within(node, "connections_per_prefix", per_prefix, 1..=10_000_000);
    let new = check.at(node, "new_connections_per_ip");
    check.within(new, "burst", limits.new_connections_per_ip.burst, 1..=1_000_000);
    let h2 = check.at(node, "h2");
    check.within(h2, "streams", limits.h2.streams, 1..=1000);
    check.within(check.at(h2, "resets"), "burst", limits.h2.resets.burst, 1..=1_000_000);
    let buffer = limits.h2.response_buffer_bytes;
    check.within(
        h2,
        "response_buffer_bytes",
        buffer,
        ByteSize::kib(64)..=ByteSize::mib(1024),
    );
    let counts = [
        ("connections", limits.connections),
        ("connections_per_prefix", per_prefix),
        ("connections_per_ip", limits.connections_per_ip),
    ];
    for (place, (wide, most)) in counts.iter().enumerate() {
        for (narrow, value) in counts.iter().skip(place + 1) {
            never_reached(check, node, (narrow, *value), (wide, *most));
        }
    }
}

/// Reports a count that is written and can never be reached because of another that is.
fn never_reached(check: &mut Check<'_>, node: NodeId, narrow: (&str, u32), wide: (&str, u32)) {
    let written = check
        .written(node, narrow.0)
        .filter(|_| check.written(node, wide.0).is_some());
    if let Some(written) = written.filter(|_| narrow.1 > wide.1) {
        let message = format!("`{}` is more than `{}`: it would never be reached", narrow.0, wide.0);
        check.report_with(
            codes::CONFLICTING_KEYS,
            written,
            message,
            "make it smaller, or remove it",
        );
    }
}

fn overload(check: &mut Check<'_>, node: NodeId) {
    let overload = &check.config.overload;
    check.within(node, "lag", overload.lag, Duration::from_secs(0)..=MOST_LAG);
    let Some(memory) = overload.memory.filter(|memory| memory.get() > 0) else {
        return;
    };
    check.within(node, "memory", memory, LEAST_MEMORY..=ByteSize::mib(1 << 30));
}

fn telemetry(check: &mut Check<'_>, node: NodeId) {
    let telemetry = &check.config.telemetry;
    let access = check.at(node, "access_log");
    check.file(access, "file", telemetry.access_log.file.as_deref());
    check.within(access, "buffer_lines", telemetry.access_log.buffer_lines, 1..=1_000_000);
    if telemetry.access_log.format == AccessFormat::Off {
        for key in ["file", "buffer_lines"] {
            if let Some(written) = check.written(access, key) {
                let message = format!("`{key}` has no effect with `format: off`");
                check.report_key(
                    codes::CONFLICTING_KEYS,
                    written,
                    message,
                    format!("remove `{key}`, or choose a format"),
                );
            }
        }
    }
    let Some(traces) = &telemetry.traces else { return };
    let node = check.at(node, "traces");
    names::url(check, check.at(node, "endpoint"), &traces.endpoint, Plaintext::Anywhere);
    check.text(node, "service_name", &traces.service_name);
    check.within(node, "sample", traces.sample, 0.0..=1.0);
}

fn runtime(check: &mut Check<'_>, node: NodeId) {
    let runtime = &check.config.runtime;
    check.within(node, "threads", runtime.threads, 0..=1024);
    check.within(node, "drain_delay", runtime.drain_delay, Duration::from_secs(0)..=DAY);
    check.within(node, "grace_period", runtime.grace_period, Duration::from_secs(0)..=DAY);
    let socket = runtime.upgrade_socket.as_deref();
    check.file(node, "upgrade_socket", socket);
    if socket.is_some_and(|path| path.as_os_str().len() > SOCKET_PATH) {
        let message = format!("the path of a socket has at most {SOCKET_PATH} bytes");
        check.report(codes::OUT_OF_RANGE, check.at(node, "upgrade_socket"), message);
    }
}
