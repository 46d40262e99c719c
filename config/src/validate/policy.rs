//! The policy bundle's source and the keys that are trusted.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::check::Check;
use super::names::{self, Plaintext};
use crate::activation::Record;
use crate::diagnostic::codes;
use crate::document::NodeId;
use crate::key::Key;
use crate::policy::{BundleSource, DocumentSource, KillSwitches, PublicKey, Trust};
use crate::rollout::Rollout;
use crate::units::{ByteSize, Duration};

/// Names that one gateway goes by.
const MOST_NAMES: usize = 64;
/// Longest that a bundle is watched before it comes into force.
const LONGEST_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let Some(policy) = &check.config.policy else { return };
    let node = check.at(root, "policy");
    bundle(check, check.at(node, "bundle"), &policy.bundle);
    let unsigned = "add a key to `trust`; `insecure_unsigned: true` accepts bundles that anybody may have written";
    trust(
        check,
        node,
        &policy.trust,
        (!policy.insecure_unsigned).then_some(unsigned),
    );
    if let Some(switches) = &policy.kill_switches {
        kill_switches(check, check.at(node, "kill_switches"), switches);
    }
    if let Some(record) = &policy.record {
        self::record(check, check.at(node, "record"), record);
    }
    if policy.activation.is_some() && policy.record.is_none() && check.is_whole(node, "record") {
        let message = "there would be no recorded requests that a bundle could be tried on";
        check.report_key(
            codes::MISSING_KEY,
            check.at(node, "activation"),
            message,
            "add `record: {}`",
        );
    }
    if let Some(rollout) = &policy.rollout {
        self::rollout(check, check.at(node, "rollout"), rollout);
    }
    audience(check, check.at(node, "audience"), &policy.audience);
    check.file(node, "state_dir", policy.state_dir.as_deref());
    if policy.max_version_jump == Some(0) {
        let message = "a step of 0 would refuse every new version";
        check.report(codes::OUT_OF_RANGE, check.at(node, "max_version_jump"), message);
    }
    check.within(
        node,
        "max_bytes",
        policy.max_bytes,
        ByteSize::kib(1)..=ByteSize::mib(1024),
    );
}

fn rollout(check: &mut Check<'_>, node: NodeId, rollout: &Rollout) {
    check.within(node, "percent", rollout.percent, 0.01..=100.0);
    let (guard, node) = (&rollout.guard, check.at(node, "guard"));
    check.within(node, "max_reject_ratio", guard.max_reject_ratio, 0.0..=1.0);
    check.within(node, "max_5xx_ratio", guard.max_5xx_ratio, 0.0..=1.0);
    check.within(
        node,
        "window",
        guard.window,
        Duration::from_millis(100)..=LONGEST_WINDOW,
    );
    check.within(node, "min_requests", guard.min_requests, 0..=1_000_000_000);
}

fn audience(check: &mut Check<'_>, list: NodeId, names: &[String]) {
    if names.len() > MOST_NAMES {
        check.report(codes::OUT_OF_RANGE, list, "a gateway goes by at most 64 names");
    }
    for (index, name) in names.iter().enumerate() {
        names::name(check, check.item(list, index), false, name);
    }
}

fn record(check: &mut Check<'_>, node: NodeId, record: &Record) {
    check.within(node, "requests", record.requests, 1..=1_000_000);
    let list = check.at(node, "keys");
    if record.keys.len() > 64 {
        check.report(
            codes::OUT_OF_RANGE,
            list,
            "at most 64 keys are kept beside those of the bundle",
        );
    }
    for (index, key) in record.keys.iter().enumerate() {
        if let Err(error) = key.parse::<Key>() {
            check.report_with(
                codes::INVALID_VALUE,
                check.item(list, index),
                error.message,
                error.help.unwrap_or_default(),
            );
        }
    }
}

fn kill_switches(check: &mut Check<'_>, node: NodeId, switches: &KillSwitches) {
    document(check, check.at(node, "document"), &switches.document);
    trust(check, node, &switches.trust, Some("add a key to `trust`"));
    check.within(
        node,
        "max_bytes",
        switches.max_bytes,
        ByteSize::kib(1)..=ByteSize::mib(256),
    );
}

fn document(check: &mut Check<'_>, node: NodeId, source: &DocumentSource) {
    check.file(node, "file", source.file.as_deref());
    check.file(node, "ca", source.ca.as_deref());
    match (&source.file, &source.url) {
        (Some(_), Some(_)) => exclusive(check, node, "file", "url"),
        (None, None) => {
            let help = "add `file: PATH` or `url: https://...`";
            check.report_key(codes::MISSING_KEY, node, "the kill-switch document has no source", help);
        }
        (Some(_), None) => only_for_url(check, node, "a file is watched"),
        (None, Some(url)) => names::url(check, check.at(node, "url"), url, Plaintext::OnLoopback),
    }
    poll_interval(check, node, source.poll_interval);
}

fn poll_interval(check: &mut Check<'_>, node: NodeId, interval: Option<Duration>) {
    if let Some(interval) = interval {
        let bounds = Duration::from_millis(100)..=super::check::DAY;
        check.within(node, "poll_interval", interval, bounds);
    }
}

fn bundle(check: &mut Check<'_>, node: NodeId, source: &BundleSource) {
    check.file(node, "file", source.file.as_deref());
    check.file(node, "ca", source.ca.as_deref());
    match (&source.file, &source.url, source.control_plane) {
        (Some(_), Some(_), _) => exclusive(check, node, "file", "url"),
        (Some(_), None, true) => exclusive(check, node, "file", "control_plane"),
        (None, Some(_), true) => exclusive(check, node, "url", "control_plane"),
        (None, None, false) => {
            let help = "add `file: PATH`, `url: https://...` or `control_plane: true`";
            check.report_key(codes::MISSING_KEY, node, "the bundle has no source", help);
        }
        (Some(_), None, false) => only_for_url(check, node, "a file is watched"),
        (None, None, true) => {
            only_for_url(check, node, "the control plane has its own");
            let root = check.document.root();
            if check.config.control_plane.is_none() && check.is_whole(root, "control_plane") {
                let help = "say where it is in `control_plane` at the top level";
                let message = "the bundle comes from the control plane, and there is none";
                check.report_key(codes::MISSING_KEY, check.at(node, "control_plane"), message, help);
            }
        }
        (None, Some(url), false) => names::url(check, check.at(node, "url"), url, Plaintext::OnLoopback),
    }
    poll_interval(check, node, source.poll_interval);
}

fn exclusive(check: &mut Check<'_>, node: NodeId, one: &str, other: &str) {
    check.report_key(
        codes::CONFLICTING_KEYS,
        check.at(node, other),
        format!("`{one}` and `{other}` exclude each other"),
        "keep the one it comes from",
    );
}

fn only_for_url(check: &mut Check<'_>, node: NodeId, why: &str) {
    for key in ["poll_interval", "ca"] {
        if let Some(written) = check.written(node, key) {
            let message = format!("`{key}` is for `url`; {why}");
            check.report_key(codes::CONFLICTING_KEYS, written, message, format!("remove `{key}`"));
        }
    }
}

/// The keys below `node`. `required`: there must be one, and what to do about it.
fn trust(check: &mut Check<'_>, node: NodeId, keys: &Trust, required: Option<&'static str>) {
    let Trust {
        hmac,
        ed25519,
        ecdsa_p256,
    } = keys;
    let trust = check.at(node, "trust");
    let none = hmac.is_empty() && ed25519.is_empty() && ecdsa_p256.is_empty();
    let whole = ["hmac", "ed25519", "ecdsa_p256"]
        .iter()
        .all(|list| check.is_whole(trust, list));
    if let Some(help) = required.filter(|_| none && whole) {
        let message = "no key is trusted, so that nothing could be accepted";
        check.report_key(codes::INSECURE, trust, message, help);
    }
    let mut ids = Vec::new();
    let list = check.at(trust, "hmac");
    for (index, key) in hmac.iter().enumerate() {
        ids.push((key.id.as_str(), check.at(check.item(list, index), "id")));
    }
    for (name, keys, length) in [("ed25519", ed25519, 32), ("ecdsa_p256", ecdsa_p256, 65)] {
        let list = check.at(trust, name);
        for (index, key) in keys.iter().enumerate() {
            let node = check.item(list, index);
            ids.push((key.id.as_str(), check.at(node, "id")));
            public_key(check, check.at(node, "public_key"), key, length);
        }
    }
    for (id, node) in &ids {
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|b| b.is_ascii_graphic()) {
            let message = "a key id has 1 to 128 visible ASCII characters";
            check.report(codes::INVALID_VALUE, *node, message);
        }
    }
    check.distinct("key id", ids);
}

fn public_key(check: &mut Check<'_>, node: NodeId, key: &PublicKey, length: usize) {
    let Ok(bytes) = STANDARD.decode(&key.public_key) else {
        return check.report_with(
            codes::INVALID_VALUE,
            node,
            "the key is not base64",
            "use the standard alphabet, with padding",
        );
    };
    if bytes.len() != length {
        let message = format!("the key has {} bytes; {length} are expected", bytes.len());
        let help = if length == 65 {
            "write the uncompressed point: 04, x, y"
        } else {
            "write the raw key, without DER or PEM around it"
        };
        check.report_with(codes::INVALID_VALUE, node, message, help);
    } else if length == 65 && bytes.first() != Some(&4) {
        check.report(
            codes::INVALID_VALUE,
            node,
            "an uncompressed point begins with the byte 04",
        );
    }
}
