//! The state folder: named once, and there for those that need it.

use super::check::Check;
use crate::diagnostic::codes;
use crate::document::NodeId;

/// Keys of before that may be named.
const MOST_PREVIOUS: usize = 16;

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let (state, policy) = (&check.config.state, &check.config.policy);
    let node = check.at(root, "state");
    check.file(node, "dir", state.dir.as_deref());
    let of_policy = policy.as_ref().map(|policy| policy.state_dir.is_some());
    match (state.dir.is_some(), of_policy) {
        (true, Some(true)) => {
            let message = "the state folder is named twice: `state.dir` and `policy.state_dir`";
            let place = check.at(node, "dir");
            check.report_key(codes::CONFLICTING_KEYS, place, message, "remove `policy.state_dir`");
        }
        (false, Some(false)) if check.is_whole(root, "state") && check.is_whole(root, "policy") => {
            let message = "`policy` needs a folder for the version floor, the last good bundle and kill switches";
            let place = check.at(root, "policy");
            check.report_key(codes::MISSING_KEY, place, message, "add `state: { dir: PATH }`");
        }
        _ => {}
    }
    key(check, node, of_policy == Some(true));
}

fn key(check: &mut Check<'_>, node: NodeId, has_policy_folder: bool) {
    let state = &check.config.state;
    if let (Some(key), true) = (check.written(node, "key"), state.dir.is_none() && !has_policy_folder) {
        let message = "there is no state folder that could be sealed";
        check.report_key(codes::MISSING_KEY, key, message, "add `dir`");
    }
    if let (Some(previous), None, true) = (
        check.written(node, "previous_keys"),
        &state.key,
        check.is_whole(node, "key"),
    ) {
        let message = "`previous_keys` needs `key`";
        check.report_key(
            codes::CONFLICTING_KEYS,
            previous,
            message,
            "add `key`, or remove `previous_keys`",
        );
    }
    if state.previous_keys.len() > MOST_PREVIOUS {
        let place = check.at(node, "previous_keys");
        check.report(codes::OUT_OF_RANGE, place, "at most 16 keys of before may be named");
    }
}
