//! A gateway with one protected and one open route, an origin behind it, and the judge of what reached that origin: every
//! request must have left its whole receipt in the access log, and must have come in the one canonical form.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::gateway::{Builder, Gateway, wait};
use crate::idp::{Idp, Key};
use crate::origin::{Origin, Seen};

/// The gateway and what is around it.
pub struct Fortress {
    /// The gateway: `/admin` of every host and all of `private.test` need a token and pass `ip_access` and `rate_limit`;
    /// `/public` is open; nothing else is served.
    pub gateway: Gateway,
    /// Behind all of it. Answers with the target it was asked for.
    pub origin: Origin,
    /// `Bearer` and a token of `alice`, whose name the origin gets in `x-user`.
    pub bearer: String,
    _idp: Idp,
}

/// The links of a protected route: the gate, `ip_access`, `jwt`, `rate_limit`.
const FULL: &str = "f";
/// Those of an open one: the gate.
const OPEN: &str = "1";

const GUARDS: &str = "[{ ip_access: { allow: [127.0.0.0/8] } }, { jwt: { issuer: main, claims_to_headers: { x-user: sub } } }, { rate_limit: { key: \"ip:address\", rate: 100000/s } }]";

impl Fortress {
    /// Starts it. `more` is added to the configuration.
    pub fn start(more: &str) -> Self {
        let key = Key::ed25519("k");
        let idp = Idp::start(&[&key]);
        let origin = Origin::with(|seen| {
            let (method, target) = (seen.head.split(' ').next().unwrap_or_default(), seen.target());
            let body = if method == "HEAD" { "" } else { target };
            let length = target.len();
            format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes()
        });
        let gateway = Builder::new(&format!(
            "listeners: [{{ name: public, address: \"{{public}}\", h2c: true }}]\nlimits: {{ header_timeout: 1s, body_idle_timeout: 1s, keepalive_timeout: 2s, new_connections_per_ip: {{ rate: 100000/s, burst: 100000 }} }}\n{}upstreams: {{ app: {{ servers: [\"{}\"] }} }}\nsites:\n- hosts: [private.test]\n  filters: {GUARDS}\n  routes: [{{ name: private, proxy: {{ upstream: app }} }}]\n- hosts: [\"*\"]\n  routes:\n  - {{ name: admin, match: {{ path_prefix: /admin }}, filters: {GUARDS}, proxy: {{ upstream: app }} }}\n  - {{ name: public, match: {{ path_prefix: /public }}, proxy: {{ upstream: app }} }}\n{more}",
            idp.identity(""),
            origin.address
        ))
        .start();
        let fortress = Self {
            gateway,
            origin,
            bearer: format!("Bearer {}", key.token(&Idp::claims("alice"))),
            _idp: idp,
        };
        wait("the keys", || fortress.ask("/admin/first") == 200);
        fortress
    }

    fn ask(&self, path: &str) -> u16 {
        crate::h1::get(self.gateway.public, "a", path, &[("Authorization", &self.bearer)]).status
    }

    /// Whether the gateway still serves who has a token, and nobody else.
    #[track_caller]
    pub fn assert_sound(&self) {
        assert_eq!(self.ask("/admin/last"), 200);
        assert_eq!(crate::h1::get(self.gateway.public, "a", "/admin/last", &[]).status, 401);
    }

    /// Holds everything that reached the origin against the access log. Gives how many requests that were.
    #[track_caller]
    pub fn judge(&self) -> usize {
        let seen = self.origin.seen();
        let ids: BTreeSet<&str> = seen.iter().flat_map(|seen| seen.all("x-request-id")).collect();
        let mut lines = BTreeMap::new();
        wait("the access log's lines of all that reached the origin", || {
            lines = by_id(&self.gateway.access_log(0));
            ids.iter().all(|id| lines.contains_key(*id))
        });
        // What HTTP/1.0 without a Host is asked for upstream.
        let own = self.origin.address.to_string();
        let wrong: Vec<String> = seen
            .iter()
            .flat_map(|seen| {
                let wrong = canonical(seen).into_iter().chain(proven(seen, &lines, &own));
                wrong.map(|wrong| format!("{wrong}: {:?}", seen.head))
            })
            .collect();
        assert!(
            wrong.is_empty(),
            "{} of {}:\n{}",
            wrong.len(),
            seen.len(),
            wrong.join("\n")
        );
        for line in self.gateway.access_log(0) {
            assert_eq!(line.get("missing"), None, "{line}");
        }
        seen.len()
    }
}

fn by_id(lines: &[Value]) -> BTreeMap<String, Value> {
    let id = |line: &Value| line["request_id"].as_str().unwrap_or_default().to_owned();
    lines.iter().map(|line| (id(line), line.clone())).collect()
}

/// What is wrong with a request's receipt, as the origin understood the request.
fn proven(seen: &Seen, lines: &BTreeMap<String, Value>, own: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let ids = seen.all("x-request-id");
    let Some(line) = ids.first().and_then(|id| lines.get(*id)) else {
        return vec!["reached the origin without a line in the access log".into()];
    };
    let path = seen.target().split('?').next().unwrap_or_default();
    let host = seen.all("host").first().copied().unwrap_or_default().to_owned();
    let (route, receipt, users) = if name_of(&host) == "private.test" {
        ("private", FULL, vec!["alice"])
    } else if path == "/admin" || path.starts_with("/admin/") {
        ("admin", FULL, vec!["alice"])
    } else {
        ("public", OPEN, vec![])
    };
    let is = (line["route"].as_str(), line["receipt"].as_str());
    if is != (Some(route), Some(receipt)) {
        wrong.push(format!("a receipt of {is:?} where {:?} belongs", (route, receipt)));
    }
    if route != "public" && (seen.all("x-user") != users || !seen.all("x_user").is_empty()) {
        wrong.push("nobody whom the gateway knows".into());
    }
    let method = seen.head.split(' ').next();
    if (line["path"].as_str(), line["method"].as_str()) != (Some(path), method) {
        wrong.push(format!("another request than the one that was judged: {line}"));
    }
    let judged_host = line["host"].as_str().unwrap_or_default();
    if name_of(&host) != judged_host && !(judged_host.is_empty() && host == own) {
        wrong.push(format!("another host than the one that was judged: {judged_host}"));
    }
    wrong
}

/// The name in a Host, without port and root dot.
fn name_of(host: &str) -> &str {
    let end = host.rfind(']').map_or(0, |end| end + 1);
    let port = host
        .get(end..)
        .and_then(|rest| rest.find(':'))
        .map_or(host.len(), |at| end + at);
    host.get(..port).unwrap_or_default().trim_end_matches('.')
}

/// What is not canonical about a request that reached the origin (RFC 9110, 9112, 3986).
fn canonical(seen: &Seen) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |ok: bool, what: &str| {
        if !ok {
            wrong.push(what.to_owned());
        }
    };
    let head = seen.head.strip_suffix("\r\n\r\n").unwrap_or_default();
    let mut lines = head.split("\r\n");
    let words: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
    check(
        words.len() == 3 && token(words[0]) && words[2] == "HTTP/1.1",
        "a request line",
    );
    check(is_normal(seen.target()), "a normalised target");
    for line in lines {
        let (name, value) = line.split_once(':').unwrap_or_default();
        check(token(name), "a field's name");
        check(
            value
                .bytes()
                .all(|byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f)),
            "a field's value",
        );
    }
    let all = |name| seen.all(name);
    check(all("host").len() == 1, "one Host");
    let host = all("host").first().copied().unwrap_or_default().to_owned();
    check(
        !host.is_empty()
            && host
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_:[]".contains(&byte)),
        "a host",
    );
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    check(lengths.len() + codings.len() <= 1, "one framing");
    check(
        lengths
            .iter()
            .all(|text| text.bytes().all(|byte| byte.is_ascii_digit())),
        "a length",
    );
    check(codings.iter().all(|text| *text == "chunked"), "chunked");
    for name in ["x-request-id", "x-forwarded-for", "x-forwarded-proto", "forwarded"] {
        check(all(name).len() == 1, "one of each field about the client");
    }
    let websocket = all("upgrade")
        .iter()
        .any(|value| value.eq_ignore_ascii_case("websocket"));
    let connection = all("connection");
    check(
        if websocket {
            connection.len() == 1 && connection[0].eq_ignore_ascii_case("upgrade") && all("upgrade").len() == 1
        } else {
            all("upgrade").is_empty() && connection.iter().all(|value| value.eq_ignore_ascii_case("keep-alive"))
        },
        "no upgrade but a WebSocket's",
    );
    for name in HOP_BY_HOP {
        check(all(name).is_empty(), "no hop-by-hop field");
    }
    wrong
}

const HOP_BY_HOP: [&str; 6] = [
    "keep-alive",
    "proxy-connection",
    "proxy-authorization",
    "te",
    "trailer",
    "http2-settings",
];

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a target is a path in its one form, and perhaps a query.
fn is_normal(target: &str) -> bool {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let lower = path.to_ascii_lowercase();
    let hidden = ["%2f", "%2e", "%00", "//", "/./", "/../", "..;"];
    path.starts_with('/')
        && path
            .bytes()
            .chain(query.bytes())
            .all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && !hidden.iter().any(|hidden| lower.contains(hidden))
        && !path.ends_with("/.")
        && !path.ends_with("/..")
}
