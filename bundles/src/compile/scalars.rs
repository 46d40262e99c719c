//! Checks of single texts and lists: names, hosts, paths, keys, values, and how many of each there may be.

use std::net::IpAddr;
use std::sync::Arc;

use http::Method;
use portcullis_config::key::{BOT_CATEGORIES, IP_TYPES, IpAttribute, Key, MtlsAttribute, UaAttribute, is_tenant};
use portcullis_config::matcher::HostPattern;
use portcullis_config::path;

use super::Compiler;
use crate::problem::Place;

/// The code of what looks like a credential.
pub(crate) const EMBEDDED_SECRET: &str = "embedded-secret";
/// Bytes of an id or a name.
pub(super) const MAX_NAME: usize = 128;
/// Bytes of a reason.
pub(super) const MAX_REASON: usize = 256;
/// Bytes of a value that is compared.
pub(super) const MAX_VALUE: usize = 4096;
/// Bytes of a path.
pub(super) const MAX_PATH: usize = 8192;
/// Names of gateways that a bundle is for.
pub(super) const MAX_AUDIENCE: usize = 10_000;
/// Policies of a bundle.
pub(super) const MAX_POLICIES: usize = 1_000_000;
/// Rules of a policy.
pub(super) const MAX_RULES: usize = 1_000;
/// Limit keys of a rule, and conditions of its `match`.
pub(super) const MAX_KEYS: usize = 16;
/// Different conditions of a bundle. Their patterns take memory.
pub(super) const MAX_WHENS: usize = 1_000;
/// Hosts of a selector.
pub(super) const MAX_HOSTS: usize = 10_000;
/// Kill switches of a bundle.
pub(super) const MAX_SWITCHES: usize = 1_000_000;
/// Different keys of kill switches: each is looked up on every request.
pub(crate) const MAX_SWITCH_KEYS: usize = 64;
/// Requirements of a bundle.
pub(super) const MAX_REQUIREMENTS: usize = 1_000;
/// Tests of a bundle.
pub(super) const MAX_TESTS: usize = 10_000;
/// How often a test may repeat its request.
pub(super) const MAX_REPEAT: u32 = 100_000;

impl Compiler {
    pub(super) fn at_most(&mut self, count: usize, most: usize, place: &Place<'_>, what: &str) {
        if count > most {
            self.problems.add(
                "too-many",
                place,
                format!("there are {count} {what}; at most {most} are accepted"),
            );
        }
    }

    /// A name: not empty, not long, without control characters.
    pub(super) fn name(&mut self, name: &str, place: &Place<'_>, missing: &str) -> Option<Arc<str>> {
        let before = self.problems.count();
        if name.is_empty() {
            self.problems.add("missing-name", place, missing);
        } else if name.len() > MAX_NAME {
            let message = format!("the name has {} bytes; at most {MAX_NAME} are accepted", name.len());
            self.problems.add("too-long", place, message);
        } else if name.chars().any(char::is_control) {
            self.problems
                .add("invalid-name", place, "the name has a control character");
        }
        self.no_secret(name, place);
        (before == self.problems.count()).then(|| self.share(name))
    }

    /// Host patterns; at least one.
    pub(super) fn hosts(&mut self, hosts: &[String], place: &Place<'_>, what: &str) -> Option<Vec<HostPattern>> {
        let before = self.problems.count();
        if hosts.is_empty() {
            self.problems.add(
                "empty-list",
                place,
                format!("{what} must be a non-empty array of hostnames"),
            );
        }
        self.at_most(hosts.len(), MAX_HOSTS, place, "hosts");
        let mut patterns = Vec::with_capacity(hosts.len());
        for (index, host) in hosts.iter().enumerate() {
            match host.trim().parse::<HostPattern>() {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    let message = format!("{what}[{}] invalid hostname format: {}", index + 1, error.message);
                    self.problems
                        .add_with("invalid-host", &place.item(index), message, error.help);
                }
            }
        }
        (before == self.problems.count()).then_some(patterns)
    }

    /// A path in its normalised form, which is the only one that requests are compared in.
    pub(super) fn path(&mut self, written: &str, place: &Place<'_>, what: &str) -> Option<Box<str>> {
        if written.len() > MAX_PATH {
            self.problems
                .add("invalid-path", place, format!("{what} has more than {MAX_PATH} bytes"));
            return None;
        }
        if let Some(mark) = ['?', '#'].into_iter().find(|mark| written.contains(*mark)) {
            let message = format!("{what} has a `{mark}`: paths are compared without their query");
            self.problems.add("invalid-path", place, message);
            return None;
        }
        match path::normalize(written) {
            Err(error) => {
                self.problems.add("invalid-path", place, format!("{what}: {error}"));
                None
            }
            Ok(normal) if normal != written => {
                let message = format!("{what} is not in normalised form and would match nothing");
                self.problems
                    .advise("path-not-normal", place, message, format!("write `{normal}`"));
                None
            }
            Ok(_) => Some(written.into()),
        }
    }

    /// Methods, upper-case; at least one.
    pub(super) fn methods(&mut self, methods: &[String], place: &Place<'_>) -> Option<Arc<[Box<str>]>> {
        let before = self.problems.count();
        if methods.is_empty() {
            let message = "selector.methods is empty and would match nothing";
            self.problems
                .advise("empty-list", place, message, "leave it out for every method");
        }
        self.at_most(methods.len(), 64, place, "methods");
        for (index, method) in methods.iter().enumerate() {
            let upper = method.to_ascii_uppercase();
            if Method::from_bytes(method.as_bytes()).is_err() || method.len() > MAX_NAME {
                self.problems.add(
                    "invalid-method",
                    &place.item(index),
                    format!("`{method}` is not a method"),
                );
            } else if upper != *method {
                let message = format!("`{method}` would match nothing: methods are upper-case");
                self.problems.advise(
                    "invalid-method",
                    &place.item(index),
                    message,
                    format!("write `{upper}`"),
                );
            }
        }
        (before == self.problems.count()).then(|| methods.iter().map(|method| method.as_str().into()).collect())
    }

    /// A key.
    pub(super) fn key(&mut self, written: &str, place: &Place<'_>, what: &str) -> Option<Key> {
        match written.parse() {
            Ok(key) => Some(key),
            Err(error) => {
                self.problems
                    .add_with("invalid-key", place, format!("{what}: {}", error.message), error.help);
                None
            }
        }
    }

    /// A value that `key` is compared with, in the form in which requests have it.
    pub(super) fn value(&mut self, key: &Key, value: &str, place: &Place<'_>) -> Option<Arc<str>> {
        let before = self.problems.count();
        if value.is_empty() {
            self.problems
                .add("empty-value", place, "the value must be a non-empty string");
        } else if value.len() > MAX_VALUE {
            self.problems
                .add("too-long", place, format!("the value has more than {MAX_VALUE} bytes"));
        }
        if !self.no_secret(value, place) {
            // Nothing more is said of it: messages repeat values.
            return None;
        }
        if *key == Key::Ip(IpAttribute::Address) {
            return self.address(value, place);
        }
        if let Some(form) = other_form(key, value) {
            let message = format!("`{value}` would match nothing");
            self.problems
                .advise("impossible-value", place, message, format!("it is {form}"));
        }
        (before == self.problems.count()).then(|| self.share(value))
    }

    fn address(&mut self, value: &str, place: &Place<'_>) -> Option<Arc<str>> {
        if let Ok(address) = value.parse::<IpAddr>() {
            return Some(self.share(&address.to_canonical().to_string()));
        }
        let message = format!("`{value}` would match nothing");
        let help = "it is an address, such as `192.0.2.1` or `2001:db8::1`";
        self.problems.advise("impossible-value", place, message, help);
        None
    }

    /// A reason.
    pub(super) fn reason(&mut self, reason: &str, place: &Place<'_>) -> Arc<str> {
        if reason.len() > MAX_REASON {
            self.problems.add("too-long", place, "reason must be <= 256 chars");
        }
        self.no_secret(reason, place);
        self.share(reason)
    }

    /// Secrets are referenced, never embedded: a bundle travels and is shown.
    pub(super) fn no_secret(&mut self, text: &str, place: &Place<'_>) -> bool {
        let kind = crate::secret_like::detect(text);
        if let Some(kind) = kind {
            let help = "bundles are copied, shown and logged: name the principal, not the credential";
            self.problems
                .advise(EMBEDDED_SECRET, place, format!("this looks like {kind}"), help);
        }
        kind.is_none()
    }
}

/// The form that values of a key have, when this is none.
fn other_form(key: &Key, value: &str) -> Option<String> {
    let (fits, form) = match key {
        Key::Ip(IpAttribute::Tor) | Key::Ua(UaAttribute::Bot) => {
            (matches!(value, "true" | "false"), "`true` or `false`".to_owned())
        }
        Key::Ip(IpAttribute::Country) => (
            value.len() == 2 && value.bytes().all(|byte| byte.is_ascii_uppercase()),
            "two upper-case letters (ISO 3166), such as `DE`".to_owned(),
        ),
        Key::Ip(IpAttribute::Asn) => (
            value.parse::<u32>().is_ok_and(|number| number.to_string() == value),
            "a number without `AS`, such as `64496`".to_owned(),
        ),
        Key::Ip(IpAttribute::Type) => one_of(&IP_TYPES, value),
        Key::Ua(UaAttribute::BotCategory) => one_of(&BOT_CATEGORIES, value),
        Key::Mtls(MtlsAttribute::Dns) => (
            !value.bytes().any(|byte| byte.is_ascii_uppercase()),
            "a name in lower case, such as `api.example.com`".to_owned(),
        ),
        Key::Mtls(MtlsAttribute::Spiffe) => (
            value.starts_with("spiffe://"),
            "a SPIFFE ID, such as `spiffe://example.com/api`".to_owned(),
        ),
        Key::Tenant => (is_tenant(value), "the name of a tenant, such as `acme`".to_owned()),
        _ => return None,
    };
    (!fits).then_some(form)
}

fn one_of(known: &[&str], value: &str) -> (bool, String) {
    (known.contains(&value), format!("one of `{}`", known.join("`, `")))
}
