//! Chains and one request that passes all of their filters. Its clock goes on by a microsecond an exchange, as that of a
//! gateway with a million requests a second would: buckets refill, and nothing ends or expires.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use portcullis_bundles::policies::Policies;
use portcullis_bundles::switches::AllSwitches;
use portcullis_filters::buckets::BucketTable;
use portcullis_filters::chain::Progress;
use portcullis_filters::client::{Client, Now};
use portcullis_filters::facts::Facts;
use portcullis_filters::record::LogRecord;
use portcullis_filters::request::{Bundle, Head, PolicyView, Request};
use portcullis_filters::response::Response;
use portcullis_filters::testing::{Bench, START};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::json;

const ISSUER: &str = "https://id.example.com/";

/// Who tokens are from.
const IDENTITY: &str = r#"
identity:
  issuers:
    main:
      issuer: "https://id.example.com/"
      jwks_url: "https://id.example.com/jwks.json"
      algorithms: [EdDSA]
      audiences: [api]
"#;

/// Eight filters, each with something to do.
const EIGHT: &str = r#"
filters:
  - headers:
      request: { set: { x-origin: "edge ${client_ip}" }, remove: [x-debug] }
  - ip_access: { allow: [10.0.0.0/8, 192.0.2.0/24, "2001:db8::/32"], deny: [10.66.0.0/16] }
  - cors: { origins: [https://app.example.com, "https://*.preview.example.com"], methods: [GET, PUT] }
  - jwt: { issuer: main }
  - rate_limit: { name: address, key: ip:address, rate: 1000000/s, burst: 1000000 }
  - rate_limit: { name: tenant, key: [jwt:tenant, header:x-plan], rate: 1000000/s, burst: 1000000 }
  - policy: {}
  - headers:
      name: answer
      response: { set: { strict-transport-security: max-age=31536000 }, remove: [server] }
"#;

/// The same with a second filter that refuses the request.
const REFUSED: &str = r"
filters:
  - headers: { request: { set: { x-origin: edge } } }
  - ip_access: { deny: [192.0.2.0/24] }
";

/// One policy that applies with two rules, among others that do not.
const BUNDLE: &str = r"
bundle_version: 1
policies:
  - id: api
    spec:
      selector: { pathPrefix: /v1 }
      rules:
        - name: tenant
          limit_keys: [jwt:tenant]
          algorithm: token_bucket
          algorithm_config: { tokens_per_second: 1000000, burst: 1000000 }
        - name: everyone
          limit_keys: []
          algorithm: token_bucket
          algorithm_config: { tokens_per_second: 1000000, burst: 1000000 }
  - id: other
    spec:
      selector: { pathPrefix: /v2, hosts: [other.example.com] }
      rules: []
kill_switches:
  - { scope_key: ip:address, scope_value: 203.0.113.66, reason: none }
";

/// A chain, a request for it, and a clock.
pub struct Exchanges {
    bench: Arc<Bench>,
    policies: Arc<Policies>,
    switches: AllSwitches,
    method: Method,
    path: String,
    headers: HeaderMap,
    answer: HeaderMap,
    client: Client,
    now: Now,
}

impl Exchanges {
    /// The gate alone: what every request passes.
    pub fn bare() -> Self {
        Self::of(Bench::bare(), BUNDLE)
    }

    /// Eight filters. The token was verified before.
    pub fn eight() -> Self {
        Self::with_keys(EIGHT, BUNDLE)
    }

    /// A chain under a bundle. Its issuer's keys are known, and the token was verified before.
    pub fn with_keys(filters: &str, bundle: &str) -> Self {
        let bench = Bench::new(&format!("{IDENTITY}{filters}"));
        for (_, keys) in bench.zones.key_sets() {
            keys.publish(&jwks(), START).expect("a good key set");
        }
        Self::of(bench, bundle)
    }

    /// The same chain, bundle and counters, for another thread and with a request of its own.
    #[must_use]
    pub fn beside(&self, user: &str) -> Self {
        let mut headers = self.headers.clone();
        headers.insert("x-user", HeaderValue::from_str(user).expect("a field value"));
        Self {
            bench: Arc::clone(&self.bench),
            policies: Arc::clone(&self.policies),
            switches: AllSwitches::new([Arc::clone(self.policies.switches())]),
            method: self.method.clone(),
            path: self.path.clone(),
            headers,
            answer: self.answer.clone(),
            client: self.client.clone(),
            now: self.now,
        }
    }

    /// Asks for another path.
    #[must_use]
    pub fn path(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    /// Two filters, of which the second refuses.
    pub fn refused() -> Self {
        Self::of(Bench::new(REFUSED), BUNDLE)
    }

    fn of(bench: Bench, bundle: &str) -> Self {
        let policies = Bench::policies(bundle);
        let address = IpAddr::from([192, 0, 2, 1]);
        Self {
            bench: Arc::new(bench),
            switches: AllSwitches::new([Arc::clone(policies.switches())]),
            policies,
            method: Method::GET,
            path: "/v1/things/42".to_owned(),
            headers: headers(),
            answer: HeaderMap::from_iter([
                (header::SERVER, HeaderValue::from_static("nginx")),
                (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            ]),
            client: Client {
                address,
                peer: address,
                peer_is_trusted: false,
                tls: true,
            },
            now: START,
        }
    }

    /// Buckets that were made.
    pub fn buckets(&self) -> usize {
        self.bench
            .zones
            .each::<BucketTable>()
            .map(|(_, table)| table.len())
            .sum()
    }

    /// One exchange with everything that the gateway asks of a chain. Gives the status: the upstream's is 200.
    pub fn run(&mut self) -> StatusCode {
        self.now.monotonic_ns += 1_000;
        self.now.unix_ms = START.unix_ms + (self.now.monotonic_ns - START.monotonic_ns) / 1_000_000;
        let head = Head {
            method: &self.method,
            host: "api.example.com",
            authority: "api.example.com",
            path: &self.path,
            query: Some("page=2"),
            headers: &self.headers,
            client: &self.client,
            route: None,
            geoip: None,
            now: self.now,
        };
        let policy = PolicyView {
            bundle: Bundle::Loaded(&self.policies),
            trial: None,
            switches: &self.switches,
        };
        let chain = &self.bench.chain;
        let mut facts = Facts::default();
        let mut state = chain.start();
        let progress = chain.on_request(
            &mut state,
            &mut Request {
                head: &head,
                facts: &mut facts,
                policy,
            },
        );
        let status = match progress {
            Progress::Done if chain.missing(&state).is_empty() => StatusCode::OK,
            Progress::Done => panic!("a receipt is missing"),
            Progress::Stop(_, _) => StatusCode::FORBIDDEN,
            Progress::Wait(_) | Progress::Pause(_) | Progress::Body(_) => panic!("nothing has to be waited for"),
        };
        let mut response = Response {
            head: &head,
            status,
            headers: &self.answer,
            facts: &mut facts,
        };
        assert!(
            chain.on_response(&mut state, &mut response).is_ok(),
            "no filter minds the answer"
        );
        chain.on_log(&mut state, &mut LogRecord::default());
        status
    }
}

fn headers() -> HeaderMap {
    let bearer = format!("Bearer {}", token());
    let fields = [
        ("accept", "application/json"),
        ("accept-encoding", "gzip, br"),
        ("authorization", bearer.as_str()),
        ("origin", "https://app.example.com"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        ("x-debug", "1"),
        ("x-plan", "gold"),
    ];
    fields
        .into_iter()
        .map(|(name, value)| {
            let value = HeaderValue::from_str(value).expect("a field value");
            (header::HeaderName::from_static(name), value)
        })
        .collect()
}

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("any seed is a key")
}

fn jwks() -> Vec<u8> {
    let x = URL_SAFE_NO_PAD.encode(pair().public_key());
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "k", "x": x }] })
        .to_string()
        .into_bytes()
}

/// A token for a day.
fn token() -> String {
    let header = json!({ "alg": "EdDSA", "kid": "k", "typ": "JWT" });
    let claims = json!({ "iss": ISSUER, "aud": "api", "sub": "alice", "tenant": "acme", "scope": "read write",
        "exp": START.unix() + 86_400 });
    let part = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let text = format!("{}.{}", part(&header), part(&claims));
    let signature = URL_SAFE_NO_PAD.encode(pair().sign(text.as_bytes()));
    format!("{text}.{signature}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exchanges_end_as_they_should_and_go_on_so() {
        for (mut exchanges, links, status) in [
            (Exchanges::bare(), 1, StatusCode::OK),
            (Exchanges::eight(), 9, StatusCode::OK),
            (Exchanges::refused(), 3, StatusCode::FORBIDDEN),
        ] {
            assert_eq!(exchanges.bench.chain.links().count(), links, "the gate and its filters");
            assert!((0..100).all(|_| exchanges.run() == status));
        }
    }
}
