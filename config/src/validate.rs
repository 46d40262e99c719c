//! What the types cannot say: names that must exist, keys that exclude each other, bounds, routes that can never be chosen.
//! Nothing is opened or resolved here.

mod check;
mod control_plane;
mod geoip;
mod identity;
mod limits;
mod listeners;
mod names;
mod part;
mod policy;
mod routes;
mod sites;
mod state;
mod tls;
mod upstreams;

use crate::diagnostic::Diagnostics;
use crate::document::{Document, NodeId};
use crate::gateway::Config;

use check::Check;

/// Checks a configuration against the document it was decoded from. What is wrong is added to `out`.
pub fn validate(config: &Config, document: &Document, out: &mut Diagnostics) {
    run(Check {
        config,
        document,
        original: document,
        out,
    });
}

/// Checks what can be checked of a document with errors of shape: the parts that have none.
pub(crate) fn validate_rest(document: &Document, trouble: &[NodeId], out: &mut Diagnostics) {
    if let Some((config, rest)) = part::without(document, trouble) {
        run(Check {
            config: &config,
            document: &rest,
            original: document,
            out,
        });
    }
}

fn run(mut check: Check<'_>) {
    let root = check.document.root();
    listeners::check(&mut check, root);
    geoip::check(&mut check, root);
    upstreams::check(&mut check, root);
    identity::check(&mut check, root);
    policy::check(&mut check, root);
    state::check(&mut check, root);
    control_plane::check(&mut check, root);
    sites::check(&mut check, root);
    limits::check(&mut check, root);
}
