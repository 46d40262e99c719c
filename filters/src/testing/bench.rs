//! A chain from YAML, and the zones it leaves behind.

use std::sync::Arc;

use portcullis_bundles::author;
use portcullis_bundles::policies::Policies;
use portcullis_config::decode::decode;
use portcullis_config::diagnostic::Diagnostics;
use portcullis_config::document::Document;
use portcullis_config::identity::Identity;
use portcullis_config::policy::RetryJitter;
use portcullis_config::secret::Secret;
use portcullis_config::site::Link;
use portcullis_config::span::SourceMap;
use serde::Deserialize;

use crate::chain::Chain;
use crate::registry::{FILTERS, FilterDef};
use crate::secrets::SecretSlot;
use crate::zones::{BuildEnv, Entropy, Zones, ZonesBuilder};

/// Random bytes that are always the same.
pub const ENTROPY: Entropy = Entropy {
    hash_key: *b"a key for hashes",
    jitter_salt: *b"a salt for tests",
};

/// A chain and the zones of its snapshot.
pub struct Bench {
    /// The chain.
    pub chain: Chain,
    /// The zones.
    pub zones: Zones,
}

/// The part of a configuration that chains are made of.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snippet {
    #[serde(default)]
    identity: Identity,
    #[serde(default)]
    retry_jitter: RetryJitter,
    #[serde(default)]
    filters: Vec<Link>,
    /// How many of them are the site's.
    #[serde(default)]
    site_links: usize,
}

impl Bench {
    /// The chain of a snippet with `filters` and, if need be, `identity`. Panics with the diagnostics.
    pub fn new(yaml: &str) -> Self {
        Self::reloaded(&Zones::new(ENTROPY), yaml)
    }

    /// As [`Bench::new`], as a reload of a gateway with these zones.
    pub fn reloaded(zones: &Zones, yaml: &str) -> Self {
        try_bench(zones, yaml).unwrap_or_else(|diagnostics| panic!("{diagnostics}"))
    }

    /// The chain that runs where no route matches.
    pub fn bare() -> Self {
        let mut builder = ZonesBuilder::from(&Zones::new(ENTROPY));
        let chain = Chain::bare(&mut BuildEnv::new(
            &mut builder,
            &std::collections::BTreeMap::default(),
            "-",
        ));
        Self {
            chain,
            zones: builder.finish(),
        }
    }

    /// A bundle as an author writes it in YAML. Panics with the diagnostics. Its tests are not run.
    pub fn policies(yaml: &str) -> Arc<Policies> {
        let read = author::read("bundle.yaml", yaml, author::Format::Yaml);
        Arc::new(
            read.unwrap_or_else(|explanation| panic!("{}", explanation.render_text()))
                .compiled
                .policies,
        )
    }
}

/// The chain of a snippet, or the diagnostics as text. A secret is its reference, filled up to 64 bytes.
pub fn try_bench(zones: &Zones, yaml: &str) -> Result<Bench, String> {
    try_bench_of(FILTERS, zones, yaml)
}

/// As [`try_bench`], of other filters than the built-in ones.
pub(crate) fn try_bench_of(filters: &[FilterDef], zones: &Zones, yaml: &str) -> Result<Bench, String> {
    let mut sources = SourceMap::default();
    let file = sources.add("example.yaml", yaml);
    let mut out = Diagnostics::default();
    let mut builder = ZonesBuilder::from(zones);
    let document = Document::parse_yaml_into(&sources, file, &mut out);
    let chain = document.and_then(|document| {
        let snippet: Snippet = decode(&document, document.root(), &[], &mut out)?;
        let mut env = BuildEnv::new(&mut builder, &snippet.identity.issuers, "test")
            .with_site("site", snippet.site_links)
            .with_api_keys(snippet.identity.api_keys.as_ref())
            .with_jitter(snippet.retry_jitter);
        Chain::build_of(filters, &snippet.filters, &document, &mut env, &mut out)
    });
    match chain {
        Some(chain) if out.is_empty() => {
            let zones = builder.finish();
            for (_, slot) in zones.each::<SecretSlot>() {
                let reference = slot.wanted().reference.to_string();
                slot.put(Secret::new(format!("{reference:-<64}").into_bytes()));
            }
            Ok(Bench { chain, zones })
        }
        _ => {
            out.sort();
            Err(out.render_text(&sources))
        }
    }
}
