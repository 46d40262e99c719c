//! Signed bundles of any number of policies, of the kind that a platform with many tenants writes, and a loader that
//! trusts them.

use std::fmt::Write as _;

use portcullis_bundles::envelope;
use portcullis_bundles::loader::{Accepted, Loader, Settings};
use portcullis_bundles::signing::{NewKey, SigningKey, generate};
use portcullis_bundles::trust::{KeyAlgorithm, Trust};
use portcullis_config::load::load_str;
use portcullis_filters::policy::PolicyExaminer;

/// When all of it happens, in seconds since 1970.
const NOW: i64 = 1_800_000_000;

/// Hosts that the policies are spread over.
const HOSTS: usize = 1_000;

/// Someone who signs bundles.
pub struct Publisher {
    key: SigningKey,
    public_key: String,
}

impl Publisher {
    /// With a new key.
    pub fn new() -> Self {
        let new = generate(KeyAlgorithm::Ed25519).expect("a key");
        let NewKey {
            private, public_key, ..
        } = new;
        let key = SigningKey::read("security", Some(KeyAlgorithm::Ed25519), &private);
        Self {
            key: key.expect("the same key"),
            public_key: public_key.expect("Ed25519 has one"),
        }
    }

    /// The `policy` section of a configuration that trusts it and reads `{dir}/policy.bundle`.
    pub fn policy(&self) -> String {
        format!(
            "policy:\n  bundle: {{ file: \"{{dir}}/policy.bundle\" }}\n  trust: {{ ed25519: [{{ id: security, public_key: \"{}\" }}] }}\n  state_dir: \"{{dir}}/state\"\n",
            self.public_key
        )
    }

    /// A signed bundle of `policies` policies with one or two rules. One of them is about every request below `/small`.
    pub fn sign(&self, version: u64, policies: usize) -> Vec<u8> {
        let text = written(version, policies);
        envelope::sign_dsse(text.as_bytes(), std::slice::from_ref(&self.key)).expect("an envelope")
    }

    /// A loader that trusts it, with room for the largest bundle.
    pub fn loader(&self) -> Loader {
        let section = self.policy().replace("{dir}", "/nowhere");
        let text = format!(
            "listeners: [{{ name: http, address: \"127.0.0.1:8080\" }}]\n{section}sites: [{{ hosts: [\"*\"], routes: [{{ respond: {{ status: 200 }} }}] }}]\n"
        );
        let loaded = load_str("portcullis.yaml", &text).unwrap_or_else(|failed| panic!("{failed}"));
        let policy = loaded.config.policy.as_ref().expect("a policy section");
        let trust = Trust::resolve(&policy.trust).expect("a public key");
        Loader::new(Settings::of(policy, None), trust, Box::new(PolicyExaminer))
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

/// From bytes to what is in force: signature, parse, compile, everything that a gateway does.
pub fn accept(loader: &Loader, bytes: &[u8]) -> Accepted {
    loader
        .accept(bytes, NOW, None)
        .unwrap_or_else(|refused| panic!("{}: {}", refused.reason.as_str(), refused.detail))
}

fn written(version: u64, policies: usize) -> String {
    let mut text = format!("{{\"bundle_version\":{version},\"expires_at\":\"2099-01-01T00:00:00Z\",\"policies\":[");
    for number in 0..policies {
        if number > 0 {
            text.push(',');
        }
        let selector = match number {
            0 => "{\"pathPrefix\":\"/small\"}".to_owned(),
            _ => format!(
                "{{\"hosts\":[\"t{}.example.com\"],\"pathPrefix\":\"/v1/tenants/{number}\",\"methods\":[\"GET\",\"HEAD\",\"POST\"]}}",
                number % HOSTS
            ),
        };
        let rate = 1_000_000 + number;
        let algorithm = format!(
            "\"algorithm\":\"token_bucket\",\"algorithm_config\":{{\"tokens_per_second\":{rate},\"burst\":{rate}}}"
        );
        let second = match number % 2 {
            0 => String::new(),
            _ => format!(
                ",{{\"name\":\"gold\",\"match\":{{\"header:x-plan\":\"gold\"}},\"limit_keys\":[\"ip:address\"],{algorithm}}}"
            ),
        };
        let _ = write!(
            text,
            "{{\"id\":\"tenant-{number}\",\"spec\":{{\"selector\":{selector},\"rules\":[\
             {{\"name\":\"per-user\",\"limit_keys\":[\"header:x-user\"],{algorithm}}}{second}]}}}}"
        );
    }
    text.push_str("]}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_of_any_size_are_accepted_whole() {
        let publisher = Publisher::new();
        for policies in [1, 10, 2_000] {
            let accepted = accept(&publisher.loader(), &publisher.sign(3, policies));
            assert_eq!(accepted.policies.all().len(), policies);
            assert_eq!(accepted.policies.version(), 3);
            assert!(accepted.hints.is_empty(), "{:?}", accepted.hints);
        }
    }
}
