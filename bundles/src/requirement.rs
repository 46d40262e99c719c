//! What a bundle requires of the gateway's configuration: filters on routes. The comparison of a requirement with a
//! route's hosts and paths; which routes there are and what stands on them is the gateway's to know.

use std::sync::Arc;

use portcullis_config::matcher::HostPattern;

use crate::index::segments;

/// A compiled requirement: every route that can serve one of these requests must have these filters, enforcing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// Hosts; never empty.
    pub hosts: Box<[HostPattern]>,
    /// A normalised path whose segments a request's path begins with. `/`: every path.
    pub path_prefix: Box<str>,
    /// Kinds of filters.
    pub filters: Box<[Arc<str>]>,
}

/// The paths of a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoutePath<'a> {
    /// One normalised path.
    Exact(&'a str),
    /// A normalised path and everything below it.
    Prefix(&'a str),
}

impl Requirement {
    /// Whether some request is both of the route (`host`, `path`) and of this requirement.
    pub fn concerns(&self, host: &HostPattern, path: RoutePath<'_>) -> bool {
        self.hosts.iter().any(|own| hosts_meet(own, host)) && self.path_meets(path)
    }

    /// Whether this requirement is about a request: `host` lower-case without port, `path` normalised.
    pub fn covers(&self, host: &str, path: &str) -> bool {
        self.hosts.iter().any(|own| host_covers(own, host)) && begins_with(path, &self.path_prefix)
    }

    fn path_meets(&self, path: RoutePath<'_>) -> bool {
        match path {
            RoutePath::Exact(path) => begins_with(path, &self.path_prefix),
            RoutePath::Prefix(path) => begins_with(path, &self.path_prefix) || begins_with(&self.path_prefix, path),
        }
    }
}

/// Whether the segments of `path` begin with those of `prefix`.
fn begins_with(path: &str, prefix: &str) -> bool {
    let mut rest = segments(path);
    segments(prefix).all(|segment| rest.next() == Some(segment))
}

fn host_covers(pattern: &HostPattern, host: &str) -> bool {
    match pattern {
        HostPattern::Any => true,
        HostPattern::Exact(name) => name.as_ref() == host,
        HostPattern::Suffix(name) => is_below(host, name),
    }
}

/// Whether `host` is one label or more before `parent`.
fn is_below(host: &str, parent: &str) -> bool {
    host.strip_suffix(parent)
        .is_some_and(|front| front.len() > 1 && front.ends_with('.'))
}

/// Whether one host can match both patterns.
fn hosts_meet(a: &HostPattern, b: &HostPattern) -> bool {
    match (a, b) {
        (HostPattern::Any, _) | (_, HostPattern::Any) => true,
        (HostPattern::Exact(name), other) | (other, HostPattern::Exact(name)) => host_covers(other, name),
        (HostPattern::Suffix(a), HostPattern::Suffix(b)) => a == b || is_below(a, b) || is_below(b, a),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(text: &str) -> HostPattern {
        match text.strip_prefix("*.") {
            Some(parent) => HostPattern::Suffix(parent.into()),
            None if text == "*" => HostPattern::Any,
            None => HostPattern::Exact(text.into()),
        }
    }

    fn requirement(hosts: &[&str], path_prefix: &str) -> Requirement {
        Requirement {
            hosts: hosts.iter().map(|text| host(text)).collect(),
            path_prefix: path_prefix.into(),
            filters: Box::new(["jwt".into()]),
        }
    }

    #[test]
    fn hosts_meet_when_one_name_fits_both() {
        for (a, b, meet) in [
            ("*", "api.example.com", true),
            ("api.example.com", "api.example.com", true),
            ("api.example.com", "www.example.com", false),
            ("*.example.com", "api.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "*.api.example.com", true),
            ("*.example.com", "*.example.org", false),
            ("*.example.com", "*.badexample.com", false),
        ] {
            assert_eq!(
                requirement(&[a], "/").concerns(&host(b), RoutePath::Prefix("/")),
                meet,
                "{a} {b}"
            );
            assert_eq!(
                requirement(&[b], "/").concerns(&host(a), RoutePath::Prefix("/")),
                meet,
                "{b} {a}"
            );
        }
    }

    #[test]
    fn paths_meet_by_whole_segments() {
        let admin = requirement(&["*"], "/admin/");
        for (path, concerned) in [
            (RoutePath::Prefix("/"), true),
            (RoutePath::Prefix("/admin"), true),
            (RoutePath::Prefix("/admin/users"), true),
            (RoutePath::Prefix("/administration"), false),
            (RoutePath::Exact("/"), false),
            (RoutePath::Exact("/admin"), true),
            (RoutePath::Exact("/admin/"), true),
            (RoutePath::Exact("/admin/x"), true),
        ] {
            assert_eq!(admin.concerns(&HostPattern::Any, path), concerned, "{path:?}");
        }
        assert!(admin.covers("any", "/admin/x"));
        assert!(!admin.covers("any", "/adminx"));
    }
}
