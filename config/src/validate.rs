//! What the types cannot say: names that must exist, keys that exclude each other, bounds, routes that can never be chosen.
//! Nothing is opened or resolved here.

mod check;
mod identity;
mod limits;
mod listeners;
mod names;
mod policy;
mod routes;
mod sites;
mod upstreams;

use crate::diagnostic::Diagnostics;
use crate::document::Document;
use crate::gateway::Config;

use check::Check;

/// Checks a configuration against the document it was decoded from. What is wrong is added to `out`.
pub fn validate(config: &Config, document: &Document, out: &mut Diagnostics) {
    let mut check = Check { config, document, out };
    let root = document.root();
    listeners::check(&mut check, root);
    upstreams::check(&mut check, root);
    identity::check(&mut check, root);
    policy::check(&mut check, root);
    sites::check(&mut check, root);
    limits::check(&mut check, root);
}
