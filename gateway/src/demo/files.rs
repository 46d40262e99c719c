//! What the demo writes down: a configuration, two versions of a policy, a key, a signed bundle. All of it is what an
//! operator would write; nothing knows that it is for a demo.

use std::net::SocketAddr;

use anyhow::Context as _;
use portcullis_bundles::author::{self, Format};
use portcullis_bundles::envelope;
use portcullis_bundles::signing::{NewKey, SigningKey, generate};
use portcullis_bundles::trust::KeyAlgorithm;

use super::folder::Folder;
use super::local::{AUDIENCE, USER_FIELD, issuer};

/// The configuration.
pub(super) const CONFIG: &str = "portcullis.yaml";
/// The bundle that the gateway watches.
pub(super) const BUNDLE: &str = "policy.bundle";
/// The author's file of the policy that the demo begins with.
pub(super) const POLICY_1: &str = "policy-1.yaml";
/// The author's file of the next one.
pub(super) const POLICY_2: &str = "policy-2.yaml";
/// The key that bundles are signed with.
pub(super) const KEY: &str = "signing-key.pem";
/// Its id.
pub(super) const KEY_ID: &str = "demo";
/// The access log.
pub(super) const ACCESS_LOG: &str = "access.log";

/// Requests at once that the first policy allows each user.
pub(super) const BURST: u32 = 5;

/// Who listens where.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    /// The gateway.
    pub(super) public: SocketAddr,
    /// Its admin listener.
    pub(super) admin: SocketAddr,
    /// The upstream.
    pub(super) upstream: SocketAddr,
    /// The identity provider.
    pub(super) provider: SocketAddr,
}

/// Writes everything. `log` is the level of the process's log.
pub(super) fn write(folder: &Folder, addresses: &Addresses, log: &str) -> anyhow::Result<()> {
    let NewKey {
        private, public_key, ..
    } = generate(KeyAlgorithm::Ed25519)?;
    let key = SigningKey::read(KEY_ID, Some(KeyAlgorithm::Ed25519), &private)?;
    folder.write(KEY, private.expose())?;
    let public_key = public_key.context("Ed25519 has a public key")?;
    folder.write(CONFIG, configuration(folder, addresses, &public_key, log).as_bytes())?;
    let first = policy(1, 0.1, BURST);
    folder.write(POLICY_1, first.as_bytes())?;
    folder.write(POLICY_2, policy(2, 10.0, 100).as_bytes())?;
    folder.write(BUNDLE, &sign(&first, &key)?)
}

fn sign(yaml: &str, key: &SigningKey) -> anyhow::Result<Vec<u8>> {
    let authored = author::read(POLICY_1, yaml, Format::Yaml);
    let authored = authored.map_err(|wrong| anyhow::anyhow!("the demo's policy: {}", wrong.render_text()))?;
    Ok(envelope::sign_dsse(
        &authored.canonical_json()?,
        std::slice::from_ref(key),
    )?)
}

fn configuration(folder: &Folder, addresses: &Addresses, public_key: &str, log: &str) -> String {
    let Addresses {
        public,
        admin,
        upstream,
        provider,
    } = addresses;
    let issuer = issuer(*provider);
    let path = |name: &str| serde_json::Value::from(folder.path(name).display().to_string());
    format!(
        r#"listeners:
  - {{ name: demo, address: "{public}" }}
admin: {{ address: "{admin}" }}
upstreams:
  app: {{ servers: ["{upstream}"] }}
identity:
  issuers:
    demo:
      issuer: "{issuer}"
      jwks_url: "{issuer}jwks.json"
      algorithms: [ES256]
      audiences: [{AUDIENCE}]
      refresh: {{ interval: 10s, cooldown: 1s }}
policy:
  bundle: {{ file: {bundle} }}
  trust: {{ ed25519: [{{ id: {KEY_ID}, public_key: "{public_key}" }}] }}
  state_dir: {state}
sites:
  - hosts: ["*"]
    routes:
      - name: api
        match: {{ path_prefix: /v1 }}
        filters:
          - jwt: {{ issuer: demo, claims_to_headers: {{ {USER_FIELD}: sub }} }}
          - policy: {{}}
        proxy: {{ upstream: app }}
      - name: ping
        match: {{ path: /ping }}
        respond: {{ status: 200, body: "pong\n" }}
# Time for the demo to clean up before the gateway leaves.
runtime: {{ drain_delay: 5s }}
telemetry:
  access_log: {{ file: {access_log} }}
  log: {{ level: {log}, format: text }}
"#,
        bundle = path(BUNDLE),
        state = path("state"),
        access_log = path(ACCESS_LOG),
    )
}

/// A policy: each user may send `burst` requests at once and `rate` a second from then on.
fn policy(version: u64, rate: f64, burst: u32) -> String {
    format!(
        r"# Whatever the gateway's configuration says: nothing below /v1 without a verified token and this policy.
bundle_version: {version}
expires_at: 2099-01-01T00:00:00Z
require:
  - {{ path_prefix: /v1, filters: [jwt, policy] }}
policies:
  - id: api
    spec:
      selector: {{ pathPrefix: /v1 }}
      rules:
        - name: per-user
          limit_keys: [jwt:sub]
          on_missing: deny
          algorithm: token_bucket
          algorithm_config: {{ tokens_per_second: {rate}, burst: {burst} }}
tests:
  - name: {burst} at once
    request: {{ path: /v1/hello, claims: {{ sub: bob }} }}
    repeat: {burst}
    expect: {{ decision: allow }}
  - name: and not one more
    request: {{ path: /v1/hello, claims: {{ sub: bob }} }}
    repeat: {more}
    expect: {{ decision: reject, policy: api, rule: per-user }}
",
        more = burst.saturating_add(1),
    )
}

#[cfg(test)]
mod tests {
    use portcullis_bundles::examine;
    use portcullis_filters::policy::PolicyExaminer;

    use super::*;

    #[test]
    fn the_files_are_right() {
        let folder = Folder::new().unwrap();
        let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let addresses = Addresses {
            public: address(1),
            admin: address(2),
            upstream: address(3),
            provider: address(4),
        };
        write(&folder, &addresses, "error").unwrap();
        let loaded = portcullis_config::load::load(&folder.path(CONFIG)).unwrap();
        assert_eq!(loaded.config.sites.len(), 1);
        for (version, name) in [(1, POLICY_1), (2, POLICY_2)] {
            let text = std::fs::read_to_string(folder.path(name)).unwrap();
            let authored = author::read(name, &text, Format::Yaml).unwrap();
            assert_eq!(authored.bundle.bundle_version.get(), version);
            let compiled = &authored.compiled;
            assert_eq!(
                examine::run(&PolicyExaminer, &compiled.policies, &compiled.tests, 0),
                []
            );
        }
    }
}
