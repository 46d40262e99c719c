//! Gateways under small bundles, made from policies and rules that tests write in a line.

use crate::bundle::Signer;
use crate::gateway::{Builder, Gateway};
use crate::h1::{self, Answer};

/// One route under the bundle's policies; `FILTER` stands for the filter's keys.
pub const SITES: &str =
    "sites:\n- hosts: [\"*\"]\n  filters: [{ policy: FILTER }]\n  routes:\n  - respond: { status: 200, body: here }\n";

/// A gateway under a bundle of these policies, each a flow map in YAML.
pub fn under(policies: &[String], filter: &str) -> Gateway {
    under_bundle(&bundle(policies), filter)
}

/// A bundle of these policies.
pub fn bundle(policies: &[String]) -> String {
    format!("bundle_version: 1\npolicies:\n{}", policies.concat())
}

/// A gateway under a bundle.
pub fn under_bundle(bundle: &str, filter: &str) -> Gateway {
    let signer = Signer::new("k1");
    let yaml = signer.policy() + &SITES.replace("FILTER", filter);
    Builder::new(&yaml).file("policy.bundle", signer.sign(bundle)).start()
}

/// A policy on every path; `spec` are more keys of its spec, each followed by a comma.
pub fn policy(id: &str, spec: &str, rules: &[String]) -> String {
    format!(
        "- {{ id: {id}, spec: {{ selector: {{ pathPrefix: / }}, {spec} rules: [{}] }} }}\n",
        rules.join(", ")
    )
}

/// A rule with a bucket that hardly refills; `more` are more keys, each behind a comma.
pub fn bucket(name: &str, keys: &str, burst: u32, more: &str) -> String {
    format!(
        "{{ name: {name}, limit_keys: [{keys}], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: 0.001, burst: {burst} }}{more} }}"
    )
}

/// A rule with a budget of a week; `stages` are stages before the last, each followed by a comma. The cost is in `X-Cost`.
pub fn budget(name: &str, keys: &str, budget: u32, stages: &str) -> String {
    format!(
        "{{ name: {name}, limit_keys: [{keys}], algorithm: cost_based, algorithm_config: {{ budget: {budget}, period: 7d, cost_key: \"header:X-Cost\", staged_actions: [{stages}{{ threshold_percent: 100, action: reject }}] }} }}"
    )
}

/// A GET over a connection of its own.
pub fn get(gateway: &Gateway, path: &str, headers: &[(&str, &str)]) -> Answer {
    h1::get(gateway.public, "a.example", path, headers)
}

/// The statuses of one request after another, with these header fields.
pub fn statuses(gateway: &Gateway, path: &str, headers: &[&[(&str, &str)]]) -> Vec<u16> {
    headers
        .iter()
        .map(|headers| get(gateway, path, headers).status)
        .collect()
}
