//! Token issuers: their URLs, what their tokens may be, and how their keys are kept fresh. Whether a filter names an issuer
//! that exists is not asked here but where the filter is built.

use super::check::Check;
use super::names::{self, Plaintext};
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::identity::{Issuer, Refresh};
use crate::units::{ByteSize, Duration};

/// The shortest pause between two fetches.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let identity = check.at(root, "identity");
    for (name, node) in check.entries(identity, "issuers") {
        names::name(check, *node, true, name);
        if let Some(issuer) = check.config.identity.issuers.get(name.as_ref()) {
            one(check, *node, issuer);
        }
    }
}

fn one(check: &mut Check<'_>, node: NodeId, issuer: &Issuer) {
    check.text(node, "issuer", &issuer.issuer);
    names::url(
        check,
        check.at(node, "jwks_url"),
        &issuer.jwks_url,
        Plaintext::OnLoopback,
    );
    check.file(node, "ca", issuer.ca.as_deref());
    check.not_empty(
        node,
        "algorithms",
        &issuer.algorithms,
        "add the algorithms that the issuer signs with, such as RS256",
    );
    let list = check.at(node, "algorithms");
    let named: Vec<_> = issuer
        .algorithms
        .iter()
        .enumerate()
        .map(|(i, a)| (format!("{a:?}"), check.item(list, i)))
        .collect();
    check.distinct("algorithm", named);
    check.not_empty(
        node,
        "audiences",
        &issuer.audiences,
        "add the `aud` of tokens that are meant for you",
    );
    texts(check, node, "audiences", &issuer.audiences);
    if let Some(types) = &issuer.types {
        check.not_empty(node, "types", types, "add a type such as at+jwt, or remove the key");
        texts(check, node, "types", types);
    }
    check.within(
        node,
        "leeway",
        issuer.leeway,
        Duration::from_secs(0)..=Duration::from_secs(600),
    );
    refresh(check, check.at(node, "refresh"), &issuer.refresh);
}

fn refresh(check: &mut Check<'_>, node: NodeId, refresh: &Refresh) {
    check.within(node, "interval", refresh.interval, PAUSE..=super::check::DAY);
    check.within(node, "cooldown", refresh.cooldown, PAUSE..=Duration::from_secs(3600));
    check.within(
        node,
        "stale_for",
        refresh.stale_for,
        Duration::from_secs(0)..=Duration::from_secs(30 * 86_400),
    );
    check.within(
        node,
        "timeout",
        refresh.timeout,
        Duration::from_millis(1)..=Duration::from_secs(60),
    );
    check.within(
        node,
        "max_bytes",
        refresh.max_bytes,
        ByteSize::kib(1)..=ByteSize::mib(16),
    );
    if refresh.cooldown > refresh.interval {
        let message = "`cooldown` is longer than `interval`: keys would be fetched less often than `interval` says";
        let help = "make `cooldown` the shorter of the two";
        let written = check.written(node, "cooldown").unwrap_or(check.at(node, "interval"));
        check.report_with(codes::CONFLICTING_KEYS, written, message, help);
    }
}

/// Texts of a list that must not be empty and must differ.
fn texts(check: &mut Check<'_>, map: NodeId, key: &str, texts: &[String]) {
    let list = check.at(map, key);
    let items: Vec<_> = texts
        .iter()
        .enumerate()
        .map(|(i, text)| (text.as_str(), check.item(list, i)))
        .collect();
    for (text, node) in &items {
        if text.is_empty() {
            check.report(codes::INVALID_VALUE, *node, "this text is empty");
        }
    }
    check.distinct("value", items);
}
