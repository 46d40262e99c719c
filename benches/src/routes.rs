//! Routers of many routes, compiled from a configuration as the gateway compiles it.

use std::fmt::Write as _;

use http::{HeaderMap, Method};
use portcullis::route::{Found, Router};
use portcullis_config::load::load_str;

/// Routes of a site; more routes are more sites.
const PER_SITE: usize = 100;

/// A router of `routes` routes. Each site has the host `sN.example.com` and every name below it.
pub fn router(routes: usize) -> Router {
    let mut yaml = String::from("listeners: [{ name: http, address: \"127.0.0.1:8080\" }]\nsites:\n");
    for number in 0..routes {
        let (site, route) = (number / PER_SITE, number % PER_SITE);
        if route == 0 {
            let line = format!("  - hosts: [s{site}.example.com, \"*.s{site}.example.com\"]\n    routes:\n");
            yaml.push_str(&line);
        }
        let matches = match route % 2 {
            0 => format!("path: /v1/exact/{route}"),
            _ => format!("path_prefix: /v1/prefix/{route}, methods: [GET, POST]"),
        };
        writeln!(yaml, "      - {{ match: {{ {matches} }}, respond: {{ status: 200 }} }}").expect("a string grows");
    }
    let loaded = load_str("routes.yaml", &yaml).unwrap_or_else(|failed| panic!("{failed}"));
    Router::compile(&loaded.config.sites, &["http"])
}

/// A request, and whether a route of its site is to be found for it.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// What is looked up.
    pub name: &'static str,
    host: String,
    path: &'static str,
    method: Method,
    found: bool,
}

impl Lookup {
    /// One of each kind, for the last site of a router of `routes` routes.
    pub fn kinds(routes: usize) -> [Self; 5] {
        let site = routes.saturating_sub(1) / PER_SITE;
        let host = format!("s{site}.example.com");
        let below = format!("a.b.{host}");
        let lookup = |name, host: &str, path, method, found| Self {
            name,
            host: host.to_owned(),
            path,
            method,
            found,
        };
        [
            lookup("exact", &host, "/v1/exact/4", Method::GET, true),
            lookup("prefix", &host, "/v1/prefix/5/a/b/c/d", Method::GET, true),
            lookup("subdomain", &below, "/v1/exact/4", Method::GET, true),
            lookup("other method", &host, "/v1/prefix/5", Method::PUT, false),
            lookup("none", &host, "/v2/nothing/of/this/kind", Method::GET, false),
        ]
    }

    /// Asks the router.
    pub fn run(&self, router: &Router, headers: &HeaderMap) -> Found {
        router.find(0, &self.host, self.path, &self.method, headers)
    }

    /// Ends the bench when the router finds something else than it should.
    pub fn prove(&self, router: &Router) {
        let found = self.run(router, &HeaderMap::new());
        assert_eq!(matches!(found, Found::Route(_)), self.found, "{}: {found:?}", self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_lookup_finds_what_it_should() {
        for routes in [10, 1_000] {
            let router = router(routes);
            for lookup in Lookup::kinds(routes) {
                lookup.prove(&router);
            }
        }
    }
}
