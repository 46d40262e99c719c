//! Tokens and policies: whose claims count, and conditions that look at claims.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests fail by panicking, as tests do

use portcullis_e2e::bundle::Signer;
use portcullis_e2e::gateway::{Builder, Gateway, wait};
use portcullis_e2e::h1::{self, Answer};
use portcullis_e2e::idp::{Idp, Key, decode, encode, hmac_token, unsigned};
use portcullis_e2e::policies::{bucket, bundle, policy};
use ring::hmac::HMAC_SHA256;
use serde_json::{Value, json};

const SITES: &str = "sites:
- hosts: [\"*\"]
  filters: [{ jwt: { issuer: main, optional: true } }, { policy: {} }]
  routes:
  - respond: { status: 200, body: here }
";

/// A gateway under these policies that takes tokens of the issuer, and needs none.
fn under(idp: &Idp, policies: &[String]) -> Gateway {
    let signer = Signer::new("k1");
    let yaml = signer.policy() + &idp.identity("") + SITES;
    let gateway = Builder::new(&yaml)
        .file("policy.bundle", signer.sign(&bundle(policies)))
        .start();
    wait("keys of the issuer", || {
        gateway.metric("portcullis_jwks_fetches_total{issuer=\"main\",result=\"ok\"}") >= 1.0
    });
    gateway
}

fn with(gateway: &Gateway, method: &str, token: &str) -> Answer {
    let request = format!("{method} / HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer {token}\r\n\r\n");
    let mut connection = h1::Connection::open(gateway.public);
    connection.ask(&request).expect("an answer")
}

fn without(gateway: &Gateway) -> u16 {
    h1::get(gateway.public, "a.example", "/", &[]).status
}

/// Alice's claims with changes.
fn claims(changes: &Value) -> Value {
    let mut claims = Idp::claims("alice");
    let all = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        all.insert(name.clone(), value.clone());
    }
    claims
}

#[test]
fn w_01_only_verified_claims_count() {
    let key = Key::ed25519("k");
    let idp = Idp::start(&[&key]);
    let gateway = under(&idp, &[policy("p", "", &[bucket("r", "jwt:sub", 2, "")])]);
    let good = |subject: &str| with(&gateway, "GET", &key.token(&Idp::claims(subject))).status;
    assert_eq!([good("alice"), good("alice"), good("alice")], [200, 200, 429]);
    let header = json!({ "alg": "none", "kid": "k" });
    let hmac = json!({ "alg": "HS256", "kid": "k" });
    let real = key.token(&Idp::claims("alice"));
    let mut parts = real.split('.');
    let (head, _, signature) = (parts.next(), parts.next(), parts.next());
    let pieced = [
        head.expect("a header"),
        &encode(Idp::claims("bob").to_string().as_bytes()),
        signature.expect("a signature"),
    ];
    let forged = [
        ("no signature", unsigned(&header, &Idp::claims("bob"))),
        ("another's key", Key::ed25519("k").token(&Idp::claims("bob"))),
        (
            "the public key as a secret",
            hmac_token(
                HMAC_SHA256,
                &decode(key.jwk()["x"].as_str().expect("x")),
                &hmac,
                &Idp::claims("bob"),
            ),
        ),
        ("other claims under a good signature", pieced.join(".")),
        (
            "expired",
            key.token(&claims(&json!({ "sub": "bob", "exp": 1_000_000_000 }))),
        ),
        (
            "another's audience",
            key.token(&claims(&json!({ "sub": "bob", "aud": "elsewhere" }))),
        ),
    ];
    for (what, token) in &forged {
        for _ in 0..4 {
            assert_eq!(with(&gateway, "GET", token).status, 401, "{what}");
        }
    }
    assert_eq!(
        [good("bob"), good("bob"), good("bob")],
        [200, 200, 429],
        "nobody burnt what is bob's"
    );
    let nobody = [without(&gateway), without(&gateway), without(&gateway)];
    assert_eq!(nobody, [200, 200, 429], "who has no token is counted, too");
}

#[test]
fn conditions_look_at_claims_of_any_type() {
    let key = Key::ed25519("k");
    let idp = Idp::start(&[&key]);
    let rules = [
        bucket(
            "free",
            "",
            1,
            ", when: 'jwt.claims.plan == \"free\" && jwt.claims.limits.rank < 5'",
        ),
        bucket(
            "writes",
            "",
            1,
            ", when: 'request.method != \"GET\" && !(\"staff\" in jwt.claims.roles)'",
        ),
    ];
    let spec = "when: '!has(jwt.claims.internal)',";
    let gateway = under(&idp, &[policy("p", spec, &rules)]);
    let send = |method: &str, changes: &Value| {
        let answer = with(&gateway, method, &key.token(&claims(changes)));
        (answer.status, answer.header("ratelimit").is_some())
    };
    let staff = json!({ "plan": "paid", "limits": { "rank": 1 }, "roles": ["dev", "staff"] });
    let free = json!({ "plan": "free", "limits": { "rank": 4.5 }, "roles": ["dev"] });
    let ranked = json!({ "plan": "free", "limits": { "rank": 5 }, "roles": ["dev"] });
    let internal = json!({ "internal": true });
    for _ in 0..3 {
        assert_eq!([send("GET", &staff), send("POST", &staff)], [(200, false); 2]);
        assert_eq!(send("GET", &ranked), (200, false));
        assert_eq!(send("POST", &internal), (200, false));
    }
    assert_eq!([send("GET", &free), send("GET", &free)].map(|told| told.0), [200, 429]);
    assert_eq!(
        [send("PUT", &ranked), send("POST", &ranked)].map(|told| told.0),
        [200, 429]
    );
    let untold = || {
        let (_, text) = gateway.admin("GET", "/metrics", "");
        let lines = text
            .lines()
            .filter(|line| line.starts_with("portcullis_conditions_untold_total{"));
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        counts.sum::<f64>()
    };
    let before = untold();
    assert_eq!(without(&gateway), 429, "who has no token is not rid of `free`");
    assert!(untold() > before);
}
