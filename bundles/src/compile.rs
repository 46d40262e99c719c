//! As written to compiled: every field is checked against every other, all problems are collected, and a bundle with one
//! problem becomes nothing at all. Times are not compared with a clock here; `loader` does.

mod audience;
mod policy;
mod scalars;
mod switch;
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use portcullis_config::matcher::HostPattern;

use crate::format::{self, Bundle};
use crate::index::Index;
use crate::policies::{Policies, Provenance, Suspension};
use crate::problem::{Place, Problems};
use crate::requirement::Requirement;
use crate::sample::Test;
use crate::switches::{Origin, Switches};
use crate::when::When;

pub(crate) use scalars::{EMBEDDED_SECRET, MAX_SWITCH_KEYS};
pub(crate) use switch::{document_switches, runtime_switch};

/// A compiled bundle with the tests it brought along.
#[derive(Debug)]
pub struct Compiled {
    /// What requests are judged by.
    pub policies: Policies,
    /// What it must pass before it is used.
    pub tests: Vec<Test>,
}

/// Compiles `bundle`, or says everything that is wrong with it.
pub fn compile(bundle: &Bundle, origin: Provenance) -> Result<Compiled, Problems> {
    let mut compiler = Compiler::default();
    let global_shadow = compiler.suspension(bundle.global_shadow.as_ref(), "global_shadow");
    let kill_switch_override = compiler.suspension(bundle.kill_switch_override.as_ref(), "kill_switch_override");
    compiler.window(bundle);
    let audience = compiler.audience(bundle.audience.as_deref());
    let until = kill_switch_override.as_ref().map(|suspension| suspension.until);
    let switches = compiler.switches(&bundle.kill_switches, until, Origin::Bundle);
    let compiled = compiler.policies(&bundle.policies);
    let requirements = compiler.requirements(&bundle.require);
    let tests = compiler.tests(&bundle.tests, &bundle.policies);
    if !compiler.problems.is_empty() {
        return Err(compiler.problems);
    }
    let (policies, selectors): (Vec<_>, Vec<_>) = compiled.into_iter().unzip();
    let policies = Policies {
        origin,
        issued_at: bundle.issued_at,
        not_before: bundle.not_before,
        expires_at: bundle.expires_at,
        audience,
        global_shadow,
        kill_switch_override,
        switches: Arc::new(Switches::new(switches)),
        index: Index::new(&selectors),
        all: policies.into_boxed_slice(),
        requirements: requirements.into_boxed_slice(),
        longest_fill_ns: OnceLock::new(),
    };
    Ok(Compiled { policies, tests })
}

/// What a compilation needs all along.
#[derive(Debug, Default)]
struct Compiler {
    problems: Problems,
    names: HashMap<Box<str>, Arc<str>>,
    /// Conditions by their text: each is kept once.
    whens: HashMap<Box<str>, When>,
}

impl Compiler {
    /// One shared copy of a text: bundles repeat names and values a lot.
    fn share(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.names.get(text) {
            return Arc::clone(known);
        }
        let shared: Arc<str> = text.into();
        self.names.insert(text.into(), Arc::clone(&shared));
        shared
    }

    fn suspension(&mut self, written: Option<&format::Override>, name: &'static str) -> Option<Suspension> {
        let written = written.filter(|written| written.enabled)?;
        let place = Place::ROOT.field(name);
        let reason = match written.reason.as_deref() {
            None | Some("") => {
                self.problems.add(
                    "override-reason",
                    &place,
                    format!("{name}_invalid: reason is required when enabled"),
                );
                None
            }
            Some(reason) if reason.len() > scalars::MAX_REASON => {
                let message = format!("{name}_invalid: reason must be <= 256 chars");
                self.problems.add("override-reason", &place.field("reason"), message);
                None
            }
            Some(reason) => {
                self.no_secret(reason, &place.field("reason"));
                Some(self.share(reason))
            }
        };
        if written.expires_at.is_none() {
            let message = format!("{name}_invalid: expires_at is required when enabled");
            self.problems.add("override-expiry", &place, message);
        }
        Some(Suspension {
            reason: reason?,
            until: written.expires_at?,
        })
    }

    fn window(&mut self, bundle: &Bundle) {
        if let (Some(from), Some(until)) = (bundle.not_before.or(bundle.issued_at), bundle.expires_at)
            && until <= from
        {
            let place = Place::ROOT.field("expires_at");
            self.problems.add(
                "empty-window",
                &place,
                format!("the bundle expires ({until}) before it begins ({from})"),
            );
        }
        let empty = bundle.defaults.as_ref().is_none_or(|defaults| match &defaults.0 {
            serde_json::Value::Null => true,
            serde_json::Value::Object(fields) => fields.is_empty(),
            _ => false,
        });
        if !empty {
            let place = Place::ROOT.field("defaults");
            let message = "nothing reads `defaults`";
            self.problems.advise(
                "unsupported-block",
                &place,
                message,
                "write the values where they are used",
            );
        }
    }

    fn requirements(&mut self, written: &[format::Requirement]) -> Vec<Requirement> {
        let list = Place::ROOT.field("require");
        self.at_most(written.len(), scalars::MAX_REQUIREMENTS, &list, "requirements");
        (0..)
            .zip(written)
            .filter_map(|(index, one)| self.requirement(one, &list.item(index)))
            .collect()
    }

    fn requirement(&mut self, written: &format::Requirement, place: &Place<'_>) -> Option<Requirement> {
        let hosts = match &written.hosts {
            Some(hosts) => self.hosts(hosts, &place.field("hosts"), "hosts"),
            None => Some(vec![HostPattern::Any]),
        };
        let prefix = match &written.path_prefix {
            Some(prefix) => self.path(prefix, &place.field("path_prefix"), "path_prefix"),
            None => Some("/".into()),
        };
        let list = place.field("filters");
        if written.filters.is_empty() {
            self.problems
                .add("empty-list", &list, "filters must name at least one filter");
        }
        let mut filters = Vec::with_capacity(written.filters.len());
        for (index, kind) in written.filters.iter().enumerate() {
            let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if kind.is_empty() || kind.len() > scalars::MAX_NAME || !kind.bytes().all(lower) {
                let message = format!("`{kind}` is not the kind of a filter");
                self.problems.advise(
                    "invalid-filter-kind",
                    &list.item(index),
                    message,
                    "such as `jwt` or `policy`",
                );
            }
            filters.push(self.share(kind));
        }
        Some(Requirement {
            hosts: hosts?.into(),
            path_prefix: prefix?,
            filters: filters.into(),
        })
    }
}
