//! The list of filters: one line each. Nothing registers itself.

use portcullis_config::decode::decode;
use portcullis_config::diagnostic::{Diagnostic, Diagnostics, suggest};
use portcullis_config::document::Document;
use portcullis_config::site;
use schemars::Schema;

use crate::api_key::ApiKeyFilter;
use crate::attributes::UNSUPPORTED_KEY;
use crate::cors::Cors;
use crate::csrf::Csrf;
use crate::filter::{Filter, Phases};
use crate::headers::Headers;
use crate::ip_access::IpAccess;
use crate::jwt::Jwt;
use crate::link::ErasedFilter;
use crate::mtls::Mtls;
use crate::policy::PolicyFilter;
use crate::rate_limit::RateLimit;
use crate::session::Session;
use crate::signature::Signature;
use crate::tenant::Tenant;
use crate::zones::BuildEnv;

/// Every built-in filter.
pub const FILTERS: &[FilterDef] = &[
    FilterDef::of::<ApiKeyFilter>(),
    FilterDef::of::<Cors>(),
    FilterDef::of::<Csrf>(),
    FilterDef::of::<Headers>(),
    FilterDef::of::<IpAccess>(),
    FilterDef::of::<Jwt>(),
    FilterDef::of::<Mtls>(),
    FilterDef::of::<PolicyFilter>(),
    FilterDef::of::<RateLimit>(),
    FilterDef::of::<Session>(),
    FilterDef::of::<Signature>(),
    FilterDef::of::<Tenant>(),
];

/// The code of the diagnostic for a filter that does not exist.
pub const UNKNOWN_FILTER: &str = "unknown-filter";

/// The codes of diagnostics that filters add to those of `portcullis_config::codes`, each with a sentence that explains it.
pub const CODES: &[(&str, &str)] = &[
    (UNKNOWN_FILTER, "A link of a chain names a filter that does not exist."),
    (
        UNSUPPORTED_KEY,
        "A limit counts by a key that `geoip` has no source for, so it would never apply.",
    ),
];

/// A filter as the chain meets it before it is built.
#[derive(Clone, Copy)]
pub struct FilterDef {
    /// The YAML key, the folder, the docs page.
    pub kind: &'static str,
    /// The hooks that it has.
    pub phases: Phases,
    pub(crate) stateful: bool,
    build: BuildFn,
    schema: fn() -> Schema,
}

type BuildFn = fn(&Document, &site::Link, &mut BuildEnv<'_>, &mut Diagnostics) -> Option<Box<dyn ErasedFilter>>;

impl FilterDef {
    /// Of a filter's type.
    pub const fn of<F: Filter>() -> Self {
        Self {
            kind: F::KIND,
            phases: F::PHASES,
            stateful: size_of::<F::State>() > 0,
            build: build::<F>,
            schema: || schemars::schema_for!(F::Config),
        }
    }

    /// The JSON Schema of its settings.
    pub fn schema(&self) -> Schema {
        (self.schema)()
    }

    /// Decodes the settings of a link and builds the filter. `None` when something was wrong, which is in `out`.
    pub(crate) fn build(
        &self,
        document: &Document,
        link: &site::Link,
        env: &mut BuildEnv<'_>,
        out: &mut Diagnostics,
    ) -> Option<Box<dyn ErasedFilter>> {
        (self.build)(document, link, env, out)
    }
}

fn build<F: Filter>(
    document: &Document,
    link: &site::Link,
    env: &mut BuildEnv<'_>,
    out: &mut Diagnostics,
) -> Option<Box<dyn ErasedFilter>> {
    let config = decode::<F::Config>(document, link.settings, &site::Link::KEYS, out)?;
    match F::build(config, env) {
        Ok(filter) => Some(Box::new(filter)),
        Err(diagnostic) => {
            out.push(diagnostic);
            None
        }
    }
}

/// The one of these filters that a link names, or what is wrong with the name.
pub(crate) fn find<'f>(
    filters: &'f [FilterDef],
    document: &Document,
    link: &site::Link,
) -> Result<&'f FilterDef, Diagnostic> {
    filters.iter().find(|filter| filter.kind == link.kind).ok_or_else(|| {
        let kinds: Vec<&str> = filters.iter().map(|filter| filter.kind).collect();
        Diagnostic::new(UNKNOWN_FILTER, format!("there is no filter `{}`", link.kind))
            .on_key(document, link.settings)
            .help(suggest(&link.kind, kinds.iter().copied()))
    })
}

/// The kinds of filters with the JSON Schemas of their settings, for `portcullis_config::schema::schema`.
pub fn schemas() -> Vec<(&'static str, Schema)> {
    FILTERS.iter().map(|filter| (filter.kind, filter.schema())).collect()
}
