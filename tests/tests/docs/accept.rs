//! Is a configuration or a bundle accepted, filters and tests included? Nothing is opened that it names.

use std::fs;
use std::path::Path;

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::signing::generate;
use portcullis_bundles::trust::KeyAlgorithm;
use portcullis_config::diagnostic::Diagnostics;
use portcullis_config::geoip::GeoIp;
use portcullis_config::load::{Loaded, load};
use portcullis_filters::chain::Chain;
use portcullis_filters::policy::selftest;
use portcullis_filters::zones::{BuildEnv, Entropy, Zones, ZonesBuilder};

use crate::page;

/// 2026-07-01: after examples were issued, before they expire.
const NOW: i64 = 1_782_864_000;

/// A block of a page. Parts of a configuration get what every one needs.
pub(crate) fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut whole = text.to_owned();
    let has = |key: &str| text.lines().any(|line| line.starts_with(key));
    if !has("listeners:") {
        whole.push_str("listeners: [{ name: http, address: \"127.0.0.1:8080\" }]\n");
    }
    fs::write(folder.path().join("portcullis.yaml"), whole).expect("the configuration");
    file(folder.path(), "portcullis.yaml")
}

/// A file of an example.
pub(crate) fn example(path: &str) -> Result<(), String> {
    let (parent, name) = path.rsplit_once('/').expect("a folder");
    let folder = tempfile::tempdir().expect("a temporary folder");
    copy(&page::root().join(parent), folder.path());
    file(folder.path(), name)
}

/// Copies a folder.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from)
        .expect("a folder")
        .map(|entry| entry.expect("an entry"))
    {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&target).expect("a new folder");
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

fn file(folder: &Path, name: &str) -> Result<(), String> {
    // What `portcullis bundle keygen` prints.
    let key = generate(KeyAlgorithm::Ed25519)
        .expect("a key")
        .public_key
        .expect("its public half");
    let trust = format!("policy: {{ trust: {{ ed25519: [{{ id: k1, public_key: \"{key}\" }}] }} }}\n");
    fs::write(folder.join("trust.yaml"), trust).expect("trust.yaml");
    let loaded = load(&folder.join(name)).map_err(|failed| failed.render_text())?;
    chains(&loaded)
}

/// Builds every chain.
fn chains(loaded: &Loaded) -> Result<(), String> {
    let config = &loaded.config;
    let mut zones = ZonesBuilder::from(&Zones::new(Entropy {
        hash_key: [0; 16],
        jitter_salt: [0; 16],
    }));
    let mut out = Diagnostics::default();
    for (place, site) in config.sites.iter().enumerate() {
        let home = format!("site {place}");
        for (number, route) in site.routes.iter().enumerate() {
            let links: Vec<_> = site.filters.iter().chain(&route.filters).cloned().collect();
            let scope = format!("{home} route {number}");
            let env = BuildEnv::new(&mut zones, &config.identity.issuers, &scope);
            let mut env = env
                .with_site(&home, site.filters.len())
                .with_policy(config.policy.is_some())
                .with_geoip(config.geoip.as_ref());
            Chain::build(&links, &loaded.document, &mut env, &mut out);
        }
    }
    if out.is_empty() {
        Ok(())
    } else {
        Err(out.render_text(&loaded.sources))
    }
}

/// An author's bundle in YAML, its tests included.
pub(crate) fn bundle(text: &str) -> Result<(), String> {
    let authored = author::read("bundle.yaml", text, Format::Yaml).map_err(|wrong| wrong.render_text())?;
    let compiled = &authored.compiled;
    // What the configuration beside it would say.
    let everything = GeoIp {
        trusted_headers: true,
        ..GeoIp::default()
    };
    let unsupported = portcullis_filters::policy::unsupported(&compiled.policies, Some(&everything));
    if let Some(key) = unsupported.first() {
        return Err(key.to_string());
    }
    let tell = |failures: Vec<_>| failures.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
    selftest(&compiled.policies, &compiled.tests, NOW).map_err(tell)
}
