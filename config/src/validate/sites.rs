//! Sites: hosts, listeners, and what each route does.

use std::collections::HashMap;

use super::check::Check;
use super::{names, routes};
use crate::diagnostic::{Diagnostic, codes, suggest};
use crate::document::NodeId;
use crate::matcher::HostPattern;
use crate::path;
use crate::site::{Hsts, Match, Proxy, Redirect, Respond, Route, Site};
use crate::units::Duration;

/// Largest body of `respond`.
const MOST_BODY: usize = 64 << 10;
/// What `redirect.to` may hold between `${` and `}`.
const PLACEHOLDERS: [&str; 3] = ["path", "query", "host"];

pub(super) fn check(check: &mut Check<'_>, root: NodeId) {
    let sites = &check.config.sites;
    let list = check.at(root, "sites");
    let mut names = Vec::new();
    for (index, site) in sites.iter().enumerate() {
        let node = check.item(list, index);
        one(check, node, site);
        let routes = check.at(node, "routes");
        for (index, route) in site.routes.iter().enumerate() {
            let node = check.item(routes, index);
            names.extend(route.name.as_deref().map(|name| (name, check.at(node, "name"))));
        }
        routes::check(check, routes, &site.routes);
    }
    check.distinct("route", names);
    hosts(check, list, sites);
}

fn one(check: &mut Check<'_>, node: NodeId, site: &Site) {
    check.not_empty(
        node,
        "hosts",
        &site.hosts,
        "add a host, or \"*\" for every host that no other site has",
    );
    check.not_empty(node, "routes", &site.routes, "add a route");
    if let Some(listeners) = &site.listeners {
        check.not_empty(
            node,
            "listeners",
            listeners,
            "name a listener, or remove the key to serve the site on all of them",
        );
        let list = check.at(node, "listeners");
        let known = check.listener_names();
        let items: Vec<_> = listeners
            .iter()
            .enumerate()
            .map(|(i, name)| (name.as_str(), check.item(list, i)))
            .collect();
        for (name, node) in &items {
            if let Some(known) = known.as_ref().filter(|known| !known.contains(name)) {
                let help = suggest(name, known.iter().copied());
                check.report_with(
                    codes::UNKNOWN_REFERENCE,
                    *node,
                    format!("there is no listener `{name}`"),
                    help,
                );
            }
        }
        check.distinct("listener", items);
    }
    if let Some(hsts) = &site.hsts {
        strict_transport(check, node, site, hsts);
    }
    let dialects = check.at(check.at(node, "answers"), "limit_headers");
    let named = site.answers.limit_headers.iter().enumerate();
    let named: Vec<_> = named
        .map(|(i, fields)| (fields.as_str(), check.item(dialects, i)))
        .collect();
    check.distinct("form of limit headers", named);
    let decides = site.only_decides(&check.config.listeners);
    if let (Some(hsts), true) = (check.written(node, "hsts"), decides) {
        never_answers(check, hsts, "hsts");
    }
    let routes = check.at(node, "routes");
    for (index, written) in site.routes.iter().enumerate() {
        route(check, check.item(routes, index), written, decides);
    }
}

/// A key that has no meaning on a site that only decides.
fn never_answers(check: &mut Check<'_>, node: NodeId, key: &str) {
    let message = format!("`{key}` would do nothing: the site is served on listeners with `mode: decision` only");
    let help = "remove it: whoever asks for the decision goes on with the request";
    check.report_key(codes::CONFLICTING_KEYS, node, message, help);
}

fn strict_transport(check: &mut Check<'_>, site_node: NodeId, site: &Site, hsts: &Hsts) {
    let node = check.at(site_node, "hsts");
    let (year, most) = (Duration::from_secs(365 * 86_400), Duration::from_secs(3650 * 86_400));
    check.within(node, "max_age", hsts.max_age, Duration::from_secs(0)..=most);
    if hsts.preload && (hsts.max_age < year || !hsts.include_subdomains) {
        check.report_key(
            codes::CONFLICTING_KEYS,
            check.at(node, "preload"),
            "`preload` needs `include_subdomains: true` and a `max_age` of 365 d or more: the lists take nothing else",
            "add them, or remove `preload`",
        );
    }
    let root = check.document.root();
    let config = check.config;
    let serves = |name: &String| site.listeners.as_ref().is_none_or(|only| only.contains(name));
    let secure = config.listeners.iter().any(|it| it.tls.is_some() && serves(&it.name));
    let whole = check.is_whole(root, "listeners") && check.is_whole(root, "trusted_proxies");
    if !secure && config.trusted_proxies.is_empty() && whole {
        check.report_key(
            codes::CONFLICTING_KEYS,
            node,
            "`hsts` is sent over TLS only, and the site is served on no listener with `tls`",
            "serve the site on a listener with `tls`, or remove `hsts`",
        );
    }
}

/// Two sites must not claim one host on one listener.
fn hosts(check: &mut Check<'_>, list: NodeId, sites: &[Site]) {
    let listeners: Vec<_> = check
        .config
        .listeners
        .iter()
        .map(|listener| listener.name.as_str())
        .collect();
    let mut claimed: HashMap<(&str, &HostPattern), NodeId> = HashMap::new();
    for (index, site) in sites.iter().enumerate() {
        let hosts = check.at(check.item(list, index), "hosts");
        for (index, host) in site.hosts.iter().enumerate() {
            let node = check.item(hosts, index);
            let mut first = None;
            for listener in &listeners {
                if site
                    .listeners
                    .as_ref()
                    .is_none_or(|only| only.iter().any(|name| name == listener))
                {
                    let earlier = claimed.insert((listener, host), node);
                    first = first.or(earlier.map(|earlier| (*listener, earlier)));
                }
            }
            if let Some((listener, earlier)) = first {
                let (out, document) = (&mut *check.out, check.original);
                out.push_with(|| {
                    let message = format!("the host `{host}` is claimed twice on the listener `{listener}`");
                    let help = "put all routes of a host into one site, or part the sites by `listeners`";
                    let diagnostic = Diagnostic::new(codes::SHADOWED_HOST, message)
                        .on(document, node)
                        .help(help);
                    diagnostic.related(document.span(earlier), "first claimed here")
                });
            }
        }
    }
}

fn route(check: &mut Check<'_>, node: NodeId, route: &Route, decides: bool) {
    if let Some(name) = &route.name {
        names::name(check, check.at(node, "name"), false, name);
    }
    matches(check, check.at(node, "match"), &route.matches);
    if decides {
        for key in ["proxy", "redirect", "respond"] {
            if let Some(node) = check.written(node, key) {
                never_answers(check, node, key);
            }
        }
        return;
    }
    let actions = [route.proxy.is_some(), route.redirect.is_some(), route.respond.is_some()];
    match actions.iter().filter(|given| **given).count() {
        0 => {
            let help = "add `proxy: { upstream: NAME }`, `redirect: { to: URL }` or `respond: { status: 200 }`";
            check.report_key(codes::MISSING_KEY, node, "the route does nothing", help);
        }
        1 => {}
        _ => {
            let given = ["redirect", "respond"]
                .into_iter()
                .rev()
                .find_map(|key| check.written(node, key))
                .unwrap_or(node);
            let message = "`proxy`, `redirect` and `respond` exclude each other";
            check.report_key(
                codes::CONFLICTING_KEYS,
                given,
                message,
                "keep one, and move the others to routes of their own",
            );
        }
    }
    if let Some(action) = &route.proxy {
        proxy(check, check.at(node, "proxy"), action, &route.matches);
    }
    if let Some(action) = &route.redirect {
        redirect(check, check.at(node, "redirect"), action);
    }
    if let Some(action) = &route.respond {
        respond(check, check.at(node, "respond"), action);
    }
}

fn matches(check: &mut Check<'_>, node: NodeId, matches: &Match) {
    if matches.path.is_some() && matches.path_prefix.is_some() {
        let message = "`path` and `path_prefix` exclude each other";
        check.report_key(
            codes::CONFLICTING_KEYS,
            check.at(node, "path"),
            message,
            "keep the one that is meant",
        );
    }
    for (key, written) in [("path", &matches.path), ("path_prefix", &matches.path_prefix)] {
        if let Some(written) = written {
            normal_path(check, check.at(node, key), written);
        }
    }
    if let Some(methods) = &matches.methods {
        check.not_empty(
            node,
            "methods",
            methods,
            "name a method, or remove the key to match all of them",
        );
        let list = check.at(node, "methods");
        let items: Vec<_> = methods
            .iter()
            .enumerate()
            .map(|(i, method)| (method.0.as_str(), check.item(list, i)))
            .collect();
        check.distinct("method", items);
    }
    let headers = check.at(node, "headers");
    for (name, node) in check.document.entries(headers) {
        let value = check.document.string(*node).unwrap_or_default();
        if http::HeaderValue::from_str(value).is_err() || value.trim() != value {
            let help = "a field's value has no control characters and no spaces around it (RFC 9110, 5.5)";
            check.report_with(
                codes::INVALID_VALUE,
                *node,
                format!("`{name}` can never have this value"),
                help,
            );
        }
    }
    let folded = check
        .document
        .entries(headers)
        .iter()
        .map(|(name, node)| (name.to_ascii_lowercase(), *node));
    check.distinct("header field", folded.collect::<Vec<_>>());
}

/// Requests are compared in normalised form, so what is written must be in that form.
fn normal_path(check: &mut Check<'_>, node: NodeId, written: &str) {
    if written.contains(['?', '#']) {
        return check.report(
            codes::INVALID_PATH,
            node,
            "a path has no query (`?`) and no fragment (`#`)",
        );
    }
    match path::normalize(written) {
        Ok(normal) if normal == written => {}
        Ok(normal) => {
            let message = "the path is not in normalised form: no request would match it";
            check.report_with(codes::INVALID_PATH, node, message, format!("write {normal}"));
        }
        Err(error) => check.report(codes::INVALID_PATH, node, error.to_string()),
    }
}

fn proxy(check: &mut Check<'_>, node: NodeId, proxy: &Proxy, matches: &Match) {
    let unknown = !check.config.upstreams.contains_key(&proxy.upstream);
    let known = if unknown { check.upstream_names() } else { None };
    if let Some(known) = known.filter(|known| !known.contains(&proxy.upstream.as_str())) {
        let help = suggest(&proxy.upstream, known.iter().copied());
        let message = format!("there is no upstream `{}`", proxy.upstream);
        check.report_with(codes::UNKNOWN_REFERENCE, check.at(node, "upstream"), message, help);
    }
    if let Some(prefix) = &proxy.rewrite_prefix {
        let written = check.at(node, "rewrite_prefix");
        normal_path(check, written, prefix);
        if matches.path.is_some() {
            let message = "`rewrite_prefix` replaces a matched `path_prefix`; this route matches a whole `path`";
            check.report_key(
                codes::CONFLICTING_KEYS,
                written,
                message,
                "match by `path_prefix`, or remove `rewrite_prefix`",
            );
        }
    }
}

fn redirect(check: &mut Check<'_>, node: NodeId, redirect: &Redirect) {
    let status = redirect.status.0.as_u16();
    if !matches!(status, 301 | 302 | 303 | 307 | 308) {
        let message = format!("{status} is not a redirect");
        check.report_with(
            codes::OUT_OF_RANGE,
            check.at(node, "status"),
            message,
            "choose 301, 302, 303, 307 or 308",
        );
    }
    let to = check.at(node, "to");
    if !redirect.to.bytes().all(|b| b.is_ascii_graphic()) {
        let message = "the target has a character that a URL cannot hold";
        return check.report_with(
            codes::INVALID_VALUE,
            to,
            message,
            "percent-encode spaces, control and non-ASCII characters",
        );
    }
    if !["/", "http://", "https://", "${path}"]
        .iter()
        .any(|start| redirect.to.starts_with(start))
    {
        let help = "begin with `/`, `https://` or `${path}`";
        check.report_with(codes::INVALID_VALUE, to, "the target is neither a path nor a URL", help);
    }
    let mut rest = redirect.to.as_str();
    while let Some((_, after)) = rest.split_once("${") {
        let (name, tail) = after.split_once('}').unwrap_or((after, ""));
        if !PLACEHOLDERS.contains(&name) {
            let message = format!("unknown placeholder `${{{name}}}`");
            check.report_with(codes::INVALID_VALUE, to, message, suggest(name, PLACEHOLDERS));
        }
        rest = tail;
    }
}

fn respond(check: &mut Check<'_>, node: NodeId, respond: &Respond) {
    let status = respond.status.0;
    if status.is_informational() {
        let message = format!("{} announces an answer, it is none", status.as_u16());
        check.report_with(
            codes::OUT_OF_RANGE,
            check.at(node, "status"),
            message,
            "choose a status from 200 to 599",
        );
    }
    if respond.body.len() > MOST_BODY {
        let message = format!(
            "the body has {} bytes; at most {MOST_BODY} are kept in a configuration",
            respond.body.len()
        );
        check.report(codes::OUT_OF_RANGE, check.at(node, "body"), message);
    }
    if matches!(status.as_u16(), 204 | 205 | 304) && !respond.body.is_empty() {
        let message = format!("an answer {} has no body (RFC 9110, 15)", status.as_u16());
        check.report_key(
            codes::CONFLICTING_KEYS,
            check.at(node, "body"),
            message,
            "remove `body`, or choose another status",
        );
    }
    if http::HeaderValue::from_str(&respond.content_type).is_err() || !respond.content_type.contains('/') {
        let help = "write it like text/html; charset=utf-8";
        check.report_with(
            codes::INVALID_VALUE,
            check.at(node, "content_type"),
            "this is not a media type",
            help,
        );
    }
}
