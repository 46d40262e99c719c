//! A gateway in front of a [`Model`], with one policy that counts its tokens; and what is asked of both.

use serde_json::{Value, json};

use crate::bundle::Signer;
use crate::gateway::{Builder, Gateway, wait};
use crate::h1::{Answer, request};
use crate::llm::{Model, TOKEN, Truth};

/// Where a chat of OpenAI's is asked for.
pub const OPENAI: &str = "/v1/chat/completions";
/// And one of Anthropic's.
pub const ANTHROPIC: &str = "/v1/messages";

/// Both of them.
pub struct Setup {
    /// The gateway.
    pub gateway: Gateway,
    /// The model.
    pub model: Model,
}

/// What is asked of the model: a prompt of so many tokens, and more fields.
pub fn chat(tokens: usize, more: &Value) -> Vec<u8> {
    let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": TOKEN.repeat(tokens) }] });
    body.as_object_mut()
        .expect("an object")
        .extend(more.as_object().expect("an object").clone());
    body.to_string().into_bytes()
}

/// A bundle with one policy `chat`, whose rule has these numbers.
pub fn bundle(config: &str, mode: &str) -> String {
    format!(
        "bundle_version: 1\npolicies:\n- id: chat\n  spec:\n    mode: {mode}\n    selector: {{ pathPrefix: /v1 }}\n    rules:\n    - {{ name: tokens, limit_keys: [\"header:x-key\"], algorithm: token_bucket_llm, algorithm_config: {{ {config} }} }}\n"
    )
}

impl Setup {
    /// With a rule of these numbers.
    pub fn of(config: &str) -> Self {
        Self::with(config, "enforce", "", "")
    }

    /// The same, with the policy's mode, more keys of the `policy` filter, and more sections of the configuration.
    pub fn with(config: &str, mode: &str, filter: &str, more: &str) -> Self {
        let (signer, model) = (Signer::new("k1"), Model::start());
        let yaml = format!(
            "listeners: [{{ name: public, address: \"{{public}}\", h2c: true }}]\n{}{more}upstreams: {{ model: {{ servers: [\"{}\"], timeouts: {{ read: 1h }} }} }}\nsites: [{{ hosts: [\"*\"], filters: [{{ policy: {{ {filter} }} }}], routes: [{{ proxy: {{ upstream: model }} }}] }}]\n",
            signer.policy(),
            model.address
        );
        let bundle = signer.sign(&bundle(config, mode));
        let gateway = Builder::new(&yaml).file("policy.bundle", bundle).start();
        Self { gateway, model }
    }

    /// Asks as the client `k`.
    pub fn ask(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut all = vec![("X-Key", "k"), ("Content-Type", "application/json")];
        all.extend_from_slice(headers);
        request(self.gateway.public, "POST", "a", path, &all, body)
    }

    /// A counter of the policy.
    pub fn counter(&self, series: &str) -> u64 {
        // Whole numbers print without a point.
        self.gateway.metric(series).to_string().parse().expect("a counter")
    }

    /// Tokens of a kind.
    pub fn tokens(&self, kind: &str) -> u64 {
        self.counter(&format!(
            "portcullis_llm_tokens_total{{kind=\"{kind}\",policy=\"chat\"}}"
        ))
    }

    /// Exchanges that were settled in a way.
    pub fn settled(&self, by: &str) -> u64 {
        self.counter(&format!(
            "portcullis_llm_exchanges_total{{policy=\"chat\",settled=\"{by}\"}}"
        ))
    }

    /// What the policy was charged, once everything is settled.
    pub fn charged(&self, exchanges: u64) -> u64 {
        let all = || {
            ["usage", "counted", "unread", "nothing"]
                .map(|by| self.settled(by))
                .iter()
                .sum::<u64>()
        };
        wait("the books", || all() >= exchanges);
        self.tokens("actual")
    }

    /// The only truth so far.
    pub fn truth(&self) -> Truth {
        self.model.truths(1).remove(0)
    }
}
