//! Routes that can never be chosen.
//!
//! Of the routes that match a request the most specific is chosen: a whole path before a prefix, a longer prefix before a
//! shorter one, then more header conditions, then one that names methods, then the one written first. A route is lost
//! when those written before it, with the same path and the same header conditions, take all of its methods.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::check::Check;
use crate::diagnostic::{Diagnostic, codes};
use crate::document::{Document, NodeId};
use crate::site::{HeaderName, Match, Method, Route};

/// What two routes must have in common for one to hide the other.
#[derive(PartialEq, Eq, Hash)]
struct Place<'a> {
    exact: bool,
    path: &'a str,
    headers: Vec<(&'a HeaderName, &'a str)>,
    names_methods: bool,
}

/// What the routes of a place have taken so far, and which of them it was.
#[derive(Default)]
struct Taken<'a> {
    methods: BTreeMap<&'a str, NodeId>,
    everything: Option<NodeId>,
}

impl Taken<'_> {
    /// The routes that take all of these methods; for a route that names none, the one that takes everything.
    fn by(&self, methods: Option<&[Method]>) -> Option<BTreeSet<NodeId>> {
        match methods {
            None => self.everything.map(|node| BTreeSet::from([node])),
            // An empty list is an error of its own.
            Some([]) => None,
            Some(methods) => methods
                .iter()
                .map(|method| self.methods.get(method.0.as_str()).copied())
                .collect(),
        }
    }
}

pub(super) fn check(check: &mut Check<'_>, list: NodeId, routes: &[Route]) {
    let mut places: HashMap<Place<'_>, Taken<'_>> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let node = check.item(list, index);
        let methods = route.matches.methods.as_deref();
        let taken = places.entry(place(&route.matches)).or_default();
        if let Some(by) = taken.by(methods) {
            let (out, document) = (&mut *check.out, check.original);
            out.push_with(|| unreachable(document, node, &by));
            continue;
        }
        match methods {
            None => taken.everything = Some(node),
            Some(methods) => {
                for method in methods {
                    taken.methods.entry(&method.0).or_insert(node);
                }
            }
        }
    }
}

fn unreachable(document: &Document, route: NodeId, by: &BTreeSet<NodeId>) -> Diagnostic {
    let message = "the route is never chosen: routes before it take every request that it matches";
    let mut diagnostic = Diagnostic::new(codes::UNREACHABLE_ROUTE, message).on_key(document, route);
    for earlier in by.iter().take(3) {
        diagnostic = diagnostic.related(document.span(*earlier), "taken by this one");
    }
    diagnostic.help("remove it, or give it a path, header or method that they do not have")
}

fn place(matches: &Match) -> Place<'_> {
    let (exact, path) = match (&matches.path, &matches.path_prefix) {
        (Some(path), _) => (true, path.as_str()),
        (None, Some(prefix)) => (false, prefix.trim_end_matches('/')),
        (None, None) => (false, ""),
    };
    let headers = matches
        .headers
        .iter()
        .map(|(name, value)| (name, value.as_str()))
        .collect();
    Place {
        exact,
        path,
        headers,
        names_methods: matches.methods.is_some(),
    }
}
