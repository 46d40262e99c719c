//! From links as written to a chain.

use std::collections::BTreeSet;
use std::hash::Hasher;

use portcullis_config::diagnostic::{Diagnostic, Diagnostics, codes};
use portcullis_config::document::Document;
use portcullis_config::site::{self, Mode};
use siphasher::sip::SipHasher13;

use super::{Chain, SecretParameter};
use crate::filter::Phases;
use crate::gate::Gate;
use crate::limit_headers::Dialects;
use crate::link::{Link, LinkInfo};
use crate::receipt::Receipt;
use crate::registry::{self, FilterDef};
use crate::zones::{BuildEnv, OneShape};

impl Chain {
    /// Compiles links, the site's and then the route's. `None` when something is wrong with them, which is in `out`.
    pub fn build(
        specs: &[site::Link],
        document: &Document,
        env: &mut BuildEnv<'_>,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        Self::build_of(registry::FILTERS, specs, document, env, out)
    }

    /// The same, of other filters than the built-in ones.
    pub(crate) fn build_of(
        filters: &[FilterDef],
        specs: &[site::Link],
        document: &Document,
        env: &mut BuildEnv<'_>,
        out: &mut Diagnostics,
    ) -> Option<Self> {
        if let Some(first) = specs.get(Receipt::MAX - 1) {
            let message = format!("a chain has at most {} links, the site's included", Receipt::MAX - 1);
            out.push(Diagnostic::new(codes::OUT_OF_RANGE, message).on_key(document, first.settings));
            return None;
        }
        let mut found = Diagnostics::default();
        let mut chain = Assembly::new(env, out)?;
        let mut names = BTreeSet::new();
        for (index, spec) in specs.iter().enumerate() {
            let scope = env.scope_of(index);
            let name = spec.name.as_ref().unwrap_or(&spec.kind);
            if !names.insert((scope, name)) {
                found.push(twice(document, spec, name));
                continue;
            }
            if !is_name(name) {
                let message = format!("`{name}` cannot name a link");
                let help = "a name has 1 to 64 letters, digits, `_`, `.` and `-`";
                let place = document.get(spec.settings, "name").unwrap_or(spec.settings);
                found.push(
                    Diagnostic::new(codes::INVALID_VALUE, message)
                        .on(document, place)
                        .help(help),
                );
                continue;
            }
            match registry::find(filters, document, spec) {
                Ok(filter) => chain.add(
                    filter,
                    spec,
                    document,
                    &mut env.of_link(scope, name, document, spec),
                    &mut found,
                ),
                Err(diagnostic) => found.push(diagnostic),
            }
        }
        let right = found.is_empty();
        out.hide_as(&found);
        // A site's links are compiled for each of its routes, and what is wrong with them is told once.
        for diagnostic in &found {
            if !out.iter().any(|told| told == diagnostic) {
                out.push(diagnostic.clone());
            }
        }
        right.then(|| chain.finish())
    }

    /// The gate alone: for requests that no route matches.
    pub fn bare(env: &mut BuildEnv<'_>) -> Self {
        Assembly::new(env, &mut Diagnostics::default()).map_or_else(Self::closed, Assembly::finish)
    }

    /// Links of which every one is missing: nothing passes. In place of a chain that cannot be.
    fn closed() -> Self {
        let mut chain = Assembly {
            links: Vec::new(),
            slots: 0,
            gate: Gate::closed(),
        }
        .finish();
        chain.mandatory = Receipt(u64::MAX);
        chain
    }
}

/// Names are labels of metrics and parts of zones' names, in which a blank ends the scope.
fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

fn twice(document: &Document, spec: &site::Link, name: &str) -> Diagnostic {
    Diagnostic::new(
        codes::DUPLICATE_NAME,
        format!("two links of this chain are called `{name}`"),
    )
    .on_key(document, spec.settings)
    .help("give one of them a `name`: state, logs and metrics go by it")
}

/// A chain that is being put together.
struct Assembly {
    links: Vec<Link>,
    slots: usize,
    gate: Gate,
}

impl Assembly {
    fn new(env: &mut BuildEnv<'_>, out: &mut Diagnostics) -> Option<Self> {
        let gate = Gate::new(env);
        match gate.link(env) {
            Ok(link) => Some(Self {
                links: vec![link],
                slots: 0,
                gate,
            }),
            Err(error) => {
                out.push(env.zone_error("", &error));
                None
            }
        }
    }

    fn add(
        &mut self,
        filter: &FilterDef,
        spec: &site::Link,
        document: &Document,
        env: &mut BuildEnv<'_>,
        out: &mut Diagnostics,
    ) {
        let built = filter.build(document, spec, env, out);
        let stats = match env.zones.open(&env.own_zone(), &OneShape) {
            Ok(stats) => stats,
            Err(error) => return out.push(env.zone_error("", &error)),
        };
        let Some(built) = built else { return };
        let info = LinkInfo {
            kind: filter.kind,
            name: env.link.into(),
            scope: env.scope.into(),
            place: self.links.len(),
            mode: spec.mode,
            on_error: spec.on_error,
            stats,
        };
        let slot = filter.stateful.then_some(self.slots);
        self.slots += usize::from(filter.stateful);
        self.links.push(Link {
            info,
            phases: filter.phases,
            slot,
            filter: built,
        });
    }

    fn finish(self) -> Chain {
        let with = |phase: Phases| {
            let places = self
                .links
                .iter()
                .enumerate()
                .filter(move |(_, link)| link.phases.has(phase));
            places.map(|(place, _)| place)
        };
        let mut mandatory = Receipt::default();
        let mut seal = SipHasher13::new();
        for link in &self.links {
            if link.info.mode == Mode::Enforce && link.phases.has(Phases::REQUEST) {
                mandatory.add(Receipt::of(link.info.place));
            }
            for text in [link.info.kind, &link.info.scope, &link.info.name] {
                seal.write_usize(text.len());
                seal.write(text.as_bytes());
            }
            seal.write_u8(u8::from(link.info.mode == Mode::Enforce));
        }
        let secret = |link: &Link| {
            link.filter.secret_parameter().map(|name| SecretParameter {
                name: name.into(),
                enforced: link.info.mode == Mode::Enforce,
            })
        };
        Chain {
            secret_parameters: self.links.iter().filter_map(secret).collect(),
            request: with(Phases::REQUEST).collect(),
            request_body: with(Phases::REQUEST_BODY).collect(),
            response: with(Phases::RESPONSE).rev().collect(),
            response_body: with(Phases::RESPONSE_BODY).rev().collect(),
            log: with(Phases::LOG).collect(),
            phases: self.links.iter().fold(Phases(0), |all, link| all.and(link.phases)),
            links: self.links.into(),
            gate: self.gate,
            mandatory,
            slots: self.slots,
            dialects: Dialects::default(),
            seal: seal.finish(),
        }
    }
}
