//! How a request was looked at, for those who ask: the policies that are about it and the values it is counted by. Kept only
//! where somebody asked; it changes no verdict.

use std::collections::BTreeMap;
use std::sync::Arc;

use portcullis_bundles::policies::Policies;

use crate::attributes;
use crate::request::Request;

/// How a request was looked at.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// Whether the values are wanted, and not the policies alone.
    pub wants_descriptors: bool,
    /// The policies that are about it, in the order in which they are evaluated.
    pub policies: Vec<Arc<str>>,
    /// The values that their rules count by or look at, by key.
    pub descriptors: BTreeMap<String, String>,
}

/// Fills in the trace of a request, if it has one.
pub(crate) fn fill(policies: &Policies, request: &mut Request<'_>) {
    let Some(mut trace) = request.facts.trace.take() else {
        return;
    };
    let matches = request.head.matches(policies);
    for policy in matches.iter().filter_map(|place| policies.get(*place)) {
        trace.policies.push(Arc::clone(&policy.id));
        if !trace.wants_descriptors {
            continue;
        }
        for key in policy.every_key() {
            if let Ok(Some(value)) = attributes::text(request, key) {
                trace.descriptors.insert(key.to_string(), value.into_owned());
            }
        }
    }
    request.facts.trace = Some(trace);
}
