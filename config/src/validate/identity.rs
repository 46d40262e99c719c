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

/// Most secrets of an issuer, as many as a key set may have keys.
const MOST_SECRETS: usize = 64;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let identity = check.at(root, "identity");
    if let Some(keys) = check.written(identity, "api_keys")
        && check.config.state_dir().is_none()
        && check.is_whole(root, "state")
    {
        let message = "API keys need a state folder, where those that were issued are kept";
        check.report_key(codes::MISSING_KEY, keys, message, "add `state: { dir: PATH }`");
    }
    for (name, node) in check.entries(identity, "issuers") {
        names::name(check, *node, true, name);
        if let Some(issuer) = check.config.identity.issuers.get(name.as_ref()) {
            one(check, *node, issuer);
        }
    }
}

fn one(check: &mut Check<'_>, node: NodeId, issuer: &Issuer) {
    check.text(node, "issuer", &issuer.issuer);
    if let Some(url) = &issuer.jwks_url {
        names::url(check, check.at(node, "jwks_url"), url, Plaintext::OnLoopback);
    }
    check.file(node, "ca", issuer.ca.as_deref());
    source(check, node, issuer);
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

/// Where the keys are: one place, and what belongs to another is not there.
fn source(check: &mut Check<'_>, node: NodeId, issuer: &Issuer) {
    let whole = check.is_whole(node, "hmac");
    match (&issuer.jwks_url, issuer.hmac.as_slice()) {
        (None, []) if whole => {
            let help = "add `jwks_url`, or `hmac` for secrets that are shared with the issuer";
            check.report_key(codes::MISSING_KEY, node, "this issuer has no keys", help);
        }
        (Some(_), [_, ..]) => {
            let message = "`jwks_url` and `hmac` exclude each other: an issuer either publishes keys or shares secrets";
            let help = "make two issuers of it";
            check.report_with(codes::CONFLICTING_KEYS, check.at(node, "hmac"), message, help);
        }
        (None, [_, ..]) => secrets(check, node, issuer),
        _ => {}
    }
    algorithms(check, node, issuer);
}

fn secrets(check: &mut Check<'_>, node: NodeId, issuer: &Issuer) {
    for key in ["ca", "refresh"] {
        if let Some(written) = check.written(node, key) {
            let message = format!("`{key}` is for keys that are fetched, and with `hmac` none are");
            check.report_with(codes::CONFLICTING_KEYS, written, message, "remove the key");
        }
    }
    let list = check.at(node, "hmac");
    let mut named = Vec::new();
    for (index, secret) in issuer.hmac.iter().enumerate() {
        let item = check.item(list, index);
        match &secret.kid {
            Some(kid) if kid.is_empty() || kid.len() > 256 => {
                check.report(
                    codes::INVALID_VALUE,
                    check.at(item, "kid"),
                    "a `kid` has 1 to 256 bytes",
                );
            }
            Some(kid) => named.push((kid.clone(), check.at(item, "kid"))),
            None if issuer.hmac.len() > 1 => {
                let help = "give each a `kid`, which tokens then name";
                check.report_with(
                    codes::MISSING_KEY,
                    item,
                    "which of several secrets a token means cannot be told",
                    help,
                );
            }
            None => {}
        }
    }
    check.distinct("kid", named);
    if issuer.hmac.len() > MOST_SECRETS {
        let message = format!("more than {MOST_SECRETS} secrets");
        check.report(codes::OUT_OF_RANGE, list, message);
    }
}

/// Symmetric algorithms go with secrets, the others with key sets. Together they are how a public key becomes a secret.
fn algorithms(check: &mut Check<'_>, node: NodeId, issuer: &Issuer) {
    let list = check.at(node, "algorithms");
    for (index, algorithm) in issuer.algorithms.iter().enumerate() {
        let item = check.item(list, index);
        match (algorithm.hash_bytes().is_some(), issuer.hmac.is_empty()) {
            (true, true) if issuer.jwks_url.is_some() => {
                let message = format!("`{algorithm:?}` needs a shared secret, and this issuer has a key set");
                let help = "remove it; an issuer that shares a secret has `hmac` instead of `jwks_url`";
                check.report_with(codes::CONFLICTING_KEYS, item, message, help);
            }
            (false, false) => {
                let message = format!("`{algorithm:?}` needs a public key, and this issuer has shared secrets");
                let help = "with `hmac` the algorithms are HS256, HS384 and HS512";
                check.report_with(codes::CONFLICTING_KEYS, item, message, help);
            }
            _ => {}
        }
    }
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
