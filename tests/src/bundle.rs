//! Signed policy bundles, made in the test with a key that the gateway trusts.

use portcullis_bundles::author::{self, Format};
use portcullis_bundles::envelope;
use portcullis_bundles::kill_document::KillDocument;
use portcullis_bundles::signing::{NewKey, SigningKey, generate};
use portcullis_bundles::timestamp::Timestamp;
use portcullis_bundles::trust::KeyAlgorithm;
use portcullis_config::secret::Secret;

/// Someone whose signature counts, or not.
pub struct Signer {
    key: SigningKey,
    /// For `policy.trust.ed25519`.
    pub public_key: String,
}

impl Signer {
    /// A new Ed25519 key with this id.
    pub fn new(id: &str) -> Self {
        let NewKey {
            private, public_key, ..
        } = generate(KeyAlgorithm::Ed25519).expect("a key");
        let key = SigningKey::read(id, Some(KeyAlgorithm::Ed25519), &private).expect("the same key");
        Self {
            key,
            public_key: public_key.expect("Ed25519 has a public key"),
        }
    }

    /// The `policy` section of a configuration that trusts only this signer and reads `{dir}/policy.bundle`.
    pub fn policy(&self) -> String {
        format!(
            "policy:\n  bundle: {{ file: \"{{dir}}/policy.bundle\" }}\n  trust: {{ ed25519: [{{ id: {}, public_key: \"{}\" }}] }}\n  state_dir: \"{{dir}}/state\"\n",
            self.key.id(),
            self.public_key
        )
    }

    /// A key that signs as `id` with the secret at hand: HMAC, which nobody who only knows a public key may get by with.
    pub fn of_secret(id: &str, secret: &[u8]) -> Self {
        let secret = Secret::new(secret.to_vec());
        let key = SigningKey::read(id, Some(KeyAlgorithm::HmacSha256), &secret).expect("a key");
        let public_key = String::new();
        Self { key, public_key }
    }

    /// Signs a bundle written in YAML: a DSSE envelope.
    pub fn sign(&self, yaml: &str) -> Vec<u8> {
        self.sign_text(&json(yaml))
    }

    /// This key as an entry of a `trust`.
    pub fn trust(&self) -> String {
        format!(
            "{{ ed25519: [{{ id: {}, public_key: \"{}\" }}] }}",
            self.key.id(),
            self.public_key
        )
    }

    /// Signs a kill-switch document written in YAML.
    pub fn sign_kill(&self, yaml: &str) -> Vec<u8> {
        let document = KillDocument::read("kill.yaml", yaml, Format::Yaml);
        let document = document.unwrap_or_else(|wrong| panic!("the test's document: {wrong:?}"));
        self.sign_kill_text(&document.canonical_json().expect("JSON"))
    }

    /// Signs any text as a kill-switch document, right or wrong.
    pub fn sign_kill_text(&self, text: &[u8]) -> Vec<u8> {
        envelope::sign_kill_document(text, std::slice::from_ref(&self.key)).expect("an envelope")
    }

    /// Signs any text in the line form: base64 of the HMAC, a line feed, the text.
    pub fn sign_line(&self, text: &[u8]) -> Vec<u8> {
        let signed = envelope::sign_line(text, &self.key).expect("a signature");
        signed.expect("a shared key")
    }

    /// Signs any text, right or wrong.
    pub fn sign_text(&self, text: &[u8]) -> Vec<u8> {
        envelope::sign_dsse(text, std::slice::from_ref(&self.key)).expect("an envelope")
    }
}

/// A bundle written in YAML as the JSON that is signed.
pub fn json(yaml: &str) -> Vec<u8> {
    let authored = author::read("bundle.yaml", yaml, Format::Yaml);
    let authored = authored.unwrap_or_else(|wrong| panic!("the test's bundle: {wrong:?}"));
    authored.canonical_json().expect("JSON")
}

/// The moment so many seconds from now, as bundles write it.
pub fn moment(seconds: i64) -> String {
    let now = i64::try_from(crate::idp::now()).expect("a time");
    Timestamp::from_unix(now + seconds).to_string()
}

/// A bundle with one token bucket for each value of `key` on every path.
pub fn bucket(version: u64, key: &str, rate: f64, burst: f64) -> String {
    format!(
        "bundle_version: {version}\npolicies:\n- id: limit\n  spec:\n    selector: {{ pathPrefix: / }}\n    rules:\n    - {{ name: per-key, limit_keys: [\"{key}\"], algorithm: token_bucket, algorithm_config: {{ tokens_per_second: {rate}, burst: {burst} }} }}\n"
    )
}
