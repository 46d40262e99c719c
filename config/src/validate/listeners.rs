//! Listeners and the admin listener.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use super::check::Check;
use super::{names, tls};
use crate::diagnostic::{Diagnostic, codes};
use crate::document::NodeId;
use crate::listener::{Listener, ListenerMode, ProxyProtocol, Sources};

/// Sockets that one hand-over to a new binary can carry, less the admin listener's and one to spare.
const MOST: usize = 30;
/// Networks of one list of `sources`.
const MOST_NETWORKS: usize = 100_000;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let listeners = &check.config.listeners;
    let list = check.at(root, "listeners");
    check.not_empty(
        root,
        "listeners",
        listeners,
        "add a listener, such as `{ name: http, address: \"0.0.0.0:8080\" }`",
    );
    if listeners.len() > MOST {
        let message = format!(
            "there are {} listeners; a binary upgrade can hand over {MOST}",
            listeners.len()
        );
        check.report_key(
            codes::OUT_OF_RANGE,
            list,
            message,
            "serve several hosts on one listener: `sites` tells them apart",
        );
    }
    let mut names = Vec::new();
    let admin = check.config.admin.address;
    let written = check.written(root, "admin").map(|node| check.at(node, "address"));
    let mut sockets = Vec::new();
    if check.is_whole(root, "admin") {
        sockets.push((admin, written));
    }
    for (index, listener) in listeners.iter().enumerate().take(MOST + 1) {
        let node = check.item(list, index);
        one(check, node, listener);
        names.push((listener.name.as_str(), check.at(node, "name")));
        address(check, &mut sockets, listener.address, check.at(node, "address"));
    }
    check.distinct("listener", names);
}

fn one(check: &mut Check<'_>, node: NodeId, listener: &Listener) {
    names::name(check, check.at(node, "name"), false, &listener.name);
    if listener.h2c && listener.tls.is_some() {
        let help = "over TLS, HTTP/2 is agreed on by ALPN; remove `h2c`";
        check.report_key(
            codes::CONFLICTING_KEYS,
            check.at(node, "h2c"),
            "`h2c` is for listeners without `tls`",
            help,
        );
    }
    if listener.proxy_protocol != ProxyProtocol::Off && nobody_is_trusted(check) {
        let message = "`proxy_protocol` needs `trusted_proxies`: nobody's header would be believed";
        let help = "add the load balancers' networks to `trusted_proxies`";
        check.report_key(codes::CONFLICTING_KEYS, check.at(node, "proxy_protocol"), message, help);
    }
    if listener.mode == ListenerMode::Decision && nobody_is_trusted(check) {
        let message = "`mode: decision` needs `trusted_proxies`: nobody's description of a request would be believed";
        let help = "add the networks of those who ask to `trusted_proxies`";
        check.report_key(codes::CONFLICTING_KEYS, check.at(node, "mode"), message, help);
    }
    if let Some(node) = check.written(node, "sources") {
        sources(check, node, &listener.sources);
    }
    let compat = check.at(node, "compat");
    let named = listener.compat.iter().enumerate();
    let named: Vec<_> = named.map(|(i, id)| (id.as_str(), check.item(compat, i))).collect();
    check.distinct("leniency", named);
    if let Some(tls) = &listener.tls {
        tls::check(check, check.at(node, "tls"), tls);
    }
}

fn sources(check: &mut Check<'_>, node: NodeId, sources: &Sources) {
    for (key, list) in [("allow", &sources.allow), ("deny", &sources.deny)] {
        if list.len() > MOST_NETWORKS {
            let message = format!("`{key}` has {} networks; {MOST_NETWORKS} are the most", list.len());
            check.report_key(
                codes::OUT_OF_RANGE,
                check.at(node, key),
                message,
                "join networks into larger ones",
            );
        }
    }
    if sources.allow.is_empty()
        && sources.deny.is_empty()
        && check.is_whole(node, "allow")
        && check.is_whole(node, "deny")
    {
        let help = "name networks in one of them, or remove `sources`";
        check.report_key(
            codes::MISSING_KEY,
            node,
            "`sources` has neither `allow` nor `deny`: it would do nothing",
            help,
        );
    }
    let allowed: BTreeSet<_> = sources.allow.iter().collect();
    let both = sources.deny.iter().position(|network| allowed.contains(network));
    if let Some((index, network)) = both.and_then(|index| Some((index, sources.deny.get(index)?))) {
        let message = format!("`{network}` is both allowed and denied");
        let node = check.item(check.at(node, "deny"), index);
        check.report_with(
            codes::CONFLICTING_KEYS,
            node,
            message,
            "`deny` wins: take it out of one list",
        );
    }
}

fn nobody_is_trusted(check: &Check<'_>) -> bool {
    let root = check.document.root();
    check.config.trusted_proxies.is_empty() && check.is_whole(root, "trusted_proxies")
}

/// Adds a socket to those known, and reports the one it collides with.
fn address(check: &mut Check<'_>, known: &mut Vec<(SocketAddr, Option<NodeId>)>, address: SocketAddr, node: NodeId) {
    if let Some((other, first)) = known.iter().find(|(other, _)| collide(*other, address)) {
        let message = if *other == address {
            format!("two sockets would listen on {address}")
        } else {
            format!("{address} and {other} collide: one of them takes all addresses")
        };
        let diagnostic = Diagnostic::new(codes::ADDRESS_CONFLICT, message).on(check.original, node);
        check.out.push(match first {
            Some(first) => diagnostic.related(check.document.span(*first), "the other one"),
            None => diagnostic.help(format!(
                "the admin listener is on {other} unless `admin.address` says otherwise"
            )),
        });
    }
    known.push((address, Some(node)));
}

/// Port 0 is "any free port" and collides with nothing.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let same_family = matches!(
        (a.ip(), b.ip()),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_))
    );
    let same_host = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.port() != 0 && same_family && same_host
}
