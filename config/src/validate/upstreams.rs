//! Upstreams: servers, health, timeouts, retries, TLS.

use super::check::Check;
use super::{geoip, names};
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::overload::Concurrency;
use crate::units::Duration;
use crate::upstream::{Balance, Health, Server, Upstream, UpstreamHost, UpstreamProtocol, UpstreamTls};

/// Most servers of one upstream: the ring of consistent hashing has a bound.
const MOST_SERVERS: usize = 1000;
/// Most subject alternative names that one upstream accepts.
const MOST_NAMES: usize = 64;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    for (name, node) in check.entries(root, "upstreams") {
        names::name(check, *node, true, name);
        if let Some(upstream) = check.config.upstreams.get(name.as_ref()) {
            one(check, *node, upstream);
            if check.config.require_upstream_tls && upstream.tls.is_none() {
                let message = format!("`{name}` is spoken to in plaintext, and `require_upstream_tls` forbids that");
                let help = "add `tls: { server_name: .. }`, or remove `require_upstream_tls`";
                check.report_key(codes::INSECURE, *node, message, help);
            }
        }
    }
}

fn one(check: &mut Check<'_>, node: NodeId, upstream: &Upstream) {
    servers(check, node, &upstream.servers);
    if upstream.protocol == UpstreamProtocol::Auto && upstream.tls.is_none() {
        let help = "add `tls`, or choose `http1` or `http2`";
        let message = "`protocol: auto` needs `tls`: the protocol is agreed on by ALPN";
        check.report_with(codes::CONFLICTING_KEYS, check.at(node, "protocol"), message, help);
    }
    if let Balance::ConsistentHash(hash) = &upstream.balance {
        let settings = check.at(check.at(node, "balance"), "consistent_hash");
        geoip::known(check, check.at(settings, "key"), &hash.key);
    }
    if let Some(settings) = &upstream.health {
        health(check, check.at(node, "health"), settings);
    }
    let passive = check.at(node, "passive_health");
    check.within(passive, "failures", upstream.passive_health.failures, 0..=1000);
    check.timeout(passive, "eject_for", upstream.passive_health.eject_for);
    let timeouts = check.at(node, "timeouts");
    check.timeout(timeouts, "connect", upstream.timeouts.connect);
    check.timeout(timeouts, "read", upstream.timeouts.read);
    check.timeout(timeouts, "write", upstream.timeouts.write);
    check.timeout(timeouts, "idle", upstream.timeouts.idle);
    check.timeout(timeouts, "tunnel", upstream.timeouts.tunnel);
    retry(check, node, upstream);
    let pool = check.at(node, "pool");
    check.within(pool, "h2_streams", upstream.pool.h2_streams, 1..=10_000);
    concurrency(check, check.at(node, "concurrency"), &upstream.concurrency);
    if let Some(settings) = &upstream.tls {
        tls(check, check.at(node, "tls"), settings);
        if !settings.san.is_empty() && upstream.protocol != UpstreamProtocol::Http1 {
            let message = "`tls.san` is only verified on HTTP/1.1 connections";
            let help = "remove `protocol`, or let `server_name` be verified";
            check.report_with(
                codes::CONFLICTING_KEYS,
                check.at(check.at(node, "tls"), "san"),
                message,
                help,
            );
        }
    }
    if let UpstreamHost::Name(host) = &upstream.host
        && let Err(why) = names::authority(host)
    {
        let node = check.at(check.at(node, "host"), "name");
        check.report(
            codes::INVALID_VALUE,
            node,
            format!("`{host}` cannot be sent as Host: {why}"),
        );
    }
}

fn concurrency(check: &mut Check<'_>, node: NodeId, concurrency: &Concurrency) {
    check.within(node, "minimum", concurrency.minimum, 1..=1_000_000);
    check.within(node, "maximum", concurrency.maximum, 1..=1_000_000);
    if concurrency.minimum > concurrency.maximum {
        let written = check
            .written(node, "minimum")
            .or_else(|| check.written(node, "maximum"));
        let message = format!(
            "`minimum` ({}) is more than `maximum` ({})",
            concurrency.minimum, concurrency.maximum
        );
        if let Some(written) = written {
            check.report_with(
                codes::CONFLICTING_KEYS,
                written,
                message,
                "make `minimum` smaller, or `maximum` larger",
            );
        }
    }
}

fn servers(check: &mut Check<'_>, upstream: NodeId, servers: &[Server]) {
    check.not_empty(upstream, "servers", servers, "add a server, such as \"127.0.0.1:9000\"");
    let list = check.at(upstream, "servers");
    if servers.len() > MOST_SERVERS {
        let message = format!("there are {} servers; at most {MOST_SERVERS} fit", servers.len());
        check.report_key(
            codes::OUT_OF_RANGE,
            list,
            message,
            "give one host name with many addresses, or split the upstream",
        );
    }
    let mut addresses = Vec::new();
    for (index, server) in servers.iter().enumerate() {
        let node = check.item(list, index);
        let address = check.at(node, "address");
        if let Err(why) = names::host_and_port(&server.address) {
            let message = format!("`{}` is not a server: {why}", server.address);
            check.report_with(
                codes::INVALID_VALUE,
                address,
                message,
                "write host:port, such as app.internal:8080 or [::1]:8080",
            );
        }
        check.within(node, "weight", server.weight, 1..=1000);
        addresses.push((server.address.to_ascii_lowercase(), address));
    }
    check.distinct("server", addresses);
    let all_backup = !servers.is_empty() && servers.iter().all(|server| server.backup);
    if all_backup && check.is_whole(upstream, "servers") {
        let message = "every server is a backup: there is none that it backs up";
        check.report_key(
            codes::CONFLICTING_KEYS,
            list,
            message,
            "remove `backup` from at least one server",
        );
    }
}

fn health(check: &mut Check<'_>, node: NodeId, health: &Health) {
    let visible = |b: u8| b.is_ascii_graphic();
    if !health.path.starts_with('/') || !health.path.bytes().all(visible) || health.path.contains('#') {
        let help = "write a path and, where needed, a query: /healthz?ready=1";
        check.report_with(
            codes::INVALID_PATH,
            check.at(node, "path"),
            "this is not a path that can be asked for",
            help,
        );
    }
    if let Some(Err(why)) = health.host.as_deref().map(names::authority) {
        check.report(
            codes::INVALID_VALUE,
            check.at(node, "host"),
            format!("this cannot be sent as Host: {why}"),
        );
    }
    check.within(
        node,
        "interval",
        health.interval,
        Duration::from_millis(10)..=super::check::DAY,
    );
    check.timeout(node, "timeout", health.timeout);
    check.within(node, "unhealthy_after", health.unhealthy_after, 1..=1000);
    check.within(node, "healthy_after", health.healthy_after, 1..=1000);
    check.not_empty(
        node,
        "statuses",
        &health.statuses,
        "add the statuses that count as healthy, such as 200",
    );
    let list = check.at(node, "statuses");
    for (index, status) in health.statuses.iter().enumerate() {
        if !(200..=599).contains(status) {
            check.report(
                codes::OUT_OF_RANGE,
                check.item(list, index),
                "a final status is 200 to 599",
            );
        }
    }
}

fn retry(check: &mut Check<'_>, upstream: NodeId, written: &Upstream) {
    let node = check.at(upstream, "retry");
    check.within(node, "attempts", written.retry.attempts, 1..=10);
    let on = check.at(node, "on");
    let mut seen = Vec::new();
    for (index, failure) in written.retry.on.iter().enumerate() {
        if seen.contains(failure) {
            check.report(
                codes::DUPLICATE_NAME,
                check.item(on, index),
                "this failure is listed twice",
            );
        }
        seen.push(*failure);
    }
    if written.retry.on.is_empty() && written.retry.attempts > 1 && check.written(node, "attempts").is_some() {
        let help = "list failures, such as `connect_error`, or set `attempts: 1`";
        check.report_key(
            codes::CONFLICTING_KEYS,
            on,
            "`attempts` has no effect without a failure in `on`",
            help,
        );
    }
}

fn tls(check: &mut Check<'_>, node: NodeId, tls: &UpstreamTls) {
    if let Err(why) = names::is_host(&tls.server_name) {
        let message = format!("`{}` cannot be a server name: {why}", tls.server_name);
        check.report(codes::INVALID_VALUE, check.at(node, "server_name"), message);
    }
    let list = check.at(node, "san");
    if tls.san.len() > MOST_NAMES {
        let message = format!("there are {} names; at most {MOST_NAMES} fit", tls.san.len());
        check.report(codes::OUT_OF_RANGE, list, message);
    }
    for (index, name) in tls.san.iter().enumerate() {
        if !is_alternative_name(name) {
            let message = format!("`{name}` is no subject alternative name");
            let help = "write a host name, an IP address, or a URI such as spiffe://cluster.local/ns/shop/sa/cart";
            check.report_with(codes::INVALID_VALUE, check.item(list, index), message, help);
        }
    }
    check.file(node, "ca", tls.ca.as_deref());
    check.file(node, "certificate", tls.certificate.as_deref());
    check.file(node, "key", tls.key.as_deref());
    check.together(
        node,
        ("certificate", tls.certificate.is_some()),
        ("key", tls.key.is_some()),
    );
}

// A URI is compared as a whole, so all that is asked of it is that it could stand in a certificate (RFC 5280, 4.2.1.6).
fn is_alternative_name(text: &str) -> bool {
    let uri = text.split_once("://").is_some_and(|(scheme, rest)| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
        !scheme.is_empty()
            && scheme.bytes().all(plain)
            && !rest.is_empty()
            && text.bytes().all(|b| b.is_ascii_graphic())
    });
    uri || text.parse::<std::net::IpAddr>().is_ok() || names::is_host(text).is_ok()
}
