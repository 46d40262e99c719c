//! Which route answers a request: listener and host give the site, path, method and headers give the route.
//!
//! Pure lookups over what was compiled; nothing here knows filters or upstreams.

use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use portcullis_config::matcher::HostPattern;
use portcullis_config::site::{Match, Site};
use smallvec::SmallVec;

/// The place of a route in the compiled list of all routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// What the router says of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This route answers.
    Route(RouteId),
    /// A route has this path, but none of its methods is the request's. The methods are sorted.
    MethodNotAllowed(SmallVec<[Method; 4]>),
    /// No route.
    None,
}

/// Every site and route, ready for lookups.
#[derive(Debug, Default)]
pub struct Router {
    /// One table for each listener, in the order of the configuration.
    listeners: Vec<Hosts>,
    sites: Vec<Paths>,
}

/// The hosts of one listener.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<Box<str>, usize>,
    /// `example.com` for `*.example.com`.
    suffix: HashMap<Box<str>, usize>,
    any: Option<usize>,
}

/// The paths of one site.
#[derive(Debug, Default)]
struct Paths {
    exact: HashMap<Box<str>, Candidates>,
    /// Without the slash at the end; `""` covers everything.
    prefix: HashMap<Box<str>, Candidates>,
}

/// Routes of the same path: those with more conditions first.
type Candidates = SmallVec<[Candidate; 1]>;

#[derive(Debug)]
struct Candidate {
    id: RouteId,
    methods: Option<SmallVec<[Method; 4]>>,
    headers: SmallVec<[(HeaderName, HeaderValue); 1]>,
}

impl Router {
    /// Compiles the sites for listeners of these names. Routes get their ids in the order of the sites. What
    /// validation refused before (a method or header that cannot be one) never matches.
    pub fn compile(sites: &[Site], listeners: &[&str]) -> Self {
        let mut router = Self {
            listeners: listeners.iter().map(|_| Hosts::default()).collect(),
            sites: Vec::new(),
        };
        let mut next = 0;
        for (place, site) in sites.iter().enumerate() {
            let mut paths = Paths::default();
            for route in &site.routes {
                paths.add(&route.matches, RouteId(next));
                next += 1;
            }
            paths.sort();
            router.sites.push(paths);
            for (hosts, name) in router.listeners.iter_mut().zip(listeners) {
                if site
                    .listeners
                    .as_ref()
                    .is_none_or(|only| only.iter().any(|listener| listener == name))
                {
                    hosts.add(&site.hosts, place);
                }
            }
        }
        router
    }

    /// The place of the site that a host belongs to. `host` is lower-case without a port.
    pub fn site(&self, listener: usize, host: &str) -> Option<usize> {
        self.listeners.get(listener)?.find(host)
    }

    /// The route of a request. `host` is lower-case without a port; `path` is normalised.
    pub fn find(&self, listener: usize, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Found {
        let Some(site) = self.site(listener, host) else {
            return Found::None;
        };
        self.sites
            .get(site)
            .map_or(Found::None, |paths| paths.find(path, method, headers))
    }
}

impl Hosts {
    fn add(&mut self, patterns: &[HostPattern], site: usize) {
        for pattern in patterns {
            match pattern {
                HostPattern::Any => {
                    self.any.get_or_insert(site);
                }
                HostPattern::Suffix(suffix) => {
                    self.suffix.entry(suffix.clone()).or_insert(site);
                }
                HostPattern::Exact(host) => {
                    self.exact.entry(host.clone()).or_insert(site);
                }
            }
        }
    }

    /// Exact, then the longest suffix, then any.
    fn find(&self, host: &str) -> Option<usize> {
        if let Some(site) = self.exact.get(host) {
            return Some(*site);
        }
        if !self.suffix.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(site) = self.suffix.get(parent) {
                    return Some(*site);
                }
                rest = parent;
            }
        }
        self.any
    }
}

impl Paths {
    fn add(&mut self, matches: &Match, id: RouteId) {
        let candidate = Candidate::new(matches, id);
        let (table, key) = match (&matches.path, &matches.path_prefix) {
            (Some(path), _) => (&mut self.exact, path.as_str()),
            (None, Some(prefix)) => (&mut self.prefix, prefix.trim_end_matches('/')),
            (None, None) => (&mut self.prefix, ""),
        };
        table.entry_ref(key).or_default().push(candidate);
    }

    fn sort(&mut self) {
        for candidates in self.exact.values_mut().chain(self.prefix.values_mut()) {
            candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.conditions()));
        }
    }

    /// The exact path, then ever shorter prefixes of whole segments.
    fn find(&self, path: &str, method: &Method, headers: &HeaderMap) -> Found {
        let mut allowed = SmallVec::new();
        if let Some(id) = self
            .exact
            .get(path)
            .and_then(|known| choose(known, method, headers, &mut allowed))
        {
            return Found::Route(id);
        }
        if !self.prefix.is_empty() {
            let mut prefix = path.trim_end_matches('/');
            loop {
                if let Some(id) = self
                    .prefix
                    .get(prefix)
                    .and_then(|known| choose(known, method, headers, &mut allowed))
                {
                    return Found::Route(id);
                }
                let Some((shorter, _)) = prefix.rsplit_once('/') else {
                    break;
                };
                prefix = shorter;
            }
        }
        if allowed.is_empty() {
            return Found::None;
        }
        allowed.sort_by(|a: &Method, b| a.as_str().cmp(b.as_str()));
        allowed.dedup();
        Found::MethodNotAllowed(allowed)
    }
}

/// The first candidate whose conditions hold. Methods of those that fail by the method alone are noted.
fn choose(
    candidates: &Candidates,
    method: &Method,
    headers: &HeaderMap,
    allowed: &mut SmallVec<[Method; 4]>,
) -> Option<RouteId> {
    for candidate in candidates {
        if !candidate
            .headers
            .iter()
            .all(|(name, value)| headers.get(name) == Some(value))
        {
            continue;
        }
        match &candidate.methods {
            Some(methods) if !methods.contains(method) => allowed.extend(methods.iter().cloned()),
            _ => return Some(candidate.id),
        }
    }
    None
}

impl Candidate {
    fn new(matches: &Match, id: RouteId) -> Self {
        let methods = matches.methods.as_ref().map(|methods| {
            methods
                .iter()
                .filter_map(|method| Method::from_bytes(method.0.as_bytes()).ok())
                .collect()
        });
        let headers = matches.headers.iter().filter_map(|(name, value)| {
            Some((
                HeaderName::from_bytes(name.0.as_bytes()).ok()?,
                HeaderValue::from_str(value).ok()?,
            ))
        });
        Self {
            id,
            methods,
            headers: headers.collect(),
        }
    }

    fn conditions(&self) -> (usize, bool) {
        (self.headers.len(), self.methods.is_some())
    }
}

#[cfg(test)]
mod tests;
